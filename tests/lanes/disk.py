"""The disk lane: the database is locked, full, read-only, failing or damaged under a running daemon.

Run by ``make disk`` as ``python -m tests.lanes disk``, and by ``test_disk``. Real processes and a real file. A lock is
another process's, damage is noise in the file; the other faults come from ``faulty_disk.c``, which is built here and
loaded into the daemon, and fail the very calls that a kernel would fail. The provider ends the login when a spent
refresh token comes back, and gives no grace.
"""

import argparse
import contextlib
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.client import ClientError
from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.store.journal import beside, is_empty
from tests.lanes.person import Site
from tests.lanes.stage import Broken, House, house, say, table, until

ACCOUNT = "me"
SOURCE = Path(__file__).with_name("faulty_disk.c")
OF_THE_DISK = ("full", "readonly", "failing")
FAULTS = ("locked", *OF_THE_DISK, "damaged")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the daemon did under one fault.

    Attributes:
        fault: which.
        said: what it told who wanted a refresh.
        kept_in: where an answer was kept that came while the fault was on: the journal, or memory alone.
        after: what became of that answer: ``taken over`` by the same daemon, or ``recovered`` by the next one.
    """

    fault: str
    said: str
    kept_in: str
    after: str


class Stage:
    """One home with one login, whose disk can be told what to do."""

    def __init__(self, home: House, practice: PracticeServer, library: Path | None) -> None:
        self.home, self.practice = home, practice
        self._control = home.place / "fault"
        self._control.touch()
        if library is not None:
            home.environ |= {"LD_PRELOAD": str(library), "FAULTY_DISK": str(self._control)}

    def start(self) -> None:
        """Start the daemon, and wait until it answers."""
        self.home.begin_daemon()
        self.home.wait_for_daemon()

    @contextlib.contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """Have the fault for one block."""
        if name == "locked":
            with contextlib.closing(sqlite3.connect(self.home.database, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                yield
            return
        if name == "damaged":
            self.noise()
            yield
            return
        self._control.write_text(name)
        try:
            yield
        finally:
            self._control.write_text("")

    def noise(self) -> None:
        """Write noise over the whole database and its log."""
        for path in (self.home.database, self.home.database.with_name("keyfob.db-wal")):
            with path.open("r+b") as file:
                file.write(b"\x55" * path.stat().st_size)

    def token(self) -> str:
        """Ask for the token."""
        with self.home.client() as client:
            return str(client.request("GET", f"/v1/accounts/{ACCOUNT}/token")["access_token"])

    def refresh(self) -> dict[str, Any]:
        """Ask for a refresh."""
        with self.home.client() as client:
            found: dict[str, Any] = client.request("POST", f"/v1/accounts/{ACCOUNT}/refresh", {})
            return found

    def health(self) -> int:
        """Return the status that a monitor sees."""
        with self.home.client() as client:
            return client.send("GET", "/readyz").status

    def asked(self) -> int:
        """Count the refreshes that reached the provider."""
        return len(self.practice.log.all("refresh"))

    def must(self, what: str, *, hold: bool) -> None:
        """Hold a promise.

        Raises:
            Broken: it does not hold.
        """
        if not hold:
            raise Broken(what)


@contextlib.contextmanager
def stage(library: Path | None) -> Iterator[Stage]:
    """Log in, and hand over."""
    settings = PracticeSettings(rotation="single-use", auto_approve=True)
    with practice_in_thread(settings) as practice, house(0.0) as home:
        made = Stage(home, practice, library)
        made.start()
        with home.client() as client:
            home.bring(client, ACCOUNT, Site(practice.url).log_in(ACCOUNT).refresh_token, practice.url)
        yield made


@contextlib.contextmanager
def built() -> Iterator[Path]:
    """Build the disk that refuses.

    Raises:
        Broken: there is no C compiler, or it does not take the source.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise Broken("the disk that refuses needs a C compiler: on Debian and Ubuntu, apt install gcc libc6-dev")
    with tempfile.TemporaryDirectory() as place:
        library = Path(place) / "faulty_disk.so"
        command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), str(SOURCE), "-ldl"]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            raise Broken(f"the disk that refuses could not be built: {made.stderr}")
        yield library


def under(fault: str, library: Path | None) -> Seen:
    """Live through one fault and return what was seen.

    Raises:
        Broken: a promise did not hold.
    """
    with stage(library) as live:
        said = _while_nothing_is_in_the_air(live, fault)
        if fault == "damaged":
            _stays_damaged(live)
            return Seen(fault, said, "", "")
        kept_in = _between_request_and_answer(live, fault)
        return Seen(fault, said, *kept_in)


def _while_nothing_is_in_the_air(live: Stage, fault: str) -> str:
    token, before, said = live.token(), live.asked(), ""
    live.must("healthy at first", hold=live.health() == 200)
    with live.fault(fault):
        live.must("the living token is served", hold=live.token() == token)
        try:
            live.refresh()
        except ClientError as exc:
            said = str(exc)
        live.must("a refresh is refused", hold="database cannot be used" in said)
        live.must("nothing was sent", hold=live.asked() == before)
        live.must("health says so", hold=live.health() == 503)
        live.must("the living token is still served", hold=live.token() == token)
    if fault != "damaged":
        until("it is healthy again by itself", lambda: live.health() == 200)
        live.refresh()
        live.must("one refresh, and a new token", hold=live.asked() == before + 1 and live.token() != token)
    return said


def _stays_damaged(live: Stage) -> None:
    """A damaged database is left as it is: the next start refuses it and says what to do."""
    done = live.home.daemon.end(15) if live.home.daemon is not None else None
    live.must("it stops", hold=done is not None)
    before = live.home.database.read_bytes()
    refused = live.home.run("serve")
    live.must("the next start refuses", hold=refused.code != 0 and "keyfob restore" in refused.err)
    live.must("the damaged file stays as it is", hold=live.home.database.read_bytes() == before)


def _between_request_and_answer(live: Stage, fault: str) -> tuple[str, str]:
    token, before = live.token(), live.asked()
    journal = beside(live.home.database)
    live.practice.set_faults(["refresh:hold"])
    asking = threading.Thread(target=_quietly, args=(live,), daemon=True)
    asking.start()
    until("the request is at the provider", lambda: live.asked() > before)
    on: AbstractContextManager[None] = live.fault(fault)
    with on:
        live.practice.set_faults([])
        until("the daemon knows that it cannot write", lambda: live.health() == 503)
        in_journal = fault in ("locked", "full")
        if in_journal:
            until("the answer is in the journal", lambda: not is_empty(journal))
            live.home.kill_daemon()
        else:
            until("the daemon says that it has it in memory", lambda: "in memory only" in _said(live))
        if not in_journal:
            live.must("the living token is served", hold=live.token() == token)
    if in_journal:
        live.start()
    until("the new token is there", lambda: live.token() != token)
    live.must("nobody asked twice", hold=live.asked() == before + 1)
    live.must("the journal is empty", hold=is_empty(journal))
    live.must("the provider takes the token", hold=Site(live.practice.url).accepts(live.token()))
    live.refresh()
    live.must("the login goes on", hold=live.asked() == before + 2)
    return ("journal", "recovered by the next start") if in_journal else ("memory", "taken over by itself")


def _said(live: Stage) -> str:
    return live.home.daemon.err if live.home.daemon is not None else ""


def _quietly(live: Stage) -> None:
    with contextlib.suppress(ClientError):  # its daemon may be killed meanwhile
        live.refresh()


def run(faults: Sequence[str]) -> list[Seen]:
    """Live through each of the faults."""
    with built() as library:
        return [under(fault, library if fault in OF_THE_DISK else None) for fault in faults]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the lane and print its table; 1 where a promise did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.lanes disk", description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"of {', '.join(FAULTS)}; all by default")
    wanted = parser.parse_args(arguments).faults or FAULTS
    try:
        seen = run(wanted)
    except Broken as exc:
        say(f"BROKEN: {exc}")
        return 1
    say(
        table(
            ("fault", "who wants a refresh is told", "an answer on its way is kept in", "and then"),
            [(each.fault, each.said, each.kept_in, each.after) for each in seen],
        )
    )
    return 0
