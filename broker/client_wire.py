"""One HTTP/1.1 exchange with the daemon, over its Unix socket or a loopback port.

Called by ``client`` only, and as poor in imports as that: ``http.client`` would bring ``ssl`` and ``email`` along and
so double the time that ``keyfob token`` takes, for answers as plain as the daemon's. ``socket`` itself is a wrapper
around ``_socket`` that needs enumerations and selectors; they take as long to import as the token takes to come.
"""

from __future__ import annotations

import _socket
import os
import sys
import time

TYPE_CHECKING = False  # importing typing for its own constant costs two milliseconds at every start
if TYPE_CHECKING:
    from collections.abc import Mapping

# No header block of the daemon comes near it; a larger one is no daemon of ours.
MAX_HEAD = 65_536
# The audit, the largest list there is, stays far below.
MAX_BODY = 16_777_216
# What needs no encoding in a path segment or a query value (RFC 3986 2.3; "@" may stand in both).
PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~@")


class Stale(Exception):
    """The other side closed the connection before it answered anything."""


class Broken(Exception):
    """The other side does not speak HTTP/1.1 as we know it."""


class Foreign(Exception):
    """Another user's program listens at the socket."""

    def __init__(self, uid: int) -> None:
        super().__init__(uid)
        self.uid = uid


class Reply:
    """One answer, as it came; header names are in lower case."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body


class Peer:
    """Where the daemon listens: the path of a Unix socket, or a host and a port with the base path of its URL."""

    __slots__ = ("address", "base", "host", "path")

    def __init__(
        self, path: str = "", address: tuple[str, int] = ("", 0), host: str = "localhost", base: str = ""
    ) -> None:
        self.path, self.address, self.host, self.base = path, address, host, base

    def __str__(self) -> str:
        return self.path or f"http://{self.host}{self.base}"

    def connect(self, deadline: float) -> Wire:
        """Open a connection; a failure is an ``OSError``.

        Raises:
            Foreign: the kernel says that neither this user nor root listens at the socket. A daemon answers its own
                user only, so that is none; root's is a socket that systemd made.
        """
        if not self.path:
            from socket import create_connection  # noqa: PLC0415 -- what the Unix socket need not pay

            return Wire(create_connection(self.address, _left(deadline)))
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(self.path)
            _check_owner(connection)
        except BaseException:
            connection.close()
            raise
        return Wire(connection)


def peer_of_url(url: str) -> Peer:
    """Read the base URL of an app port.

    Raises:
        ValueError: for anything but ``http://HOST[:PORT][/BASE]`` on this machine. ``https`` is none: the app port does
            not speak it, and so a key does not leave the machine in clear.
    """
    from urllib.parse import urlsplit  # noqa: PLC0415 -- three milliseconds that the socket need not pay

    parts = urlsplit(url)
    if not all("!" <= character <= "~" for character in url):
        raise ValueError(url)  # it goes into the request line and the Host header
    if parts.scheme != "http" or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(url)
    # The app port is never on ::1, where ``localhost`` may lead first: another program may be there.
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    if host != "::1" and not (host.startswith("127.") and host.replace(".", "").isdecimal()):
        raise ValueError(url)
    return Peer(address=(host, parts.port or 80), host=parts.netloc, base=parts.path.rstrip("/"))


class Wire:
    """One connection, and what was read ahead of it."""

    def __init__(self, connection: _socket.socket) -> None:
        self._connection, self._ahead = connection, b""

    def address(self) -> tuple[str, int]:
        """Return where a TCP connection leads to, as the kernel says: a number, whatever name it was looked up by."""
        host, port = self._connection.getpeername()[:2]
        return host, port

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def exchange(self, message: bytes, deadline: float) -> tuple[Reply, bool]:
        """Send one request and return the answer, and whether the connection may be used again.

        Args:
            message: the whole request.
            deadline: on the monotonic clock, for everything: an answer that drips does not last for ever.

        Raises:
            Stale: nothing was answered.
            Broken: the answer is not HTTP/1.1.
            OSError: the connection broke, or (``TimeoutError``) the deadline passed.
        """
        try:
            self._connection.settimeout(_left(deadline))
            self._connection.sendall(message)
            head = self._until(b"\r\n\r\n", deadline, first=True)
        except (BrokenPipeError, ConnectionResetError) as exc:
            if self._ahead:
                raise
            raise Stale from exc
        while head.startswith(b"HTTP/1.1 1"):  # interim answers (RFC 9110 15.2)
            head = self._until(b"\r\n\r\n", deadline)
        version, status, headers = _read_head(head)
        body, framed = self._body(status, headers, deadline)
        keep = framed and version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        return Reply(status, headers, body), keep and not self._ahead

    def _body(self, status: int, headers: Mapping[str, str], deadline: float) -> tuple[bytes, bool]:
        """Return the body, and whether its end was marked by anything but the end of the connection."""
        if status in (204, 304):
            return b"", True
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks(deadline), True
        length = headers.get("content-length")
        if length is None:
            return self._rest(deadline), False
        return self._exactly(_number(length.encode(), 10), deadline), True

    def _chunks(self, deadline: float) -> bytes:
        body = b""
        while size := _number(self._until(b"\r\n", deadline).partition(b";")[0].strip(), 16):
            body += self._exactly(size, deadline)
            if len(body) > MAX_BODY or self._exactly(2, deadline) != b"\r\n":
                raise Broken
        while self._until(b"\r\n", deadline):  # trailers say nothing to us
            pass
        return body

    def _until(self, mark: bytes, deadline: float, *, first: bool = False) -> bytes:
        while mark not in self._ahead:
            if len(self._ahead) > MAX_HEAD:
                raise Broken
            if not self._more(deadline):
                raise Stale if first and not self._ahead else Broken
        found, _, self._ahead = self._ahead.partition(mark)
        return found

    def _exactly(self, count: int, deadline: float) -> bytes:
        while len(self._ahead) < count:
            if not self._more(deadline):
                raise Broken
        found, self._ahead = self._ahead[:count], self._ahead[count:]
        return found

    def _rest(self, deadline: float) -> bytes:
        while self._more(deadline):
            if len(self._ahead) > MAX_BODY:
                raise Broken
        found, self._ahead = self._ahead, b""
        return found

    def _more(self, deadline: float) -> bool:
        self._connection.settimeout(_left(deadline))
        piece = self._connection.recv(65_536)
        self._ahead += piece
        return bool(piece)


def quote(text: str) -> str:
    """Percent-encode one path segment or query value; the dots that would climb a path are encoded too."""
    if text in (".", ".."):
        return text.replace(".", "%2E")
    return "".join(chr(byte) if byte in PLAIN else f"%{byte:02X}" for byte in text.encode(errors="surrogateescape"))


def _check_owner(connection: _socket.socket) -> None:
    """Raise ``Foreign`` for another user's socket, where the system tells whose it is (SO_PEERCRED, unix(7))."""
    if hasattr(_socket, "SO_PEERCRED"):
        credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)  # struct ucred: pid, uid, gid
        uid = int.from_bytes(credentials[4:8], sys.byteorder)
        if uid not in (0, os.geteuid()):
            raise Foreign(uid)


def _read_head(head: bytes) -> tuple[str, int, dict[str, str]]:
    status_line, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = status_line.partition(" ")
    status = rest[:3]
    if version not in ("HTTP/1.1", "HTTP/1.0") or not (status.isascii() and status.isdigit()):
        raise Broken
    fields = (line.partition(":") for line in lines)
    return version, int(status), {name.strip().lower(): value.strip() for name, _, value in fields}


def _number(text: bytes, base: int) -> int:
    """Read a length; ``int`` alone would take signs, underscores and blanks for one."""
    try:
        number = int(text, base) if text.isalnum() else -1
    except ValueError as exc:
        raise Broken from exc
    if not 0 <= number <= MAX_BODY:
        raise Broken
    return number


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
