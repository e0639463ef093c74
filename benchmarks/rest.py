"""What the daemon costs while nobody asks it, and how soon it answers, against the bare server in the same run.

Started by ``benchmarks``. Its state is that of a day at work: ten accounts logged in, tokens of an hour, some of them
handed out, the web page opened. Takes about two minutes.
"""

import contextlib
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.page import Page
from benchmarks.run import KEYFOB, PATIENCE, environment, log_in, practice, resident
from benchmarks.table import Goal, at_most, compare
from broker.client import Client, ClientError
from tests.loopback import self_signed

HERE = Path(__file__).parent
ACCOUNTS = tuple(f"account-{number}" for number in range(10))
STARTS = 7
# How long what a start or a login left behind may take to end, and how long the idle processes are watched then.
SETTLING, WATCHED = 5.0, 60.0
MB = 2**20 / 1e6
# A token where there is one; a server that says "not found" has started as well.
QUESTION = f"GET /v1/accounts/{ACCOUNTS[0]}/token HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
BARE = "bare uvicorn + Starlette"


@dataclass(frozen=True, slots=True)
class Idle:
    """What an idle process did: how often any of its threads woke up in a second, and its CPU time in a minute, ms."""

    wakes: float
    cpu: float


class Nothing(BaseHTTPRequestHandler):
    """Has nothing."""

    def do_GET(self) -> None:
        """Say so."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, *_: object) -> None:
        """Be silent."""


class Server:
    """A server that answers on a Unix socket, and how long it took to get there."""

    def __init__(self, command: list[str], environ: Mapping[str, str], path: str) -> None:
        began = time.perf_counter()
        silent = subprocess.DEVNULL
        self._process = subprocess.Popen(command, env=dict(environ), stdout=silent, stderr=silent)
        self.pid = self._process.pid
        self._reach(path, began + PATIENCE)
        self.wall = time.perf_counter() - began
        self.cpu = _used(self.pid)[1]
        self.memory = resident(self.pid) * MB

    def _reach(self, path: str, give_up: float) -> None:
        while time.perf_counter() < give_up:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(PATIENCE)
                try:
                    line.connect(path)
                    line.sendall(QUESTION)
                    if line.recv(1):
                        return
                except OSError:  # no socket yet, or one that a killed process left
                    time.sleep(0.002)
        raise SystemExit(f"{path} did not answer within {PATIENCE:.0f} s")

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE)


def watched(*pids: int) -> list[Idle]:
    """Watch processes, all in the same minute."""
    before = [_used(pid) for pid in pids]
    time.sleep(WATCHED)
    after = [_used(pid) for pid in pids]
    return [
        Idle((wakes - woken) / WATCHED, (spent - had) * 60e3 / WATCHED)
        for (woken, had), (wakes, spent) in zip(before, after, strict=True)
    ]


def _used(pid: int) -> tuple[int, float]:
    """Return how often the threads of a process went to sleep of their own will, and their CPU seconds."""
    wakes, nanoseconds = 0, 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        lines = thread.joinpath("status").read_text(encoding="ascii").splitlines()
        wakes += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
        nanoseconds += int(thread.joinpath("schedstat").read_text(encoding="ascii").split()[0])
    return wakes, nanoseconds / 1e9


def work(client: Client, provider: str) -> None:
    """Do what leaves a daemon as a day at work does."""
    for account in ACCOUNTS:
        log_in(client, account, provider)
        client.request("GET", f"/v1/accounts/{account}/token")
    client.request("POST", f"/v1/accounts/{ACCOUNTS[0]}/refresh", {})
    page = Page(client)
    for part in ("overview", f"accounts/{ACCOUNTS[0]}", "settings"):
        page.get(f"/ui/parts/{part}")


def serve(client: Client, over_tls: str) -> None:
    """Do what a daemon does by itself and for programs: nobody logs in, nobody looks at a page.

    The practice provider speaks no TLS, so a server is asked that does, and has nothing to say.
    """
    try:
        client.request("POST", "/v1/providers", {"name": "tls", "issuer": over_tls})
    except ClientError as exc:
        if "no usable document" not in str(exc):  # the handshake failed
            raise
    for account in ACCOUNTS:
        client.request("POST", f"/v1/accounts/{account}/refresh", {})
        client.request("GET", f"/v1/accounts/{account}/token")


@contextlib.contextmanager
def tls(certificate: Path) -> Iterator[str]:
    """Serve nothing at all over TLS; yield where. Its certificate, which is its own authority, is put into a file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(certificate, "Keyfob benchmarks"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()


def started(
    commands: Mapping[str, list[str]], environ: Mapping[str, str], own: str, bare: str
) -> dict[str, list[Server]]:
    """Start them, one after the other: a new daemon, the one that worked before, and the baseline."""
    starts: dict[str, list[Server]] = {"new": [], "again": [], "bare": []}
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory(prefix="kf-bench-", dir="/tmp") as empty:
            new = str(Path(empty, "run/keyfob.sock"))
            places = {
                "new": (commands[own], environment(empty), new),
                "again": (commands[own], environ, own),
                "bare": (commands[bare], environ, bare),
            }
            for kind, (command, surroundings, path) in places.items():
                Path(path).unlink(missing_ok=True)
                server = Server(command, surroundings, path)
                server.stop()
                starts[kind].append(server)
    return starts


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="kf-bench-", dir="/tmp") as place, contextlib.ExitStack() as running:
        own, bare = str(Path(place, "run/keyfob.sock")), str(Path(place, "bare.sock"))
        environ = environment(place)
        commands = {own: [KEYFOB, "serve"], bare: [sys.executable, str(HERE / "bare.py"), bare]}
        provider = running.enter_context(practice(environ, "--ttl", "3600"))

        worked, plain = Server(commands[own], environ, own), Server(commands[bare], environ, bare)
        work(Client(socket=own), provider)
        time.sleep(SETTLING)
        ours, theirs = watched(worked.pid, plain.pid)
        memory, plain_memory = resident(worked.pid) * MB, resident(plain.pid) * MB
        worked.stop()
        plain.stop()
        starts = started(commands, environ, own, bare)

        certificate = Path(place, "tls.pem")
        over_tls = running.enter_context(tls(certificate))
        again = Server(commands[own], environ | {"KEYFOB_CA_FILE": str(certificate)}, own)
        serve(Client(socket=own), over_tls)
        time.sleep(SETTLING)
        serving = resident(again.pid) * MB
        again.stop()

        def row(what: str, kind: str, member: str, unit: str, times: float, goal: Goal | None = None) -> None:
            ours, theirs = (
                times * statistics.median(float(getattr(server, member)) for server in starts[name])
                for name in (kind, "bare")
            )
            compare(what, ours, BARE, theirs, unit, goal)

        row("first start to answer", "new", "wall", "ms", 1e3, at_most(800, "ms"))
        row("start to answer, 10 accounts", "again", "wall", "ms", 1e3, at_most(800, "ms"))
        row("its CPU time", "again", "cpu", "ms", 1e3)
        row("resident memory after it", "again", "memory", "MB", 1)
        compare("resident memory, tokens renewed, TLS, idle", serving, BARE, plain_memory, "MB", at_most(80, "MB"))
        compare("resident memory after work, idle", memory, BARE, plain_memory, "MB", at_most(80, "MB"))
        compare("wake-ups a second, idle", ours.wakes, BARE, theirs.wakes, "/s", at_most(1, "/s"))
        compare("CPU time a minute, idle", ours.cpu, BARE, theirs.cpu, "ms", at_most(20, "ms"))


if __name__ == "__main__":
    main()
