"""The clock that looks for due work: the only place that knows APScheduler.

Started and stopped by ``daemon``. APScheduler only rings: its jobs are dropped when they are late or when the last one
still runs, and cancelled by a stop. The looks themselves are made by tasks of our own, one after the other. There is
one bell that is set anew after each look, never one for an account: the due times are rows already.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from broker.core.timing import next_wake
from broker.errors import KeyfobError
from broker.usecases import audit, device, locking, login, refresh, registrations, steps
from broker.usecases.context import Context
from broker.usecases.handouts import FLUSH_EVERY

log = logging.getLogger(__name__)

# How many seconds late a bell may be, by a clock that nobody can set, before it is rung without APScheduler.
LATE = 1.0
# Seconds that are left to others after each few rows of a look at all of them: it takes half of the time at the most.
SWEEP_PAUSE = 0.01


class Scheduler:
    """Looks for due work while the daemon runs."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        # A late bell is rung whenever it comes, and several late ones as one.
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )
        self._flush_due = asyncio.Event()
        self._guard: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._sweeping: asyncio.Task[None] | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin, with a first look at once."""
        self._scheduler.start()
        self._scheduler.add_job(self._ring, "interval", seconds=FLUSH_EVERY, id="flush", args=[self._flush_due])
        self._tasks = [
            asyncio.create_task(self._repeat(self._ctx.wake, self._look), name="scheduler looks"),
            asyncio.create_task(self._repeat(self._flush_due, self._flush), name="scheduler flushes"),
        ]
        self._sweeping = asyncio.create_task(self._repeat(self._ctx.sweep, self._sweep), name="scheduler sweeps")
        self._ctx.schedule.next_tick_at = self._ctx.clock()
        self._ctx.wake.set()

    async def stop(self) -> None:
        """End after the look that is under way. Refreshes are not touched: they are tasks of their own."""
        self._stopped = True
        if self._guard is not None:
            self._guard.cancel()
        self._scheduler.remove_all_jobs()
        # A bell that is being rung ends within one turn of the loop; the shutdown would log it as a fault.
        await asyncio.sleep(0)
        self._scheduler.shutdown(wait=False)
        self._ctx.wake.set()
        self._flush_due.set()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
        await asyncio.gather(*self._tasks)

    async def _repeat(self, bell: asyncio.Event, work: Callable[[], Awaitable[None]]) -> None:
        """Work each time that the bell rings; one that rings meanwhile is not forgotten."""
        while not self._stopped:
            await bell.wait()
            bell.clear()
            if not self._stopped:
                await work()

    async def _ring(self, bell: asyncio.Event) -> None:
        bell.set()

    def _overslept(self) -> None:
        """Ring, and let APScheduler count anew: it goes by the machine's clock, and that was set back.

        It would sleep until the clock is as late as it was, be that an hour or years.
        """
        self._scheduler.reschedule_job("flush", trigger="interval", seconds=FLUSH_EVERY)
        self._ctx.wake.set()

    async def _look(self) -> None:
        """Look at what is due, begin it, and set the bell for the next look."""
        due = None
        self._ctx.schedule.last_tick = asyncio.get_running_loop().time()
        try:
            locking.watch(self._ctx)
            self._ctx.forget_in_clear()  # no token is kept so for long after its last use
            await steps.follow(self._ctx)
            self._ctx.schedule.last_tick_at = self._ctx.clock()
            await self._expire()
            due = await refresh.refresh_due(self._ctx)
            polls = await device.poll_due(self._ctx)
            due = min((moment for moment in (due, polls) if moment is not None), default=None)
            if not self._ctx.store.locked:
                with locking.working(self._ctx):
                    await registrations.renew_due(self._ctx)
        except KeyfobError as exc:
            log.warning("the scheduler could not look for due work: %s", exc)
        except Exception:
            log.exception("a look broke; the next one comes")
        seconds = next_wake(due, self._ctx.clock())
        self._ctx.schedule.next_tick_at = self._ctx.clock() + seconds
        if not self._stopped:
            when = datetime.now(UTC) + timedelta(seconds=seconds)
            bell = [self._ctx.wake]
            self._scheduler.add_job(self._ring, "date", run_date=when, id="look", replace_existing=True, args=bell)
            if self._guard is not None:
                self._guard.cancel()
            self._guard = asyncio.get_running_loop().call_later(seconds + LATE, self._overslept)

    async def _expire(self) -> None:
        """End the logins whose time is over; whatever is wrong with one of them, what is due is renewed."""
        try:
            await login.expire(self._ctx)
        except KeyfobError as exc:
            log.warning("the logins whose time is over could not be ended: %s", exc)

    async def _flush(self) -> None:
        try:
            audit.tell_changed(self._ctx)
            await self._ctx.handouts.flush(self._ctx.store)
        except KeyfobError as exc:
            log.warning("hand-outs could not be written down yet: %s", exc)
        except Exception:
            log.exception("a flush broke; the next one comes")

    async def _sweep(self) -> None:
        """Look at every row for what was changed outside Keyfob, which is told of with the next hand-outs."""
        try:
            await self._ctx.store.changed_outside(SWEEP_PAUSE)
        except KeyfobError as exc:  # whoever comes upon it tells of it, too
            log.warning("whether anything was changed outside Keyfob cannot be told: %s", exc)
        except Exception:
            log.exception("the look for what was changed outside Keyfob broke")
