"""An API that a token is for: it keeps what came, byte by byte, and answers as a test tells it.

Used by the tests of the proxy.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO

PATIENCE = 20.0


@dataclass(slots=True)
class Call:
    """One request as it came, and the connection to answer on.

    Attributes:
        line: the request line.
        headers: as they came, names in lower case.
        body: what came of the body.
    """

    line: str
    headers: list[tuple[str, str]]
    connection: socket.socket = field(repr=False)
    reader: IO[bytes] = field(repr=False)
    body: bytes = b""

    @property
    def method(self) -> str:
        """The method."""
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        """Path and query."""
        return self.line.split(" ")[1]

    def header(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for known, value in self.headers if known == name]

    def say(self, data: bytes) -> None:
        """Write."""
        self.connection.sendall(data)

    def hang_up(self) -> None:
        """End the connection."""
        self.connection.shutdown(socket.SHUT_RDWR)

    def answer(self, status: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Write a whole answer."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.say(f"HTTP/1.1 {status}\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body)

    def _line(self) -> bytes:
        """Read a line of a body."""
        if not (line := self.reader.readline()):
            raise ConnectionError("the body broke off")
        return line

    def pieces(self) -> Iterator[bytes]:
        """Read the body as it comes."""
        if self.header("transfer-encoding") == ["chunked"]:
            while size := int(self._line(), 16):
                yield self.reader.read(size)
                self._line()
            self._line()
        elif lengths := self.header("content-length"):
            left = int(lengths[0])
            while left and (piece := self.reader.read1(min(left, 65536))):  # type: ignore[attr-defined]  # buffered
                left -= len(piece)
                yield piece


Act = Callable[[Call], None]


def echo(call: Call) -> None:
    """Take the whole body, and answer with what came."""
    call.body = b"".join(call.pieces())
    told = {"method": call.method, "target": call.target, "headers": call.headers, "body": call.body.decode("latin-1")}
    call.answer("200 OK", {"content-type": "application/json"}, json.dumps(told).encode())


class Api:
    """The API. ``acts`` has what is done at a path (without the query); elsewhere it echoes."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.acts: dict[str, Act] = {}
        self.calls: list[Call] = []
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def connections(self) -> int:
        """How many connections were made so far."""
        return len(self._connections)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                connection.settimeout(PATIENCE)
                self._connections.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as reader:
            while line := reader.readline().decode("latin-1").strip():
                headers = []
                while head := reader.readline().decode("latin-1").strip():
                    name, _, value = head.partition(":")
                    headers.append((name.lower(), value.strip()))
                call = Call(line, headers, connection, reader)
                self.calls.append(call)
                self.acts.get(call.target.partition("?")[0], echo)(call)

    def close(self) -> None:
        """Hang up on everybody."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)


@contextlib.contextmanager
def an_api() -> Iterator[Api]:
    """Run an API as long as the block lasts."""
    with contextlib.closing(Api()) as api:
        yield api
