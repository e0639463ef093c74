"""A server on loopback that answers whatever bytes a test tells it: half answers, drips, lies.

Used by the tests of ``broker.oauth``.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Self, TypeVar

import uvloop

from broker.oauth.http import Http

# A client keeps nothing between requests, so all tests share one: making the TLS context is what takes time.
CLIENT = Http(deadline=5)
# How often a drip drops; short, so that a test's own deadline is what ends it.
DRIP = 0.01
Handler = Callable[[socket.socket], None]
T = TypeVar("T")


def run(story: Coroutine[Any, Any, T]) -> T:
    """Tell a story on the daemon's own loop, which takes some things otherwise than asyncio's."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(story)


def http(status: str, body: bytes | str | object = b"", **headers: str) -> bytes:
    """Write an answer: bytes and text as they are, anything else as JSON; header names with ``_`` for ``-``."""
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers.setdefault("Content_Type", "application/json")
    headers.setdefault("Content_Length", str(len(body)))
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


class Loopback:
    """A raw server; one thread a connection, ended by ``close``.

    Attributes:
        requests: what came, whole.
        port: where it listens.
        default: what is answered where ``routes`` has nothing.
        routes: path -> answer.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, answer: bytes = b"") -> None:
        self.requests: list[bytes] = []
        self.default: bytes | Handler = answer
        self.routes: dict[str, bytes | Handler] = {}
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Its origin."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"

    def head(self, number: int = -1) -> str:
        """Return the head of a request, request line and headers."""
        return self.requests[number].partition(b"\r\n\r\n")[0].decode("latin-1")

    def form(self, number: int = -1) -> str:
        """Return the body of a request."""
        return self.requests[number].partition(b"\r\n\r\n")[2].decode()

    def silent(self, connection: socket.socket) -> None:
        """Say nothing until the client goes."""
        self.hold(connection)

    def drip(self, start: bytes) -> Handler:
        """Send ``start``, then a byte now and then until the client goes."""

        def handler(connection: socket.socket) -> None:
            with contextlib.suppress(OSError):
                connection.sendall(start)
                while not self._over.wait(DRIP):
                    connection.sendall(b"x")

        return handler

    def then_hold(self, start: bytes) -> Handler:
        """Send ``start`` and keep the connection open until the client goes."""

        def handler(connection: socket.socket) -> None:
            connection.sendall(start)
            self.hold(connection)

        return handler

    def hold(self, connection: socket.socket) -> None:
        """Wait until the client goes."""
        with contextlib.suppress(OSError):
            while connection.recv(4096):
                pass

    def close(self) -> None:
        """Stop listening, and wait for every thread."""
        if self._over.is_set():
            return
        self._over.set()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            pass
        for thread in self._threads:
            thread.join(timeout=5)
        self._listener.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            connection, _ = self._listener.accept()
            if self._over.is_set():
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                self._answer(connection)
        except OSError:
            # The client went away, or did not like the certificate: what it made of that is what is tested.
            connection.close()

    def _answer(self, connection: socket.socket) -> None:
        request = read_request(connection)
        if not request:
            return
        self.requests.append(request)
        path = request.split(b" ", 2)[1].decode().partition("?")[0]
        answer = self.routes.get(path, self.default)
        if isinstance(answer, bytes):
            connection.sendall(answer)
        else:
            answer(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_request(connection: socket.socket) -> bytes:
    """Read one request, head and body; empty when the client says nothing."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def headers_of(head: str) -> Mapping[str, str]:
    """Return the headers of a request by lower-case name."""
    pairs = (line.split(": ", 1) for line in head.split("\r\n")[1:])
    return {name.lower(): value for name, value in pairs}
