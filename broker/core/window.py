"""What is left of one rate limit, as far as it can be known here, and when the next request may go.

Kept by ``usecases.ratelimits``; nothing here looks at a clock. All times are ``Context.steady``.

What the server told last counts, less what has been sent since. Servers count in two ways, and none tells which: all
of a window comes back at once when it ends, or each request when it has become a window old (Funkwhale). So what comes
back is reckoned in both ways: everything at the told reset, and what went through here after a window's length. And
when a limit that was used up opens, one request goes first: its answer tells how many may follow.
"""

import math
from collections import Counter, deque
from dataclasses import dataclass, field

from broker.core import timing
from broker.core.ratelimit import Told

# What went through is remembered in so many parts of a window: exact enough, and no more memory for a large limit.
PARTS = 60
# Servers reckon in whole seconds, and round as they like: where many wait, a second later the window is surely open.
ROUNDING = 1.0
# For so long the first request after an opening is waited for; then the next one may find out.
FIRST_PATIENCE = 5.0
# How long a limit is left alone that is used up while nobody says for how long.
PAUSE = 60.0
# After refusals that name no time: a second, doubled at each, up to the pause above.
FIRST_STRIKE = 1.0
# A wait of which nothing is known but that an answer is about to come.
SOON = 1.0


@dataclass(slots=True)
class Part:
    """What was counted in a part of a window.

    Attributes:
        sent: when the first of it was sent: the server counted nothing of it before.
        since: when the first answer came.
        until: when the last answer came: the server had counted all of it by then.
        by: of whom how much.
    """

    sent: float
    since: float
    until: float
    by: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Window:
    """One rate limit.

    Attributes:
        scope: what is limited together.
        rounding: seconds that are waited beyond what the server says.
        limit: how many requests in a window; None where that is not known.
        length: seconds of a window; None where that is not known.
        left: how many more the server takes, without those that are under way; None where that is not known.
        reset_at: when all of them are free again; None where that is not known.
        opens_at: before this nothing is sent.
        told_at: when the last answer came that told of it.
        flying: of whom how much is under way.
        parts: of whom how much went through here in this window, the oldest first.
    """

    scope: str
    rounding: float = ROUNDING
    limit: int | None = None
    length: float | None = None
    left: int | None = None
    reset_at: float | None = None
    opens_at: float = 0.0
    told_at: float = -math.inf
    flying: Counter[str] = field(default_factory=Counter)
    parts: deque[Part] = field(default_factory=deque)
    _shut: bool = False
    _ajar: bool = False
    _tried_at: float = -math.inf
    _silent_until: float = 0.0
    _strikes: int = 0
    _struck_at: float = -math.inf

    def wait(self, now: float, app: str = "", share: int | None = None) -> float:
        """Return the seconds until a request may go, 0 where it may now.

        Args:
            now: the time.
            app: whose it is.
            share: how many percent of the limit are the most that it may use; None for all of it.
        """
        self._pass(now)
        if now < self.opens_at:
            return self.opens_at - now
        most, under_way = self._most(share), self.flying.total()
        if most is not None and self.used(app) >= most:
            return self._next_free(now, app)
        if self._ajar:
            return max(0.0, self._tried_at + FIRST_PATIENCE - now) if under_way else 0.0
        return self._next_free(now) if self.left is not None and self.left <= under_way else 0.0

    def is_known(self, now: float) -> bool:
        """Whether there is anything to tell about it."""
        return self.limit is not None or self.remaining(now) is not None or self.shut_for(now) > 0

    def is_trying(self, now: float) -> bool:
        """Whether the limit has just opened, and the first request tells how many may follow."""
        self._pass(now)
        return self._ajar

    def shut_for(self, now: float) -> float:
        """Return the seconds for which nothing may be sent, because the server said so; 0 where it may be."""
        self._pass(now)
        return max(0.0, self.opens_at - now)

    def used(self, app: str) -> int:
        """Return how much of the present window an app has used, as far as it went through here."""
        return self.flying[app] + sum(part.by[app] for part in self.parts)

    def remaining(self, now: float) -> int | None:
        """Return how many more requests may be made."""
        self._pass(now)
        return None if self.left is None else max(0, self.left - self.flying.total())

    def take(self, app: str, now: float) -> None:
        """A request goes."""
        self.flying[app] += 1
        if self._ajar:
            self._tried_at = now

    def give_back(self, app: str) -> None:
        """A request that was taken never went."""
        self.flying[app] -= 1
        self.flying += Counter()

    def lost(self, app: str, now: float) -> None:
        """A request went, and no answer came: it may have been counted."""
        self.give_back(app)
        self._count(app, now)

    def answered(
        self, app: str, now: float, sent_at: float, told: Told | None, retry_after: float | None = None
    ) -> None:
        """A request was taken, and its answer has come.

        Args:
            app: whose it was.
            now: the time.
            sent_at: when it went.
            told: what the answer says about this limit; None where it says nothing.
            retry_after: its ``Retry-After``: where nothing is left, the first request is free again then.
        """
        self._pass(now)
        self._ajar, self._strikes = False, 0
        if told is not None:
            self._learn(told, now, sent_at, retry_after, app)
            return
        # Servers tell it at every answer, or never: nothing was counted here. But what was used up is open again.
        if self._shut and now >= self.opens_at:
            self.left, self._shut = None, False

    def refused(self, now: float, sent_at: float, told: Told | None, retry_after: float | None) -> None:
        """A request was refused because of this limit; it does not count.

        Args:
            now: the time.
            sent_at: when it went.
            told: what the answer says about this limit.
            retry_after: after how many seconds the server wants to be asked again, where it says that.
        """
        self._pass(now)
        if told is not None:
            self._learn(told, now, sent_at, retry_after)
        if retry_after is None and (told is None or self.left != 0):
            if sent_at >= self._struck_at:  # what was under way together is refused together, and is one strike
                self._strikes, self._struck_at = self._strikes + 1, now
            retry_after = min(FIRST_STRIKE * 2.0 ** min(self._strikes - 1, 10), PAUSE)
        if retry_after is not None:
            self._silent_until = max(self._silent_until, now + min(retry_after + self.rounding, timing.RETRY_AFTER_CAP))
            self._close(now, 0.0)

    def _pass(self, now: float) -> None:
        """Let time pass: what is old enough is free again."""
        if self.length is not None:
            while self.parts and self.parts[0].until + self.length <= now:
                freed = self.parts.popleft().by.total()
                if self.left is not None:
                    self.left = self.left + freed if self.limit is None else min(self.left + freed, self.limit)
        if self.reset_at is not None and now >= self.reset_at + self.rounding:
            self.left, self.reset_at = self.limit, None
            self.parts.clear()
        self._ajar = self._ajar or (self._shut and now >= self.opens_at)

    def _learn(
        self, told: Told, now: float, sent_at: float, retry_after: float | None, counted: str | None = None
    ) -> None:
        """Take in what an answer says, to a request that is ``counted`` to an app, if it is."""
        self.limit = told.limit if told.limit is not None else self.limit
        self.length = told.window if told.window is not None else self.length
        left, reset = told.remaining, told.reset
        if reset is None and self.length is not None:
            reset = self.length
            if left is not None and left == self.limit:
                left -= 1  # of a window that has just begun it tells the whole: this request is not counted yet
        if reset is not None:
            self.reset_at = now + reset
        if counted is not None:
            self._log(counted, now, sent_at)
        if left is None:
            left = self.limit - sum(part.by.total() for part in self.parts) if self.limit is not None else None
        elif sent_at < self.told_at and self.left is not None and self.left < left:
            # Two were under way together, and nobody knows which of them was counted first: the lower number is right.
            left = self.left
        elif self.length is not None:
            # The server has given that back already, perhaps: it is not to be counted a second time.
            self.parts = deque(part for part in self.parts if part.sent + self.length > now)
        self.left, self.told_at = left, now
        if left is not None and left <= 0:
            free = self._next_free(now)
            self._close(now, free if retry_after is None else min(free, retry_after + self.rounding))
        else:
            self.opens_at = self._silent_until
            self._shut = now < self.opens_at

    def _close(self, now: float, seconds: float) -> None:
        self.opens_at = max(self._silent_until, now + min(seconds, timing.RETRY_AFTER_CAP))
        self._shut, self._ajar = True, False

    def _count(self, app: str, now: float) -> None:
        """Count a request of which the server did not tell whether it did."""
        self._log(app, now, now)
        if self.left is not None:
            self.left = max(0, self.left - 1)
            if self.left == 0:
                self._close(now, self._next_free(now))

    def _log(self, app: str, now: float, sent_at: float) -> None:
        # Without an end of the window nothing would ever be taken out again.
        if self.length is None and self.reset_at is None:
            return
        if not self.parts or now >= self.parts[-1].since + self._part_length:
            self.parts.append(Part(sent_at, now, now))
        part = self.parts[-1]
        part.sent, part.until = min(part.sent, sent_at), now
        part.by[app] += 1

    @property
    def _part_length(self) -> float:
        return math.inf if self.length is None else self.length / PARTS

    def _most(self, share: int | None) -> int | None:
        """Return how many requests a share of the limit is; None where there is no share, or no limit is known."""
        return None if share is None or self.limit is None else max(1, self.limit * share // 100)

    def _next_free(self, now: float, app: str | None = None) -> float:
        """Return the seconds until one more request is free, or one more of an app's."""
        known = [] if self.reset_at is None else [self.reset_at + self.rounding]
        if self.length is not None:
            first = next((part.until for part in self.parts if app is None or part.by[app]), None)
            known += [] if first is None else [first + self.length]
        if not known:
            return SOON if self.flying else PAUSE
        return min(max(min(known) - now, SOON if self.flying else 0.0), timing.RETRY_AFTER_CAP)
