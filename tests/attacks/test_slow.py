"""Slow and oversized requests: many connections that never end, and single ones that never stop growing.

Six hundred connections that any user of the machine can open are held while a program asks for its token.
"""

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.attacks.ground import PORTS, TOKEN, Ground
from tests.attacks.hostile import EXCHANGE
from tests.web.raw import Line, bearer, head

CROWD = 600
# What a program has to have its token within, while the crowd is there.
SOON = 1.0
# When a request has to have arrived, with time for a slow machine.
DEADLINE = 10.0
KIB = 1024
# How one of the crowd begins; %K stands for a right key.
SLOW = {
    "says nothing": "",
    "half a line": "GET /v1/acc",
    "half a head": "GET /healthz HTTP/1.1\r\nHost: %H\r\nX: ",
    "half a body": f"POST {TOKEN}/rejected HTTP/1.1\r\nHost: %H\r\n%K\r\nContent-Length: 100\r\n\r\n{{",
    "half a chunk": f"POST {TOKEN}/rejected HTTP/1.1\r\nHost: %H\r\n%K\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{{",
    "asks and stays": "GET /healthz HTTP/1.1\r\nHost: %H\r\n\r\n",
}


@pytest.fixture(autouse=True, scope="module")
def _many_files() -> Iterator[None]:
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, most), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


@pytest.fixture(autouse=True, scope="module")
def slow(ground: Ground) -> Iterator[list[Line]]:
    """Begin to be slow while the other tests go on, at a door that no crowd is at where there is IPv6."""
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(Line(ground.where(PORTS[-1]))) for _ in range(3)]
        for line, name in zip(lines, ("says nothing", "half a line", "half a head"), strict=True):
            line.send(said(ground, PORTS[-1], name))
            line.timeout(DEADLINE + 5)
        yield lines


def said(ground: Ground, door: str, name: str) -> bytes:
    """Return what one of the crowd says."""
    return SLOW[name].replace("%H", ground.named(door)).replace("%K", bearer(ground.key)).encode()


@contextlib.contextmanager
def crowd(ground: Ground, door: str, words: bytes) -> Iterator[list[socket.socket]]:
    """Hold six hundred connections at a door."""
    with contextlib.ExitStack() as stack:
        held = []
        for _ in range(CROWD):
            one = socket.socket(socket.AF_UNIX if door == "socket" else socket.AF_INET)
            held.append(stack.enter_context(one))
            one.settimeout(DEADLINE)
            one.connect(str(ground.home.socket) if door == "socket" else ("127.0.0.1", ground.port(door)))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                one.sendall(words)
        yield held


def seconds_for_a_token(ground: Ground, door: str) -> float:
    """Ask at a door, on a new connection, and return how long the answer took."""
    began = time.monotonic()
    assert ground.ask(door).status == 200
    return time.monotonic() - began


CROWDS = [("app", name) for name in SLOW]
CROWDS += [(door, name) for door in ("browser", "socket") for name in ("says nothing", "half a head")]


@pytest.mark.parametrize(("door", "name"), CROWDS)
def test_a_crowd_shuts_no_door(ground: Ground, door: str, name: str) -> None:
    """While six hundred connections are held, whoever asks properly is answered within a second, at every door."""
    with crowd(ground, door, said(ground, door, name)):
        taken = {each: seconds_for_a_token(ground, each) for each in (door, "app", "browser", "socket")}

    assert max(taken.values()) < SOON, taken


def test_a_kept_connection_survives_a_crowd(ground: Ground) -> None:
    """What is being answered is not hung up on to make room."""
    with Line(ground.where("socket")) as events:
        events.send(head("GET", "/v1/events", "Host: localhost"))
        events.until(b": listening\n\n")
        with crowd(ground, "socket", b"GET /"):
            ground.post("/v1/accounts/me/refresh")

            events.until(b"event: refreshed")


OVERSIZED = {
    "one long header": (f"GET {TOKEN} HTTP/1.1\r\nHost: %H\r\n%K\r\nX: " + "x" * 40 * KIB + "\r\n\r\n", "400"),
    "a megabyte of header": (f"GET {TOKEN} HTTP/1.1\r\nHost: %H\r\n%K\r\nX: " + "x" * 1024 * KIB + "\r\n\r\n", "400"),
    "many headers": (f"GET {TOKEN} HTTP/1.1\r\nHost: %H\r\n%K\r\n" + "X: y\r\n" * 1000 + "\r\n", "400"),
    "a long target": (f"GET {TOKEN}?" + "x" * 40 * KIB + " HTTP/1.1\r\nHost: %H\r\n%K\r\n\r\n", "400"),
    "a long query": (f"GET {TOKEN}?scope=" + "x" * 20 * KIB + " HTTP/1.1\r\nHost: %H\r\n%K\r\n\r\n", "400"),
    "a long name": ("GET /v1/accounts/" + "x" * 20 * KIB + "/token HTTP/1.1\r\nHost: %H\r\n%K\r\n\r\n", "40"),
    "a long key": (
        f"GET {TOKEN} HTTP/1.1\r\nHost: %H\r\nAuthorization: Bearer kf_" + "x" * 20 * KIB + "\r\n\r\n",
        "401",
    ),
    "a large body": (
        f"POST {TOKEN}/rejected HTTP/1.1\r\nHost: %H\r\n%K\r\nContent-Length: {300 * KIB}\r\n\r\n" + " " * 300 * KIB,
        "400",
    ),
    "a promised gigabyte": (
        f"POST {TOKEN}/rejected HTTP/1.1\r\nHost: %H\r\n%K\r\nContent-Length: {1024**3}\r\n\r\n" + " " * 2048 * KIB,
        "400",
    ),
    "tiny chunks": (
        f"POST {TOKEN}/rejected HTTP/1.1\r\nHost: %H\r\n%K\r\nTransfer-Encoding: chunked\r\n\r\n"
        + "1\r\n \r\n" * 300_000,
        "400",
    ),
    "deep JSON": (
        f"POST {TOKEN}/rejected HTTP/1.1\r\nHost: %H\r\n%K\r\nContent-Length: 100000\r\n\r\n" + "[" * 100_000,
        "400",
    ),
    "a long number": (
        f"POST {TOKEN}/rejected HTTP/1.1\r\nHost: %H\r\n%K\r\nContent-Length: 100005\r\n\r\n"
        '{"a":' + "9" * 99_999 + "}",
        "400",
    ),
}


@pytest.mark.parametrize("name", OVERSIZED)
@pytest.mark.parametrize("door", ["app", "socket"])
def test_what_is_too_large_is_refused(ground: Ground, door: str, name: str) -> None:
    """It is told so and hung up on, costs no memory, and the next request is answered as ever."""
    pattern, status = OVERSIZED[name]
    key = bearer(ground.key)
    before = resident(ground)

    came = ground.raw(door, pattern.replace("%H", ground.named(door)).replace("%K", key).encode())

    assert came.startswith(f"HTTP/1.1 {status}".encode()) or not came
    assert came.count(b"HTTP/1.1 ") <= 1
    assert resident(ground) - before < 8 * KIB
    assert seconds_for_a_token(ground, door) < SOON


def resident(ground: Ground) -> int:
    """Return the daemon's memory in KiB."""
    told = Path(f"/proc/{ground.daemon.pid}/status").read_text()
    return int(told.partition("VmRSS:")[2].split()[0])


def test_an_answer_that_drips(drip: Future[tuple[float, int]]) -> None:
    """A provider's byte now and then buys no time: after twenty seconds in all it is given up, and not believed."""
    seconds, status = drip.result(EXCHANGE * 2)

    assert EXCHANGE * 0.9 < seconds < EXCHANGE * 1.5
    assert status >= 400


def test_the_slow_are_hung_up_on(slow: list[Line]) -> None:
    """After ten seconds each of them is gone, without a word."""
    for line in slow:
        assert line.gone()
