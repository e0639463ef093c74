"""Requests written byte by byte, for what no HTTP library would send.

Used by the tests of this room that try the doors.
"""

import contextlib
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.web.house import PATIENCE


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it came; the names of its headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def is_problem(self, status: int, code: str) -> bool:
        """Whether it is a problem document that says so."""
        assert self.headers["content-type"] == "application/problem+json", self
        return (self.status, self.json()["status"], self.json()["code"]) == (status, status, code)

    def json(self) -> Any:  # noqa: ANN401 -- whatever the body holds
        """Return what the body holds."""
        return json.loads(self.body)


class Line:
    """One connection to a door.

    Args:
        where: ``http://127.0.0.1:PORT``, the same on ``[::1]``, or the path of a socket.
    """

    def __init__(self, where: str) -> None:
        if where.startswith("http"):
            self.host = urlsplit(where).netloc
            there = (urlsplit(where).hostname or "", urlsplit(where).port or 0)
            self._socket = socket.create_connection(there, PATIENCE)
        else:
            self.host = "localhost"
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(PATIENCE)
            self._socket.connect(where)
        self._come = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes; a door that has hung up already is no error."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def ask(self, method: str, target: str, *headers: str, host: str | None = None) -> Answer:
        """Send a request without a body, with the right Host if none is given, and return its answer."""
        self.send(head(method, target, f"Host: {self.host if host is None else host}", *headers))
        return self.answer(bodiless=method == "HEAD")

    def answer(self, *, bodiless: bool = False) -> Answer:
        """Return the next answer; an interim one counts, and of a stream only the head is read."""
        top, *lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        pairs = [line.split(": ", 1) for line in lines]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), f"a header came twice: {lines}"
        length = 0 if bodiless else int(headers.get("content-length", "0"))
        return Answer(int(top.split(" ")[1]), headers, self.take(length))

    def until(self, mark: bytes) -> bytes:
        """Return what comes before a mark."""
        while mark not in self._come:
            self._more()
        found, _, self._come = self._come.partition(mark)
        return found

    def take(self, size: int) -> bytes:
        """Return the next so many bytes."""
        while len(self._come) < size:
            self._more()
        found, self._come = self._come[:size], self._come[size:]
        return found

    def all_of(self, size: int) -> None:
        """Read so many bytes and forget them."""
        size -= len(self._come)
        self._come = b""
        while size > 0:
            data = self._socket.recv(min(size, 1 << 20))
            assert data, f"the door hung up {size} bytes too early"
            size -= len(data)

    def end(self) -> bytes:
        """Wait until the door hangs up, and return what came before. It must do that by itself."""
        try:
            while data := self._socket.recv(65536):
                self._come += data
        except ConnectionResetError:
            pass
        return self._come

    def all_within(self, seconds: float) -> bytes:
        """Return all that comes until the door hangs up, or says nothing for so long."""
        self.timeout(seconds)
        with contextlib.suppress(TimeoutError):
            self.end()
        return self._come

    def timeout(self, seconds: float) -> None:
        """Wait at most so long for a byte from now on."""
        self._socket.settimeout(seconds)

    def gone(self) -> bool:
        """Whether the door hangs up within the timeout, having said nothing."""
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True
        assert not data, data
        return True

    def _more(self) -> None:
        data = self._socket.recv(65536)
        assert data, f"the door hung up after {self._come!r}"
        self._come += data


def head(method: str, target: str, *headers: str, version: str = "HTTP/1.1") -> bytes:
    """Return the head of a request."""
    return "\r\n".join((f"{method} {target} {version}", *headers, "", "")).encode("latin-1")


def bearer(key: str) -> str:
    """Return the header line that shows a key."""
    return f"Authorization: Bearer {key}"
