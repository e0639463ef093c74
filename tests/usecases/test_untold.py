"""What became of a request cannot be written down: nothing else is sent for that account before it has been."""

import asyncio
from pathlib import Path

import pytest

from broker.core.account import Uncertain
from broker.core.timing import LONGEST_SLEEP
from broker.errors import StoreUnavailable
from broker.usecases import asking, locking, refresh
from tests.usecases.house import DUE, House, opened, ready
from tests.usecases.test_store_faults import read_only


async def answered_in_trouble(house: House, *faults: str) -> None:
    """Let a refresh be answered while the database takes no write."""
    await house.log_in()
    house.clock.forward(DUE)
    house.practice.set_faults(["refresh:hold", *faults])
    await refresh.refresh_due(house.ctx)
    await house.until_asked()
    async with read_only(house):
        house.practice.set_faults([])
        await house.landed()
        assert (await house.account()).state.name == "active"


def test_a_lost_answer_that_a_full_disk_did_not_take_is_not_asked_for_blindly(tmp_path: Path) -> None:
    """The refresh token may be spent: sent again as if nothing had been, it would end the login and a living token."""

    async def story() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await answered_in_trouble(house, "refresh:drop")
            house.clock.forward(LONGEST_SLEEP + 1)
            await house.tick()
            assert isinstance((await house.account()).state, Uncertain)
            ready(await house.token())
            assert house.asked() == 1
            assert await house.store.open_intents() == []

    asyncio.run(story())


def test_who_asks_meanwhile_is_told_at_once(tmp_path: Path) -> None:
    """As long as the database takes no write nobody waits for it, and nothing is sent."""

    async def story() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await answered_in_trouble(house, "refresh:drop")
            async with read_only(house):
                for _ in range(3):
                    with pytest.raises(StoreUnavailable):
                        await refresh.join(house.ctx, await house.account())
            assert house.asked() == 1

    asyncio.run(story())


def test_another_outcome_is_what_it_was(tmp_path: Path) -> None:
    """A refusal that could not be written down is no lost answer later on."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await answered_in_trouble(house, "refresh:error=temporarily_unavailable")
            house.clock.forward(LONGEST_SLEEP + 1)
            await house.tick()
            account = await house.account()
            assert account.state.name == "refreshing-failed"
            assert "temporarily_unavailable" in account.state.reason
            assert house.asked() == 1

    asyncio.run(story())


def test_a_lock_in_between_settles_it_once(tmp_path: Path) -> None:
    """Whoever unlocks finds the open intent, which counts as lost; it is not told a second time."""

    async def story() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await answered_in_trouble(house, "refresh:drop")
            locking.lock(house.ctx)
            await asyncio.wait_for(house.ctx.latch.forgetting or asyncio.sleep(0), 10)
            await locking.unlock(house.ctx, None)
            state = (await house.account()).state
            assert isinstance(state, Uncertain)
            house.clock.forward(LONGEST_SLEEP + 1)
            await house.tick()
            assert (await house.account()).state == state
            assert house.ctx.flights.untold == {}

    asyncio.run(story())


def test_a_flight_that_breaks_after_it_has_sent_has_lost_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of Keyfob's own, somewhere between the answer and the disk, does not make it forget that it asked."""
    ask = asking.ask

    async def broken(*args: object) -> None:
        await ask(*args)  # type: ignore[arg-type]
        raise ZeroDivisionError

    async def story() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await house.log_in()
            house.clock.forward(DUE)
            with monkeypatch.context() as patched:
                patched.setattr(asking, "ask", broken)
                await house.tick()
            house.clock.forward(LONGEST_SLEEP + 1)
            await house.tick()
            assert isinstance((await house.account()).state, Uncertain)
            assert house.asked() == 1

    asyncio.run(story())
