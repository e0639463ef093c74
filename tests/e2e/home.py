"""The real ``keyfob`` command in a home of its own: verbs, daemons, and everything that they said.

Imported by the tests beside it and by those in ``tests/browser``. Nothing of the environment of whoever runs the tests
is handed on.
"""

import contextlib
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.loopback import NO_TLS

# The one that is installed beside the interpreter of the tests.
KEYFOB = Path(sys.executable).with_name("keyfob")
START_URL = re.compile(r"http://127\.0\.0\.1:\d+/login/[\w-]+")
# A start takes a quarter of a second, a verb less; this is a machine in trouble.
PATIENCE = 20.0
# With less before it a home leaves enough of a socket's path to what is below.
SHORT = 30
# What must not reach a person, whatever goes wrong: the second is what `cli.main` says in a traceback's place, the
# third what the API says.
NEVER_SAID = ("Traceback", "this is a bug in Keyfob", "fault of Keyfob", "never retrieved", "never awaited")


def until(what: str, seen: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Look again and again until something is so; fail when it is not so in time."""
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:  # noqa: ANN401 -- JSON
        """Return what it printed, as JSON."""
        assert self.code == 0, self
        return json.loads(self.out)


class Running:
    """A command that has not ended by itself yet."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._said: dict[str, list[str]] = {"out": [], "err": []}
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", process.stdout), ("err", process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: Any) -> None:  # noqa: ANN401 -- IO[str] | None
        with stream:
            for line in stream:
                self._said[name].append(line)
                self._lines.put(line)
        self._lines.put(None)

    @property
    def out(self) -> str:
        """What it has printed as a result so far."""
        return "".join(self._said["out"])

    @property
    def err(self) -> str:
        """What it has said to people so far."""
        return "".join(self._said["err"])

    def says(self, pattern: str | re.Pattern[str]) -> str:
        """Wait for something in a line of its output, and return that."""
        end, open_streams = time.monotonic() + PATIENCE, 2
        while open_streams:
            line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            if line is None:
                open_streams -= 1
            elif found := re.search(pattern, line):
                return found[0]
        raise AssertionError(f"it ended without a word like {pattern!r}: {self.end()}")

    def end(self, signum: int | None = None) -> Done:
        """Wait for its end, or ask for it with a signal."""
        if signum is not None:
            self.process.send_signal(signum)
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return Done(code, self.out, self.err)


class Daemon:
    """``keyfob serve``, running and answering."""

    def __init__(self, home: "Home", running: Running) -> None:
        self._home, self._running = home, running
        self.pid = running.process.pid

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._running.err

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end, but not for long; return whether it came."""
        try:
            self._running.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, signum: int = signal.SIGTERM) -> float:
        """End it, expect that it ends well, and return how long that took in seconds."""
        began = time.monotonic()
        done = self._running.end(signum)
        assert done.code == 0, done
        return time.monotonic() - began

    def kill(self) -> None:
        """End it as a power cut would."""
        self._running.end(signal.SIGKILL)


class Home:
    """A person's home directory, with the command line and the daemon in it.

    Attributes:
        place: the home directory; short, because a socket lives below it.
        environ: what the commands get to see.
        umask: what they start with; -1 is that of the tests.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.state, self.runtime = place / "state", place / "run"
        self.key, self.database = place / ".config/keyfob/key", self.state / "keyfob.db"
        self.socket = self.runtime / "keyfob.sock"
        self.environ = {
            "HOME": str(place),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "KEYFOB_STATE_DIR": str(self.state),
            "KEYFOB_RUNTIME_DIR": str(self.runtime),
            "KEYFOB_BROWSER_PORT": "0",
            "KEYFOB_APP_PORT": "0",
        }
        self.umask = -1
        self._all: list[Running] = []

    # --- commands

    def begin(self, *words: str, **environ: str) -> Running:
        """Start a command."""
        running = Running(
            subprocess.Popen(
                [KEYFOB, *words],
                env=self.environ | environ,
                cwd=self.place,
                text=True,
                umask=self.umask,
                start_new_session=True,  # a signal to the tests is none to these
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        self._all.append(running)
        return running

    def run(self, *words: str, **environ: str) -> Done:
        """Run a command to its end."""
        return self.begin(*words, **environ).end()

    def token(self, account: str = "me", *options: str) -> str:
        """Return the token that the command line prints."""
        done = self.run("token", account, *options)
        assert (done.code, done.err) == (0, ""), done
        return done.out.removesuffix("\n")

    def log_in(self, provider: str, account: str = "me", *options: str) -> Done:
        """Log in at a practice provider that says yes at once, and play the browser meanwhile."""
        words = ("login", account, "--provider", "practice", "--base-url", provider, "--no-browser", *options)
        waiting = self.begin(*words)
        with browser() as person:
            page = person.get(waiting.says(START_URL))
        assert page.status_code == 200, page.text
        done = waiting.end()
        assert done.code == 0, done
        return done

    # --- the daemon

    def serve(self, *flags: str, **environ: str) -> Daemon:
        """Start the daemon and wait until it answers."""
        running = self.begin("serve", *flags, **environ)

        def answers() -> bool:
            assert running.process.poll() is None, f"keyfob serve ended: {running.end()}"
            with socket.socket(socket.AF_UNIX) as knock:
                if knock.connect_ex(str(self.socket)):
                    return False
            with self.door() as door:
                return door.get("/healthz").status_code == 200

        until("the daemon answers", answers)
        return Daemon(self, running)

    def door(self, key: str = "") -> httpx2.Client:
        """Return a client of the app socket, as the owner or as an app."""
        transport = httpx2.HTTPTransport(uds=str(self.socket), verify=NO_TLS)
        return httpx2.Client(
            transport=transport, base_url="http://localhost", headers=_bearer(key), timeout=PATIENCE, trust_env=False
        )

    def app_port(self, key: str = "") -> httpx2.Client:
        """Return a client of the app port, wherever ``keyfob status`` says that it is."""
        url = self.run("status", "--json").json()["doors"]["app"]
        return httpx2.Client(base_url=url, headers=_bearer(key), timeout=PATIENCE, trust_env=False, verify=NO_TLS)

    # --- afterwards

    def close(self) -> None:
        """End what still runs."""
        for running in self._all:
            if running.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    running.process.kill()
                running.end()

    @property
    def said_to_people(self) -> str:
        """All that the commands and daemons here have said on stderr so far."""
        return "\n".join(running.err for running in self._all)

    @property
    def said(self) -> str:
        """All that they have said, results included."""
        return "\n".join([self.said_to_people, *(running.out for running in self._all)])


@contextlib.contextmanager
def short_place() -> Iterator[Path]:
    """Make an empty directory with a short path, because a socket's holds 107 bytes; in TMPDIR, if that is short."""
    usual = tempfile.gettempdir()
    short = usual if len(usual) < SHORT else "/tmp"  # noqa: S108 -- a directory of its own is made in it
    with tempfile.TemporaryDirectory(prefix="kf-", dir=short) as place:
        yield Path(place)


@contextlib.contextmanager
def new_home() -> Iterator[Home]:
    """Make an empty home directory with a short path; no command in it may ever print a traceback."""
    with short_place() as place:
        found = Home(place)
        try:
            yield found
        finally:
            found.close()
        for words in NEVER_SAID:
            assert words not in found.said


def browser() -> httpx2.Client:
    """Return a browser: it follows redirects and keeps cookies."""
    return httpx2.Client(follow_redirects=True, trust_env=False, verify=NO_TLS, timeout=PATIENCE)


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}
