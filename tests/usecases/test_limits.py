"""How fast an app may ask goes by a clock that nobody sets, and wrong keys are one user's alone."""

import asyncio
from pathlib import Path

import pytest

from broker.usecases import steps
from broker.usecases.limits import BURST, FREE_TRIES, LONGEST_WAIT, RATE, Limits
from tests.usecases.house import House, opened


def test_the_bucket() -> None:
    """All at once, then so many a second; what is not used does not add up beyond the burst."""
    limits = Limits()
    assert [limits.wait_of("job", 0.0) for _ in range(BURST)] == [0.0] * BURST
    assert limits.wait_of("job", 0.0) == pytest.approx(1 / RATE)
    assert limits.wait_of("other", 0.0) == 0.0
    passed = sum(limits.wait_of("job", second / 100) == 0.0 for second in range(1000))
    assert passed == pytest.approx(10 * RATE, abs=1)
    assert sum(limits.wait_of("job", 1e6) == 0.0 for _ in range(2 * BURST)) == BURST


def test_a_clock_that_is_set_changes_nothing(tmp_path: Path) -> None:
    """Set forward it gives an app no more requests, set back it takes none away, nor does a wait for a key grow."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            limits, ctx = house.ctx.limits, house.ctx
            for _ in range(BURST):
                assert limits.wait_of("job", ctx.steady()) == 0.0
            for _ in range(FREE_TRIES + 1):
                assert limits.wrong_key(1000, ctx.steady()) == 0.0
            for step in (86_400.0, -86_400.0, -3600.0):
                await set_clock(house, step)
                assert limits.wait_of("job", ctx.steady()) == pytest.approx(1 / RATE)
                assert limits.wrong_key(1000, ctx.steady()) == pytest.approx(1.0)
            house.clock.forward(1.0)
            assert limits.wait_of("job", ctx.steady()) == 0.0
            assert limits.wrong_key(1000, ctx.steady()) == 0.0

    asyncio.run(story())


async def set_clock(house: House, seconds: float) -> None:
    """Set the wall clock of the machine, and let Keyfob notice it."""
    object.__setattr__(house.ctx, "ahead", lambda: seconds)
    object.__setattr__(house.ctx, "shift", house.clock.forward)
    await steps.follow(house.ctx)


def test_wrong_keys_are_one_users_alone() -> None:
    """A neighbour's wrong keys make nobody else wait, and no number of them makes a wait longer than the longest."""
    limits = Limits()
    now = 0.0
    for _ in range(2000):
        now += limits.wrong_key(1000, now)
    assert limits.wrong_key("app port", now) == 0.0
    assert limits.wrong_key(1001, now) == 0.0
    limits.wrong_key(1000, now)
    assert limits.wrong_key(1000, now) == LONGEST_WAIT
