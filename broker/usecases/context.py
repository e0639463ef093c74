"""What every story needs: the collaborators, named once.

Built by ``daemon``; passed to each use case as its first argument.
"""

import asyncio
import contextlib
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from broker.core.login import DevicePrompt
from broker.core.policy import App
from broker.errors import InvalidRequest
from broker.events import Event, Events, Kind
from broker.oauth.http import Http
from broker.oauth.idtoken import Jwks
from broker.oauth.upstream import Upstream
from broker.oauth.wire import Answered
from broker.store.keys import KeySource
from broker.store.store import Mark, Store, TakenLogin
from broker.usecases.book import Book, Own
from broker.usecases.checkup import Checkup
from broker.usecases.desk import Desk
from broker.usecases.flights import Flights
from broker.usecases.handouts import Handouts
from broker.usecases.limits import Limits
from broker.usecases.links import Links
from broker.usecases.ration import Ration
from broker.usecases.sessions import Sessions
from broker.usecases.streams import Streams

Name = TypeVar("Name", bound=Hashable)
Found = TypeVar("Found")

# Programs times accounts is what there is of them; who varies the request to fill a memory begins anew.
MOST_KEPT = 1024


@dataclass(slots=True)
class Schedule:
    """What the scheduler is up to, for health and status.

    Attributes:
        started_at: when the daemon started, by the clock as it was then, epoch seconds; 0 where nobody said.
        last_tick_at: when it last looked, epoch seconds; 0 before the first time.
        last_tick: when it last began to look, by the event loop's clock: it stands still while the machine sleeps, as
            the timers do; 0 before the first time.
        next_tick_at: when it will look again.
        moved: by how many seconds the clock was set since the start, all in all.
        landing: how many answers are on their way into the store, with times by the clock as it is.
        moving: held while the times in the store are moved.
    """

    started_at: float = 0.0
    last_tick_at: float = 0.0
    last_tick: float = 0.0
    next_tick_at: float = 0.0
    moved: float = 0.0
    landing: int = 0
    moving: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class Lacking:
    """What the API of an account wants a token to have beside what the login brought.

    Attributes:
        since: since when that is known, epoch seconds.
        scopes: by name; empty where it did not say.
    """

    since: float
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment by the clock as it was then."""

    at: float
    moved: float


@dataclass(frozen=True, slots=True)
class Since:
    """A moment before something was read, by which can be told whether that still is as it was read.

    Attributes:
        at: epoch seconds.
        mark: of the store.
        moment: likewise.
        moved: by how much the clock had been set by then.
    """

    at: float
    mark: Mark
    moment: int
    moved: float


@dataclass(frozen=True, slots=True)
class Kept(Generic[Found]):
    """What was found out, and is so for whoever asks next while nothing changes but other accounts' tokens.

    Attributes:
        found: it.
        since: from before anything was read for it.
        until: as long as nothing changes, it is so until then, epoch seconds.
        account: the uuid of the account that it is about, or empty.
    """

    found: Found
    since: Since
    until: float
    account: str


@dataclass(slots=True)
class Poll:
    """How the polling of one device login stands.

    Attributes:
        since: when the last poll was over, or the waiting began.
        interval: seconds between two polls while all is well.
        wait: seconds from ``since`` to the next one.
        prompt: what the person is shown.
        failures: how many polls in a row brought no proper answer.
        flying: one is under way.
        answer: the login, the token that came for it, and when that was asked for, while the database does not take it.
    """

    since: Moment
    interval: float
    wait: float
    prompt: DevicePrompt
    failures: int = 0
    flying: bool = False
    answer: tuple[TakenLogin, Answered, Moment] | None = None


@dataclass(slots=True)
class Names:
    """Which names of accounts are spoken for, beside those in the store.

    Attributes:
        changing: held while an account gets another name, and while something is done by a name that must not become
            another account's meanwhile.
        held: name -> how many logins on their way use it.
    """

    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    held: Counter[str] = field(default_factory=Counter)


def _no_source(kind: str) -> KeySource:
    raise InvalidRequest(f"There is no key source '{kind[:50]}' here.")


@dataclass(slots=True)
class Latch:
    """When Keyfob locks by itself, and what it still waits for before it forgets the key.

    Attributes:
        idle: seconds without use after which it locks; 0: never.
        on_sleep: it locks when the machine has slept.
        used_at: when it was last used, by :meth:`Context.steady`.
        slept: for how long the machine had slept when somebody last looked, seconds.
        work: what may bring an answer that has to be sealed, beside refreshes and logins; each ends with its work.
        forgetting: the task that forgets the key once all that has ended.
    """

    idle: float = 0.0
    on_sleep: bool = False
    used_at: float = 0.0
    slept: float = 0.0
    work: set[asyncio.Future[None]] = field(default_factory=set)
    forgetting: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """The collaborators of every story.

    Attributes:
        store: what we remember.
        http: the way out to providers.
        jwks: the providers' public keys, cached.
        events: where news is published.
        clock: the wall clock held steady, epoch seconds.
        ahead: tells by how many seconds the machine's clock was set since ``clock`` last went by it.
        shift: lets ``clock`` go by it again, that many seconds on.
        rng: for jitter only; secrets come from the system.
        browser_url: the browser door, ``http://127.0.0.1:PORT``.
        localhost_squatted: another program listens at the browser door's port on [::1], so that a browser may find it
            there under the name ``localhost``.
        presets_dir: a person's own preset files.
        token_dir: where the token files of apps lie; None where none are kept.
        flights: the refreshes under way.
        offers: account uuid -> id of the login that a refused caller was last pointed to and nobody has opened yet.
        offering: account uuid -> a lock, so that callers who are refused together are pointed to one login.
        links: addresses that begin a login when they are opened.
        finishing: ids of logins whose code is being exchanged; the task is kept so that it is not collected.
        polls: login id -> how its polling stands, for the device logins under way.
        names: which names of accounts are spoken for.
        registering: provider name -> a lock, so that two logins do not register two clients.
        ration: how often Keyfob registers itself, and asks again where it was refused.
        desk: what programs ask the owner for.
        limits: how fast apps may ask, and who brought wrong keys.
        rates: what the providers' rate limits leave, and who waits for more.
        streams: what is under way through the proxy.
        upstream: the connections to APIs, for the proxy.
        handouts: what was handed out and is not written down yet.
        standing: the request -> an answer that may be given to it again: see ``web.standing``.
        known: the hash of a key -> the app that it is of: see ``apps``.
        seldom: what was read that seldom changes, by what it is: see ``unchanged``.
        ways: caller and account -> where requests through the proxy go: see ``forward``.
        lacking: account uuid -> what its API refused a request for, and no login has brought since: see ``stepup``.
        sessions: who is signed in at the web page.
        checkup: what the doctor says of the machine.
        schedule: what the scheduler is up to.
        latch: when it locks by itself, and what that waits for.
        source: makes a key source of its kind, as the settings describe it.
        slept: tells for how many seconds the machine has slept, all in all.
        doors: door name -> where it listens.
        wake: tells the scheduler that something became due sooner.
        sweep: tells it to look whether anything was changed outside Keyfob.
    """

    store: Store
    http: Http
    jwks: Jwks
    events: Events
    clock: Callable[[], float]
    rng: random.Random
    browser_url: str
    localhost_squatted: bool = False
    presets_dir: Path | None = None
    token_dir: Path | None = None
    ahead: Callable[[], float] = lambda: 0.0
    shift: Callable[[float], None] = lambda _: None
    flights: Flights = field(default_factory=Flights)
    offers: dict[str, str] = field(default_factory=dict)
    offering: dict[str, asyncio.Lock] = field(default_factory=dict)
    links: Links = field(default_factory=Links)
    finishing: set[asyncio.Task[Any]] = field(default_factory=set)
    polls: dict[str, Poll] = field(default_factory=dict)
    names: Names = field(default_factory=Names)
    registering: dict[str, asyncio.Lock] = field(default_factory=dict)
    ration: Ration = field(default_factory=Ration)
    desk: Desk = field(default_factory=Desk)
    limits: Limits = field(default_factory=Limits)
    rates: Book = field(default_factory=Book)
    streams: Streams = field(default_factory=Streams)
    upstream: Upstream = field(default_factory=Upstream)
    handouts: Handouts = field(default_factory=Handouts)
    standing: dict[bytes, Kept[Any]] = field(default_factory=dict, repr=False)
    known: dict[bytes, Kept[App]] = field(default_factory=dict, repr=False)
    seldom: dict[str, Kept[Any]] = field(default_factory=dict, repr=False)
    ways: dict[tuple[bytes, str], Kept[Any]] = field(default_factory=dict, repr=False)
    lacking: dict[str, Lacking] = field(default_factory=dict)
    sessions: Sessions = field(default_factory=Sessions)
    checkup: Checkup = field(default_factory=Checkup)
    schedule: Schedule = field(default_factory=Schedule)
    latch: Latch = field(default_factory=Latch)
    source: Callable[[str], KeySource] = _no_source
    slept: Callable[[], float] = lambda: 0.0
    doors: dict[str, str] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    sweep: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Let the way out ask the book before each request, and tell it of each answer."""
        self.http.rates = Own(self.rates, self.steady)

    def sent(self) -> Moment:
        """Return now, as a moment that can still be told when the clock has been set meanwhile."""
        return Moment(self.clock(), self.schedule.moved)

    def since(self) -> Since | None:
        """Return now, to be told later whether anything has changed since; None where nobody can tell."""
        mark = None if self.store.locked else self.store.new_mark()
        return None if mark is None else Since(self.clock(), mark, self.store.moment, self.schedule.moved)

    def keep(
        self,
        memory: dict[Name, Kept[Found]],
        name: Name,
        found: Found | None,
        since: Since | None,
        until: float,
        account: str = "",
    ) -> None:
        """Keep what was found out, or forget what was kept where that is nothing.

        Nothing is kept that came while Keyfob was locked. The arguments are as ``Kept`` has them.
        """
        memory.pop(name, None)
        if found is None or since is None or self.store.locked:
            return
        if len(memory) >= MOST_KEPT:
            memory.clear()
        memory[name] = Kept(found, since, until, account)

    def recall(self, memory: dict[Name, Kept[Found]], name: Name) -> tuple[Found, float] | None:
        """Return what was kept and still is so, and the time, which is now; None where all is to be looked at anew."""
        kept = memory.get(name)
        if kept is None:
            return None
        now, since = self.clock(), kept.since
        if not since.at <= now < kept.until or self.store.locked or since.moved != self.schedule.moved:
            return None
        if self.store.mark() != since.mark or self.store.touched(kept.account) > since.moment:
            return None
        return kept.found, now

    async def unchanged(self, what: str, read: Callable[[], Awaitable[Found]]) -> Found:
        """Read what seldom changes, and holds no secret; where nothing has changed, what was read the last time."""
        if (kept := self.recall(self.seldom, what)) is not None:
            known: Found = kept[0]
            return known
        since = self.since()
        found = await read()
        self.keep(self.seldom, what, found, since, math.inf)
        return found

    def forget_in_clear(self) -> None:
        """Forget the tokens that are kept in clear for the next request, and who asked with which key."""
        self.standing.clear()
        self.ways.clear()
        self.known.clear()

    def steady(self) -> float:
        """Return now in seconds that setting the clock does not change: for waits that are not in the store."""
        return self.clock() - self.schedule.moved

    def when(self, moment: Moment) -> float:
        """Return by today's clock when a moment was, in epoch seconds."""
        return moment.at + self.schedule.moved - moment.moved

    def by_server(self, url: str, moment: float) -> float | None:
        """Return what a server's clock showed at a moment by ours, as its newest answer tells, if it does."""
        return self.rates.by_server(url, moment - self.schedule.moved)

    @contextlib.asynccontextmanager
    async def landing(self) -> AsyncIterator[None]:
        """Hold the clock as it is, from the moment that an answer's times are told until they are written down."""
        async with self.schedule.moving:
            self.schedule.landing += 1
        try:
            yield
        finally:
            self.schedule.landing -= 1

    def publish(
        self,
        kind: Kind,
        account: str = "",
        *,
        app: str = "",
        detail: str = "",
        login: str = "",
        generation: int = 0,
        retry_at: float | None = None,
        next_step: str = "",
    ) -> None:
        """Publish an event that happened now."""
        self.events.publish(Event(kind, self.clock(), account, app, detail, login, generation, retry_at, next_step))
