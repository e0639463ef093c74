"""What happened to a token, told to whoever listens.

Published by the use cases; listened to by the event stream, waiting logins, the demo and the audit.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "login-started",
    "logged-in",
    "login-failed",
    "refreshed",
    "refresh-failed",
    "needs-login",
    "misconfigured",
    "uncertain",
    "suspect",
    "handed-out",
    "rejected",
    "logged-out",
    "renamed",
    "api-base-set",
    "app-added",
    "app-removed",
    "app-rotated",
    "granted",
    "grant-revoked",
    "approval-asked",
    "approval-allowed",
    "approval-denied",
    "provider-added",
    "provider-removed",
    "provider-discovered",
    "refresh-forced",
    "started",
    "locked",
    "backed-up",
    "adopted",
    "clock-set",
    "unlocked",
    "keys-rotated",
    "changed-outside",
    "throttled",
    "scope-needed",
]
# What comes by the thousand: most listeners do without.
COUNTED: tuple[Kind, ...] = ("handed-out",)

# A listener that reads nothing for so many events is told that it missed some; nobody waits for it.
BACKLOG = 256


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: what.
        at: epoch seconds.
        account: the account's name, or empty.
        app: who asked, or empty where nobody did.
        detail: safe words for people.
        login: id of the login it belongs to, or empty.
        generation: the token's generation, or 0.
        retry_at: of a refresh that failed: when Keyfob will ask again by itself, or None.
        next_step: what a person can do, where that does not follow from the kind; else empty.
    """

    kind: Kind
    at: float
    account: str = ""
    app: str = ""
    detail: str = ""
    login: str = ""
    generation: int = 0
    retry_at: float | None = None
    next_step: str = ""


class Subscription:
    """What one listener has not read yet.

    Args:
        without: kinds that it does not want to hear of.
        only: the kinds that it wants to hear of; None for all others.
        backlog: how many it may leave unread.
    """

    def __init__(
        self, without: Collection[Kind] = (), only: Collection[Kind] | None = None, backlog: int = BACKLOG
    ) -> None:
        self._queue: deque[Event] = deque(maxlen=backlog)
        self._without = without
        self._only = only
        self._news = asyncio.Event()
        self._closed = False
        self.missed = 0

    def put(self, event: Event) -> None:
        """Add an event; the oldest gives way when the listener is far behind."""
        if not self.wants(event.kind):
            return
        self.missed += len(self._queue) == self._queue.maxlen
        self._queue.append(event)
        self._news.set()

    def wants(self, kind: Kind) -> bool:
        """Whether the listener hears of that kind."""
        return kind not in self._without and (self._only is None or kind in self._only)

    def close(self) -> None:
        """Let the listener end once it has read what is there."""
        self._closed = True
        self._news.set()

    async def next(self, timeout: float | None = None) -> Event | None:  # noqa: ASYNC109 -- None is an answer here
        """Return the next event; None when ``timeout`` seconds passed or the bus was closed."""
        while not self._queue:
            if self._closed:
                return None
            self._news.clear()
            try:
                # Not wait_for: on Python 3.11 a cancellation that comes together with the news would be lost in it.
                async with asyncio.timeout(timeout):
                    await self._news.wait()
            except TimeoutError:
                return None
        return self._queue.popleft()

    def ready(self) -> Event | None:
        """Return the next event if it is there already, or None."""
        return self._queue.popleft() if self._queue else None

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._closed and not self._queue

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (event := await self.next()) is not None:
            yield event


class Events:
    """The place where events are published and listened to, within one event loop.

    Attributes:
        counts: how many of each kind were published so far, but for those that come by the thousand: they are
            counted elsewhere, and not even made where nobody listens.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._listeners: set[Subscription] = set()
        self._wanted: dict[Kind, bool] = {}
        self._closed = False

    def publish(self, event: Event) -> None:
        """Tell every listener; never waits."""
        if event.kind not in COUNTED:
            self.counts[event.kind] += 1
        for listener in self._listeners:
            listener.put(event)

    def wants(self, kind: Kind) -> bool:
        """Whether anybody hears of that kind: what comes by the thousand need not be made for nobody."""
        wanted = self._wanted.get(kind)
        if wanted is None:
            wanted = self._wanted[kind] = any(listener.wants(kind) for listener in self._listeners)
        return wanted

    @contextmanager
    def listen(
        self, *, without: Collection[Kind] = (), only: Collection[Kind] | None = None, backlog: int = BACKLOG
    ) -> Iterator[Subscription]:
        """Listen for the length of the ``with`` block, to all but some kinds, or to some only."""
        subscription = Subscription(without, only, backlog)
        if self._closed:
            subscription.close()
        self._listeners.add(subscription)
        self._wanted.clear()
        try:
            yield subscription
        finally:
            self._listeners.discard(subscription)
            self._wanted.clear()

    def close(self) -> None:
        """End every listener, so that open streams do not hold up a stop."""
        self._closed = True
        for listener in self._listeners:
            listener.close()
