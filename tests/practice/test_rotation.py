"""What a refresh does in each rotation mode, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.practice.grants import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.practice.conftest import Walk


def test_none_gives_no_refresh_token(start: Callable[..., Walk]) -> None:
    """Rotation none: a login yields an access token only."""
    tokens = start(rotation="none").login()
    assert "refresh_token" not in tokens
    assert tokens["access_token"]


def test_keep_leaves_the_refresh_token_as_it_is(start: Callable[..., Walk]) -> None:
    """Rotation keep: refreshes carry no new refresh token, and the first one works again and again."""
    walk = start(rotation="keep")
    tokens = walk.login()
    answers = [walk.refresh(tokens["refresh_token"]).json() for _ in range(3)]
    assert all("refresh_token" not in answer for answer in answers)
    assert len({answer["access_token"] for answer in answers}) == 3


def test_rotate_spends_a_refresh_token_and_forgives_its_reuse(start: Callable[..., Walk]) -> None:
    """Rotation rotate: an old refresh token is refused, and the family lives on."""
    walk = start(rotation="rotate")
    first = walk.login()
    second = walk.refresh(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    again = walk.refresh(first["refresh_token"])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert walk.refresh(second["refresh_token"]).status_code == 200
    assert walk.userinfo(first["access_token"]).status_code == 200


def test_single_use_kills_the_family_on_reuse(start: Callable[..., Walk]) -> None:
    """Rotation single-use: one reuse ends the newest refresh token and every access token, and the log says why."""
    walk = start(rotation="single-use")
    first = walk.login()
    second = walk.refresh(first["refresh_token"]).json()
    assert walk.refresh(first["refresh_token"]).json()["error"] == "invalid_grant"
    assert walk.refresh(second["refresh_token"]).json()["error"] == "invalid_grant"
    assert walk.userinfo(second["access_token"]).status_code == 401
    results = [event.result for event in walk.server.log.all("refresh")]
    assert results == ["ok", "reuse", "invalid_grant"]


def test_single_use_kills_only_its_own_family(start: Callable[..., Walk]) -> None:
    """A reuse in one grant leaves another grant of the same person alone."""
    walk = start(rotation="single-use")
    one, other = walk.login(), walk.login()
    walk.refresh(one["refresh_token"])
    walk.refresh(one["refresh_token"])
    assert walk.refresh(other["refresh_token"]).status_code == 200


def test_grace_answers_the_newest_previous_with_the_current(start: Callable[..., Walk]) -> None:
    """Inside the grace a spent refresh token yields the current one; a second older one kills the family."""
    walk = start(rotation="single-use", grace=10)
    first = walk.login()
    second = walk.refresh(first["refresh_token"]).json()
    walk.clock.now += 9
    graced = walk.refresh(first["refresh_token"]).json()
    assert graced["refresh_token"] == second["refresh_token"]
    assert walk.userinfo(graced["access_token"]).status_code == 200
    third = walk.refresh(second["refresh_token"]).json()
    assert walk.refresh(first["refresh_token"]).json()["error"] == "invalid_grant"
    assert walk.refresh(third["refresh_token"]).json()["error"] == "invalid_grant"
    assert [event.result for event in walk.server.log.all("refresh")][:3] == ["ok", "grace", "ok"]


def test_grace_ends(start: Callable[..., Walk]) -> None:
    """At the end of the grace a spent refresh token is reuse, however often it was answered before."""
    walk = start(rotation="single-use", grace=10)
    first = walk.login()
    second = walk.refresh(first["refresh_token"]).json()
    walk.clock.now += 6
    assert walk.refresh(first["refresh_token"]).status_code == 200
    walk.clock.now += 4
    assert walk.refresh(first["refresh_token"]).status_code == 400
    assert walk.refresh(second["refresh_token"]).status_code == 400


def test_refresh_can_kill_the_old_access_token(start: Callable[..., Walk]) -> None:
    """With kills_old_access_token a refresh ends the earlier access token at once; without, both live."""
    for kills, status in ((True, 401), (False, 200)):
        walk = start(kills_old_access_token=kills)
        first = walk.login()
        second = walk.refresh(first["refresh_token"]).json()
        assert walk.userinfo(first["access_token"]).status_code == status
        assert walk.userinfo(second["access_token"]).status_code == 200


def test_access_tokens_end_by_the_clock(start: Callable[..., Walk]) -> None:
    """An access token lives for its ttl and not a second longer."""
    walk = start(ttl=30)
    tokens = walk.login()
    assert tokens["expires_in"] == 30
    walk.clock.now += 29
    assert walk.userinfo(tokens["access_token"]).status_code == 200
    walk.clock.now += 1
    answer = walk.userinfo(tokens["access_token"])
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_idle_and_absolute_lifetimes(start: Callable[..., Walk]) -> None:
    """A refresh token dies when it is idle for too long, and a grant dies of age whatever one does."""
    walk = start(rotation="keep", idle=100, absolute=150)
    tokens = walk.login()
    walk.clock.now += 90
    assert walk.refresh(tokens["refresh_token"]).status_code == 200
    walk.clock.now += 70
    assert walk.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    idle = walk.login()
    walk.clock.now += 101
    assert walk.refresh(idle["refresh_token"]).json()["error"] == "invalid_grant"


def test_offline_access_can_be_demanded(start: Callable[..., Walk]) -> None:
    """With needs_offline_access only that scope earns a refresh token."""
    walk = start(needs_offline_access=True)
    assert "refresh_token" not in walk.login(scope="openid")
    assert "refresh_token" in walk.login(scope="openid offline_access")


def test_a_refresh_may_narrow_but_not_widen(start: Callable[..., Walk]) -> None:
    """Less scope narrows the access token only; more scope is refused before the refresh token is spent."""
    walk = start(rotation="single-use")
    tokens = walk.login(scope="openid read")
    wider = walk.refresh(tokens["refresh_token"], scope="openid read write")
    assert wider.json()["error"] == "invalid_scope"
    narrower = walk.refresh(tokens["refresh_token"], scope="read").json()
    assert narrower["scope"] == "read"
    assert walk.userinfo(narrower["access_token"]).status_code == 403
    assert walk.refresh(narrower["refresh_token"]).json()["scope"] == "openid read"


def test_a_refresh_token_belongs_to_its_client(start: Callable[..., Walk]) -> None:
    """Another client cannot spend a refresh token, and does not burn it by trying."""
    walk = start(rotation="single-use")
    tokens = walk.login()
    assert walk.refresh(tokens["refresh_token"], **walk.machine()).json()["error"] == "invalid_grant"
    assert walk.refresh(tokens["refresh_token"]).status_code == 200


def test_the_log_tells_which_refresh_token_became_which(start: Callable[..., Walk]) -> None:
    """Each refresh is one event with the grant and both fingerprints, and no token is in it."""
    walk = start()
    first = walk.login()
    second = walk.refresh(first["refresh_token"]).json()
    (event,) = walk.server.log.all("refresh")
    assert event.client == "keyfob"
    assert event.grant == walk.server.log.all("code")[0].grant
    assert event.refresh_token == fingerprint(first["refresh_token"])
    assert event.issued_refresh_token == fingerprint(second["refresh_token"])
    shown = walk.http.get("/practice/log").text
    for tokens in (first, second):
        assert tokens["refresh_token"] not in shown
        assert tokens["access_token"] not in shown
