"""Virtual time: an event loop that never waits, and the three clocks of a machine that sleeps and is set wrong.

Used by ``world``. Nothing here uses threads or sockets, so the loop is idle exactly when its next timer is all that is
left to wait for; then it is that time at once. Work that the engine gives to a thread is done in the loop, as a whole.
"""

import asyncio
import gc
import selectors
import warnings
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

from sqlalchemy.exc import SAWarning

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

# Turns of the loop without any time passing; a busy minute takes some hundred, so this is a loop that never ends.
TURNS = 200_000
# Every life of the engine leaves thousands of objects that are no garbage: to look through them as often as Python does
# by itself takes a twelfth of the time.
GARBAGE_EVERY = 50_000


class Stuck(Exception):
    """Nothing will ever happen again, or time does not pass any more: somebody waits for what nobody will do."""


class _Jump(selectors.SelectSelector):
    """Waits by moving the time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("nobody will ever wake anybody")
        self._turns = self._turns + 1 if timeout <= 0 else 0
        if self._turns > TURNS:
            raise Stuck("the loop turns and turns, and no time passes")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer when it is idle.

    Attributes:
        busy: tells for how many seconds a thread of the store has something else to do before it gets to a work.
    """

    def __init__(self) -> None:
        self._jump = _Jump()
        self.busy: Callable[[], float] = float
        super().__init__(self._jump)

    def time(self) -> float:
        """Return seconds since the loop was made, as the simulation counts them."""
        return self._jump.now

    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[*Arguments], T],
        *args: *Arguments,
    ) -> asyncio.Future[T]:
        """Call ``func`` now, or in a while; a thread would make the order of things a matter of chance."""
        done: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if done.cancelled():
                return
            try:
                done.set_result(func(*args))
            except asyncio.CancelledError:
                done.cancel()  # the engine has died of it
            except Exception as exc:  # noqa: BLE001 -- as an executor hands it over
                done.set_exception(exc)

        wait = self.busy() if executor is not None else 0.0
        if wait:
            self.call_later(wait, work)
        else:
            work()
        return done


class Clocks:
    """What time it is: really, by the wall clock, and since boot.

    Args:
        loop: whose time stands still while the machine sleeps, as CLOCK_MONOTONIC does.
        start: the real time at the beginning, epoch seconds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, start: float) -> None:
        self._loop = loop
        self._start = start
        self._slept = 0.0
        self._wrong = 0.0

    def real(self) -> float:
        """Return the true time: the provider's."""
        return self._start + self.boottime()

    def wall(self) -> float:
        """Return what this machine takes the time to be."""
        return self.real() + self._wrong

    def boottime(self) -> float:
        """Return seconds since boot, sleep included (CLOCK_BOOTTIME)."""
        return self._loop.time() + self._slept

    def sleep(self, seconds: float) -> None:
        """Let the machine have slept: everything but its timers has moved on."""
        self._slept += seconds

    def step(self, wrong_by: float) -> None:
        """Set the wall clock, so that it is wrong by so many seconds."""
        self._wrong = wrong_by


def prepare() -> None:
    """Make ready a process that plays seeds."""
    gc.set_threshold(GARBAGE_EVERY)
    # A process that is killed in the story leaves its connections to the collector; that is what it does.
    warnings.filterwarnings("ignore", "The garbage collector is trying to clean up", SAWarning)
