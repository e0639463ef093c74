"""How often Keyfob asks providers for favours that they count: registrations, and their metadata.

Held by ``Context``; used by ``registrations`` and ``rediscovery``. A stop forgets it.
"""

import time
from collections import deque
from dataclasses import dataclass, field

from broker.core.timing import RETRY_AFTER_CAP

# Registrations of all providers in an hour: more than a person begins, fewer than a flood (security.md R41).
MOST = 10
WINDOW = 3600.0
# How long something is left alone after it failed and nobody said for how long.
PAUSE = 3600.0


@dataclass(slots=True)
class Ration:
    """What was asked lately; times are ``Context.steady``.

    Attributes:
        registered: when Keyfob registered itself, the latest of them.
        until: what is left alone -> until when.
    """

    registered: deque[float] = field(default_factory=lambda: deque(maxlen=MOST))
    until: dict[str, float] = field(default_factory=dict)

    def full_until(self, now: float) -> float | None:
        """Return until when no further registration is sent, or None where one may be."""
        if len(self.registered) < MOST or self.registered[0] + WINDOW <= now:
            return None
        return self.registered[0] + WINDOW

    def left_alone_until(self, what: str, now: float) -> float | None:
        """Return until when something is left alone, or None where it may be asked."""
        until = self.until.get(what, 0.0)
        return until if until > now else None

    def leave_alone(self, what: str, now: float, seconds: float | None = None) -> float:
        """Leave something alone for so long, an hour at the most, or for the usual time; return until when."""
        self.until[what] = now + (PAUSE if seconds is None else min(seconds, RETRY_AFTER_CAP))
        return self.until[what]


def moment(at: float) -> str:
    """Write a moment for people."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
