"""What happened at the practice provider, in order and countable.

Written by ``wire`` and ``control``; read by tests, ``keyfob practice``, ``keyfob demo`` and ``GET /practice/log``.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass

KEPT = 100_000  # events; a crash rehearsal of 400 accounts for ten minutes makes half of that


@dataclass(frozen=True, slots=True)
class Event:
    """One request, or one thing that a person decided. It never holds a token, only fingerprints.

    Attributes:
        at: epoch seconds by the provider's clock.
        kind: an endpoint of ``kinds.ENDPOINTS``, or ``consent``, ``faults``, ``revoke_grants``.
        result: ``ok``; ``asked``, ``allowed`` or ``denied`` for consent; ``grace`` for a spent refresh token inside
            its grace; ``reuse`` for one outside; ``not processed`` where a fault took its place; else the OAuth error.
        client: the client id, or empty.
        grant: the id of the grant, the same for all tokens of one login, or empty.
        refresh_token: fingerprint of the refresh token that came in, or empty.
        issued_refresh_token: fingerprint of the refresh token that went out, or empty.
        faults: the specs that happened to it.
        resource: the ``resource`` parameter that came in (RFC 8707), or empty.
    """

    at: float
    kind: str
    result: str
    client: str = ""
    grant: str = ""
    refresh_token: str = ""
    issued_refresh_token: str = ""
    faults: tuple[str, ...] = ()
    resource: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return what ``GET /practice/log`` shows."""
        return asdict(self)


class EventLog:
    """The events of one provider; safe to read from other threads."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._changed = threading.Condition()
        self._subscribers: list[Callable[[Event], None]] = []

    def add(self, event: Event) -> None:
        """Write an event down, wake who waits for it, and tell the subscribers."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()
            subscribers = tuple(self._subscribers)
        for subscriber in subscribers:
            subscriber(event)

    def subscribe(self, subscriber: Callable[[Event], None]) -> None:
        """Have every further event handed over, in the provider's own thread."""
        with self._changed:
            self._subscribers.append(subscriber)

    def all(self, kind: str = "", result: str = "") -> list[Event]:
        """Return the events so far, oldest first, only those of a kind and a result where given."""
        with self._changed:
            return self._matching(kind, result)

    def wait_for(self, kind: str, count: int = 1, *, result: str = "", timeout: float = 10.0) -> list[Event]:
        """Wait until there are ``count`` events of a kind, and return all of that kind.

        Not for the thread that the provider runs in.

        Raises:
            TimeoutError: they did not happen within ``timeout`` real seconds; says what did.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._matching(kind, result)) >= count, timeout):
                seen = ", ".join(f"{event.kind}={event.result}" for event in self._events) or "nothing"
                raise TimeoutError(f"{count} x {kind} {result} did not happen within {timeout:g} s; seen: {seen}")
            return self._matching(kind, result)

    def _matching(self, kind: str, result: str) -> list[Event]:
        return [event for event in self._events if kind in ("", event.kind) and result in ("", event.result)]
