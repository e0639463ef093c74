"""How fast apps may ask, and how often somebody may try a key that is none.

Held by ``Context``; asked by the guard of the app doors. All times are ``Context.steady``, which setting the clock does
not move; a stop forgets everything. The owner on the socket has no limit.

A right key is always answered, whoever tries wrong ones beside it: keys are told apart before anybody is turned away,
so nobody can lock an app out. What has to wait are wrong ones. The 256 bits of a key cannot be guessed anyway; the wait
slows down a program that asks with an old key in a loop, and tells whoever wrote it.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

# Requests of one app in a second, and how many at once: more than a program needs that asks before each use.
RATE, BURST = 50, 200
# Wrong keys that have no consequence: somebody is mending a configuration.
FREE_TRIES = 20
# The first wait after those, in seconds; each wrong key that comes after a wait doubles it, up to the longest.
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
# Whoever brought no wrong key for so many seconds begins anew.
FORGIVEN = 600.0
# Of an app that is slowed down somebody is told once in so many seconds.
TELL_EVERY = 60.0


@dataclass(slots=True)
class Bucket:
    """What is left of an app's requests (a token bucket).

    Attributes:
        left: how many it may make at once.
        at: when that was.
        told_at: when somebody was last told that it is slowed down; None: never.
    """

    left: float
    at: float
    told_at: float | None = None


@dataclass(slots=True)
class Tries:
    """The wrong keys of one user, or of one door.

    Attributes:
        count: how many in a row, those that came during a wait aside.
        at: when the last one came that was counted.
        until: before this every further one is too many.
    """

    count: int = 0
    at: float = 0.0
    until: float = 0.0


@dataclass(slots=True)
class Limits:
    """How fast apps may ask.

    Attributes:
        rate: requests of one app in a second; 0: no limit.
        burst: how many at once.
        buckets: app name -> what is left. Only apps that have proved themselves are in it.
        tries: who -> the wrong keys that came from there: a user of this machine, or a door where nobody knows.
    """

    rate: int = RATE
    burst: int = BURST
    buckets: dict[str, Bucket] = field(default_factory=dict)
    tries: dict[Hashable, Tries] = field(default_factory=dict)

    def wait_of(self, app: str, now: float) -> float:
        """Take one request from an app's bucket; return the seconds until it may make one, 0 where it may now."""
        if not self.rate:
            return 0.0
        bucket = self.buckets.setdefault(app, Bucket(self.burst, now))
        bucket.left = min(self.burst, bucket.left + max(0.0, now - bucket.at) * self.rate)
        bucket.at = now
        if bucket.left >= 1.0:
            bucket.left -= 1.0
            return 0.0
        return (1.0 - bucket.left) / self.rate

    def is_news(self, app: str, now: float) -> bool:
        """Whether it is time to tell somebody that an app is slowed down; then it has been told."""
        bucket = self.buckets[app]
        if bucket.told_at is not None and now - bucket.told_at < TELL_EVERY:
            return False
        bucket.told_at = now
        return True

    def wrong_key(self, who: Hashable, now: float) -> float:
        """Count a wrong key; return the seconds until another one is looked at, 0 where this one was just wrong."""
        tries = self.tries.setdefault(who, Tries())
        if now < tries.until:
            return tries.until - now
        if now - tries.at >= FORGIVEN:
            tries.count = 0
        tries.count, tries.at = tries.count + 1, now
        if tries.count > FREE_TRIES:
            doubled = 2.0 ** min(tries.count - FREE_TRIES - 1, 10)
            tries.until = now + min(FIRST_WAIT * doubled, LONGEST_WAIT)
        return 0.0
