"""The clock that looks for due work: the only place that knows APScheduler.

Started and stopped by ``daemon``. There is one job that looks at the rows and arms itself anew, never one job for an
account: APScheduler drops a job that is more than a second late, and a dropped tick here means nothing, because the
next one finds the same rows still due.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from broker.core.timing import next_wake
from broker.errors import KeyfobError
from broker.usecases import login, refresh
from broker.usecases.context import Context
from broker.usecases.handouts import FLUSH_EVERY

log = logging.getLogger(__name__)


class Scheduler:
    """Ticks while the daemon runs."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        # A late tick is run whenever it comes, and several late ones as one.
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )
        self._waker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with a first tick at once."""
        self._scheduler.start()
        self._scheduler.add_job(self._flush, "interval", seconds=FLUSH_EVERY, id="flush")
        self._arm(0.0)
        self._waker = asyncio.create_task(self._listen(), name="scheduler wake")

    def stop(self) -> None:
        """Tick no more. Refreshes that are under way are not touched: they are tasks of their own."""
        if self._waker is not None:
            self._waker.cancel()
        self._scheduler.shutdown(wait=False)

    def _arm(self, seconds: float) -> None:
        self._ctx.schedule.next_tick_at = self._ctx.clock() + seconds
        when = datetime.now(UTC) + timedelta(seconds=seconds)
        self._scheduler.add_job(self._tick, "date", run_date=when, id="tick", replace_existing=True)

    async def _tick(self) -> None:
        """Look at what is due, begin it, and set the next look."""
        due = None
        try:
            self._ctx.schedule.last_tick_at = self._ctx.clock()
            await login.expire(self._ctx)
            due = await refresh.refresh_due(self._ctx)
        except asyncio.CancelledError:
            return  # the daemon stops; APScheduler would log this as a fault
        except KeyfobError as exc:
            log.warning("the scheduler could not look for due work: %s", exc)
        except Exception:
            log.exception("a tick broke; the next one comes")
        self._arm(next_wake(due, self._ctx.clock()))

    async def _listen(self) -> None:
        """Tick at once when a story says that something became due sooner."""
        while True:
            await self._ctx.wake.wait()
            self._ctx.wake.clear()
            self._arm(0.0)

    async def _flush(self) -> None:
        try:
            await self._ctx.handouts.flush(self._ctx.store)
        except KeyfobError as exc:
            log.warning("hand-outs could not be written down yet: %s", exc)
