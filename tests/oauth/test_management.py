"""Registering by RFC 7591, and changing and deleting that by RFC 7592 (security.md R39, R40)."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from broker.core.login import Management, Registered
from broker.core.secret import Secret
from broker.errors import InvalidRequest, KeyfobError, LoginFailed, ProviderUnavailable
from broker.oauth import management, registered, registration
from broker.providers.catalog import resolve
from broker.providers.model import Provider, ProviderConfig
from tests.oauth.loopback import CLIENT, Loopback, headers_of, http

URI = "http://127.0.0.1:8400/callback/theirs"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


def theirs(server: Loopback, **said: object) -> Provider:
    """Return a discovered provider at the server."""
    found: dict[str, Any] = {
        "issuer": server.url,
        "endpoints": {"token": f"{server.url}/token", "registration": f"{server.url}/register"},
        **said,
    }
    return resolve(ProviderConfig("theirs", "generic", "", {}, found, private=False, created_at=0.0))


def made(server: Loopback, **more: object) -> dict[str, Any]:
    """Return what a server answers that registers as it is asked."""
    return {
        "client_id": "c-1",
        "client_secret": "first-secret",
        "client_secret_expires_at": 2_000_000_000,
        "redirect_uris": [URI],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic",
        "scope": "openid read",
        "contacts": ["ops@example.org"],
        "registration_access_token": "manage-1",
        "registration_client_uri": f"{server.url}/register/c-1",
        **more,
    }


def ask(provider: Provider, *scope: str) -> Registered:
    """Register there."""
    return asyncio.run(registration.register(CLIENT, provider, redirect_uris=(URI,), scope=scope))


# --- what is asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "method", "grants"),
    [
        ({}, "client_secret_basic", ["authorization_code", "refresh_token"]),
        ({"auth_methods": ["client_secret_post", "none"]}, "none", ["authorization_code", "refresh_token"]),
        (
            {"auth_methods": ["private_key_jwt", "client_secret_post"]},
            "client_secret_post",
            ["authorization_code", "refresh_token"],
        ),
        ({"grants": ["authorization_code"]}, "client_secret_basic", ["authorization_code"]),
        (
            {"grants": [DEVICE, "refresh_token", "password"]},
            "client_secret_basic",
            ["authorization_code", "refresh_token", DEVICE],
        ),
    ],
)
def test_the_whole_metadata_is_sent(server: Loopback, said: dict[str, object], method: str, grants: list[str]) -> None:
    """A native app's, without a secret where that is announced, with the grants that are announced."""
    server.default = http("201 Created", made(server, token_endpoint_auth_method=method))
    ask(theirs(server, **said), "openid", "read")
    assert server.head().startswith("POST /register ")
    assert "authorization" not in headers_of(server.head())
    sent = json.loads(server.form())
    assert sent == {
        "client_name": "Keyfob",
        "redirect_uris": [URI],
        "grant_types": grants,
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        "application_type": "native",
        "scope": "openid read",
    }


def test_no_scope_is_named_where_none_is_wanted(server: Loopback) -> None:
    """The provider's default then counts."""
    server.default = http("201 Created", made(server))
    ask(theirs(server))
    assert "scope" not in json.loads(server.form())


def test_a_server_that_wants_other_proofs_is_not_asked(server: Loopback) -> None:
    """Keyfob registers no client that it could not be."""
    with pytest.raises(InvalidRequest, match="private_key_jwt") as caught:
        ask(theirs(server, auth_methods=["private_key_jwt"]))
    assert "--client-id" in caught.value.hint
    assert not server.requests


# --- what comes back --------------------------------------------------------------------------------------------------


def test_what_was_registered_is_kept_as_it_was_said(server: Loopback) -> None:
    """Id, secret and its end, addresses, scope, and what manages it with all metadata but the secrets."""
    server.default = http("201 Created", made(server))
    client = ask(theirs(server))
    assert replace(client, management=None) == Registered(
        "c-1", Secret("first-secret"), "client_secret_basic", (URI,), ("openid", "read"), 2_000_000_000.0
    )
    assert client.management is not None
    assert (client.management.uri, client.management.token) == (f"{server.url}/register/c-1", Secret("manage-1"))
    assert client.management.metadata["contacts"] == ["ops@example.org"]
    assert not {"client_secret", "registration_access_token"} & client.management.metadata.keys()


@pytest.mark.parametrize(
    ("said", "method", "secret", "ends"),
    [
        ({"token_endpoint_auth_method": "client_secret_post"}, "client_secret_post", "first-secret", 2e9),
        ({"token_endpoint_auth_method": "none"}, "none", None, None),
        ({"token_endpoint_auth_method": "none", "client_secret": None}, "none", None, None),
        ({"token_endpoint_auth_method": None}, "client_secret_basic", "first-secret", 2e9),
        ({"client_secret_expires_at": 0}, "client_secret_basic", "first-secret", None),
        ({"client_secret_expires_at": "soon"}, "client_secret_basic", "first-secret", None),
    ],
)
def test_what_differs_harmlessly_is_applied_exactly(
    server: Loopback, said: dict[str, object], method: str, secret: str | None, ends: float | None
) -> None:
    """The provider's word about its client counts (R39)."""
    server.default = http("201 Created", made(server, **said))
    client = ask(theirs(server))
    assert (client.auth_method, client.secret_expires_at) == (method, ends)
    assert client.client_secret == (Secret(secret) if secret else None)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"redirect_uris": [URI, "https://evil.example/"]}, "other redirect URIs"),
        ({"redirect_uris": []}, "other redirect URIs"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "private_key_jwt"),
        ({"client_secret": ""}, "secret that it does not tell"),
        ({"grant_types": ["refresh_token"]}, "grant type authorization_code"),
        ({"response_types": ["token"]}, "response type code"),
        ({"client_id": "a b"}, "usable client id"),
        ({"client_secret": 7}, "unusable secret"),
    ],
)
def test_what_differs_dangerously_is_refused(server: Loopback, said: dict[str, object], why: str) -> None:
    """Codes would go elsewhere, or nothing would work: it is not used, and a person is told what to do."""
    server.default = http("201 Created", made(server, **said))
    with pytest.raises(LoginFailed, match=why) as caught:
        ask(theirs(server))
    assert "--client-id" in caught.value.hint


def test_what_is_refused_is_deleted_again(server: Loopback) -> None:
    """Nothing is left at the provider that nobody uses; where it is left, that is told."""
    server.routes["/register"] = http("201 Created", made(server, redirect_uris=[]))
    for answer, left in ((http("204 No Content"), False), (http("503 Unavailable"), True)):
        server.routes["/register/c-1"] = answer
        with pytest.raises(LoginFailed, match="other redirect URIs") as caught:
            ask(theirs(server))
        assert server.head().startswith("DELETE /register/c-1 ")
        assert ("could not be deleted there: it answered HTTP 503" in caught.value.detail) is left


@pytest.mark.parametrize(
    "said",
    [
        {"registration_client_uri": "https://elsewhere.example/register/c-1"},
        {"registration_client_uri": "http://127.0.0.1:1/register/c-1"},
        {"registration_client_uri": "nonsense"},
        {"registration_client_uri": None},
        {"registration_access_token": None},
        {"registration_access_token": "line\nend"},
    ],
)
def test_a_token_for_another_server_manages_nothing(server: Loopback, said: dict[str, object]) -> None:
    """The client is used; what would send the registration token to a stranger is not kept (R39)."""
    server.default = http("201 Created", made(server, **said))
    client = ask(theirs(server))
    assert (client.client_id, client.management) == ("c-1", None)


# --- RFC 7592 ---------------------------------------------------------------------------------------------------------


def update(provider: Provider, client: Registered, uri: str = URI, *scope: str) -> registered.Made:
    """Change a registration."""
    return asyncio.run(management.update(CLIENT, provider, client, redirect_uris=(uri,), scope=scope))


def change(provider: Provider, client: Registered, uri: str = URI, *scope: str) -> Registered:
    """Change a registration to just what is asked for."""
    done = update(provider, client, uri, *scope)
    assert not done.mismatch
    return done.client


def test_an_update_sends_everything_and_the_secret_of_now(server: Loopback) -> None:
    """Full metadata as it was answered, id and secret with it, and nothing that is the server's to say (R40)."""
    server.routes["/register"] = http("201 Created", made(server))
    client = ask(theirs(server))
    other = "http://127.0.0.1:9000/callback/theirs"
    server.routes["/register/c-1"] = http(
        "200 OK",
        made(server, redirect_uris=[other], client_secret="second", registration_access_token="manage-2"),
    )
    changed = change(theirs(server), client, other, "openid", "read", "write")
    assert server.head().startswith("PUT /register/c-1 ")
    assert headers_of(server.head())["authorization"] == "Bearer manage-1"
    assert json.loads(server.form()) == {
        "client_id": "c-1",
        "client_secret": "first-secret",
        "redirect_uris": [other],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic",
        "scope": "openid read write",
        "contacts": ["ops@example.org"],
    }
    assert (changed.client_secret, changed.redirect_uris) == (Secret("second"), (other,))
    assert changed.management is not None
    assert changed.management.token == Secret("manage-2")


def test_an_update_that_names_no_new_token_and_no_new_secret_keeps_the_old(server: Loopback) -> None:
    """What the answer leaves out stays."""
    server.routes["/register"] = http("201 Created", made(server))
    client = ask(theirs(server))
    answer = made(server)
    for name in ("client_secret", "registration_access_token", "registration_client_uri"):
        del answer[name]
    server.routes["/register/c-1"] = http("200 OK", answer)
    changed = change(theirs(server), client)
    assert changed.client_secret == Secret("first-secret")
    assert changed.management is not None
    assert (changed.management.token, changed.management.uri) == (Secret("manage-1"), f"{server.url}/register/c-1")


def test_what_is_answered_as_null_is_left_out(server: Loopback) -> None:
    """Leaving out and null mean the same (RFC 7592 2.2), and a server may check what it gets as if it were a value."""
    server.routes["/register"] = http("201 Created", made(server, jwks=None, jwks_uri=None, contacts=[]))
    client = ask(theirs(server))
    server.routes["/register/c-1"] = http("200 OK", made(server))
    change(theirs(server), client)
    sent = json.loads(server.form())
    assert {"jwks", "jwks_uri"}.isdisjoint(sent)
    assert sent["contacts"] == []


@pytest.mark.parametrize(
    ("said", "secret", "ends"),
    [
        ({"client_secret": None, "client_secret_expires_at": None}, "first-secret", 2e9),
        ({"client_secret": None, "client_secret_expires_at": 2_100_000_000}, "first-secret", 2.1e9),
        ({"client_secret": None, "client_secret_expires_at": 0}, "first-secret", None),
        ({"client_secret": "second", "client_secret_expires_at": 0}, "second", None),
        ({"client_secret": "second", "client_secret_expires_at": None}, "second", None),
        ({"client_secret": "second", "client_secret_expires_at": 10**15}, "second", None),
    ],
)
def test_a_secret_that_stays_keeps_its_end(
    server: Loopback, said: dict[str, object], secret: str, ends: float | None
) -> None:
    """Unless the answer tells another; a new secret ends when the answer says, or never (RFC 7591 3.2.1)."""
    server.routes["/register"] = http("201 Created", made(server))
    client = ask(theirs(server))
    server.routes["/register/c-1"] = http("200 OK", made(server, **said))
    changed = change(theirs(server), client)
    assert (changed.client_secret, changed.secret_expires_at) == (Secret(secret), ends)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"redirect_uris": [URI, "https://evil.example/"]}, "other redirect URIs"),
        ({"grant_types": ["refresh_token"], "contacts": []}, "grant type authorization_code"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "private_key_jwt"),
    ],
)
def test_an_update_to_something_else_brings_the_new_secret_and_token(
    server: Loopback, said: dict[str, object], why: str
) -> None:
    """Those of before are good no more (RFC 7592 2.2); nothing else of that answer counts (R39)."""
    server.routes["/register"] = http("201 Created", made(server))
    client = ask(theirs(server))
    new = {"client_secret": "second", "client_secret_expires_at": 0, "registration_access_token": "manage-2"}
    server.routes["/register/c-1"] = http("200 OK", made(server, **new, **said))
    done = update(theirs(server), client)
    assert why in done.mismatch
    assert client.management is not None
    managed = replace(client.management, token=Secret("manage-2"))
    assert done.client == replace(client, client_secret=Secret("second"), secret_expires_at=None, management=managed)


def test_an_update_to_something_else_that_tells_no_secret_keeps_the_old(server: Loopback) -> None:
    """Then that is the one there is."""
    server.routes["/register"] = http("201 Created", made(server))
    client = ask(theirs(server))
    server.routes["/register/c-1"] = http("200 OK", {"client_id": "c-1", "redirect_uris": []})
    assert update(theirs(server), client).client == client


@pytest.mark.parametrize("uri", ["https://elsewhere.example/register/c-1", "http://127.0.0.1:1/c-1", "nonsense"])
def test_a_new_token_for_another_server_goes_to_the_known_place(server: Loopback, uri: str) -> None:
    """The server has that of before no more; where the new one may go, it does not decide (R39)."""
    server.routes["/register"] = http("201 Created", made(server))
    client = ask(theirs(server))
    answer = made(server, registration_client_uri=uri, registration_access_token="manage-2")
    server.routes["/register/c-1"] = http("200 OK", answer)
    changed = change(theirs(server), client)
    assert changed.management is not None
    assert changed.management.uri == f"{server.url}/register/c-1"
    assert changed.management.token == Secret("manage-2")


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (http("401 Unauthorized", {"error": "invalid_token"}), LoginFailed, "invalid_token"),
        (http("400 Bad Request", {"error": "invalid_client_metadata"}), LoginFailed, "invalid_client_metadata"),
        (http("405 Method Not Allowed"), LoginFailed, "HTTP 405"),
        (http("503 Unavailable"), ProviderUnavailable, "HTTP 503"),
        (http("200 OK", "<html>"), ProviderUnavailable, "unusable"),
        (b"", ProviderUnavailable, "could not be asked"),
        (http("200 OK", {"client_id": "another", "redirect_uris": [URI]}), LoginFailed, "another client"),
    ],
)
def test_an_update_that_fails_says_how(server: Loopback, answer: bytes, error: type[KeyfobError], said: str) -> None:
    """Refusals, outages and wrong answers are told apart."""
    server.routes["/register"] = http("201 Created", made(server))
    client = ask(theirs(server))
    server.routes["/register/c-1"] = answer
    with pytest.raises(error, match=said) as caught:
        change(theirs(server), client)
    assert caught.value.hint
    assert "first-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (http("204 No Content"), ""),
        (http("200 OK"), ""),
        (http("404 Not Found"), ""),
        (http("401 Unauthorized"), "does not take the registration access token"),
        (http("403 Forbidden", {"error": "access_denied"}), "HTTP 403 (access_denied)"),
        (http("503 Unavailable"), "HTTP 503"),
        (b"", "could not be asked about the registration"),
    ],
)
def test_a_deletion_tells_truthfully_what_became_of_it(server: Loopback, answer: bytes, why: str) -> None:
    """Gone is gone, by whomever; everything else says why not."""
    server.default = answer
    managed = Management(f"{server.url}/register/c-1", Secret("manage-1"))
    said = asyncio.run(management.delete(CLIENT, theirs(server), managed))
    assert (why in said) if why else said == ""
    assert server.head().startswith("DELETE /register/c-1 ")
    assert headers_of(server.head())["authorization"] == "Bearer manage-1"


def test_a_registration_that_nothing_manages_is_not_changed(server: Loopback) -> None:
    """To ask for it is a mistake of ours."""
    server.default = http("201 Created", made(server))
    client = replace(ask(theirs(server)), management=None)
    with pytest.raises(ValueError, match="c-1"):
        change(theirs(server), client)
