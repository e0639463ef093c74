"""How many refreshes a second the daemon carries out, and what a herd of them does to whoever asks for a token.

Started by ``benchmarks``, or by hand: ``python -m benchmarks.refreshes [ACCOUNTS]``. Ten thousand accounts at eight
practice providers (one process beside the daemon's) become due while the daemon is stopped (SIGSTOP), as in a machine
that sleeps; then it goes on. A refresh counts once its new token is in force: intent, call, answer and token, each
durable with ``synchronous=FULL``. First a part of them goes alone, for the rate; then all of them, while a program asks
for the token of an account that is well, once every few milliseconds: a request that would have begun while another one
hung counts with what was left of that wait.

The baselines do the least that a refresh can be: two durable commits by bare sqlite3 on the same disk, one POST by
bare httpx2 to the same providers with a connection each, and both of these in the order of a refresh. Takes ten
minutes.
"""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from benchmarks.fill import copies, grants, opened
from benchmarks.run import HERE, KEYFOB, answers, busy, environment, log_in, process, resident, until
from benchmarks.table import at_least, at_most, compare, measured
from broker import settings
from broker.client import Client
from broker.core.secret import Secret
from broker.core.token import Grant
from broker.practice.settings import PUBLIC_CLIENT

ACCOUNTS, ISSUERS, ROUNDS = 10_000, 8, 3
# One in so many accounts is refreshed for the rate.
PART = 5
SECONDS, PAUSE, PATIENCE = 5.0, 0.005, 300.0
# Tokens of the providers: they live for longer than a round.
LIFETIME = 3600.0
# What the accounts have at the start of a round, and when that is due at the latest and at the earliest: a third of it
# before its end, and up to a twentieth sooner, so that what was made together is not renewed together.
OLD, DUE, JITTER = 300.0, 100.0, 15.0
# So long after the start of the daemon they become due: it is up by then, and the quiet has been measured.
AHEAD = 3 * SECONDS + JITTER
# What a refresh writes at the least: that it begins, and an answer with an ID token.
INTENT, ANSWER = b"x" * 100, b"x" * 1500


@dataclass(frozen=True, slots=True)
class Row:
    """One round: refreshes a second, CPU milliseconds for each here and there, and requests for a token in ms."""

    rate: float
    cpu: float
    theirs: float
    memory: float
    quiet: list[float]
    herd: list[float]


class Issuers:
    """The providers, as their process told of them."""

    def __init__(self, told: str, pid: int) -> None:
        found = json.loads(told)
        self.pid = pid
        self.urls = [one["url"] for one in found]
        # The first token of each is for the baselines.
        self.bare = [one["refresh_tokens"].pop() for one in found]
        self.tokens = [one["refresh_tokens"] for one in found]

    async def post(self, client: httpx2.AsyncClient, index: int) -> None:
        """Refresh the baseline's login at one of them."""
        form = {"grant_type": "refresh_token", "client_id": PUBLIC_CLIENT, "refresh_token": self.bare[index]}
        answer = await client.post(f"{self.urls[index]}/token", data=form)
        self.bare[index] = answer.raise_for_status().json()["refresh_token"]


@contextlib.contextmanager
def running_issuers(environ: Mapping[str, str], logins: int) -> Iterator[Issuers]:
    """Run the providers for the length of the block."""
    command = [sys.executable, "-m", "benchmarks.issuers", str(ISSUERS), str(logins + 1), str(LIFETIME)]
    with process(command, {**environ, "PYTHONPATH": str(HERE.parent)}) as running:
        assert running.stdout is not None  # noqa: S101 -- a pipe was asked for
        yield Issuers(running.stdout.readline(), running.pid)


class Ledger:
    """What bare sqlite3 does for a refresh."""

    def __init__(self, place: str) -> None:
        self._db = sqlite3.connect(Path(place, "bare.db"), isolation_level=None, check_same_thread=False)
        for line in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL"):
            self._db.execute(line).fetchall()
        self._db.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, body BLOB)")

    def commit(self, body: bytes) -> None:
        """Write something durably."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("INSERT INTO entry (body) VALUES (?)", (body,))
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close it."""
        self._db.close()


def commits(ledger: Ledger) -> float:
    """Return how often a second two durable commits can be made, one after the other."""
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        ledger.commit(INTENT)
        ledger.commit(ANSWER)
        count += 1
    return count / SECONDS


async def posts(issuers: Issuers, ledger: Ledger | None) -> float:
    """Return how many POSTs a second can be made, at all providers at once; with a ledger, each between two commits."""
    give_up = time.perf_counter() + SECONDS
    loop, writer = asyncio.get_running_loop(), ThreadPoolExecutor(1)
    limits = httpx2.Limits(max_keepalive_connections=0)

    async def one(client: httpx2.AsyncClient, index: int) -> int:
        count = 0
        while time.perf_counter() < give_up:
            if ledger is not None:
                await loop.run_in_executor(writer, ledger.commit, INTENT)
            await issuers.post(client, index)
            if ledger is not None:
                await loop.run_in_executor(writer, ledger.commit, ANSWER)
            count += 1
        return count

    async with httpx2.AsyncClient(trust_env=False, limits=limits, timeout=PATIENCE) as client:
        return sum(await asyncio.gather(*(one(client, index) for index in range(ISSUERS)))) / SECONDS


class Program:
    """A program that asks for one token again and again, on a connection that it keeps."""

    def __init__(self, url: str, key: str) -> None:
        at = urlsplit(url)
        self._line = http.client.HTTPConnection(at.hostname or "", at.port)
        self._headers = {"Authorization": f"Bearer {key}"}
        self._path = at.path

    def _ask(self) -> None:
        self._line.request("GET", self._path, headers=self._headers)
        with self._line.getresponse() as answer:
            said = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise SystemExit(f"a request for a token: {answer.status} {said.decode()}")

    def watch(self, ended: threading.Event) -> list[float]:
        """Return how long requests took until the end, milliseconds: one every few, whatever became of the others."""
        self._line.close()  # the one before has idled
        taken, due = [], time.perf_counter()
        while not ended.is_set():
            time.sleep(max(0.0, due - time.perf_counter()))
            began = max(due, time.perf_counter())
            self._ask()
            now = time.perf_counter()
            taken.append(1e3 * (now - began))
            due = began + PAUSE
            while due < now:  # would have begun meanwhile, on another connection
                taken.append(1e3 * (now - due))
                due += PAUSE
        return taken

    def watch_for(self, seconds: float) -> list[float]:
        """Do the same for so long."""
        ended = threading.Event()
        timer = threading.Timer(seconds, ended.set)
        timer.start()
        return self.watch(ended)


async def fill(environ: Mapping[str, str], issuers: Issuers) -> None:
    """Make the accounts: copies of the first login at each provider, with refresh tokens that it takes."""
    read = settings.read(environ)
    async with opened(read.database_url, read.key_file) as store:
        for like in await store.accounts():
            number = int(like.name.removeprefix("login-"))
            made = grants(like, len(issuers.tokens[number]), issued_at=time.time())
            theirs = zip(made, issuers.tokens[number], strict=True)
            await copies(
                store,
                like,
                (
                    (f"{like.name}-{index:05}", Grant(grant.token, grant.access_token, Secret(token)))
                    for index, (grant, token) in enumerate(theirs)
                ),
            )


def age(database: Path, due: float, part: int) -> int:
    """Let the tokens of one in so many copies be due at that moment, or a little sooner; return how many."""
    with contextlib.closing(sqlite3.connect(database)) as db, db:
        end = due + DUE
        aged = db.execute(
            "UPDATE account SET issued_at=?, last_refresh_at=?, expires_at=? "
            "WHERE name LIKE 'login-%-%' AND CAST(substr(name, 9) AS INTEGER) % ? = 0",
            (end - OLD, end - OLD, end, part),
        )
        return aged.rowcount


def renewed(db: sqlite3.Connection, since: float) -> int:
    """Return how many accounts have a token from after that moment."""
    query = "SELECT count(*) FROM account WHERE issued_at >= ? AND name LIKE 'login-%-%'"
    return int(db.execute(query, (since,)).fetchone()[0])


def finish(database: Path, since: float, number: int, ended: threading.Event, took: list[float]) -> None:
    """Wait until all accounts are renewed, and tell how long it took."""
    began = time.perf_counter()
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        while (done := renewed(db, since)) < number and time.perf_counter() - began < PATIENCE:
            time.sleep(0.2)
    if done == number:
        took.append(time.perf_counter() - began)
    ended.set()


def measure(environ: Mapping[str, str], issuers: Issuers, key: str, part: int) -> Row:
    """Let accounts become due while the daemon is stopped, and see what it does about that; asked meanwhile if all."""
    own = str(Path(environ["KEYFOB_RUNTIME_DIR"], "keyfob.sock"))
    database = Path(settings.read(environ).database_url.partition("///")[2])
    began = time.time()
    number = age(database, began + AHEAD, part)
    with process([KEYFOB, "serve"], environ) as daemon:
        until(lambda: answers(own), "the daemon")
        doors = Client(socket=own).request("GET", "/v1/status")["doors"]
        program = Program(f"{doors['app']}/v1/accounts/login-0/token", key)
        program.watch_for(0.5)
        quiet = program.watch_for(SECONDS)
        daemon.send_signal(signal.SIGSTOP)
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
            if renewed(db, began):
                raise SystemExit("the daemon took so long to start that accounts were due before it was stopped")
        time.sleep(max(0.0, began + AHEAD - time.time()))
        ended, took = threading.Event(), list[float]()
        waiting = threading.Thread(target=finish, args=(database, began, number, ended, took))
        before = busy(daemon.pid), busy(issuers.pid)
        waiting.start()
        daemon.send_signal(signal.SIGCONT)
        herd = program.watch(ended) if part == 1 else []
        waiting.join()
        after = busy(daemon.pid), busy(issuers.pid)
        if not took:
            raise SystemExit("not all accounts were renewed")
        cpu, theirs = (1e3 * (late - soon) / number for soon, late in zip(before, after, strict=True))
        return Row(number / took[0], cpu, theirs, resident(daemon.pid), quiet, herd)


def percentile(taken: list[float], part: float) -> float:
    """Return what so great a part of requests took at the most."""
    return sorted(taken)[min(len(taken) - 1, int(len(taken) * part))]


def file_system(place: str) -> str:
    """Return the kind of file system of a directory."""
    told = subprocess.run(["/usr/bin/df", "--output=fstype", place], check=True, capture_output=True, text=True)
    return told.stdout.split()[-1]


def prepare(environ: Mapping[str, str], issuers: Issuers) -> str:
    """Log in at each provider, make the other accounts, and return the key of a program."""
    own = str(Path(environ["KEYFOB_RUNTIME_DIR"], "keyfob.sock"))
    with process([KEYFOB, "serve"], environ):
        until(lambda: answers(own), "the daemon")
        client = Client(socket=own)
        for number, url in enumerate(issuers.urls):
            log_in(client, f"login-{number}", url)
        key: str = client.request("POST", "/v1/apps", {"name": "bench", "grants": [{"account": "login-0"}]})["key"]
    asyncio.run(fill(environ, issuers))
    return key


def main(number: int = ACCOUNTS) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="kf-bench-", dir="/tmp") as place, contextlib.ExitStack() as running:
        environ = {**environment(place), "KEYFOB_APP_RATE": "0"}
        issuers = running.enter_context(running_issuers(environ, number // ISSUERS))
        key = prepare(environ, issuers)
        ledger = running.enter_context(contextlib.closing(Ledger(place)))
        rows, bare = list[tuple[Row, Row]](), dict[str, list[float]]()
        for _ in range(ROUNDS):
            bare.setdefault("commits", []).append(commits(ledger))
            bare.setdefault("posts", []).append(asyncio.run(posts(issuers, None)))
            bare.setdefault("both", []).append(asyncio.run(posts(issuers, ledger)))
            rows.append((measure(environ, issuers, key, PART), measure(environ, issuers, key, 1)))
        used = settings.read(environ)
        print(
            f"{number} accounts at {ISSUERS} providers due at once, on {file_system(place)}, {os.cpu_count()} cores; "
            f"refreshes_in_all {used.refreshes_in_all}, refreshes_per_issuer {used.refreshes_per_issuer}"
        )
        table(rows, bare)


def table(rows: list[tuple[Row, Row]], bare: dict[str, list[float]]) -> None:
    """Print medians; each row is of a part that went alone, and of the herd."""
    median = statistics.median
    alone, herds = ([pair[which] for pair in rows] for which in (0, 1))
    rate = median(row.rate for row in alone)
    measured("refreshes a second", rate, "/s", at_least(300, "/s"))
    compare("refreshes a second", rate, "two commits, bare sqlite3", median(bare["commits"]), "/s", more=True)
    compare("refreshes a second", rate, "a POST, bare httpx2", median(bare["posts"]), "/s", more=True)
    compare("refreshes a second", rate, "commit, POST, commit, bare", median(bare["both"]), "/s", more=True)
    cpu, theirs = (median(getattr(row, name) for row in alone) for name in ("cpu", "theirs"))
    compare("CPU of a refresh", cpu, "of the providers for it", theirs, "ms")
    compare("refreshes a second, herd", median(row.rate for row in herds), "alone", rate, "/s", more=True)
    for name, part in (("p50", 0.5), ("p99", 0.99), ("most", 1.0)):
        during, quiet = (median(percentile(getattr(row, kind), part) for row in herds) for kind in ("herd", "quiet"))
        goal = at_most(20, "ms") if name == "p99" else None
        compare(f"a token meanwhile, {name}", during, "without the herd", quiet, "ms", goal, steady=name == "p50")
    compare("resident memory after it", median(row.memory for row in herds), "first", herds[0].memory, "MiB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
