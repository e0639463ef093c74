"""Metadata, client authentication, registration, revocation, introspection and userinfo."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from broker.core.secret import Secret
from broker.practice.clients import redirect_uri_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.practice.conftest import Walk


def test_metadata_is_true(start: Callable[..., Walk]) -> None:
    """Both well-known documents are the same, name the issuer exactly, and every endpoint in them answers."""
    walk = start()
    document = walk.http.get("/.well-known/openid-configuration").json()
    assert document == walk.http.get("/.well-known/oauth-authorization-server").json()
    assert document["issuer"] == walk.server.url
    assert document["authorization_response_iss_parameter_supported"] is True
    assert document["code_challenge_methods_supported"] == ["S256"]
    endpoints = [value for name, value in document.items() if name.endswith(("_endpoint", "jwks_uri"))]
    assert len(endpoints) == 9
    assert all(walk.http.options(urlsplit(endpoint).path).status_code == 405 for endpoint in endpoints)


def test_jwks_holds_no_private_part(start: Callable[..., Walk]) -> None:
    """One public P-256 key with a key id."""
    (key,) = start().http.get("/jwks").json()["keys"]
    assert (key["kty"], key["crv"], key["alg"]) == ("EC", "P-256", "ES256")
    assert key["kid"]
    assert "d" not in key


def test_a_foreign_host_is_refused(start: Callable[..., Walk]) -> None:
    """A rebound name does not reach the provider."""
    assert start().http.get("/jwks", headers={"Host": "evil.example"}).status_code == 400


def test_client_credentials_in_header_and_body(start: Callable[..., Walk]) -> None:
    """The confidential client proves itself by Basic or in the body, and gets a token without a refresh token."""
    walk = start(client_secret=Secret("a secret: with+signs%"))
    basic = b64encode(b"keyfob-machine:a+secret%3A+with%2Bsigns%25").decode()
    form = {"grant_type": "client_credentials", "scope": "read"}
    by_header = walk.http.post("/token", data=form, headers={"Authorization": f"Basic {basic}"})
    by_body = walk.token(**form, **walk.machine())
    for answer in (by_header, by_body):
        assert answer.status_code == 200
        assert answer.json()["scope"] == "read"
        assert "refresh_token" not in answer.json()
        assert answer.headers["cache-control"] == "no-store"
    assert walk.userinfo(by_body.json()["access_token"]).status_code == 403


@pytest.mark.parametrize(
    ("form", "header", "status", "error"),
    [
        ({"client_id": "keyfob"}, "", 400, "unauthorized_client"),
        ({"client_id": "keyfob", "client_secret": "x"}, "", 401, "invalid_client"),
        ({"client_id": "keyfob-machine"}, "", 401, "invalid_client"),
        ({"client_id": "keyfob-machine", "client_secret": "wrong"}, "", 401, "invalid_client"),
        ({"client_id": "nobody"}, "", 401, "invalid_client"),
        ({}, "", 401, "invalid_client"),
        ({}, "keyfob-machine:wrong", 401, "invalid_client"),
        ({}, "keyfob-machine:", 401, "invalid_client"),
        ({}, "keyfob:", 401, "invalid_client"),
        ({"client_secret": "s"}, "keyfob-machine:s", 400, "invalid_request"),
        ({"client_id": "keyfob"}, "keyfob-machine:s", 400, "invalid_request"),
    ],
)
def test_a_client_that_does_not_prove_itself(
    start: Callable[..., Walk], form: dict[str, str], header: str, status: int, error: str
) -> None:
    """Each wrong way has its error; a wrong Basic header is answered with a challenge (RFC 6749 5.2)."""
    walk = start(client_secret=Secret("s"))
    headers = {"Authorization": f"Basic {b64encode(header.encode()).decode()}"} if header else {}
    answer = walk.http.post("/token", data={"grant_type": "client_credentials", **form}, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert ("www-authenticate" in answer.headers) == (bool(header) and status == 401)


@pytest.mark.parametrize("header", ["Basic ???", "Bearer abc", "Basic bm9jb2xvbg=="])
def test_unreadable_credentials(start: Callable[..., Walk], header: str) -> None:
    """What is no Basic header is invalid_client, not a breakdown."""
    answer = start().http.post("/token", data={"grant_type": "refresh_token"}, headers={"Authorization": header})
    assert answer.status_code == 401


def test_the_token_endpoint_takes_forms_only(start: Callable[..., Walk]) -> None:
    """JSON, a query, a GET, broken bytes and a giant body are refused."""
    walk = start()
    form = {"grant_type": "refresh_token", "client_id": "keyfob", "refresh_token": "x"}
    assert walk.http.post("/token", json=form).json()["error"] == "invalid_request"
    assert walk.http.post("/token?client_id=keyfob", data=form).json()["error"] == "invalid_request"
    assert walk.http.get("/token").status_code == 405
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert walk.http.post("/token", content=b"a=%ff", headers=kind).json()["error"] == "invalid_request"
    assert walk.http.post("/token", content=b"a=" + b"x" * 100_000, headers=kind).status_code == 413


def test_a_client_registers_itself(start: Callable[..., Walk]) -> None:
    """A registered public client logs in on any port of its loopback redirect URI."""
    walk = start()
    uri = "http://127.0.0.1/callback/mine"
    wanted = {
        "redirect_uris": [uri],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "client_name": "Mine",
    }
    answer = walk.http.post("/register", json=wanted)
    assert answer.status_code == 201
    client = answer.json()
    assert "client_secret" not in client
    assert {name: client[name] for name in wanted} == wanted
    here = {"client_id": client["client_id"], "redirect_uri": "http://127.0.0.1:1234/callback/mine"}
    code = walk.authorize(**here).headers["location"].split("code=")[1].split("&")[0]
    assert "refresh_token" in walk.exchange(code, **here).json()
    assert walk.authorize(**here | {"redirect_uri": "http://127.0.0.1:1234/other"}).status_code == 400


def test_a_registered_client_may_only_what_it_registered_for(start: Callable[..., Walk]) -> None:
    """Authentication method and grant types hold as registered; without refresh_token there is none."""
    walk = start()
    uri = "https://app.example/back"
    client = walk.http.post("/register", json={"redirect_uris": [uri]}).json()
    assert client["token_endpoint_auth_method"] == "client_secret_basic"
    assert client["client_secret_expires_at"] == 0
    here = {"client_id": client["client_id"], "redirect_uri": uri}
    code = walk.authorize(**here).headers["location"].split("code=")[1].split("&")[0]
    in_body = walk.exchange(code, **here, client_secret=client["client_secret"])
    assert in_body.json()["error"] == "invalid_client"
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": uri, "code_verifier": walk.verifier}
    auth = (client["client_id"], client["client_secret"])
    assert "refresh_token" not in walk.http.post("/token", data=form, auth=auth).json()
    refused = walk.http.post("/token", data={"grant_type": "client_credentials"}, auth=auth)
    assert refused.json()["error"] == "unauthorized_client"


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://evil.example/"]}, "invalid_redirect_uri"),
        ({"redirect_uris": "http://127.0.0.1/"}, "invalid_client_metadata"),
        ({"redirect_uris": [], "token_endpoint_auth_method": "magic"}, "invalid_client_metadata"),
        ({"redirect_uris": [], "grant_types": ["implicit"]}, "invalid_client_metadata"),
        ({"redirect_uris": ["https://a.example/"], "response_types": ["token"]}, "invalid_client_metadata"),
        ([], "invalid_client_metadata"),
    ],
)
def test_a_wrong_registration(start: Callable[..., Walk], wanted: Any, error: str) -> None:  # noqa: ANN401 -- JSON
    """Each mistake has the error of RFC 7591 3.2.2."""
    answer = start().http.post("/register", json=wanted)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_registration_takes_json_only(start: Callable[..., Walk]) -> None:
    """A form, or bytes that are no JSON, are refused."""
    walk = start()
    assert walk.http.post("/register", data={"redirect_uris": "x"}).status_code == 400
    assert walk.http.post("/register", content=b"{", headers={"Content-Type": "application/json"}).status_code == 400


@pytest.mark.parametrize(
    ("uri", "accepted"),
    [
        ("https://a.example/cb", True),
        ("http://127.0.0.1/cb", True),
        ("http://[::1]:9/cb", True),
        ("urn:ietf:wg:oauth:2.0:oob", True),
        ("http://localhost/cb", False),
        ("https://a.example/cb#x", False),
        ("https://user@a.example/cb", False),
        ("https:///cb", False),
        ("app:/cb", False),
        ("http://127.0.0.1:99999/cb", False),
    ],
)
def test_redirect_uris_that_can_be_registered(uri: str, accepted: bool) -> None:  # noqa: FBT001 -- a column
    """Only https and loopback literals, without fragment and user."""
    assert (redirect_uri_problem(uri) == "") is accepted


def test_revoking_a_refresh_token_ends_its_grant(start: Callable[..., Walk]) -> None:
    """Both tokens of the grant are dead after it; an unknown token is answered 200 as well (RFC 7009 2.2)."""
    walk = start()
    tokens = walk.login()
    answer = walk.http.post("/revoke", data={"token": tokens["refresh_token"], "client_id": "keyfob"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert walk.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert walk.userinfo(tokens["access_token"]).status_code == 401
    assert walk.http.post("/revoke", data={"token": "unknown", "client_id": "keyfob"}).status_code == 200


def test_revoking_an_access_token_leaves_the_grant(start: Callable[..., Walk]) -> None:
    """Only that access token is dead."""
    walk = start()
    tokens = walk.login()
    walk.http.post("/revoke", data={"token": tokens["access_token"], "client_id": "keyfob"})
    assert walk.userinfo(tokens["access_token"]).status_code == 401
    assert walk.refresh(tokens["refresh_token"]).status_code == 200


def test_revocation_is_for_the_tokens_own_client(start: Callable[..., Walk]) -> None:
    """A foreign client and a request without a token are refused, and nothing dies."""
    walk = start()
    tokens = walk.login()
    foreign = walk.http.post("/revoke", data={"token": tokens["refresh_token"], **walk.machine()})
    assert foreign.json()["error"] == "unauthorized_client"
    assert walk.http.post("/revoke", data={"client_id": "keyfob"}).json()["error"] == "invalid_request"
    assert walk.refresh(tokens["refresh_token"]).status_code == 200


def test_introspection_tells_what_a_token_is_worth(start: Callable[..., Walk]) -> None:
    """Access and refresh tokens are active while they work, and nothing but inactive afterwards."""
    walk = start(ttl=60)

    def look(token: str) -> dict[str, Any]:
        return dict(walk.http.post("/introspect", data={"token": token, **walk.machine()}).json())

    tokens = walk.login()
    access = look(tokens["access_token"])
    assert (access["active"], access["username"], access["client_id"]) == (True, "ada", "keyfob")
    assert access["exp"] == walk.clock.now + 60
    assert look(tokens["refresh_token"])["active"] is True
    walk.refresh(tokens["refresh_token"])
    assert look(tokens["refresh_token"]) == {"active": False}
    walk.clock.now += 60
    assert look(tokens["access_token"]) == {"active": False}
    assert look("unknown") == {"active": False}


def test_introspection_is_for_confidential_clients(start: Callable[..., Walk]) -> None:
    """The public client may not ask (RFC 7662 2.1)."""
    walk = start()
    answer = walk.http.post("/introspect", data={"token": "x", "client_id": "keyfob"})
    assert answer.json()["error"] == "unauthorized_client"
    assert walk.http.post("/introspect", data=walk.machine()).json()["error"] == "invalid_request"


def test_userinfo_follows_the_scopes(start: Callable[..., Walk]) -> None:
    """Email only with its scope, by GET and POST; without openid it is 403, without a bearer 401."""
    walk = start()
    tokens = walk.login(scope="openid email")
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert set(walk.http.post("/userinfo", headers=headers).json()) == {"sub", "email", "email_verified"}
    assert walk.userinfo(walk.login(scope="read")["access_token"]).status_code == 403
    bare = walk.http.get("/userinfo")
    assert bare.status_code == 401
    assert bare.headers["www-authenticate"] == 'Bearer realm="practice"'
    assert walk.http.get("/userinfo", params={"access_token": tokens["access_token"]}).status_code == 401
