"""The figures that the README claims, each against a named baseline that is measured in the same run.

Started by ``benchmarks``. Everything runs on this machine in a temporary place: a daemon, a practice provider with
three accounts, and the baselines. Takes about a minute.
"""

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.table import at_most, compare, measured
from broker.client import Client
from broker.practice.person import visit

HERE = Path(__file__).parent
KEYFOB = str(Path(sys.executable).with_name("keyfob"))
ACCOUNTS = ("one", "two", "three")
# Runs of a command, and requests on a connection: enough that the median of a second run is the same within 5 %.
RUNS, REQUESTS, ROUNDS = 30, 2000, 5
# What the practice provider's tokens begin with.
PREFIX = "practice_at_"
# How long the idle daemon is watched.
IDLE_SECONDS = 20.0
PATIENCE = 20.0
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def process(command: list[str], environ: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a command for the length of the block."""
    running = subprocess.Popen(command, env=dict(environ), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=PATIENCE)


@contextlib.contextmanager
def practice(environ: Mapping[str, str], *options: str) -> Iterator[str]:
    """Run a practice provider for the length of the block; its address comes out."""
    with process([KEYFOB, "practice", "--port", "0", "--auto-approve", *options], environ) as running:
        assert running.stdout is not None  # noqa: S101 -- a pipe was asked for
        yield running.stdout.readline().strip()


def environment(place: str) -> dict[str, str]:
    """Return what a daemon in a temporary place, and whoever asks it, finds in the environment."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": place,
        "KEYFOB_RUNTIME_DIR": str(Path(place, "run")),
        "KEYFOB_BROWSER_PORT": "0",
        "KEYFOB_APP_PORT": "0",
    }


def until(ready: Callable[[], bool], what: str) -> None:
    """Wait for something, and give up loudly."""
    give_up = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > give_up:
            raise SystemExit(f"{what} did not come up within {PATIENCE:.0f} s")
        time.sleep(0.05)


def answers(path: str) -> bool:
    """Tell whether a program listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def log_in(client: Client, account: str, provider: str) -> None:
    """Log in as a browser would."""
    login = client.request("POST", "/v1/logins", {"account": account, "provider": "practice", "base_url": provider})
    visit(login["start_url"], PATIENCE)
    ended = client.request("GET", f"/v1/logins/{login['id']}?wait={PATIENCE:.0f}")
    if ended["state"] != "done":
        raise SystemExit(f"the login did not succeed: {ended['reason']}")


def wall(command: list[str], environ: Mapping[str, str], asked: str = "") -> float:
    """Return the seconds that a command takes; ``asked`` is its stdin."""
    began = time.perf_counter()
    done = subprocess.run(command, env=dict(environ), check=True, capture_output=True, input=asked, text=True)
    took = time.perf_counter() - began
    if command[0] == KEYFOB and PREFIX not in done.stdout:
        raise SystemExit(f"{' '.join(command)} printed no token: {done.stderr}")
    return took


def per_request(client: Client) -> float:
    """Return the seconds that a hand-out takes on a connection that is kept."""
    path = "/v1/accounts/one/token"
    client.request("GET", path)
    began = time.perf_counter()
    for _ in range(REQUESTS):
        client.request("GET", path)
    return (time.perf_counter() - began) / REQUESTS


def resident(pid: int) -> float:
    """Return a process's resident memory in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this system does not tell a process's memory")


def busy(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def main() -> None:
    """Measure and print."""
    # /tmp: a Unix socket's path holds 107 characters at the most.
    with tempfile.TemporaryDirectory(prefix="kf-bench-", dir="/tmp") as place, contextlib.ExitStack() as running:
        own, bare = str(Path(place, "run/keyfob.sock")), str(Path(place, "bare.sock"))
        environ = environment(place)
        provider = running.enter_context(practice(environ, "--ttl", "3600"))
        daemon = running.enter_context(process([KEYFOB, "serve"], environ))
        plain = running.enter_context(process([sys.executable, str(HERE / "bare.py"), bare], environ))
        until(lambda: answers(own), "the daemon")
        until(lambda: answers(bare), "the baseline")
        client, baseline = Client(socket=own), Client(socket=bare)
        for account in ACCOUNTS:
            log_in(client, account, provider)

        cpu = busy(daemon.pid)
        time.sleep(IDLE_SECONDS)
        idle = (busy(daemon.pid) - cpu) / IDLE_SECONDS * 100
        memory, plain_memory = resident(daemon.pid), resident(plain.pid)

        commands = {
            "token": [KEYFOB, "token", "one"],
            "git": [KEYFOB, "git-credential", "get"],
            "python": [sys.executable, "-c", "pass"],
        }
        asked = "protocol=http\nhost={}\nusername=one\n\n".format(provider.removeprefix("http://"))
        runs: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(RUNS):
            for name, command in commands.items():
                runs[name].append(wall(command, environ, asked))
        rounds: dict[str, list[float]] = {"keyfob": [], "bare": []}
        for _ in range(ROUNDS):
            rounds["keyfob"].append(per_request(client))
            rounds["bare"].append(per_request(baseline))

        median = statistics.median
        bare_start = 1e3 * median(runs["python"])
        compare("keyfob token", 1e3 * median(runs["token"]), "python -c pass", bare_start, "ms", at_most(2.0))
        compare("keyfob git-credential get", 1e3 * median(runs["git"]), "python -c pass", bare_start, "ms")
        compare(
            "hand-out, connection kept",
            1e6 * median(rounds["keyfob"]),
            "bare uvicorn + Starlette",
            1e6 * median(rounds["bare"]),
            "us",
        )
        compare("resident memory, 3 accounts, idle", memory, "bare uvicorn + Starlette", plain_memory, "MiB")
        measured(f"CPU, 3 accounts, idle, over {IDLE_SECONDS:.0f} s", idle, "%")


if __name__ == "__main__":
    main()
