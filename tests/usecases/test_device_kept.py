"""A device login when Keyfob itself is in trouble: the database refuses, the key is missing."""

import asyncio
from pathlib import Path

import pytest

from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases import device, login
from broker.usecases.device import LONGEST_WAIT
from tests.store import made
from tests.usecases.codes import INTERVAL, allow, ended, start, tick, told
from tests.usecases.house import Clock, House, opened
from tests.usecases.test_store_faults import locked


def test_a_database_that_refuses_costs_no_answer(tmp_path: Path) -> None:
    """The code is spent once: what came waits in memory until the database takes it, and nobody is asked again."""

    async def story(house: House) -> None:
        begun = await start(house)
        await allow(begun)
        async with locked(house):
            assert await tick(house, INTERVAL) == 2 * INTERVAL
            assert (await ended(house, begun))[0] == "pending"
        await tick(house, 2 * INTERVAL)
        assert await ended(house, begun) == ("done", "")
        assert house.asked("device_code") == 1
        assert (await house.account("me")).has_refresh_token

    told(tmp_path, story)


@pytest.mark.parametrize("came", ["before the end", "after the end"])
def test_a_token_that_came_outlives_its_code(tmp_path: Path, came: str) -> None:
    """The person said yes in time; that the database takes it only after the code's time changes nothing."""

    async def story(house: House) -> None:
        begun = await start(house)
        await allow(begun)
        async with locked(house):
            if came == "before the end":
                await tick(house, INTERVAL)
                house.clock.forward(begun.expires_at - house.clock() + 1)
            else:
                house.practice.set_faults(["device_code:hold"])
                house.clock.forward(begun.expires_at - house.clock() - 1)
                await device.poll_due(house.ctx)
                await house.until_asked("device_code")
                house.clock.forward(2)
                await device.poll_due(house.ctx)
                house.practice.set_faults([])
            await tick(house)
        await login.expire(house.ctx)
        assert await ended(house, begun) == ("expired", "nobody finished it in time")
        await tick(house, LONGEST_WAIT)
        assert await ended(house, begun) == ("done", "")
        assert (await house.account("me")).has_refresh_token
        assert house.asked("device_code") == 1
        assert await tick(house, LONGEST_WAIT) is None
        assert house.ctx.polls == {}

    told(tmp_path, story)


def test_a_slow_down_counts_although_the_database_refuses(tmp_path: Path) -> None:
    """What cannot be written down is kept all the same, as long as this daemon runs."""

    async def story(house: House) -> None:
        await start(house)
        async with locked(house):
            wait = await tick(house, INTERVAL)
        assert await tick(house, wait or 0) == INTERVAL + 5

    told(tmp_path, story, "device_code:error=slow_down*1")


def test_without_the_key_nobody_is_asked(tmp_path: Path) -> None:
    """A daemon that is locked cannot open the device code; the next one that has the key goes on."""

    async def story() -> None:
        clock, key = Clock(), made.key_file(tmp_path)
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                begun = await start(house)
            key.rename(key.with_name("elsewhere"))
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                assert await tick(house, INTERVAL) is None
                found = await house.store.login(begun.id)
                assert found is not None
                assert (found.state, found.device, house.asked("device_code")) == ("pending", None, 0)
            key.with_name("elsewhere").rename(key)
            await allow(begun)
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await tick(house)
                await tick(house, INTERVAL)
                assert await ended(house, begun) == ("done", "")

    asyncio.run(story())
