"""The book of rate limits: what each server has said is left, and who waits for more.

Held by ``Context``; used by ``ratelimits``. In memory and bounded: what is forgotten is told again by the next answer.
"""

import asyncio
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from broker.core import ratelimit
from broker.core.window import ROUNDING, Window
from broker.oauth.http import Reply

# Of whom Keyfob's own requests are.
NOBODY = ""
# The name of a limit that the server gives no name.
DEFAULT = "default"
# More accounts and endpoints than a person has, more limits than an API has, and more kinds of requests than a program.
MOST_LINES, MOST_WINDOWS, MOST_ROUTES = 256, 32, 512
# So many requests of one app may wait at one account, and so many of all: the proxy has places for others then.
MOST_OF_APP, MOST_WAITING = 16, 64
# A path that is longer is not remembered.
MOST_PATH = 512
TOO_MANY, UNAVAILABLE, ERRORS = 429, 503, range(400, 600)
# A segment that names one of many: a number, or something long with a digit in it. So "/tracks/5" is as "/tracks/7".
_NUMBER, _LONG = re.compile(r"[0-9]+"), 16


class Closing(Exception):
    """Nobody waits any longer: the daemon stops."""


@dataclass(frozen=True, slots=True)
class Whose:
    """Of whom a request is, and how many percent of a limit are the most that it may use; None for all."""

    app: str
    share: int | None = None


@dataclass(eq=False, slots=True)
class Waiter:
    """A request that has not gone yet.

    Attributes:
        whose: of whom it is.
        route: what kind of request it is, see :func:`route`.
        until: when it gives up.
        turn: done when it may go, with the limits that count it as under way; broken where it may not.
    """

    whose: Whose
    route: str
    until: float
    turn: asyncio.Future[tuple[Window, ...]]


@dataclass(eq=False, slots=True)
class Line:
    """The limits of one account, or of one endpoint, and who stands in line there.

    Attributes:
        rounding: seconds that are waited beyond what the server says.
        windows: scope -> what is left.
        routes: method and path -> the scopes that such a request fell under the last time.
        waiting: app -> its requests in the order of their coming; whose turn it is stands first.
        timer: looks again when the next one may go.
    """

    rounding: float = ROUNDING
    windows: dict[str, Window] = field(default_factory=dict)
    routes: OrderedDict[str, tuple[str, ...]] = field(default_factory=OrderedDict)
    waiting: OrderedDict[str, deque[Waiter]] = field(default_factory=OrderedDict)
    timer: asyncio.TimerHandle | None = None

    def under(self, route: str) -> tuple[Window, ...]:
        """Return the limits that a request will fall under, as far as that is known.

        No server tells before. Such requests fell under these the last time; of one that was never seen it is only
        known that it falls under a limit without a name, if there is one. It goes, and its answer tells.
        """
        return tuple(self.windows[scope] for scope in self.routes.get(route, (DEFAULT,)) if scope in self.windows)

    def wait(self, waiter: Waiter, now: float) -> float:
        """Return the seconds until a request may go, 0 where it may now."""
        whose = waiter.whose
        return max((window.wait(now, whose.app, whose.share) for window in self.under(waiter.route)), default=0.0)

    def has_place(self, app: str) -> bool:
        """Whether one more request of an app may wait."""
        mine = len(self.waiting.get(app, ()))
        return mine < MOST_OF_APP and sum(map(len, self.waiting.values())) < MOST_WAITING

    def stand(self, waiter: Waiter) -> None:
        """A request stands in line."""
        self.waiting.setdefault(waiter.whose.app, deque()).append(waiter)

    def leave(self, waiter: Waiter) -> None:
        """A request stands in line no longer."""
        mine = self.waiting.get(waiter.whose.app)
        if mine is not None and waiter in mine:
            mine.remove(waiter)
            if not mine:
                del self.waiting[waiter.whose.app]

    def let_go(self, now: float) -> None:
        """Let go who may: one of each app after the other; tell those whose time is over, or will be too soon."""
        went = True
        while went:
            went = False
            for app in tuple(self.waiting):
                # Of its requests the first that may: those before it fall under another limit.
                here = (waiter for waiter in self.waiting[app] if not waiter.turn.done())  # or just cancelled
                first = next((waiter for waiter in here if self.wait(waiter, now) <= 0), None)
                if first is not None:
                    self.leave(first)
                    if app in self.waiting:
                        self.waiting.move_to_end(app)
                    windows = self.under(first.route)
                    for window in windows:
                        window.take(app, now)
                    first.turn.set_result(windows)
                    went = True
        for waiter in self._everybody():
            shut = max((window.shut_for(now) for window in self.under(waiter.route)), default=0.0)
            if waiter.until <= now + shut:
                self.leave(waiter)
                waiter.turn.set_exception(TimeoutError())

    def next_look(self, now: float) -> float | None:
        """Return the seconds until somebody may go or gives up; None where nobody waits."""
        return min((min(self.wait(waiter, now), waiter.until - now) for waiter in self._everybody()), default=None)

    def close(self) -> None:
        """Send everybody away."""
        for waiter in self._everybody():
            self.leave(waiter)
            waiter.turn.set_exception(Closing())
        if self.timer is not None:
            self.timer.cancel()

    def heard(self, answer: "Heard", taken: Iterable[Window]) -> None:
        """Take in an answer.

        Args:
            answer: what came.
            taken: the limits that it was thought to fall under, and that count it as under way.
        """
        told = {found.scope or DEFAULT: found for found in ratelimit.read(answer.headers, answer.received_at)}
        thought = {window.scope: window for window in taken}
        for window in thought.values():
            window.give_back(answer.app)
        used_up = {scope for scope, found in told.items() if found.remaining == 0}
        after = ratelimit.retry_after(answer.headers, answer.received_at)
        # A status of one's own for "too fast" is known by that nothing is left (Funkwhale 500, GitHub 403).
        refused = (
            answer.status == TOO_MANY
            or (answer.status == UNAVAILABLE and after is not None)
            or (answer.status in ERRORS and bool(used_up))
        )
        if told:
            self._learn(answer.route, tuple(told))
        concerned = {scope: self.window(scope) for scope in told} or thought
        if refused and not concerned:
            concerned = {DEFAULT: self.window(DEFAULT)}
            self._learn(answer.route, (DEFAULT,))
        for scope, window in concerned.items():
            if refused and (scope in used_up or not used_up):
                window.refused(answer.now, answer.sent_at, told.get(scope), after)
            else:
                window.answered(answer.app, answer.now, answer.sent_at, told.get(scope), after)

    def _everybody(self) -> list[Waiter]:
        return [waiter for mine in self.waiting.values() for waiter in mine if not waiter.turn.done()]

    def window(self, scope: str) -> Window:
        """Return what is left of a limit; of one that is new, nothing is known."""
        if scope not in self.windows:
            if len(self.windows) >= MOST_WINDOWS:
                # One that nobody has heard of for the longest time, and that nothing is under way for.
                idle = [window for window in self.windows.values() if not window.flying] or [*self.windows.values()]
                del self.windows[min(idle, key=lambda window: window.told_at).scope]
            self.windows[scope] = Window(scope, self.rounding)
        return self.windows[scope]

    def _learn(self, route: str, scopes: tuple[str, ...]) -> None:
        if not route:
            return
        self.routes[route] = scopes
        self.routes.move_to_end(route)
        if len(self.routes) > MOST_ROUTES:
            self.routes.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer, as far as the book is concerned.

    Attributes:
        app: whose request it was.
        route: see :func:`route`; empty where that is not known.
        status: HTTP status.
        headers: by lower-case name, several of one name joined with commas.
        received_at: when it came, epoch seconds.
        now: the same by ``Context.steady``.
        sent_at: when the request went, by the same.
    """

    app: str
    route: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    received_at: float
    now: float
    sent_at: float


@dataclass(slots=True)
class Book:
    """All lines.

    Attributes:
        accounts: account uuid -> its line.
        endpoints: address that Keyfob itself asks -> its line.
        ahead: address that Keyfob itself asks -> by how many seconds its steady clock is ahead of the server's, as the
            newest answer of that address has shown it.
        closing: the daemon stops.
    """

    accounts: OrderedDict[str, Line] = field(default_factory=OrderedDict)
    endpoints: OrderedDict[str, Line] = field(default_factory=OrderedDict)
    ahead: OrderedDict[str, float] = field(default_factory=OrderedDict)
    closing: bool = False

    def by_server(self, url: str, at: float) -> float | None:
        """Return what the clock of the server at an address showed at a steady moment; None where nobody knows."""
        ahead = self.ahead.get(_where(url))
        return None if ahead is None else at - ahead

    def of_account(self, uuid: str) -> Line:
        """Return the line of an account."""
        return _kept(self.accounts, uuid, ROUNDING)

    def silence(self, url: str, now: float) -> float:
        """Return the seconds for which Keyfob itself does not ask an address; 0 where it may."""
        line = self.endpoints.get(_where(url))
        return 0.0 if line is None else max((window.shut_for(now) for window in line.windows.values()), default=0.0)

    def silences(self, now: float) -> dict[str, float]:
        """Return the addresses, without a query, that Keyfob itself does not ask, and for how many seconds."""
        found = {where: self.silence(where, now) for where in self.endpoints}
        return {where: seconds for where, seconds in found.items() if seconds > 0}

    def be_silent(self, url: str, now: float, seconds: float) -> None:
        """Leave an address alone for so long, or for longer where it has said so: answers may overtake each other."""
        _kept(self.endpoints, _where(url), 0.0).window(DEFAULT).refused(now, now, None, seconds)

    def close(self) -> None:
        """Send everybody away, and let nobody wait from now on."""
        self.closing = True
        for line in self.accounts.values():
            line.close()


class Own:
    """The book as ``oauth.http`` uses it, for what Keyfob itself asks.

    Args:
        book: the book.
        steady: the time, ``Context.steady``.
    """

    def __init__(self, book: Book, steady: Callable[[], float]) -> None:
        self._book = book
        self._steady = steady

    def wait(self, url: str) -> float:
        """Return the seconds for which an address is not to be asked; 0 where it may be."""
        return self._book.silence(url, self._steady())

    def heard(self, url: str, reply: Reply, sent_at: float) -> None:
        """Take in an answer of that address to a request that was sent then, epoch seconds."""
        now, ahead = self._steady(), self._book.ahead
        ahead.pop(_where(url), None)
        if "date" in reply.headers:
            ahead[_where(url)] = now - reply.received_at + reply.ahead
            if len(ahead) > MOST_LINES:
                ahead.popitem(last=False)
        sent = now - max(0.0, reply.received_at - sent_at)
        said = Heard(NOBODY, "", reply.status, reply.headers, reply.received_at, now, sent)
        says = reply.status in (TOO_MANY, UNAVAILABLE) or ratelimit.read(reply.headers, reply.received_at)
        if says or _where(url) in self._book.endpoints:
            _kept(self._book.endpoints, _where(url), 0.0).heard(said, ())


def route(method: str, path: str) -> str:
    """Return what requests have in common that fall under the same limit, as far as can be seen."""
    path = path.partition("?")[0]
    if len(path) > MOST_PATH:
        return ""
    parts = [part for part in path.split("/") if part]
    return " ".join((method, "/".join("*" if _is_one_of_many(part) else part for part in parts)))


def _where(url: str) -> str:
    """Return an address without its query, which may hold anything."""
    return url.partition("?")[0]


def _is_one_of_many(part: str) -> bool:
    return _NUMBER.fullmatch(part) is not None or (len(part) >= _LONG and any(c.isdigit() for c in part))


def _kept(lines: OrderedDict[str, Line], key: str, rounding: float) -> Line:
    """Return a line, and forget the one that was not used for the longest time where there are too many."""
    line = lines.setdefault(key, Line(rounding))
    lines.move_to_end(key)
    if len(lines) > MOST_LINES:
        idle = next((name for name, kept in lines.items() if not kept.waiting and kept is not line), None)
        if idle is not None:
            del lines[idle]
    return line
