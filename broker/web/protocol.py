"""The HTTP protocol of every door: uvicorn's, with deadlines, caps and the peer's identity added.

Given to uvicorn by ``daemon``. Measured on uvicorn 0.54: an idle or half-sent request stays open for ever, a header may
have a megabyte and 20,000 lines; ``timeout_keep_alive`` acts only after a finished request.
"""

import asyncio
import socket
import struct
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

# A local program sends its request in one piece; ten seconds is a swapped-out laptop, not a network.
RECEIVE_DEADLINE = 10.0
# Keys, tokens in bodies of 64 KiB, and URLs with a pasted redirect in them fit well; a flood does not.
MOST_HEAD_BYTES = 32 * 1024
MOST_HEADER_LINES = 64
# struct ucred: pid, uid, gid (unix(7)).
_UCRED = struct.Struct("3i")


class GuardedProtocol(HttpToolsProtocol):
    """One connection. ``scope["state"]["peer"]`` is (pid, uid) on a Unix socket and None on TCP."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._peer: tuple[int, int] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._receiving = True
        self._in_head = True
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note who is there, and expect a first request soon."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows it to Transport
        self._peer = _peer(transport)
        self._deadline = self.loop.call_later(RECEIVE_DEADLINE, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and hold the sender to the deadline while a request is not complete."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._head_bytes > MOST_HEAD_BYTES:
            self.send_400_response("The request's header is too large.")
        elif not self._receiving:
            self._disarm()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(RECEIVE_DEADLINE, self._too_slow)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["state"]["peer"] = self._peer
        self._receiving = self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header line.

        Raises:
            ValueError: there are too many; the parser turns it into a 400.
        """
        if len(self.headers) >= MOST_HEADER_LINES:
            raise ValueError("too many header lines")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The header is there; what follows is the body."""
        self._in_head = False
        self._head_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is there."""
        self._receiving = False
        self._in_head = True
        super().on_message_complete()

    def _too_slow(self) -> None:
        self._deadline = None
        self.transport.close()

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _peer(transport: asyncio.BaseTransport) -> tuple[int, int] | None:
    """Return (pid, uid) of the process at the other end of a Unix socket, as the kernel says."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, uid
