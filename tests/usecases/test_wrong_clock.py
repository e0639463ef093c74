"""A machine whose clock is wrong: nobody is logged out by it, kept from a login, or kept from a token that lives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases import refresh
from tests.usecases.house import DUE, Clock, House, opened, ready
from tests.usecases.world import crash

# A time zone taken for another, a battery that is empty, an hour that somebody set by hand.
WRONG = [-9 * 3600.0, -900.0, 900.0, 20 * 86_400.0]
DAY = 86_400.0


@asynccontextmanager
async def apart(place: Path, seconds: float = 0.0, *faults: str) -> AsyncIterator[tuple[House, Clock]]:
    """Open a house whose clock is wrong by so many seconds; yield it with the provider's clock, which is right."""
    right = Clock()
    settings = PracticeSettings(auto_approve=True, rotation="single-use", faults=faults)
    with practice_in_thread(settings, clock=right) as practice:
        async with opened(place, practice=practice, clock=Clock(right.now + seconds)) as house:
            yield house, right


async def renewed(house: House, right: Clock, seconds: float = DUE) -> None:
    """Let time pass by both clocks, and what is due be renewed."""
    house.clock.forward(seconds)
    right.forward(seconds)
    await house.tick()


@pytest.mark.parametrize("wrong", WRONG)
def test_a_login_and_a_refresh_by_a_wrong_clock(tmp_path: Path, wrong: float) -> None:
    """The provider's answers show what time it is there: its ID tokens are judged by that, and all are handed out."""

    async def story() -> None:
        async with apart(tmp_path, wrong) as (house, right):
            account = await house.log_in()
            assert account.identity is not None
            first = ready(await house.token())
            await renewed(house, right)
            account = await house.account()
            assert (account.state.name, account.token_generation, account.id_token_generation) == ("active", 2, 2)
            assert ready(await house.token()) != first
            ready(await house.token(id_token=True))
            assert await house.holds_newest()
            assert house.asked() == 1

    asyncio.run(story())


@pytest.mark.parametrize("wrong", WRONG)
def test_a_clock_that_became_wrong_after_the_login(tmp_path: Path, wrong: float) -> None:
    """As after a sleep with an empty battery: each refresh works as before, and no refresh token is spent in vain."""

    async def story() -> None:
        async with apart(tmp_path) as (house, right):
            await house.log_in()
            house.ctx.schedule.moved += wrong
            house.clock.forward(wrong)
            await house.ctx.store.move_times(wrong, lambda: None)
            await renewed(house, right)
            account = await house.account()
            assert (account.state.name, account.token_generation, account.id_token_generation) == ("active", 2, 2)
            assert house.asked() == 1

    asyncio.run(story())


def test_an_id_token_of_another_time_does_not_cost_the_access_token(tmp_path: Path) -> None:
    """Where the provider's clock does not explain it either, that alone is left out: the one from before stays."""

    async def story() -> None:
        async with apart(tmp_path) as (house, right):
            await house.log_in()
            house.practice.set_faults(["refresh:expired_id_token"])
            await renewed(house, right)
            account = await house.account()
            assert (account.state.name, account.token_generation, account.id_token_generation) == ("active", 2, 1)
            assert await house.holds_newest()
            house.practice.set_faults([])
            await renewed(house, right)
            account = await house.account()
            assert (account.token_generation, account.id_token_generation, house.asked()) == (3, 3, 2)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("fault", "state"),
    [("wrong_sub", "needs-login"), ("wrong_iss", "refreshing-failed"), ("wrong_aud", "refreshing-failed")],
)
def test_whom_it_names_counts_by_any_clock(tmp_path: Path, fault: str, state: str) -> None:
    """A token of another time that is of somebody else, too, or for others, brings nothing into use."""

    async def story() -> None:
        async with apart(tmp_path) as (house, right):
            await house.log_in()
            house.practice.set_faults([f"refresh:{fault}", "refresh:expired_id_token"])
            await renewed(house, right)
            account = await house.account()
            assert (account.state.name, account.token_generation) == (state, 1)

    asyncio.run(story())


def test_a_login_with_an_id_token_of_another_time(tmp_path: Path) -> None:
    """That may be an old one, brought again: it is refused, and what to look at is said."""

    async def story() -> None:
        async with apart(tmp_path, 0.0, "code:expired_id_token") as (house, _):
            finished = await house.walk(await house.begin())
            assert finished.account is None
            assert "has expired by this machine's clock" in finished.reason
            assert "See that the clock of this machine is right" in finished.reason

    asyncio.run(story())


def test_an_answer_that_is_judged_long_after_it_came(tmp_path: Path) -> None:
    """A crash, and a day until the next start: the token is as good as it was, for as long as it still lives."""

    async def story() -> None:
        right = Clock()
        settings = PracticeSettings(auto_approve=True, rotation="single-use", ttl=int(3 * DAY))
        with practice_in_thread(settings, clock=right) as practice:
            async with opened(tmp_path, practice=practice, clock=right) as house:
                await house.log_in()
                house.clock.forward(2.5 * DAY)
                house.practice.set_faults(["jwks:hold"])
                house.ctx.jwks._sets.clear()  # noqa: SLF001 -- a process that has not asked for the keys lately
                await refresh.refresh_due(house.ctx)
                await house.until_asked("jwks", 2)
                await crash(house)
            practice.set_faults([])
            right.forward(DAY)
            async with opened(tmp_path, practice=practice, clock=right) as house:
                await refresh.settle(house.ctx)
                account = await house.account()
                assert (account.state.name, account.token_generation) == ("active", 2)
                assert account.token is not None
                assert account.token.remaining(house.clock()) == pytest.approx(2 * DAY)
                assert house.asked() == 1

    asyncio.run(story())
