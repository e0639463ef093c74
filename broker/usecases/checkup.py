"""What the doctor says of the machine, for the owner's page.

Part of ``Context``. The command line knows how to look; ``daemon`` is given that.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from broker.core.finding import Finding

# The page is drawn anew at every event; files, modes and units do not change as often.
LASTS = 30.0


@dataclass(slots=True)
class Checkup:
    """A look at the machine, and what it last found.

    Attributes:
        look: reads files and asks systemd; takes tens of milliseconds, so it has a thread of its own.
        turn: one look at a time.
        found: what it found, and until when that counts, steady seconds.
    """

    look: Callable[[], Sequence[Finding]] = tuple
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    found: tuple[tuple[Finding, ...], float] = ((), 0.0)

    async def findings(self, now: float) -> tuple[Finding, ...]:
        """Return what there is to say, at the most half a minute old.

        Args:
            now: steady seconds.
        """
        async with self.turn:
            found, until = self.found
            if not until - LASTS <= now < until:
                found = tuple(await asyncio.to_thread(self.look))
                self.found = (found, now + LASTS)
            return found
