"""Keyfob beside oidc-agent: a Python library, a command, and programs that connect for each token.

Started by ``benchmarks``. Each has an account of its own at the same practice provider, whose tokens are equally long;
rounds are taken in turns. Needs oidc-agent (Debian: ``apt install oidc-agent-cli``) and liboidcagent (``make
.venv/foreign/ready``); what is not here is left out. Takes about two minutes.
"""

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.agent import ACCOUNT, Agent, oidc_agent
from benchmarks.run import KEYFOB, RUNS, answers, busy, environment, log_in, practice, process, until, wall
from benchmarks.table import at_least, at_most, compare, measured
from benchmarks.tokens import BARE, LONG, PATH, SIZE, steer
from broker.client import Client

HERE = Path(__file__).parent
# An environment without Keyfob, for its peers.
FOREIGN = Path(sys.prefix, "foreign/bin/python")
ROUNDS, REQUESTS, SECONDS = 5, 1000, 1.0
VISIT_ROUNDS = 7
ASKED = f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: keyfob-client\r\nAccept: application/json\r\n\r\n"
# It takes the request as it is, too, without the encryption that its own clients use: that is quicker.
ASKED_OF_AGENT = json.dumps({"request": "access_token", "account": ACCOUNT, "min_valid_period": 0})
AGENT, STOCK = "oidc-agent", "bare ASGI, stock uvicorn"


@dataclass(slots=True)
class Rounds:
    """What the rounds of one way gave: answers a second, middle and slow ones in ms, CPU, and what went wrong."""

    rate: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    refused: int = 0
    failed: int = 0

    def add(self, seconds: list[float]) -> None:
        """Take what the requests of a round took."""
        self.p50.append(1e3 * statistics.median(seconds))
        self.p99.append(1e3 * statistics.quantiles(seconds, n=100)[98])

    def middle(self, what: str) -> float:
        """Return the median of the rounds."""
        return float(statistics.median(getattr(self, what)))


def libraries(environs: Mapping[str, Mapping[str, str]]) -> None:
    """Ask with the library of each, in turns."""
    if AGENT in environs and not FOREIGN.exists():
        print("liboidcagent is not here, so it is left out (make .venv/foreign/ready)")
        environs = {name: environ for name, environ in environs.items() if name != AGENT}
    commands = {"keyfob": (sys.executable, "broker.client"), AGENT: (str(FOREIGN), "liboidcagent")}
    found = {name: Rounds() for name in environs}
    for _ in range(ROUNDS):
        for name, environ in environs.items():
            python, library = commands[name]
            command = [python, str(HERE / "library.py"), library, ACCOUNT, str(REQUESTS)]
            told = json.loads(subprocess.run(command, env=dict(environ), check=True, capture_output=True).stdout)
            if told["size"] != SIZE:
                raise SystemExit(f"{name}: a token of {told['size']} characters")
            found[name].add(told["seconds"])
    for name, rounds in found.items():
        print(f"{commands[name][1]:<14} p50 {rounds.middle('p50'):7.3f} ms   p99 {rounds.middle('p99'):7.3f} ms")
    if AGENT in found:
        ours, theirs = found["keyfob"], found[AGENT]
        compare("broker.client, p50", ours.middle("p50"), "liboidcagent", theirs.middle("p50"), "ms", at_most(0.5))
        compare("broker.client, p99", ours.middle("p99"), "liboidcagent", theirs.middle("p99"), "ms", steady=False)


def commands(environs: Mapping[str, Mapping[str, str]]) -> None:
    """Run the command of each, in turns."""
    if AGENT not in environs:
        return
    asks = {"keyfob": [KEYFOB, "token", ACCOUNT], AGENT: ["oidc-token", ACCOUNT]}
    runs: dict[str, list[float]] = {name: [] for name in asks}
    for _ in range(RUNS):
        for name, command in asks.items():
            runs[name].append(1e3 * wall(command, environs[name]))
    compare("keyfob token", statistics.median(runs["keyfob"]), "oidc-token", statistics.median(runs[AGENT]), "ms")


def visits(manner: str, doors: Mapping[str, tuple[str, int]]) -> dict[str, Rounds]:
    """Ask each with a connection for every request, in turns."""
    found = {name: Rounds() for name in doors}
    for _ in range(VISIT_ROUNDS):
        for name, (path, pid) in doors.items():
            before = busy(pid)
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.visits", manner, path, str(SECONDS)],
                check=True,
                capture_output=True,
                text=True,
                cwd=HERE.parent,
                input=ASKED_OF_AGENT if name == AGENT else ASKED,
            )
            told, rounds = json.loads(done.stdout), found[name]
            rounds.add(told["seconds"])
            rounds.rate.append(len(told["seconds"]) / SECONDS)
            rounds.cpu.append(1e6 * (busy(pid) - before) / len(told["seconds"]))
            rounds.refused += told["refused"]
            rounds.failed += told["failed"]
    return found


def table(manner: str, found: Mapping[str, Rounds]) -> None:
    """Print what the visits gave."""
    for name, rounds in found.items():
        rate, p50, p99, cpu = (rounds.middle(what) for what in ("rate", "p50", "p99", "cpu"))
        print(
            f"{manner:<8} {name:<24} {rate:8.0f}/s   p50 {p50:6.2f} ms   p99 {p99:6.2f} ms   {cpu:5.1f} us CPU   "
            f"{rounds.refused} refused, {rounds.failed} failed"
        )
    what, ours, bare, stock = f"a connection each, {manner}", found["keyfob"], found[BARE], found[STOCK]
    compare(what, ours.middle("rate"), BARE, bare.middle("rate"), "/s", at_least(0.75))
    compare(f"{what}, CPU", ours.middle("cpu"), BARE, bare.middle("cpu"), "us")
    compare(f"{what}, CPU", ours.middle("cpu"), STOCK, stock.middle("cpu"), "us")
    measured(f"{what}, refused", ours.refused + ours.failed, "", at_most(0))
    if (agent := found.get(AGENT)) is not None:
        # Where programs wait for it, it refuses nobody, and so its slowest are quicker: there it is a comparison only.
        goal = at_most(1.0) if manner == "at-once" else None
        compare(what, ours.middle("rate"), AGENT, agent.middle("rate"), "/s", more=True, steady=False)
        compare(f"{what}, p99", ours.middle("p99"), AGENT, agent.middle("p99"), "ms", goal, steady=False)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="kf-bench-", dir="/tmp") as place, contextlib.ExitStack() as running:
        own = str(Path(place, "run/keyfob.sock"))
        environ = environment(place)
        provider = running.enter_context(practice(environ, "--ttl", "86400"))
        daemon = running.enter_context(process([KEYFOB, "serve"], environ))
        until(lambda: answers(own), "the daemon")
        client = Client(socket=own)
        log_in(client, ACCOUNT, provider)
        steer(provider, ["token:no_id_token", LONG])
        client.request("POST", f"/v1/accounts/{ACCOUNT}/refresh", {})
        agent: Agent | None = running.enter_context(oidc_agent(Path(place), provider, environ))
        size = len(json.dumps(client.request("GET", PATH)))
        doors, environs = {"keyfob": (own, daemon.pid)}, {"keyfob": environ}
        for kind, name in (("bare", BARE), ("uvicorn", STOCK)):
            path = str(Path(place, f"{kind}.sock"))
            command = [sys.executable, "-m", "benchmarks.plain", kind, path, str(size)]
            server = running.enter_context(process(command, {**environ, "PYTHONPATH": str(HERE.parent)}))
            until(partial(answers, path), "the baseline")
            doors[name] = path, server.pid
        if agent is not None:
            doors[AGENT], environs[AGENT] = (agent.socket, agent.pid), dict(agent.environ)
        libraries(environs)
        commands(environs)
        for manner in ("at-once", "waits"):
            table(manner, visits(manner, doors))


if __name__ == "__main__":
    main()
