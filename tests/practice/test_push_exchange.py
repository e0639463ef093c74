"""Pushed authorization requests (RFC 9126), token exchange (RFC 8693) and resources (RFC 8707)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from broker.practice.grants import s256
from broker.practice.token import ACCESS_TOKEN_TYPE
from tests.practice.conftest import CALLBACK

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

    from tests.practice.conftest import Walk

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
API = "https://api.example.org/"


def push(walk: Walk, **changes: str | None) -> httpx2.Response:
    """Push an authorization request."""
    form = {
        "response_type": "code",
        "client_id": "keyfob",
        "redirect_uri": CALLBACK,
        "scope": "read",
        "state": "the-state",
        "code_challenge": s256(walk.verifier),
        "code_challenge_method": "S256",
    } | changes
    return walk.http.post("/par", data={name: value for name, value in form.items() if value is not None})


def by_reference(walk: Walk, request_uri: str, **changes: str) -> httpx2.Response:
    """Come to the authorization endpoint with a reference."""
    return walk.http.get("/authorize", params={"client_id": "keyfob", "request_uri": request_uri} | changes)


def test_a_pushed_request_is_good_once(start: Callable[..., Walk]) -> None:
    """The reference stands for the whole request, what stands beside it is not believed, and it is good once."""
    walk = start(auto_approve=True, require_par=True, par_ttl=30)
    answer = push(walk)
    assert answer.status_code == 201
    assert answer.json()["expires_in"] == 30
    reference = answer.json()["request_uri"]
    back = by_reference(walk, reference, state="another", scope="write")
    assert back.status_code == 303
    assert "state=the-state" in back.headers["location"]
    code = back.headers["location"].partition("code=")[2].partition("&")[0]
    assert walk.exchange(code).json()["scope"] == "read"
    assert by_reference(walk, reference).status_code == 400
    assert walk.authorize().status_code == 400  # not pushed


def test_a_reference_is_of_one_client_and_ends(start: Callable[..., Walk]) -> None:
    """Another client cannot use it, and after its time nobody can."""
    walk = start(auto_approve=True, par_ttl=30)
    assert by_reference(walk, push(walk).json()["request_uri"], client_id="keyfob-machine").status_code == 400
    late = push(walk).json()["request_uri"]
    walk.clock.now += 30
    assert by_reference(walk, late).status_code == 400
    assert by_reference(walk, "urn:ietf:params:oauth:request_uri:made-up").status_code == 400


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": "nobody"}, "invalid_client"),
        ({"redirect_uri": "https://evil.example/"}, "invalid_request"),
        ({"scope": "no-such-scope"}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
        ({"request_uri": "urn:x"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
    ],
)
def test_a_request_is_checked_when_it_is_pushed(
    start: Callable[..., Walk], changes: dict[str, str | None], error: str
) -> None:
    """What the authorization endpoint would refuse is refused at once (RFC 9126 2.3)."""
    answer = push(start(), **changes)
    assert answer.json()["error"] == error
    assert answer.status_code in (400, 401)


def exchange(walk: Walk, access_token: str, **changes: str | None) -> httpx2.Response:
    """Exchange an access token."""
    form: dict[str, Any] = {
        "grant_type": EXCHANGE,
        "client_id": "keyfob",
        "subject_token": access_token,
        "subject_token_type": ACCESS_TOKEN_TYPE,
    }
    return walk.token(**form | changes)


def test_a_token_is_exchanged_for_less(start: Callable[..., Walk]) -> None:
    """The new token carries what was asked for, for the resource that was named; the old one lives on."""
    walk = start(auto_approve=True)
    whole = walk.login(scope="openid read write")["access_token"]
    answer = exchange(walk, whole, scope="read", resource=API).json()
    assert (answer["scope"], answer["issued_token_type"]) == ("read", ACCESS_TOKEN_TYPE)
    assert "refresh_token" not in answer
    worth, old = walk.server.worth(answer["access_token"]), walk.server.worth(whole)
    assert worth is not None
    assert old is not None
    assert (worth.scopes, worth.resource) == (("read",), API)
    assert (old.scopes, old.resource) == (("openid", "read", "write"), "")


def test_a_token_is_exchanged_for_an_audience(start: Callable[..., Walk]) -> None:
    """Introspection tells whom it is for (RFC 7662 2.2), beside a resource or alone (RFC 8693 2.1)."""
    walk = start(auto_approve=True)
    whole = walk.login(scope="read")["access_token"]
    machine = {"client_id": "keyfob-machine", "client_secret": walk.server.client_secret.reveal()}
    for more, told in (({}, "billing"), ({"resource": API}, [API, "billing"])):
        token = exchange(walk, whole, audience="billing", **more).json()["access_token"]
        worth = walk.server.worth(token)
        assert worth is not None
        assert worth.audience == "billing"
        assert walk.http.post("/introspect", data={**machine, "token": token}).json()["aud"] == told


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"scope": "write"}, "invalid_scope"),
        ({"resource": "no-uri"}, "invalid_target"),
        ({"audience": "bill\ning"}, "invalid_target"),
        ({"resource": "https://api.example.org/#part"}, "invalid_target"),
        ({"subject_token": "made-up"}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        ({"subject_token": None}, "invalid_request"),
    ],
)
def test_what_is_not_exchanged(start: Callable[..., Walk], changes: dict[str, str | None], error: str) -> None:
    """More than the token carries, other kinds of token, and tokens of nobody."""
    walk = start(auto_approve=True)
    answer = exchange(walk, walk.login(scope="read")["access_token"], **changes)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_a_refresh_may_name_a_resource(start: Callable[..., Walk]) -> None:
    """The access token is for that resource, and the grant is as before (RFC 8707 2.2)."""
    walk = start(auto_approve=True)
    answer = walk.refresh(walk.login(scope="read write")["refresh_token"], scope="read", resource=API).json()
    worth = walk.server.worth(answer["access_token"])
    assert worth is not None
    assert (worth.scopes, worth.resource) == (("read",), API)
    again = walk.refresh(answer["refresh_token"]).json()
    assert again["scope"] == "read write"
