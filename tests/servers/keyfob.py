"""The real ``keyfob`` command and its daemon, as a person's machine has them, in a temporary home.

Used by the walks: verbs through the command line, some requests through the app socket.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from .steps import expect, fail, wait_for

# The checkout's own; KEYFOB_COMMAND names another, say one that pipx installed.
COMMAND = Path(os.environ.get("KEYFOB_COMMAND") or Path(__file__).parents[2] / ".venv/bin/keyfob")
START_URL = re.compile(r"http://127\.0\.0\.1:\d+/login/[\w-]+")
# Longer than any verb may take, and short enough that a hanging one does not stop the whole run.
VERB_SECONDS = 30.0
# A service manager's default patience is 90 s; ours with nothing in flight is far less.
STOP_SECONDS = 8.0
START_SECONDS = 20.0


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    line: str
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """All that it printed."""
        return f"{self.out}\n{self.err}"

    def json(self) -> Any:  # noqa: ANN401 -- JSON
        """Return its output as JSON; of several documents, one a line, the last.

        Raises:
            Unmet: it is none.
        """
        try:
            return json.loads(self.out)
        except json.JSONDecodeError:
            pass
        try:
            return json.loads(self.out.strip().rpartition("\n")[2])
        except json.JSONDecodeError:
            fail(f"no JSON came from {self}")

    def exits(self, *codes: int) -> "Done":
        """Expect one of these exit codes, and never a traceback.

        Raises:
            Unmet: with the command and all that it printed.
        """
        expect(self.code in codes, f"exit {self.code} instead of {' or '.join(map(str, codes))}: {self}")
        expect("Traceback" not in self.said, f"a traceback reached a person: {self}")
        return self

    def __str__(self) -> str:
        return (
            f"$ {self.line}\nexit {self.code}\nstdout: {self.out[-1500:].strip()}\nstderr: {self.err[-1500:].strip()}"
        )


class Running:
    """A command that waits for a person: ``keyfob login``."""

    def __init__(self, line: str, process: subprocess.Popen[str]) -> None:
        self.line, self._process = line, process
        self._printed: dict[str, list[str]] = {"out": [], "err": []}
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", process.stdout), ("err", process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: Any) -> None:  # noqa: ANN401 -- IO[str] | None
        for line in stream:
            self._printed[name].append(line)

    @property
    def said(self) -> str:
        """All that it has printed so far."""
        return "".join(self._printed["out"] + self._printed["err"])

    def url(self, pattern: re.Pattern[str] = START_URL) -> str:
        """Wait for a URL that it prints for the person.

        Raises:
            Unmet: it ended before, or printed none in time.
        """

        def seen() -> bool:
            return bool(pattern.search(self.said)) or self._process.poll() is not None

        wait_for(f"a URL from {self.line}", seen, VERB_SECONDS)
        found = pattern.search(self.said)
        if found is None:
            fail(f"no URL like {pattern.pattern} came: {self.end()}")
        return found[0]

    def type(self, text: str) -> None:
        """Type a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()

    def close_stdin(self) -> None:
        """There is nobody at the keyboard (any more)."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def end(self, seconds: float = VERB_SECONDS) -> Done:
        """Wait until it ends by itself."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(5)
        return Done(self.line, self._process.returncode, *("".join(self._printed[name]) for name in ("out", "err")))


class Keyfob:
    """One daemon, its state and its command line.

    Args:
        home: an empty directory; state, runtime directory and key file are made in it.
        log: where the daemon's output goes.
    """

    def __init__(self, home: Path, log: Path) -> None:
        self.home, self.log = home, log
        self.state, self.runtime = home / "state", home / "run"
        self.socket, self.database = self.runtime / "keyfob.sock", self.state / "keyfob.db"
        self._daemon: subprocess.Popen[bytes] | None = None
        # Nothing of the environment is handed on: neither a proxy nor a setting of whoever runs the tests.
        self._environ = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "KEYFOB_STATE_DIR": str(self.state),
            "KEYFOB_RUNTIME_DIR": str(self.runtime),
            "KEYFOB_BROWSER_PORT": "0",
            "KEYFOB_APP_PORT": "0",
        }

    # --- the daemon

    def start(self) -> None:
        """Start the daemon and wait until it answers.

        Raises:
            Unmet: it ended, or does not answer in time.
        """
        with self.log.open("ab") as log:
            self._daemon = subprocess.Popen(
                [COMMAND, "serve"], env=self._environ, cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        daemon = self._daemon

        def answers() -> bool:
            expect(daemon.poll() is None, f"keyfob serve ended with exit {daemon.poll()}; its log ends:\n{self.tail()}")
            try:
                return self.api("GET", "/v1/status").status_code == httpx2.codes.OK
            except httpx2.TransportError:
                return False

        wait_for(f"the daemon's answer (log: {self.log})", answers, START_SECONDS)

    def stop(self) -> int:
        """Send SIGTERM and wait for the end; return the exit code.

        Raises:
            Unmet: it does not end in time; it is killed then.
        """
        daemon, self._daemon = self._daemon, None
        if daemon is None:
            return 0
        daemon.send_signal(signal.SIGTERM)
        try:
            return daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
            fail(f"after SIGTERM it went on for {STOP_SECONDS:.0f} s; its log ends:\n{self.tail()}")

    def kill(self) -> float:
        """End the daemon as a power cut would; return when, in epoch seconds.

        Raises:
            Unmet: it had ended by itself.
        """
        daemon, self._daemon = self._running(), None
        expect(daemon.poll() is None, f"keyfob serve ended with exit {daemon.poll()}; its log ends:\n{self.tail()}")
        at = time.time()
        daemon.kill()
        daemon.wait()
        return at

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the daemon in its tracks, as a machine does that is put to sleep, and let it go on."""
        daemon = self._running()
        daemon.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            daemon.send_signal(signal.SIGCONT)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._daemon is None:
            fail("no daemon was started")
        return self._daemon

    def tail(self) -> str:
        """Return the end of the daemon's log."""
        return self.log.read_text(errors="replace")[-1500:]

    def preset(self, name: str, content: str) -> None:
        """Put a preset of the person's own where the daemon finds it at its start."""
        presets = self.home / ".config/keyfob/presets"
        presets.mkdir(parents=True, exist_ok=True)
        (presets / f"{name}.toml").write_text(content)

    # --- the doors

    def api(
        self, method: str, path: str, body: Mapping[str, object] | None = None, **params: str | float
    ) -> httpx2.Response:
        """Send one request to the app socket, as its owner."""
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(self.socket)), timeout=20) as door:
            return door.request(method, f"http://localhost{path}", json=body, params=params or None)

    def app_url(self) -> str:
        """Return the URL of the app port, as ``keyfob status --json`` tells it."""
        told = str(self.run("status", "--json").exits(0).json()["doors"]["app"])
        port = re.search(r"(\d+)/?$", told)
        if port is None:
            fail(f"no port in doors.app = {told!r}")
        return f"http://127.0.0.1:{port[1]}"

    # --- the command line

    def run(self, *words: str, stdin: str = "", seconds: float = VERB_SECONDS) -> Done:
        """Run a verb to its end."""
        running = self.begin(*words)
        if stdin:
            running.type(stdin)
        running.close_stdin()
        return running.end(seconds)

    def begin(self, *words: str) -> Running:
        """Run a verb that will wait for a person."""
        process = subprocess.Popen(
            [COMMAND, *words],
            env=self._environ,
            cwd=self.home,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return Running(shlex.join(["keyfob", *words]), process)

    def token(self, account: str) -> str:
        """Return what ``keyfob token`` prints: the bare token and a newline."""
        done = self.run("token", account).exits(0)
        expect(re.fullmatch(r"\S+\n", done.out), f"not just a token on stdout: {done.out!r}")
        return done.out.strip()

    def show(self, account: str) -> dict[str, Any]:
        """Return what ``keyfob show`` tells of an account."""
        told: dict[str, Any] = self.run("show", account, "--json").exits(0).json()
        return told
