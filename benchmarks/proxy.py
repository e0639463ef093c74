"""What the proxy costs: added latency, throughput and memory, beside a bare httpx2 proxy, nginx, and no proxy at all.

Started by ``benchmarks``, or by hand: ``python -m benchmarks.proxy``. Everything runs on this machine, each end in a
process of its own, over TCP on loopback and with the requests taken in turns. Takes a minute or two.
"""

import contextlib
import http.client
import os
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from benchmarks.run import KEYFOB, answers, environment, log_in, practice, process, resident, until
from benchmarks.table import at_least, at_most, compare, measured
from broker.client import Client
from tests.loopback import held_port

MIB = 1024 * 1024
REQUESTS, WARM_UP = 1000, 50
THROUGHPUT, ROUNDS = 256 * MIB, 5
LARGE = 1024 * MIB
PIECE = b"x" * 65_536
PATIENCE = 120.0
# What the proxy may add to the middle request, and how much of a bare proxy's throughput it has to keep.
MOST_ADDED_MS, LEAST_SHARE = 1.5, 0.6
# What a stream of a gigabyte may leave behind in memory, or hold at its height.
MOST_MIB = 16.0
BARE = "bare httpx2 proxy"
NGINX = """\
daemon off; master_process off; pid {place}/pid; error_log {place}/log;
events {{}}
http {{
    access_log off; client_body_temp_path {place}; proxy_temp_path {place};
    fastcgi_temp_path {place}; uwsgi_temp_path {place}; scgi_temp_path {place};
    upstream api {{ server {api}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Authorization "Bearer x"; proxy_buffering off; proxy_request_buffering off;
            client_max_body_size 0;
        }}
    }}
}}
"""


def listens(port: int) -> bool:
    """Tell whether a program listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Way:
    """One way to the API: what is put before the path, and what has to be shown."""

    def __init__(self, name: str, url: str, key: str = "") -> None:
        parts = urlsplit(url)
        self.name = name
        self.before = parts.path.rstrip("/")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)

    def small(self) -> float:
        """Return the seconds that a small request takes."""
        began = time.perf_counter()
        self._read("GET", "/small")
        return time.perf_counter() - began

    def down(self, size: int) -> float:
        """Return the bytes a second of a large answer."""
        self.line.close()  # while the others had their turn, the server may have let an idle connection go
        began = time.perf_counter()
        self.line.request("GET", f"{self.before}/down?bytes={size}", headers=self.headers)
        answer = self.line.getresponse()
        come, piece = 0, bytearray(262_144)
        while read := answer.readinto(piece):
            come += read
        if come != size or answer.status != http.HTTPStatus.OK:
            raise SystemExit(f"{self.name}: {answer.status}, {come} of {size} bytes")
        return size / (time.perf_counter() - began)

    def up(self, size: int) -> float:
        """Return the bytes a second of a large body."""
        self.line.close()  # as above
        began = time.perf_counter()
        pieces = (PIECE for _ in range(size // len(PIECE)))
        self.line.request("POST", f"{self.before}/up", pieces, {**self.headers, "Content-Length": str(size)})
        if str(size).encode() not in (told := self.line.getresponse().read()):
            raise SystemExit(f"{self.name}: {told!r}")
        return size / (time.perf_counter() - began)

    def _read(self, method: str, path: str) -> None:
        self.line.request(method, self.before + path, headers=self.headers)
        answer = self.line.getresponse()
        body = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise SystemExit(f"{self.name}: {answer.status} {body!r}")


@contextlib.contextmanager
def nginx(place: Path, api: int, environ: Mapping[str, str]) -> Iterator[Way | None]:
    """Run nginx before the API, where there is one."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        print("nginx is not here, so it is left out (Debian: apt install nginx-light)")
        yield None
        return
    config = place / "nginx.conf"
    command = [found, "-p", str(place), "-e", str(place / "log"), "-c", str(config)]
    with held_port() as port:
        config.write_text(NGINX.format(place=place, api=f"127.0.0.1:{api}", port=port))
        with process(command, environ):
            until(lambda: listens(port), "nginx")
            yield Way("nginx", f"http://127.0.0.1:{port}/v1")


class Watch:
    """Looks at a process's memory again and again."""

    def __init__(self, pid: int) -> None:
        self.before = self.most = resident(pid)
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, resident(self._pid))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def latency(ways: list[Way]) -> None:
    """Take small requests in turns, and print the middle and the slow ones of each way."""
    times: dict[str, list[float]] = {way.name: [] for way in ways}
    for number in range(WARM_UP + REQUESTS):
        for way in ways:
            took = way.small()
            if number >= WARM_UP:
                times[way.name].append(took * 1000)
    middle = {name: statistics.median(found) for name, found in times.items()}
    for name, found in times.items():
        slow = statistics.quantiles(found, n=100)[98]
        print(f"{'small request, ' + name:<34} p50 {middle[name]:7.3f} ms   p99 {slow:7.3f} ms")
    compare("proxy, small request, p50", middle["keyfob"], BARE, middle[BARE], "ms")
    measured("proxy, added to a small request, p50", middle["keyfob"] - middle["direct"], "ms", at_most(MOST_ADDED_MS))


def throughput(ways: list[Way], kind: str) -> None:
    """Send large bodies in turns, and print the best rate of each way: whatever else runs here makes it slower only."""
    rates: dict[str, list[float]] = {way.name: [] for way in ways}
    for _ in range(ROUNDS):
        for way in ways:
            rates[way.name].append(getattr(way, kind)(THROUGHPUT) / MIB)
    best = {name: max(found) for name, found in rates.items()}
    for name, rate in best.items():
        print(f"{f'{kind}, {name}':<34} {rate:9.0f} MiB/s")
    compare(f"proxy, large body {kind}", best["keyfob"], BARE, best[BARE], "MiB/s", at_least(LEAST_SHARE))


def memory(way: Way, pid: int) -> None:
    """Send a gigabyte each way, and print what the daemon's memory grew by at its height."""
    for kind in ("down", "up"):
        with Watch(pid) as watch:
            rate = getattr(way, kind)(LARGE) / MIB
        print(f"{f'1 GiB {kind}':<34} {rate:9.0f} MiB/s, with {watch.before:.1f} MiB before")
        measured(f"proxy, memory for 1 GiB {kind}", watch.most - watch.before, "MiB", at_most(MOST_MIB))


def main() -> None:
    """Run it."""
    with tempfile.TemporaryDirectory(prefix="kfb-") as temporary, contextlib.ExitStack() as stack:
        place = Path(temporary)
        environ = {**environment(temporary), "KEYFOB_APP_RATE": "0"}
        ports = {name: stack.enter_context(held_port()) for name in ("api", "bare")}
        here, api = [sys.executable, "-m", "benchmarks.proxied"], f"http://127.0.0.1:{ports['api']}"
        stack.enter_context(process([*here, "api", str(ports["api"])], os.environ))
        stack.enter_context(process([*here, "bare", str(ports["bare"]), api], os.environ))
        provider = stack.enter_context(practice(environ, "--ttl", "86400"))
        daemon = stack.enter_context(process([KEYFOB, "serve"], environ))
        for name, port in ports.items():
            until(lambda port=port: listens(port), name)  # type: ignore[misc]  # mypy takes the default for a parameter
        until(lambda: answers(str(place / "run/keyfob.sock")), "the daemon")
        with Client(socket=str(place / "run/keyfob.sock"), key="") as owner:
            log_in(owner, "one", provider)
            owner.request("PATCH", "/v1/accounts/one", {"api_base": f"{api}/v1"})
            grant = {"account": "one", "mode": "proxy", "rules": ["read-only", "POST /up"]}
            key = owner.request("POST", "/v1/apps", {"name": "bench", "grants": [grant]})["key"]
            door = owner.request("GET", "/v1/status")["doors"]["app"]
        keyfob = Way("keyfob", f"{door}/proxy/one", key)
        ways = [
            Way("direct", f"{api}/v1"),
            Way(BARE, f"http://127.0.0.1:{ports['bare']}/v1"),
            keyfob,
        ]
        if (before := stack.enter_context(nginx(place, ports["api"], environ))) is not None:
            ways.append(before)
        latency(ways)
        throughput(ways, "down")
        throughput(ways, "up")
        memory(keyfob, daemon.pid)


if __name__ == "__main__":
    main()
