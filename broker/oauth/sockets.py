"""The network as httpcore2 wants it, on asyncio's own streams: through anyio, a request takes twice as long.

Called by ``http``, whose connections are there for one request. What is kept goes through anyio as before
(``upstream``): there the kernel tells whether something came that nobody asked for, since nothing is read ahead.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpcore2

Failures = tuple[type[Exception], type[Exception]]
CONNECTING: Failures = (httpcore2.ConnectTimeout, httpcore2.ConnectError)
READING: Failures = (httpcore2.ReadTimeout, httpcore2.ReadError)
WRITING: Failures = (httpcore2.WriteTimeout, httpcore2.WriteError)


class Sockets(httpcore2.AsyncNetworkBackend):
    """Connects."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- the interface of httpcore2
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to an address, or to the first one of a name that answers."""
        del local_address, socket_options  # nobody here sets one
        async with _told(CONNECTING, timeout):
            return _Socket(*await asyncio.open_connection(host, port))


class _Socket(httpcore2.AsyncNetworkStream):
    """A connection, in the clear or encrypted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 -- as above
        async with _told(READING, timeout):
            return await self._reader.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 -- as above
        async with _told(WRITING, timeout):
            self._check_open()
            self._writer.write(buffer)
            await self._writer.drain()

    async def aclose(self) -> None:
        # At once: what an orderly end of TLS would wait for, nobody needs.
        self._writer.transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 -- as above
    ) -> httpcore2.AsyncNetworkStream:
        async with _told(CONNECTING, timeout):
            self._check_open()
            await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        return self

    def _check_open(self) -> None:
        # asyncio takes no notice of what is written to a closed connection; uvloop raises what tells nobody anything.
        if self._writer.transport.is_closing():
            raise ConnectionResetError

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 -- as above
        return self._writer.get_extra_info(info)


@contextlib.asynccontextmanager
async def _told(failures: Failures, seconds: float | None) -> AsyncIterator[None]:
    """Let a failure be one of httpcore2's: the first where it takes longer, the second where the connection breaks."""
    late, broken = failures
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as exc:
        raise late from exc
    except OSError as exc:
        raise broken from exc
