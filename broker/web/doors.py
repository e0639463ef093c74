"""A door: a listening socket and the server behind it.

Opened and closed by ``daemon``.
"""

import asyncio
import errno
import os
import socket
from functools import partial
from pathlib import Path
from typing import cast

from starlette.types import ASGIApp
from uvicorn import Config, Server

from broker.errors import CannotStart
from broker.web.protocol import GuardedProtocol, Outbox

LOOPBACK = "127.0.0.1"
LOOPBACK_6 = "::1"
BACKLOG = 1024
# Programs that ask every minute keep their connection; idle ones are not kept for ever.
KEEP_ALIVE = 75
# What a stop waits for answers that are being written; refreshes are drained before the doors close.
CLOSING = 2


def configured(app: ASGIApp) -> Config:
    """Return how every door is served: nothing that uvicorn would add by itself, and our own protocol."""
    return Config(
        app,
        http=cast("type[asyncio.Protocol]", partial(GuardedProtocol, outbox=Outbox())),  # uvicorn only calls it
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=CLOSING,
        backlog=BACKLOG,
    )


class Door(Server):
    """One uvicorn server without its own signals, lifespan and main loop: it only listens and answers."""

    def __init__(self, app: ASGIApp, sock: socket.socket) -> None:
        super().__init__(configured(app))
        self._socket = sock

    async def open(self) -> None:
        """Begin to accept."""
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(sockets=[self._socket])

    async def close(self) -> None:
        """Accept nothing more, let answers end, and cut what hangs; nothing where it was never opened."""
        if not self.started:
            return
        # uvicorn says in its log at INFO and ERROR what a stop of ours says once; see daemon.
        await self.shutdown(sockets=[self._socket])
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if isinstance(transport, asyncio.Transport):
                transport.abort()


def bind_port(port: int, flag: str) -> socket.socket:
    """Bind a TCP port on 127.0.0.1; 0 takes any free one.

    Raises:
        CannotStart: the port is taken or not allowed; names who to ask and the flag that moves it.
    """
    # IPPROTO_TCP by name: asyncio sets TCP_NODELAY only on sockets that say so, and without it an answer in two
    # writes costs 44 ms.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LOOPBACK, port))
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        if exc.errno == errno.EADDRINUSE:
            raise CannotStart(
                f"Port {port} on {LOOPBACK} is taken by another program.",
                f"See which: ss -ltnp 'sport = :{port}' - or move Keyfob with --{flag} (0 takes any free port).",
            ) from exc
        raise CannotStart(
            f"Port {port} on {LOOPBACK} cannot be used: {exc.strerror}.", f"Choose another with --{flag}."
        ) from exc
    return sock


def bind_beside(port: int) -> tuple[socket.socket | None, bool]:
    """Bind the same port on ::1, where a browser may look that was told ``localhost`` (security: RFC 8252 8.3).

    Returns:
        The socket, or None where there is none; and whether another program has that port there.
    """
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError:
        return None, False  # a machine without IPv6: nobody can be there
    try:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LOOPBACK_6, port))
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        return None, exc.errno != errno.EADDRNOTAVAIL  # without that address nobody can be there either
    return sock, False


def bind_socket(path: Path) -> socket.socket:
    """Bind a Unix socket, 0600 from its first moment. Only the holder of the state lock may call this.

    Raises:
        CannotStart: something that is no dead socket of ours is in the way.
    """
    if path.is_symlink() or (path.exists() and not path.is_socket()):
        raise CannotStart(f"{path} is in the way and is no socket.", "Remove it, or move Keyfob with --runtime-dir.")
    if path.exists() and _answers(path):
        # Two daemons with different state directories may share a runtime directory by mistake.
        raise CannotStart(
            f"Another program already listens at {path}.", "Stop it, or move this one with --runtime-dir."
        )
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)
    try:
        sock.bind(str(path))
    except OSError as exc:
        sock.close()
        raise CannotStart(
            f"The socket {path} cannot be made: {exc.strerror or exc}.",
            "A socket's path holds 107 characters at the most; choose another place with --runtime-dir.",
        ) from exc
    finally:
        os.umask(umask)
    sock.listen(BACKLOG)
    return sock


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
        return True
