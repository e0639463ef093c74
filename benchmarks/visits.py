"""Asks at a Unix socket over and over, with a connection of its own for each request, and counts what becomes of them.

Started by ``peers.py``: ``python -m benchmarks.visits MANNER SOCKET SECONDS``, with the request on stdin; prints JSON.
The manners are ``waits``, programs that wait where the listener's queue is full, and ``at-once``, an event loop that
does not: the kernel refuses it (EAGAIN, connect(2)), it counts that and asks again.
"""

import json
import select
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass, field

CONCURRENT = 16
# How each token of these benchmarks ends, whatever is around it.
MARK = b"x" * 888
WAIT = 0.001


@dataclass(slots=True)
class Tally:
    """What became of the requests.

    Attributes:
        refused: connections that the kernel refused.
        failed: connections that ended without the token.
        seconds: of each token, from the first try to connect.
    """

    refused: int = 0
    failed: int = 0
    seconds: list[float] = field(default_factory=list)


def waits(path: str, message: bytes, until: float) -> Tally:
    """Ask from threads, each of which waits."""
    tally = Tally()

    def ask() -> None:
        began = time.perf_counter()
        with socket.socket(socket.AF_UNIX) as line:
            try:
                line.connect(path)
                line.sendall(message)
                come = b""
                while MARK not in come and (piece := line.recv(65_536)):
                    come += piece
            except OSError:
                tally.refused += 1
                return
        if MARK in come:
            tally.seconds.append(time.perf_counter() - began)
        else:
            tally.failed += 1

    def ask_on() -> None:
        while time.monotonic() < until:
            ask()

    threads = [threading.Thread(target=ask_on) for _ in range(CONCURRENT)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return tally


class Line:
    """A connection of the event loop, and what has come on it."""

    __slots__ = ("began", "come", "socket")

    def __init__(self, connected: socket.socket, began: float) -> None:
        self.socket, self.began, self.come = connected, began, b""

    def over(self) -> bool:
        """Read, and tell whether that was all: the token, or the end of the connection."""
        try:
            piece = self.socket.recv(65_536)
        except OSError:
            return True
        self.come += piece
        return not piece or MARK in self.come


def at_once(path: str, message: bytes, until: float) -> Tally:
    """Ask from an event loop, that never waits for one of them."""
    tally, lines, poll = Tally(), dict[int, Line](), select.epoll()

    def begin(began: float) -> bool:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            line.connect(path)
            line.sendall(message)
        except OSError:
            tally.refused += 1
            line.close()
            return False
        lines[line.fileno()] = Line(line, began)
        poll.register(line, select.EPOLLIN)
        return True

    free = [0.0] * CONCURRENT  # when each of those began that have no connection, 0 where it has not begun
    while time.monotonic() < until:
        free = [began for began in (one or time.perf_counter() for one in free) if not begin(began)]
        for number, _ in poll.poll(WAIT):
            line = lines[number]
            if line.over():
                if MARK in line.come:
                    tally.seconds.append(time.perf_counter() - line.began)
                else:
                    tally.failed += 1
                del lines[number]
                line.socket.close()  # and so it is no longer polled (epoll(7))
                free.append(0.0)
    return tally


if __name__ == "__main__":
    manner = at_once if sys.argv[1] == "at-once" else waits
    print(json.dumps(asdict(manner(sys.argv[2], sys.stdin.buffer.read(), time.monotonic() + float(sys.argv[3])))))
