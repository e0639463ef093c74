"""A provider that answers with any bytes: Keyfob's own way out, with a wire of ours instead of a socket.

Used by ``providers``. Replaced is the socket and nothing above it, TLS included: ``broker.oauth.http`` writes a real
request and reads the bytes as an answer.
"""

import copy
import functools
import ssl
from collections.abc import Iterable
from typing import Any
from urllib.parse import SplitResult

import httpcore2

from broker.oauth.addresses import Attempt, CheckedBackend
from broker.oauth.http import Http

NOW = 1_800_000_000.0


@functools.cache
def _real() -> Http:
    """Return one real client to copy from: to load the certificates of the system takes longer than all the rest."""
    return Http(clock=lambda: NOW)


class Answering(Http):
    """Keyfob's way out, to a server that says the same to everybody, and hangs up.

    Args:
        raw: what it says.
    """

    def __init__(self, raw: bytes) -> None:
        self.__dict__.update(copy.copy(_real().__dict__))
        self._raw = raw

    async def _backend(self, target: SplitResult, private: bool, attempt: Attempt) -> CheckedBackend:  # noqa: FBT001 -- as the real one
        del target, private
        # The seam: the socket, nothing above it.
        return CheckedBackend(["127.0.0.1"], attempt, _Backend(self._raw))


def answer(body: bytes, status: int = 200, kind: bytes = b"application/json") -> bytes:
    """Return a sound HTTP answer with any body."""
    head = b"HTTP/1.1 %d X\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (status, kind, len(body)) + body


class _Backend(httpcore2.AsyncNetworkBackend):
    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- the interface of httpcore2
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        del host, port, timeout, local_address, socket_options
        return _Stream(self._raw)


class _Stream(httpcore2.AsyncNetworkStream):
    def __init__(self, raw: bytes) -> None:
        self._left = raw

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 -- as above
        del buffer, timeout

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 -- as above
        del timeout
        found, self._left = self._left[:max_bytes], self._left[max_bytes:]
        return found

    async def aclose(self) -> None:
        """Nothing is held."""

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 -- as above
    ) -> httpcore2.AsyncNetworkStream:
        del ssl_context, server_hostname, timeout
        return self

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 -- the interface of httpcore2
        del info
