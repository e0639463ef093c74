"""One life of the engine: opened, settled, ticking, and ended in one of two ways.

Used by ``world``. Put together as ``broker.daemon`` does it, without the doors: a real context on a real store. The
scheduler's bell is our own: APScheduler counts in the time of the real machine. A look that finds nothing due changes
nothing, so the looks every 37 s are left out between two due times, except after the clocks were disturbed.
"""

import asyncio
import random
from pathlib import Path

from broker.clock import SteadyClock
from broker.core import timing
from broker.errors import KeyfobError
from broker.events import Events
from broker.oauth.idtoken import Jwks
from broker.store.keys import FileKey
from broker.store.store import Store
from broker.usecases import backup, login, refresh, steps
from broker.usecases.context import Context
from tests.sim.disk import Life
from tests.sim.loop import Clocks
from tests.sim.network import Network, SimulatedHttp

BROWSER_URL = "http://127.0.0.1:8400"
# As ``broker.daemon``.
DRAIN = 20.0
# The watchdog writes its pulse more often; it only has to say about when the engine was last alive.
PULSE = 3 * 3600.0


class Engine:
    """A running Keyfob.

    Args:
        ctx: the collaborators.
        life: ends with it.
        rng: when the next look comes after a disturbance.
    """

    def __init__(self, ctx: Context, life: Life, rng: random.Random) -> None:
        self.ctx = ctx
        self.life = life
        self._rng = rng
        self._stopped = False
        self._pulse_due = 0.0
        self.ticking = asyncio.create_task(self._tick(), name="looks")

    @classmethod
    async def start(cls, place: Path, network: Network, clocks: Clocks, life: Life, rng: random.Random) -> "Engine":
        """Open the store, settle what the last life left, and begin to tick.

        Raises:
            CannotStart, StoreUnavailable: the store is in trouble; systemd would try again.
        """
        url = f"sqlite:///{place / 'keyfob.db'}"
        store = await Store.open(url, key=FileKey(place / "key"), now=clocks.wall())
        life.changes = store._db.changes  # noqa: SLF001 -- a process that dies closes its files
        clock = SteadyClock(clocks.wall, clocks.boottime, await store.last_seen())
        ctx = Context(
            store=store,
            http=SimulatedHttp(network, lambda: not life.dead),
            jwks=Jwks(),
            events=Events(),
            clock=clock,
            ahead=clock.ahead,
            shift=clock.shift,
            rng=random.Random(rng.random()),  # noqa: S311 -- the same in every run
            browser_url=BROWSER_URL,
        )
        try:
            await backup.recognise_copy(ctx)
            await refresh.settle(ctx)
        except KeyfobError:
            if life.dead:
                raise asyncio.CancelledError from None  # nobody is there any more to close anything
            await store.close()
            raise
        return cls(ctx, life, rng)

    async def stop(self) -> None:
        """End in good order, as at SIGTERM.

        Raises:
            StoreUnavailable: the last words could not be written.
        """
        self._stopped = True
        self.ctx.wake.set()
        await self.ticking
        await self.ctx.flights.drain(DRAIN)
        await self.ctx.handouts.flush(self.ctx.store)
        await self.ctx.store.close()

    def disturbed(self) -> None:
        """The clocks have moved: the next look comes within the longest sleep."""
        loop = asyncio.get_running_loop()
        loop.call_later(self._rng.uniform(0.0, timing.LONGEST_SLEEP), self.ctx.wake.set)

    async def _tick(self) -> None:
        while not self._stopped:
            due = await self._look()
            pause = None if due is None else max(0.0, due - self.ctx.clock())
            try:
                async with asyncio.timeout(pause):
                    await self.ctx.wake.wait()
            except TimeoutError:
                pass
            self.ctx.wake.clear()

    async def _look(self) -> float | None:
        """Do what ``broker.scheduler`` does at a look; return when something is due, None where nothing will be."""
        try:
            await steps.follow(self.ctx)
            await login.expire(self.ctx)
            due = await refresh.refresh_due(self.ctx)
            if asyncio.get_running_loop().time() >= self._pulse_due:
                self._pulse_due = asyncio.get_running_loop().time() + PULSE
                await self.ctx.store.ping(self.ctx.clock())
        except KeyfobError:
            due = self.ctx.clock() + timing.LONGEST_SLEEP
        return due
