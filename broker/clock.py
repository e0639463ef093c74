"""The wall clock, held steady: a step of it changes nothing before Keyfob has noticed it and moved its own times along.

Made by ``daemon``; the scheduler lets it follow the machine's clock at every look.
"""

import time
from collections.abc import Callable

# Slower corrections are an NTP client's ordinary work (it slews up to 500 ppm); what is more between two looks was set.
STEP = 2.0
# 2025-12-01. A machine that shows an earlier time has no clock battery and has not heard of the time yet.
EARLIEST = 1_764_547_200.0


def boottime() -> float:
    """Return seconds that pass also while the machine sleeps, and that nobody can set (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def slept() -> float:
    """Return for how many seconds this machine has slept since it was started: the monotonic clock leaves that out."""
    return boottime() - time.clock_gettime(time.CLOCK_MONOTONIC)


class SteadyClock:
    """Epoch seconds that pass as the boot clock does, from the wall clock's time when it was last followed.

    Args:
        wall: the machine's wall clock, epoch seconds.
        boot: seconds since some moment, sleep included.
        last_seen: the newest time that is known from before; it stands in for a wall clock that cannot be right.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, boot: Callable[[], float] = boottime, last_seen: float = 0.0
    ) -> None:
        self._wall = wall
        self._boot = boot
        now = wall()
        self._offset = (now if now >= EARLIEST else max(last_seen, EARLIEST)) - boot()

    def __call__(self) -> float:
        """Return the time."""
        return self._offset + self._boot()

    def ahead(self) -> float:
        """Compare with the wall clock, and follow where that has only drifted.

        Returns:
            By how many seconds it was set since the last time; 0 where it was not, or cannot be right. To follow that
            as well, :meth:`shift` by it.
        """
        before = self()
        wall = self._wall()
        if wall < EARLIEST or self() - before > STEP / 2:
            return 0.0  # a machine that slept between two of these lines has not been set: the next look tells
        ahead = wall - before
        if abs(ahead) >= STEP:
            return ahead
        self._offset += ahead
        return 0.0

    def shift(self, seconds: float) -> None:
        """Go by a wall clock that was set by so many seconds."""
        self._offset += seconds
