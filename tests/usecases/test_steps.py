"""The machine's clock is set: lives and waits stay as long as they were, and no token is served past its end."""

import asyncio
from pathlib import Path

from broker.core.account import RefreshingFailed
from broker.core.login import LOGIN_LIFETIME
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases import steps
from broker.usecases.context import Context
from tests.usecases.house import DUE, TTL, Clock, House, opened, ready


async def set_clock(house: House, seconds: float) -> None:
    """Set the wall clock of the machine, and let Keyfob notice it."""
    house.clock.forward(seconds)
    object.__setattr__(house.ctx, "follow", lambda: seconds)
    await steps.follow(house.ctx)
    object.__setattr__(house.ctx, "follow", Context.__dataclass_fields__["follow"].default)


def test_a_token_lives_as_long_as_before(tmp_path: Path) -> None:
    """A day forward or back: neither is a living token renewed for it, nor a dead one served."""

    async def live() -> None:
        for number, step in enumerate((86_400.0, -86_400.0, 3600.0, -5.0)):
            (tmp_path / str(number)).mkdir()
            async with opened(tmp_path / str(number)) as house:
                token, _ = await house.secrets_of(await house.log_in())
                house.clock.forward(100)
                await set_clock(house, step)
                assert ready(await house.token()) == token
                account = await house.account()
                assert account.token is not None
                assert account.token.remaining(house.clock()) == TTL - 100
                assert (account.token.lifetime, house.asked()) == (TTL, 0)
                house.clock.forward(TTL - 100)
                assert ready(await house.token()) != token
                assert (house.asked(), step) == (1, step)
                assert [event.kind for event in await house.heard()].count("clock-set") == 1

    asyncio.run(live())


def test_a_clock_that_is_set_again_and_again(tmp_path: Path) -> None:
    """Set back before the very start, and set again: the second time moves what the first one moved."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            object.__setattr__(house.ctx, "started_at", house.clock())
            token, _ = await house.secrets_of(await house.log_in())
            for step in (-3600.0, -100.0, 5000.0, -1300.0):
                await set_clock(house, step)
            account = await house.account()
            assert account.token is not None
            assert account.token.remaining(house.clock()) == TTL
            assert ready(await house.token()) == token

    asyncio.run(live())


def test_waits_and_logins_last_as_long_as_before(tmp_path: Path) -> None:
    """A back-off is not over because the clock was set forward, nor endless because it was set back."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:throttle=100*1") as house:
            await house.log_in()
            pending = await house.begin("other")
            house.clock.forward(DUE)
            await house.tick()
            for step in (7 * 86_400.0, -14 * 86_400.0):
                await set_clock(house, step)
                account = await house.account()
                assert isinstance(account.state, RefreshingFailed)
                assert account.state.throttled_until - house.clock() == 100
                assert house.ctx.flights.throttled != {}
                await house.tick()
                assert house.asked() == 1
            found = await house.store.login(pending.id)
            assert found is not None
            assert found.expires_at - house.clock() == LOGIN_LIFETIME - DUE
            house.clock.forward(101)
            await house.tick()
            assert (await house.account()).state.name == "active"

    asyncio.run(live())


def test_a_flight_in_the_air_lands_by_the_new_clock(tmp_path: Path) -> None:
    """Its token's life is counted from when the request was sent, whatever the clock showed then."""

    async def live() -> None:
        clock, set_by = Clock(), [0.0]
        settings = PracticeSettings(auto_approve=True, faults=("refresh:hold",))
        # Only this machine's clock is set: the provider's was right.
        with practice_in_thread(settings, clock=lambda: clock() - set_by[0]) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await house.log_in()
                clock.forward(TTL)
                waiting = asyncio.create_task(house.token())
                await house.until_asked()
                set_by[0] = -300.0
                await set_clock(house, set_by[0])
                practice.set_faults([])
                ready(await waiting)
                account = await house.account()
                assert account.token is not None
                assert account.token.remaining(clock()) == TTL
                assert await house.store.open_intents() == []

    asyncio.run(live())


def test_what_an_earlier_start_wrote_keeps_its_times(tmp_path: Path) -> None:
    """Its clock may have been right already: a token's end is not moved by a correction that was not its own."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            before = await house.log_in()
            house.clock.forward(10)
            object.__setattr__(house.ctx, "started_at", house.clock())
            await set_clock(house, 50.0)
            after = await house.account()
            assert after.token == before.token

    asyncio.run(live())
