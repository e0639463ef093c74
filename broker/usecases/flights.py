"""The refreshes that are under way: one shared task per account, and the gates that they pass.

Part of ``Context``; used by ``refresh``.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from broker.core.account import Account, Destination
from broker.core.token import Wish
from broker.usecases.line import Line
from broker.usecases.untold import Untold

# Unless the settings say otherwise, this many refreshes at one issuer at a time: more looks like an attack to a small
# server.
PER_ISSUER = 2
# ... and this many in all: a resume from sleep must not become a stampede.
IN_ALL = 8
# Of those that are due, so many times as many are begun as have a place: while one lands, the next reads its rows.
READY = 2


class Gate:
    """Lets so many pass at a time.

    Args:
        places: how many.
        rank: tells where an account's refresh stands: the lowest goes first. It may change while it stands here.
    """

    def __init__(self, places: int, rank: Callable[[str], tuple[int, int]]) -> None:
        self._free = places
        self._rank = rank
        self._queue: list[tuple[str, asyncio.Future[None]]] = []

    async def enter(self, uuid: str) -> None:
        """Wait for a place."""
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (uuid, turn)
        self._queue.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # the place came together with the cancellation
            else:
                self._queue.remove(entry)
            raise

    def leave(self) -> None:
        """Give the place to the next one."""
        # Whoever was cancelled in this turn of the loop still stands here, and takes no place any more.
        waiting = [entry for entry in self._queue if not entry[1].done()]
        if not waiting:
            self._free += 1
            return
        first = min(waiting, key=lambda entry: self._rank(entry[0]))
        self._queue.remove(first)
        first[1].set_result(None)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A client that its provider refused.

    Attributes:
        attempts: how often in a row, as the accounts count it that were refused with it.
        alone_until: until then no other account of that client asks whether it still is; steady seconds.
    """

    attempts: int
    alone_until: float


@dataclass(slots=True)
class Flights:
    """The refreshes that are under way.

    Attributes:
        per_issuer_places: how many may be at one issuer at a time.
        in_all_places: how many may be under way in all.
        tasks: account uuid -> the task that refreshes it, the last one where several wait for each other. It ends with
            why the provider does not give what was wished for, or empty text. An exchange has a key of its own.
        wishes: account uuid -> what the token of that task is to carry; None for the account's own.
        denied: account uuid and wish -> until when it is not asked for again, epoch seconds, and why.
        grounded: no new flight begins; set when the daemon stops.
        held: no new flight begins for a while: the keys are being changed.
        leaving: uuids of the accounts that are being logged out: what a flight brought now would not be revoked.
        resting: account uuid -> when its next flight may begin by itself, after one that broke and left no trace in
            the row; epoch seconds.
        awaited: uuids of the accounts that an app waits for now.
        begun: account uuid -> its place in the order in which all flights were begun.
        expiring: uuids of the accounts whose lost answer can be asked for again, but not for long.
        line: the accounts that are due and wait for others to land before theirs is begun.
        anew: uuids of the accounts whose answer was just lost and is asked for once more at once.
        flying: uuids of the accounts whose request is sent, or about to be; they are told from what a crash left open.
        unsettled: what the last run left open is not settled yet; until it is, no flight begins.
        unjudged: uuids of the accounts of which that could not be settled, because their provider could not be read or
            is gone. Each look tries again; until then no flight of theirs begins.
        settling: held while it is being settled.
        untold: account uuid -> what became of its last request and could not be written down; that comes first.
        refused: the clients that a provider refused lately, by where their secrets go.
    """

    per_issuer_places: int = PER_ISSUER
    in_all_places: int = IN_ALL
    tasks: dict[str, asyncio.Task[str]] = field(default_factory=dict)
    wishes: dict[str, Wish | None] = field(default_factory=dict)
    denied: dict[str, tuple[float, str]] = field(default_factory=dict)
    grounded: bool = False
    held: bool = False
    leaving: set[str] = field(default_factory=set)
    resting: dict[str, float] = field(default_factory=dict)
    awaited: set[str] = field(default_factory=set)
    begun: dict[str, int] = field(default_factory=dict)
    expiring: set[str] = field(default_factory=set)
    line: Line = field(default_factory=Line)
    anew: set[str] = field(default_factory=set)
    flying: set[str] = field(default_factory=set)
    unsettled: bool = False
    unjudged: set[str] = field(default_factory=set)
    settling: asyncio.Lock = field(default_factory=asyncio.Lock)
    untold: dict[str, Untold] = field(default_factory=dict)
    refused: dict[Destination, Refusal] = field(default_factory=dict)
    _count: int = 0
    _everywhere: Gate | None = None
    _per_issuer: dict[str, Gate] = field(default_factory=dict)
    _one_by_one: dict[str, Gate] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def cleared(self, uuid: str, issuer: str, *, one_by_one: bool) -> AsyncIterator[None]:
        """Wait for a place at the issuer, then for one in all: a crowd at one issuer must not hold all the places.

        Args:
            uuid: the account.
            issuer: whom the refresh will ask.
            one_by_one: what is in the air when the machine stops is lost, so of those it shall be one at the most.
        """
        if self._everywhere is None:
            self._everywhere = Gate(self.in_all_places, self._rank)
        gates = [self._per_issuer.setdefault(issuer, Gate(self.per_issuer_places, self._rank)), self._everywhere]
        if one_by_one:
            gates.insert(0, self._one_by_one.setdefault(issuer, Gate(1, self._rank)))
        passed: list[Gate] = []
        try:
            for gate in gates:
                await gate.enter(uuid)
                passed.append(gate)
            yield
        finally:
            for gate in reversed(passed):
                gate.leave()

    def is_closed(self, uuid: str) -> bool:
        """Whether no flight of this account may begin."""
        return self.grounded or uuid in self.leaving

    def of(self, uuid: str) -> set[asyncio.Task[str]]:
        """Return what is under way for an account: its refresh and its exchanges."""
        return {task for key, task in self.tasks.items() if key.partition(" ")[0] == uuid}

    def _rank(self, uuid: str) -> tuple[int, int]:
        # A login that is about to be lost goes before an app that waits, and that before what is only due. Equals go in
        # the order in which they were begun: not in that of their coming, because each reads its rows on the way.
        return -2 * (uuid in self.expiring) - (uuid in self.awaited), self.begun.get(uuid, 0)

    def add(self, uuid: str, task: asyncio.Task[str], wish: Wish | None = None) -> None:
        """Take in a flight that begins."""
        self._count += 1
        self.begun[uuid] = self._count
        self.tasks[uuid] = task
        self.wishes[uuid] = wish

    def remove(self, uuid: str) -> None:
        """Forget a flight that has ended."""
        del self.tasks[uuid], self.begun[uuid], self.wishes[uuid]
        self.awaited.discard(uuid)
        self.expiring.discard(uuid)

    def next_due(self) -> Account | None:
        """Take the next one from the line; None where it is empty, or enough are on their way.

        At an issuer where they go one by one, all but one of those wait: there shall be enough others then.
        """
        at_one = self.per_issuer_places * READY
        return self.line.take(at_one, self.in_all_places * at_one)

    def deny(self, wish: str, now: float, until: float, why: str) -> None:
        """Remember until when and why a wish is not asked for, and forget those whose time is over."""
        self.denied = {key: denial for key, denial in self.denied.items() if denial[0] > now}
        self.denied[wish] = until, why

    def move(self, seconds: float) -> None:
        """The clock was set: move the times along."""
        for key in self.resting:
            self.resting[key] += seconds
        self.denied = {key: (until + seconds, why) for key, (until, why) in self.denied.items()}

    async def drain(self, seconds: float) -> int:
        """Begin nothing new, wait for what is in the air, and return how many did not land in time."""
        self.grounded = True
        if not self.tasks:
            return 0
        _, flying = await asyncio.wait(self.tasks.values(), timeout=seconds)
        return len(flying)
