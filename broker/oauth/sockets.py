"""The network as httpcore2 wants it, on asyncio alone: through anyio's own backend, a request takes twice as long.

Called by ``http``, whose connections are there for one request. What is kept goes through anyio as before
(``upstream``): that is where it is looked whether a connection still stands.

Nothing is read before somebody asks for it: what came in the clear, before TLS, can never pass for what comes inside.
That is why there are no asyncio streams here, which read ahead.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any

import anyio
import httpcore2
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

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
        """Connect to an address; names were resolved before (``addresses``)."""
        del local_address, socket_options  # nobody here sets one
        async with _told(CONNECTING, timeout):
            line = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            try:
                line.setblocking(False)  # noqa: FBT003 -- the socket's own interface
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                address = host.encode("ascii")  # as for ``addresses_of``
                await asyncio.get_running_loop().sock_connect(line, (address, port))
            except BaseException:
                line.close()
                raise
        return _Stream(_Line(line))


class _Line(ByteStream):
    """A connection in the clear, as anyio's TLS wants it."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._loop = asyncio.get_running_loop()

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        # asyncio does not wait where something is there already: in a flood nothing else had a turn, and no deadline.
        await asyncio.sleep(0)
        if not (found := await self._loop.sock_recv(self._line, max_bytes)):
            raise anyio.EndOfStream
        return found

    async def send(self, item: bytes) -> None:
        await self._loop.sock_sendall(self._line, item)

    async def send_eof(self) -> None:
        self._line.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        self._line.close()


class _Stream(httpcore2.AsyncNetworkStream):
    """A connection, in the clear or encrypted."""

    def __init__(self, inner: ByteStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 -- as above
        async with _told(READING, timeout):
            try:
                return await self._inner.receive(max_bytes)
            except anyio.EndOfStream:
                return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 -- as above
        async with _told(WRITING, timeout):
            await self._inner.send(buffer)

    async def aclose(self) -> None:
        # At once: what an orderly end of TLS would wait for, nobody needs.
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 -- as above
    ) -> httpcore2.AsyncNetworkStream:
        async with _told(CONNECTING, timeout):
            # Not standard_compatible: half of the servers end a connection without saying so first, and what HTTP has
            # told of an answer's length shows whether all of it came.
            wrapped = TLSStream.wrap(
                self._inner,
                server_side=False,
                hostname=server_hostname,
                ssl_context=ssl_context,
                standard_compatible=False,
            )
            return _Stream(await wrapped)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 -- as above
        if info != "ssl_object":
            return None
        return self._inner.extra(TLSAttribute.ssl_object, None)  # nosec B610 # noqa: S610 -- anyio's, and no Django


@contextlib.asynccontextmanager
async def _told(failures: Failures, seconds: float | None) -> AsyncIterator[None]:
    """Let a failure be one of httpcore2's: the first where it takes longer, the second where the connection breaks."""
    late, broken = failures
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as exc:
        raise late from exc
    except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as exc:
        raise broken from exc
