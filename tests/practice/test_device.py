"""The device flow (RFC 8628): the device polls, the person decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

    from tests.practice.conftest import Walk

GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def begin(walk: Walk) -> dict[str, Any]:
    """Ask for codes."""
    return dict(
        walk.http.post("/device_authorization", data={"client_id": "keyfob", "scope": "openid offline_access"}).json()
    )


def poll(walk: Walk, device: dict[str, Any], after: float = 5) -> httpx2.Response:
    """Wait by the provider's clock, and poll."""
    walk.clock.now += after
    return walk.token(grant_type=GRANT, device_code=device["device_code"], client_id="keyfob")


def decide(walk: Walk, device: dict[str, Any], decision: str) -> httpx2.Response:
    """Answer as the person."""
    form = {"ticket": device["user_code"], "decision": decision, "user": "grace", "scope": ["openid", "offline_access"]}
    return walk.http.post("/device", data=form)


def test_the_device_gets_tokens_once_the_person_allowed(start: Callable[..., Walk]) -> None:
    """Pending before, tokens after, and the device code is spent then."""
    walk = start(auto_approve=False)
    device = begin(walk)
    assert device["verification_uri_complete"] == f"{device['verification_uri']}?user_code={device['user_code']}"
    assert poll(walk, device).json()["error"] == "authorization_pending"
    assert decide(walk, device, "allow").status_code == 200
    tokens = poll(walk, device).json()
    assert walk.id_token(tokens)["sub"]
    assert walk.refresh(tokens["refresh_token"]).status_code == 200
    assert poll(walk, device).json()["error"] == "invalid_grant"


def test_polling_too_fast_is_told_to_slow_down(start: Callable[..., Walk]) -> None:
    """slow_down adds five seconds to the interval (RFC 8628 3.5)."""
    walk = start(auto_approve=False)
    device = begin(walk)
    poll(walk, device)
    assert poll(walk, device, after=4).json()["error"] == "slow_down"
    assert poll(walk, device, after=6).json()["error"] == "slow_down"
    assert poll(walk, device, after=16).json()["error"] == "authorization_pending"


def test_denied_and_expired(start: Callable[..., Walk]) -> None:
    """A no is access_denied; a code that nobody entered is expired_token, and its page is too old."""
    walk = start(auto_approve=False)
    denied, expired = begin(walk), begin(walk)
    assert decide(walk, denied, "deny").status_code == 200
    assert poll(walk, denied).json()["error"] == "access_denied"
    assert poll(walk, expired, after=600).json()["error"] == "expired_token"
    assert decide(walk, expired, "allow").status_code == 400
    assert walk.token(grant_type=GRANT, device_code="x", client_id="keyfob").json()["error"] == "invalid_grant"


def test_the_pages_of_the_person(start: Callable[..., Walk]) -> None:
    """A form for the code, the consent page for a code however it was typed, an alert for a wrong one."""
    walk = start(auto_approve=False)
    device = begin(walk)
    assert 'name="user_code"' in walk.http.get("/device").text
    typed = device["user_code"].replace("-", " ").lower()
    assert "Keyfob asks for access" in walk.http.get("/device", params={"user_code": typed}).text
    wrong = walk.http.get("/device", params={"user_code": "BBBB-BBBB<i>"})
    assert wrong.status_code == 400
    assert "<i>" not in wrong.text.split('role="alert"')[1]


def test_auto_approve_allows_at_the_complete_uri(start: Callable[..., Walk]) -> None:
    """With auto_approve opening the complete URI is the consent."""
    walk = start()
    device = begin(walk)
    assert walk.http.get(device["verification_uri_complete"]).status_code == 200
    assert poll(walk, device).status_code == 200


@pytest.mark.parametrize(
    ("form", "error"),
    [({"client_id": "nobody", "scope": "read"}, "invalid_client"), ({"client_id": "keyfob"}, "invalid_scope")],
)
def test_a_wrong_device_request(start: Callable[..., Walk], form: dict[str, str], error: str) -> None:
    """An unknown client and a missing scope are refused."""
    assert start().http.post("/device_authorization", data=form).json()["error"] == error
