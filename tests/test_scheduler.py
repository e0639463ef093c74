"""The scheduler's promises, with a real store, a real provider, and a clock that moves when told.

The clock of the house stands still; what really passes are the milliseconds between two looks.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from broker.core import timing
from broker.scheduler import Scheduler
from broker.usecases import health
from broker.usecases.context import Context
from tests.store import made
from tests.usecases.house import PATIENCE, House, opened

HOUR = 3600.0
# Longer than the second that APScheduler gives a late job unless it is told otherwise.
STALL = 1.2


@contextlib.asynccontextmanager
async def ticking(ctx: Context) -> AsyncIterator[Scheduler]:
    """Run a scheduler for one block."""
    scheduler = Scheduler(ctx)
    scheduler.start()
    try:
        yield scheduler
    finally:
        await scheduler.stop()


async def until(seen: Callable[[], object], what: str) -> None:
    """Let everything run until something is so."""
    end = time.monotonic() + PATIENCE
    while not seen():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.001)


async def next_tick(house: House, ctx: Context | None = None) -> None:
    """Wait until the scheduler has looked at the present time, and has said when it will look again."""
    ctx = ctx or house.ctx
    await until(lambda: ctx.schedule.last_tick_at == house.clock.now, "no tick at this time")
    span = timing.LONGEST_SLEEP
    await until(lambda: 0 < ctx.schedule.next_tick_at - house.clock.now <= span, "no further tick is set")


@pytest.fixture
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the longest sleep between two looks so short that a test can wait for it."""
    monkeypatch.setattr(timing, "LONGEST_SLEEP", 0.01)


@contextlib.contextmanager
def held_for_writing(place: Path) -> Iterator[None]:
    """Hold the database's write lock, as a backup program may."""
    with contextlib.closing(sqlite3.connect(made.database(place), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_first_look_at_once(tmp_path: Path) -> None:
    """What became due while the daemon was not running is renewed at the start, not a while later."""

    async def walk() -> None:
        async with opened(tmp_path, settings={"ttl": HOUR}) as house:
            await house.log_in()
            house.clock.forward(2 * HOUR)
            async with ticking(house.ctx):
                await house.until_asked()
                await house.landed()
            assert (await house.account()).generation == 2

    asyncio.run(walk())


def test_the_next_look_is_when_something_is_due_or_soon(tmp_path: Path) -> None:
    """It sleeps until the next token is due, and never longer than 37 s: timers stand still while a laptop sleeps."""

    async def walk() -> None:
        async with opened(tmp_path, settings={"ttl": HOUR}) as house:
            account = await house.log_in()
            async with ticking(house.ctx):
                await next_tick(house)
                assert house.ctx.schedule.next_tick_at == house.clock.now + 37.0

                due = timing.next_refresh_at(account, timing.Policy())
                assert due is not None
                house.clock.now = due - 5.0
                house.ctx.wake.set()
                await next_tick(house)

                assert house.ctx.schedule.next_tick_at == pytest.approx(due)
            assert house.asked() == 0

    asyncio.run(walk())


@pytest.mark.usefixtures("short_looks")
def test_renewal_by_the_wall_clock(tmp_path: Path) -> None:
    """After a sleep of the machine the next look finds by the wall clock what is due, though hardly any timer ran."""

    async def walk() -> None:
        async with opened(tmp_path, settings={"ttl": HOUR}) as house:
            await house.log_in()
            async with ticking(house.ctx):
                await next_tick(house)
                for generation in (2, 3):
                    house.clock.forward(HOUR)
                    await house.until_asked(count=generation - 1)
                    await house.landed()
                    assert (await house.account()).generation == generation
            assert house.asked() == 2

    asyncio.run(walk())


@pytest.mark.usefixtures("short_looks")
def test_a_bell_that_is_late_rings_all_the_same(tmp_path: Path) -> None:
    """A process that stands still for longer than a second looks as soon as it goes on, and goes on looking."""

    async def walk() -> None:
        async with opened(tmp_path, settings={"ttl": HOUR}) as house:
            await house.log_in()
            async with ticking(house.ctx):
                await next_tick(house)
                for generation in (2, 3):
                    house.clock.forward(HOUR)
                    time.sleep(STALL)  # noqa: ASYNC251 -- not a wait for anything: that nothing runs is the experiment
                    await house.until_asked(count=generation - 1)
                    await house.landed()

    asyncio.run(walk())


@pytest.mark.usefixtures("short_looks")
@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_a_machine_whose_clock_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """The bells go on ringing at the same pace, though APScheduler counts in the time that was set."""
    ahead = 0.0

    class Machine(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Machine":
            return super().now(tz) + timedelta(seconds=ahead)

    for module in ("broker.scheduler", "apscheduler.schedulers.base", "apscheduler.triggers.interval"):
        monkeypatch.setattr(f"{module}.datetime", Machine)
    monkeypatch.setattr("broker.scheduler.LATE", 0.01)
    monkeypatch.setattr("broker.scheduler.FLUSH_EVERY", 0.01)

    async def walk() -> None:
        nonlocal ahead
        async with opened(tmp_path, settings={"ttl": HOUR}) as house:
            await house.log_in()
            async with ticking(house.ctx):
                await next_tick(house)
                ahead = step
                await house.token()
                house.clock.forward(HOUR)
                await house.until_asked()
                await house.landed()
                await until(lambda: not house.ctx.handouts, "no flush")

    asyncio.run(walk())


def test_a_sleep_of_the_machine_is_no_fault(tmp_path: Path) -> None:
    """Right after a sleep, before the next look, the daemon counts as alive: else the watchdog would have it killed."""

    async def walk() -> None:
        async with opened(tmp_path, settings={"ttl": HOUR}) as house, ticking(house.ctx):
            await next_tick(house)
            house.clock.forward(8 * HOUR)

            assert await health.is_alive(house.ctx)

    asyncio.run(walk())


@pytest.mark.usefixtures("short_looks")
def test_a_clock_that_is_set_back(tmp_path: Path) -> None:
    """A clock that jumps back a day neither stops the looks nor makes a storm of refreshes of them."""

    async def walk() -> None:
        async with opened(tmp_path, settings={"ttl": HOUR}) as house:
            await house.log_in()
            async with ticking(house.ctx):
                await next_tick(house)

                house.clock.forward(-24 * HOUR)
                await next_tick(house)
                assert house.ctx.schedule.next_tick_at <= house.clock.now + timing.LONGEST_SLEEP
                assert house.asked() == 0

                house.clock.forward(25 * HOUR)
                await house.until_asked()
                await house.landed()
            assert (await house.account()).generation == 2

    asyncio.run(walk())


def test_woken_by_a_story(tmp_path: Path) -> None:
    """When a story says that something became due, the look comes at once and not at its time."""

    async def walk() -> None:
        async with opened(tmp_path, settings={"ttl": HOUR}) as house:
            await house.log_in()
            async with ticking(house.ctx):
                await next_tick(house)
                house.clock.forward(2 * HOUR)

                house.ctx.wake.set()

                await house.until_asked()
                await house.landed()
            assert (await house.account()).generation == 2

    asyncio.run(walk())


def test_woken_during_a_look(tmp_path: Path) -> None:
    """A wake that comes while a look is under way means one more look after it: the rows may have been read already."""

    async def walk() -> None:
        async with opened(tmp_path, settings={"ttl": HOUR}) as house:
            await house.begin("late")
            house.clock.forward(700)
            with held_for_writing(tmp_path):  # the look has an old login to end, and waits for its turn to write
                scheduler = Scheduler(house.ctx)
                scheduler.start()
                await until(lambda: house.ctx.schedule.last_tick_at == house.clock.now, "no first look")
                house.ctx.wake.set()
                house.clock.forward(1)
            await next_tick(house)
            await scheduler.stop()

    asyncio.run(walk())


def test_goes_on_after_a_look_without_a_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A database that cannot be read is said in one line of the log; when it can be again, what is due is renewed."""

    async def walk() -> None:
        async with opened(tmp_path, settings={"ttl": HOUR}) as house:
            await house.log_in()
            house.clock.forward(2 * HOUR)
            made.behind(tmp_path, "ALTER TABLE account RENAME TO hidden")
            async with ticking(house.ctx):
                await next_tick(house)
                assert house.ctx.schedule.next_tick_at == house.clock.now + 37.0
                assert house.asked() == 0

                made.behind(tmp_path, "ALTER TABLE hidden RENAME TO account")
                house.ctx.wake.set()
                await house.until_asked()
                await house.landed()
            assert (await house.account()).generation == 2

    asyncio.run(walk())
    said = [record for record in caplog.records if record.name == "broker.scheduler"]
    assert [(record.levelname, record.exc_info) for record in said] == [("WARNING", None)]
    assert "due work" in said[0].getMessage()


@pytest.mark.usefixtures("short_looks")
def test_goes_on_after_a_look_that_broke(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A fault that nobody foresaw ends one look, not the scheduler: it is logged whole, and the next look comes."""

    async def walk() -> None:
        async with opened(tmp_path, settings={"ttl": HOUR}) as house:
            broken = iter([True])

            def clock() -> float:
                if next(broken, False):
                    raise RuntimeError("the clock fell off the wall")
                return house.clock.now

            await house.log_in()
            house.ctx.wake.clear()
            house.clock.forward(2 * HOUR)
            async with ticking(replace(house.ctx, clock=_after_start(clock))):
                await house.until_asked()
                await house.landed()
            assert (await house.account()).generation == 2

    asyncio.run(walk())
    broke = [record for record in caplog.records if record.name == "broker.scheduler"]
    assert ["fell off" in record.exc_text for record in broke if record.exc_text] == [True]


def _after_start(clock: Callable[[], float]) -> Callable[[], float]:
    """Return a clock that is sound when it is asked the first time: by ``start``, which is no look."""
    asked = iter([True])
    return lambda: 0.0 if next(asked, False) else clock()


def test_one_account_without_a_provider_does_not_stop_the_others(tmp_path: Path) -> None:
    """An account whose provider is gone from the configuration is passed over; the one after it is renewed."""

    async def walk() -> None:
        async with opened(tmp_path, settings={"ttl": HOUR}) as house:
            await house.log_in("a")
            await house.log_in("b")
            made.behind(tmp_path, "UPDATE provider SET preset = 'gone'")
            house.clock.forward(2 * HOUR)
            async with ticking(house.ctx):
                await next_tick(house)
            assert house.asked() == 0
            made.behind(tmp_path, "UPDATE provider SET preset = 'practice'")
            async with ticking(house.ctx):
                await house.until_asked(count=2)
                await house.landed()

    asyncio.run(walk())


def test_a_stop_lets_refreshes_fly(tmp_path: Path) -> None:
    """Stopping the scheduler begins nothing new, and takes no refresh that is under way with it."""

    async def walk() -> None:
        async with opened(tmp_path, "refresh:hold", settings={"ttl": HOUR}) as house:
            await house.log_in()
            house.clock.forward(2 * HOUR)
            async with ticking(house.ctx):
                await house.until_asked()
            house.practice.set_faults([])
            await house.landed()
            assert (await house.account()).generation == 2

    asyncio.run(walk())


def test_a_stop_at_any_moment_is_quiet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A stop is no fault, whichever step the first look has come to."""

    async def walk() -> None:
        async with opened(tmp_path) as house:
            for steps in range(12):
                async with ticking(house.ctx):
                    for _ in range(steps):
                        await asyncio.sleep(0)
                await asyncio.sleep(0.01)

    asyncio.run(walk())
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def handed_out(house: House) -> int:
    """Return how many hand-outs the audit knows of."""
    return sum(entry.count or 0 for entry in await house.store.audit() if entry.action == "handout")


def test_hand_outs_are_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was handed out stands in the audit soon, without anybody asking for it."""
    monkeypatch.setattr("broker.scheduler.FLUSH_EVERY", 0.01)

    async def walk() -> None:
        async with opened(tmp_path, settings={"ttl": HOUR}) as house:
            await house.log_in()
            async with ticking(house.ctx):
                for _ in range(3):
                    await house.token()
                end = time.monotonic() + PATIENCE
                while await handed_out(house) != 3:
                    assert time.monotonic() < end
                    await asyncio.sleep(0.01)

    asyncio.run(walk())


def test_a_stop_does_not_count_hand_outs_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that meets the writing of hand-outs loses none of them and counts none twice."""
    monkeypatch.setattr("broker.scheduler.FLUSH_EVERY", 0.01)

    async def walk() -> None:
        async with opened(tmp_path, settings={"ttl": HOUR}) as house:
            await house.log_in()
            await house.token()
            with held_for_writing(tmp_path):
                scheduler = Scheduler(house.ctx)
                scheduler.start()
                await until(lambda: not house.ctx.handouts, "not begun")
                stopping = asyncio.create_task(scheduler.stop())
                await asyncio.sleep(0.01)
            await stopping
            await house.ctx.handouts.flush(house.store)  # as the daemon does at its end
            assert await handed_out(house) == 1

    asyncio.run(walk())
