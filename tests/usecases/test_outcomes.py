"""How a refresh can end: each outcome is told apart, and the provider is spared."""

import asyncio
from pathlib import Path

import pytest

from broker.core import timing
from broker.core.account import RefreshingFailed
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.store import tables
from broker.usecases.outcomes import Ready
from tests.store import made
from tests.usecases.house import DUE, TTL, Clock, opened


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ("", "active"),
        ("status=500", "refreshing-failed"),
        ("status=503", "refreshing-failed"),
        ("status=502", "uncertain"),
        ("status=504", "uncertain"),
        ("status=408", "refreshing-failed"),
        ("status=404", "refreshing-failed"),
        ("html", "refreshing-failed"),
        ("html=403", "refreshing-failed"),
        ("empty", "refreshing-failed"),
        ("throttle=60", "refreshing-failed"),
        ("redirect=http://127.0.0.1:9/", "refreshing-failed"),
        ("error=temporarily_unavailable", "refreshing-failed"),
        ("error=invalid_request", "refreshing-failed"),
        ("error=invalid_scope", "refreshing-failed"),
        ("error=access_denied", "refreshing-failed"),
        ("error=invalid_grant", "needs-login"),
        ("invalid_client", "misconfigured"),
        ("error=unauthorized_client", "misconfigured"),
        ("drop", "uncertain"),
        ("refuse", "uncertain"),
        ("token_type=DPoP", "refreshing-failed"),
        ("wrong_sub", "needs-login"),
        ("bad_signature", "refreshing-failed"),
        ("alg_none", "refreshing-failed"),
    ],
)
def test_every_outcome_is_told_apart_and_ends_the_refresh(tmp_path: Path, fault: str, state: str) -> None:
    """Only the preset's dead-grant errors end a login; the refresh token stays in any case; no intent stays open."""

    async def live() -> None:
        async with opened(tmp_path, *([f"refresh:{fault}"] if fault else [])) as house:
            await house.log_in()
            await house.heard()
            house.clock.forward(DUE)
            await house.tick()
            account = await house.account()
            assert account.state.name == state
            assert account.has_refresh_token
            assert (await house.secrets_of(account))[1] is not None
            assert await house.store.open_intents() == []
            assert house.asked() == 1
            kinds = [event.kind for event in await house.heard()]
            assert kinds == ["refreshed" if state == "active" else state.replace("refreshing", "refresh")]

    asyncio.run(live())


def test_an_unreachable_provider_is_a_passing_failure(tmp_path: Path) -> None:
    """Nothing was sent, so nothing is uncertain: the account says so, keeps its login and will try again."""

    async def live() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                _, refresh_token = await house.secrets_of(await house.log_in())
        async with opened(tmp_path, practice=practice, clock=clock) as house:
            clock.forward(DUE)
            await house.tick()
            account = await house.account()
            assert isinstance(account.state, RefreshingFailed)
            assert "cannot be reached" in account.state.reason
            assert (await house.secrets_of(account))[1] == refresh_token
            assert await house.store.open_intents() == []
            assert await house.tick() == account.state.retry_at

    asyncio.run(live())


def test_failures_in_a_row_are_spaced_out_and_end_with_the_first_success(tmp_path: Path) -> None:
    """An hour of 503 costs twelve requests at most; the first answer that is good makes the account active again."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:status=503") as house:
            await house.log_in()
            house.clock.forward(DUE)
            began = house.clock()
            while house.clock() < began + 3600:
                due = await house.tick()
                house.clock.forward(timing.next_wake(due, house.clock()) + 0.01)
            assert 6 <= house.asked() <= 12
            state = (await house.account()).state
            assert isinstance(state, RefreshingFailed)
            assert (state.since, state.attempts) == (began, house.asked())
            house.practice.set_faults([])
            house.clock.now = state.retry_at
            await house.tick()
            assert (await house.account()).state.name == "active"
            assert await house.holds_newest()

    asyncio.run(live())


@pytest.mark.parametrize("fault", ["throttle=120", "throttle_date=120"])
def test_retry_after_is_honoured_in_both_forms(tmp_path: Path, fault: str) -> None:
    """Neither the scheduler nor a caller asks a throttling provider before the time that it named."""

    async def live() -> None:
        async with opened(tmp_path, f"refresh:{fault}*1") as house:
            await house.log_in()
            house.clock.forward(TTL + 1)
            await house.tick()
            until = house.clock() + 120
            assert await house.tick() == pytest.approx(until)
            house.clock.now = until - 1
            await house.tick()
            await house.token()
            assert house.asked() == 1
            house.clock.now = until
            await house.tick()
            assert house.asked() == 2
            assert (await house.account()).state.name == "active"

    asyncio.run(live())


def test_a_retry_after_of_days_does_not_park_the_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider's number is believed up to a cap; then Keyfob asks again."""
    monkeypatch.setattr(timing, "RETRY_AFTER_CAP", 100.0)  # the practice provider names an hour at the most

    async def live() -> None:
        async with opened(tmp_path, "refresh:throttle=3600*1") as house:
            await house.log_in()
            house.clock.forward(DUE)
            await house.tick()
            assert await house.tick() == pytest.approx(house.clock() + 100)

    asyncio.run(live())
    monkeypatch.undo()
    assert timing.RETRY_AFTER_CAP == 3600


def test_a_client_authentication_that_keyfob_does_not_know_is_said_and_nothing_is_sent(tmp_path: Path) -> None:
    """The account is misconfigured and keeps its login; the intent that was noted for nothing is closed."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            _, refresh_token = await house.secrets_of(await house.log_in())
            made.as_keyfob(tmp_path, tables.client, "UPDATE client SET auth_method = 'private_key_jwt'")
            house.clock.forward(DUE)
            await house.tick()
            account = await house.account()
            assert account.state.name == "misconfigured"
            assert "private_key_jwt" in account.state.reason
            assert (await house.secrets_of(account))[1] == refresh_token
            assert await house.store.open_intents() == []
            assert house.asked() == 0

    asyncio.run(live())


def test_a_provider_that_does_not_rotate_keeps_its_refresh_token(tmp_path: Path) -> None:
    """A reply without a refresh token leaves the old one in force, refresh after refresh (RFC 6749 6)."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "keep"}) as house:
            _, refresh_token = await house.secrets_of(await house.log_in())
            for generation in (2, 3, 4):
                house.clock.forward(TTL)
                await house.tick()
                account = await house.account()
                assert account.generation == generation
                assert (await house.secrets_of(account))[1] == refresh_token

    asyncio.run(live())


def test_a_lifetime_of_zero_does_not_become_a_storm(tmp_path: Path) -> None:
    """A provider whose every token is dead on arrival is spared like one that fails, whoever asks."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:expires_in=0") as house:
            await house.log_in()
            house.clock.forward(TTL + 1)
            for _ in range(60):
                await house.tick()
                await house.token()
                house.clock.forward(1)
            assert 2 <= house.asked() <= 4  # the first waits of the back-off are 7 to 15, 15 to 30, 30 to 60 s

    asyncio.run(live())


def test_a_lifetime_of_zero_is_never_handed_out(tmp_path: Path) -> None:
    """``expires_in: 0`` is no token for anybody, and the login is kept."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:expires_in=0*1") as house:
            await house.log_in()
            house.clock.forward(TTL + 1)
            assert not isinstance(await house.token(), Ready)
            assert (await house.account()).state.name != "needs-login"
            house.clock.forward(60)
            assert isinstance(await house.token(), Ready)
            assert await house.holds_newest()

    asyncio.run(live())
