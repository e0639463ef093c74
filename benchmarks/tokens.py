"""How many tokens a second the daemon hands out, against the bare server that it runs on, in the same run.

Started by ``benchmarks``. Three rounds of each, one after the other, so that what else the machine does hits all alike;
the table has the medians. Guard, grant and audit are on: at the end the audit has to have counted every answer. Needs
wrk (Debian: ``apt install wrk``) and is left out without it. Takes about two minutes.
"""

import contextlib
import http.client
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.run import KEYFOB, PREFIX, answers, busy, environment, log_in, practice, process, until
from benchmarks.table import at_least, at_most, compare, measured
from broker.client import Client

HERE = Path(__file__).parent
ROUNDS, SECONDS, PATIENCE = 3, 5, 30.0
FEW, MANY = 16, 256
# What many providers' tokens weigh.
SIZE = 900
LONG = f'token:json={{"access_token":"{PREFIX.ljust(SIZE, "x")}"}}'
PATH = "/v1/accounts/one/token"
BARE = "bare ASGI, same uvicorn"
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True, slots=True)
class Drive:
    """One measurement: answers a second, the 99th percentile in ms, CPU microseconds an answer, and what went wrong."""

    rate: float
    p99: float
    cpu: float
    count: int
    errors: int


def drive(url: str, pid: int, connections: int, key: str) -> Drive:
    """Ask as fast as the connections allow."""
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{SECONDS}s",
        "--latency",
        "-H",
        f"Authorization: Bearer {key}",
        url,
    ]
    before = busy(pid)
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    used = busy(pid) - before
    count = int(_found(r"(\d+) requests in", said)[0])
    number, unit = _found(r"99%\s+([\d.]+)(us|ms|s)", said)
    told = (line for line in said.splitlines() if "errors" in line or "Non-2xx" in line)
    errors = sum(int(number) for line in told for number in re.findall(r"\b(\d+)(?:,|$)", line))
    return Drive(count / SECONDS, float(number) * UNITS[unit], 1e6 * used / count, count, errors)


def _found(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"wrk said something else: {text}")
    return found.groups()


def steer(provider: str, faults: list[str]) -> None:
    """Tell the practice provider what to answer with from now on."""
    body = json.dumps(faults).encode()
    asking = urllib.request.Request(f"{provider}/practice/faults", body)  # noqa: S310 -- our own, on this machine
    with urllib.request.urlopen(asking, timeout=PATIENCE):  # noqa: S310 -- as above
        pass


def counted(client: Client, app: str) -> int:
    """Return how many hand-outs to an app the audit has."""
    entries = client.request("GET", f"/v1/audit?app={app}&limit=1000")["entries"]
    return sum(one["count"] for one in entries if one["action"] == "handout")


def asked(url: str, key: str) -> bytes:
    """Return the body of one answer."""
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port)
    with contextlib.closing(connection):
        connection.request("GET", at.path, headers={"Authorization": f"Bearer {key}"})
        return connection.getresponse().read()


@dataclass(frozen=True, slots=True)
class Served:
    """A daemon as it is measured: an account with a long token, and an app that may have it.

    Attributes:
        url: where the app asks for the token, at the app port.
        key: the app's.
        owner: the owner's connection, on the socket.
        pid: the daemon's.
        environ: its environment.
    """

    url: str
    key: str
    owner: Client
    pid: int
    environ: Mapping[str, str]


@contextlib.contextmanager
def handing_out(place: str) -> Iterator[Served]:
    """Run it, and its practice provider, for the length of the block."""
    # One program asks here for all; the limit for one is 50 a second.
    environ = {**environment(place), "KEYFOB_APP_RATE": "0"}
    own = str(Path(place, "run/keyfob.sock"))
    with practice(environ, "--ttl", "3600") as provider, process([KEYFOB, "serve"], environ) as daemon:
        until(lambda: answers(own), "the daemon")
        with Client(socket=own, key="") as client:
            log_in(client, "one", provider)
            steer(provider, ["token:no_id_token", LONG])
            client.request("POST", "/v1/accounts/one/refresh", {})
            key = client.request("POST", "/v1/apps", {"name": "bench", "grants": [{"account": "one"}]})["key"]
            door = client.request("GET", "/v1/status")["doors"]["app"]
            yield Served(f"{door}{PATH}", key, client, daemon.pid, environ)


def main() -> None:
    """Measure and print."""
    if shutil.which("wrk") is None:
        print("hand-outs a second: left out, there is no wrk here (Debian: apt install wrk)")
        return
    with tempfile.TemporaryDirectory(prefix="kf-bench-", dir="/tmp") as place, contextlib.ExitStack() as running:
        served = running.enter_context(handing_out(place))
        client, key, environ = served.owner, served.key, served.environ
        urls = {"keyfob": (served.url, served.pid)}
        body = asked(served.url, key)
        for kind in ("bare", "uvicorn", "starlette"):
            command = [sys.executable, "-m", "benchmarks.plain", kind, "0", str(len(body))]
            server = running.enter_context(process(command, {**environ, "PYTHONPATH": str(HERE.parent)}))
            assert server.stdout is not None  # noqa: S101 -- as above
            urls[kind] = f"http://127.0.0.1:{server.stdout.readline().strip()}{PATH}", server.pid
        rows: dict[tuple[str, int], list[Drive]] = {}
        for connections in (FEW, MANY):
            for _ in range(ROUNDS):
                for kind, (url, pid) in urls.items():
                    rows.setdefault((kind, connections), []).append(drive(url, pid, connections, key))
        total = 1 + sum(row.count for (kind, _), found in rows.items() if kind == "keyfob" for row in found)
        give_up = time.monotonic() + PATIENCE
        while counted(client, "bench") < total:
            if time.monotonic() > give_up:
                raise SystemExit(f"the audit counted {counted(client, 'bench')} of {total} hand-outs")
            time.sleep(0.5)
        size = len(json.loads(body)["access_token"])
        print(f"token of {size} characters; the audit counted every one of {total} answers")
        table(rows)


def table(rows: dict[tuple[str, int], list[Drive]]) -> None:
    """Print medians, and what ours are against the bare server and the framework's JSON route."""

    def median(kind: str, connections: int, what: str) -> float:
        return statistics.median(float(getattr(row, what)) for row in rows[kind, connections])

    for connections in (FEW, MANY):
        for kind in ("bare", "uvicorn", "starlette", "keyfob"):
            rate, p99, cpu = (median(kind, connections, what) for what in ("rate", "p99", "cpu"))
            print(f"{connections:4} connections {kind:<10} {rate:8.0f}/s   p99 {p99:7.2f} ms   {cpu:6.1f} us CPU")
    for connections in (FEW, MANY):
        ours, bare, route = (partial(median, kind, connections) for kind in ("keyfob", "bare", "starlette"))
        what = f"hand-outs, {connections} connections"
        # Goals are set for the few; of the many none may fail.
        goals = (at_least(0.75), at_least(1.7), at_most(3)) if connections == FEW else (None, None, None)
        compare(what, ours("rate"), BARE, bare("rate"), "/s", goals[0], more=True)
        compare(what, ours("rate"), "Starlette's JSON route", route("rate"), "/s", goals[1], more=True)
        compare(f"{what}, p99", ours("p99"), BARE, bare("p99"), "ms", goals[2], steady=False)
        compare(f"{what}, CPU", ours("cpu"), BARE, bare("cpu"), "us")
        measured(f"{what}, errors", sum(row.errors for row in rows["keyfob", connections]), "", at_most(0))


if __name__ == "__main__":
    main()
