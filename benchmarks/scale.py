"""What the daemon costs with a hundred thousand accounts, against the same daemon with ten, in the same run.

Started by ``benchmarks``, or by hand: ``python -m benchmarks.scale [ACCOUNTS]``. Two daemons, each with a database of
its own that the store itself has filled: tokens that end within hours or days, some logins that a person has to mend.
Guard, grant and audit are on. Takes about five minutes, one of them for the filling and one for watching idle daemons.
"""

import asyncio
import contextlib
import http.client
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, insert

from benchmarks.fill import copies, grants, opened
from benchmarks.page import Page
from benchmarks.run import KEYFOB, PATIENCE, answers, environment, log_in, practice, process, resident, until
from benchmarks.table import Goal, at_most, compare
from benchmarks.tokens import counted
from broker import settings
from broker.client import Client
from broker.core.account import Account, Active, NeedsLogin, State
from broker.core.secret import Secret
from broker.store import tables as t
from broker.store.account_rows import state_columns
from broker.store.accounts import find
from broker.store.bindings import of_account
from broker.store.seal import Binding, Sealer
from broker.store.vault import FIRST_KEY

T = TypeVar("T")
R = TypeVar("R")
# Name of the daemon -> what was measured.
Figures = dict[str, list[float]]

FEW, MANY = 10, 100_000
# The account that the others are copies of.
ONE = "account-000001"
# Of so many accounts one waits for a person.
NEEDY = 20
HOUR, DAY = 3600.0, 86_400.0
# What many providers' tokens weigh.
LONG = "x" * 900
# So many rows a transaction.
AT_ONCE = 1000
STARTS, REQUESTS, ROUNDS, REFRESHES = 3, 1000, 7, 40
# How long a daemon is let alone before it is watched, and for how long it is.
SETTLING, IDLE = 30.0, 60.0
LISTINGS = 3
NANOSECONDS = 1e9

# Socket of a daemon -> how many tokens the app was given there.
asked: Counter[str] = Counter()


async def fill(database_url: str, key_file: Path, number: int) -> None:
    """Make accounts of the one that there is until there are so many: one as ever, and copies of its row.

    Each copy has a name, tokens, a key and a MAC of its own, made by what the store makes them with.
    """
    async with opened(database_url, key_file) as store:
        (like,) = await store.accounts()
        (grant,) = grants(like, 1, issued_at=time.time())
        await copies(store, like, [(ONE, replace(grant, access_token=Secret(LONG)))])
        made, sealer = await store.account(ONE), store._vault.sealer  # noqa: SLF001 -- so that many are one transaction
        assert made is not None  # noqa: S101 -- just made
        rng = random.Random(number)  # noqa: S311 -- the same accounts in each run
        for first in range(2, number, AT_ONCE):
            several = range(first, min(first + AT_ONCE, number))
            await store._db.write(partial(_copy, sealer=sealer, made=made, several=several, rng=rng))  # noqa: SLF001 -- as above


def _copy(tx: Connection, *, sealer: Sealer, made: Account, several: range, rng: random.Random) -> None:
    """Write several copies: their tokens came a while ago, and live on for hours or days."""
    like = {name: value for name, value in (find(tx, made.uuid) or {}).items() if not t.account.c[name].computed}
    accounts, keys, secrets = [], [], []
    for index in several:
        age, left = rng.uniform(0, 2 * HOUR), 3 * HOUR + rng.expovariate(1 / DAY)
        owner, came = str(uuid.uuid4()), time.time() - age
        state: State = NeedsLogin(came, "The provider answered invalid_grant.") if index % NEEDY == 0 else Active(came)
        row = {**like, "uuid": owner, "name": f"account-{index:06}", **state_columns(state)}
        # Asked for at four fifths of its life: none of them while this measures.
        row |= {"issued_at": came, "expires_at": came + 5 * (age + left), "last_refresh_at": came, "created_at": came}
        accounts.append({**row, "binding": of_account(sealer, row)})
        wrapped = sealer.new_data_key(owner, FIRST_KEY)
        keys.append({"owner": owner, "generation": FIRST_KEY, "wrapped": wrapped})
        for kind, value in (("access_token", LONG), ("refresh_token", f"refresh-{index}")):
            sealed_as = str(uuid.uuid4())
            binding = Binding(owner, sealed_as, kind, 1, made.destination, like["client"])
            sealed = sealer.seal(Secret(value), binding, FIRST_KEY, wrapped)
            secrets.append({"uuid": sealed_as, "owner": owner, "kind": kind, "generation": 1, "sealed": sealed})
    for table, rows in ((t.account, accounts), (t.data_key, keys), (t.secret, secrets)):
        tx.execute(insert(table), rows)


@dataclass(frozen=True, slots=True)
class Place:
    """A filled database, and what a daemon on it finds in the environment."""

    environ: dict[str, str]
    socket: str
    key: str


def filled(place: str, provider: str, number: int) -> Place:
    """Log in once, let the store make the other accounts, and give an app a grant of the first and of one of those."""
    environ, ours = {**environment(place), "KEYFOB_APP_RATE": "0"}, str(Path(place, "run/keyfob.sock"))
    with process([KEYFOB, "serve"], environ):
        until(lambda: answers(ours), "the daemon")
        log_in(Client(socket=ours), "work", provider)
    read = settings.read(environ)
    began = time.monotonic()
    asyncio.run(fill(read.database_url, read.key_file, number))
    taken = time.monotonic() - began
    with process([KEYFOB, "serve"], environ):
        until(lambda: answers(ours), "the daemon")
        grants = [{"account": "work"}, {"account": ONE}]
        key = Client(socket=ours).request("POST", "/v1/apps", {"name": "bench", "grants": grants})["key"]
    size = sum(file.stat().st_size for file in Path(place).rglob("keyfob.db*")) / 2**20
    print(f"{number} accounts: {size:.0f} MiB on the disk, made in {taken:.0f} s")
    return Place(environ, ours, key)


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon, and a connection to it that is kept."""

    pid: int
    client: Client
    socket: str
    key: str

    def seconds(self) -> float:
        """Return the median of what a hand-out takes."""
        line = Line(self.socket, self.key)
        return statistics.median(line.once() for _ in range(REQUESTS))

    def used(self) -> float:
        """Return the CPU seconds that it has used."""
        return sum(int(file.read_text().split()[0]) for file in _tasks(self.pid, "schedstat")) / NANOSECONDS

    def woken(self) -> int:
        """Return how often it has woken up."""
        status = "".join(file.read_text() for file in _tasks(self.pid, "status"))
        return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("voluntary_ctxt_switches:"))


# What is done at a daemon, once it is made ready.
Deed = Callable[[Running], Callable[[], object]]


def _tasks(pid: int, name: str) -> Iterator[Path]:
    return Path(f"/proc/{pid}/task").glob(f"*/{name}")


class Line(http.client.HTTPConnection):
    """A connection of an app that asks for one token again and again."""

    def __init__(self, path: str, key: str) -> None:
        super().__init__("localhost")
        self._path, self._headers = path, {"Authorization": f"Bearer {key}"}

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def once(self) -> float:
        """Return the seconds that one hand-out takes."""
        began = time.perf_counter()
        self.request("GET", f"/v1/accounts/{ONE}/token", headers=self._headers)
        answer = self.getresponse()
        said = answer.read()
        asked[self._path] += 1
        if answer.status != http.client.OK or LONG.encode() not in said:
            raise SystemExit(f"no token: {answer.status} {said[:200].decode()}")
        return time.perf_counter() - began


@contextlib.contextmanager
def running(place: Place) -> Iterator[Running]:
    """Run a daemon for the length of the block."""
    with process([KEYFOB, "serve"], place.environ) as daemon:
        give_up = time.monotonic() + PATIENCE
        while not answers(place.socket) and time.monotonic() < give_up:
            time.sleep(0.002)
        yield Running(daemon.pid, Client(socket=place.socket), place.socket, place.key)


@dataclass(frozen=True, slots=True)
class Start:
    """What it took until the first token was handed out: seconds, CPU seconds, and MiB."""

    seconds: float
    cpu: float
    memory: float


def start(place: Place) -> Start:
    """Start a daemon, and stop it at once."""
    began = time.perf_counter()
    with running(place) as daemon:
        Line(place.socket, place.key).once()
        return Start(time.perf_counter() - began, daemon.used(), resident(daemon.pid))


def meanwhile(daemon: Running, deed: Callable[[], object]) -> tuple[float, list[float]]:
    """Return what something takes, and what each hand-out takes meanwhile."""
    taken, ended, line = list[float](), threading.Event(), Line(daemon.socket, daemon.key)

    def ask() -> None:
        while not ended.is_set():
            taken.append(line.once())
            time.sleep(0.002)

    asking = threading.Thread(target=ask)
    asking.start()
    began = time.perf_counter()
    try:
        deed()
    finally:
        seconds = time.perf_counter() - began
        ended.set()
        asking.join()
    return seconds, taken


def refresh(daemon: Running) -> float:
    """Return the CPU seconds of one refresh by hand, with the look of the scheduler that follows it."""
    before = daemon.used()
    for _ in range(REFRESHES):
        daemon.client.request("POST", "/v1/accounts/work/refresh", {})
    return (daemon.used() - before) / REFRESHES


def idle(daemons: Mapping[str, Running]) -> tuple[Figures, Figures]:
    """Return the CPU seconds of an idle minute, which is the same one for all, and the wakings in a second of it."""
    before = {name: (one.used(), one.woken()) for name, one in daemons.items()}
    time.sleep(IDLE)
    used = {name: [(one.used() - before[name][0]) * 60 / IDLE] for name, one in daemons.items()}
    return used, {name: [(one.woken() - before[name][1]) / IDLE] for name, one in daemons.items()}


def listed(daemon: Running) -> None:
    """Read the list of all accounts, piece by piece."""
    line = Line(daemon.socket, daemon.key)
    line.request("GET", "/v1/accounts")
    answer = line.getresponse()
    if answer.status != http.client.OK:
        raise SystemExit(f"no list: {answer.status}")
    while answer.read(2**20):
        pass


def main(many: int = MANY) -> None:
    """Measure and print."""
    sizes = {"few": FEW, "many": many}
    with contextlib.ExitStack() as over:
        places = {}
        for name, number in sizes.items():
            place = over.enter_context(tempfile.TemporaryDirectory(prefix="kf-bench-", dir="/tmp"))
            provider = over.enter_context(practice(environment(place), "--ttl", "86400"))
            places[name] = filled(place, provider, number)

        def row(what: str, found: Figures, unit: str, factor: float = 1.0, goal: Goal | None = None) -> None:
            ours, theirs = (factor * statistics.median(found[name]) for name in ("many", "few"))
            steady = "hand-outs p" not in what
            compare(f"{what}, {many}", ours, f"with {FEW} accounts", theirs, unit, goal, steady=steady)

        starts = in_turns(places, STARTS, start)
        row(
            "start to first token",
            {name: [one.seconds for one in found] for name, found in starts.items()},
            "s",
            goal=at_most(3, "s"),
        )
        row("CPU of that", {name: [one.cpu for one in found] for name, found in starts.items()}, "s")
        row("resident, started", {name: [one.memory for one in found] for name, found in starts.items()}, "MiB")
        daemons = {name: over.enter_context(running(where)) for name, where in places.items()}
        time.sleep(SETTLING)
        row("resident, settled", in_turns(daemons, 1, lambda one: resident(one.pid)), "MiB", goal=at_most(300, "MiB"))
        used, woken = idle(daemons)
        row("CPU in an idle minute", used, "ms", 1e3, at_most(50, "ms"))
        row("wake-ups, idle", woken, "/s", goal=at_most(1, "/s"))
        row("hand-out, connection kept", in_turns(daemons, ROUNDS, Running.seconds), "us", 1e6, at_most(1.2))
        row("CPU of a refresh, with a look", in_turns(daemons, ROUNDS, refresh), "ms", 1e3)
        for what, deed in DEEDS.items():
            whole, beside = listening(daemons, deed)
            row(what, whole, "ms", 1e3)
            for percent in (50, 99):
                among = {name: [_percentile(taken, percent)] for name, taken in beside.items()}
                row(f"{what}, hand-outs p{percent}", among, "ms", 1e3)
        row("resident, at the end", in_turns(daemons, 1, lambda one: resident(one.pid)), "MiB")
        for one in daemons.values():
            until(partial(_all_counted, one), "the whole audit")
        print(f"the audit counted every one of {sum(asked.values())} answers")


def _all_counted(daemon: Running) -> bool:
    return counted(daemon.client, "bench") == asked[daemon.socket]


def in_turns(things: Mapping[str, T], times: int, measure: Callable[[T], R]) -> dict[str, list[R]]:
    """Measure each so many times, one after the other, so that what else the machine does hits all alike."""
    found: dict[str, list[R]] = {name: [] for name in things}
    for _ in range(times):
        for name, thing in things.items():
            found[name].append(measure(thing))
    return found


def listening(daemons: Mapping[str, Running], deed: Deed) -> tuple[Figures, Figures]:
    """Return what a deed takes at each daemon, and what each hand-out takes meanwhile."""
    whole, beside = Figures(), Figures()
    for name, one in daemons.items():
        for seconds, taken in in_turns({name: one}, LISTINGS, lambda one: meanwhile(one, deed(one)))[name]:
            whole.setdefault(name, []).append(seconds)
            beside.setdefault(name, []).extend(taken)
    return whole, beside


def _percentile(taken: list[float], percent: int) -> float:
    return sorted(taken)[len(taken) * percent // 100]


def _page(daemon: Running) -> Callable[[], object]:
    return partial(Page(daemon.client).get, "/ui/parts/overview")


DEEDS: Mapping[str, Deed] = {
    "GET /v1/accounts": lambda one: partial(listed, one),
    "first page": _page,
    "GET /v1/status": lambda one: partial(one.client.request, "GET", "/v1/status"),
}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
