"""Start and stop a practice provider, in a running loop or in a thread of its own.

Used by ``keyfob practice``, ``keyfob demo``, and (``practice_in_thread``) by synchronous tests.
"""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from broker.core.secret import Secret
from broker.errors import CannotStart
from broker.inthread import in_thread
from broker.practice.app import build
from broker.practice.clients import Client
from broker.practice.events import EventLog
from broker.practice.grants import AccessToken
from broker.practice.settings import PracticeSettings
from broker.practice.state import Practice

_LAST_WORDS = 0.5  # seconds for answers under way at stop; they are waiting for nothing then
_START = 10.0  # seconds; a start takes some milliseconds, so this is a machine in trouble


class HangUpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which also lets a request close its own connection (faults ``refuse``, ``drop``, ``cut``)."""

    def on_message_begin(self) -> None:
        """Put the way to hang up into the scope of the request that begins."""
        super().on_message_begin()
        self.scope["state"]["hang_up"] = self.transport.close


class PracticeServer:
    """One practice provider on 127.0.0.1.

    uvicorn's own ``Server`` is not used: its loop ticks every 0.1 s, which a test would pay at every stop, and it
    takes over the signals of the process.

    Args:
        settings: how it behaves.
        clock: epoch seconds; for every lifetime, but not for the waiting of ``delay`` and ``drip``.
        chance: draws 0 to below 1, for faults with a probability.

    Attributes:
        log: what happened.
    """

    def __init__(
        self,
        settings: PracticeSettings | None = None,
        *,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._practice = Practice(settings or PracticeSettings(), clock, chance)
        self._listener: asyncio.Server | None = None
        self._connections = ServerState()
        self.port = 0

    @property
    def log(self) -> EventLog:
        """What happened so far."""
        return self._practice.log

    @property
    def url(self) -> str:
        """Base URL and issuer; empty before the first start."""
        return self._practice.issuer

    @property
    def client_secret(self) -> Secret:
        """Of the preregistered confidential client ``settings.CONFIDENTIAL_CLIENT``."""
        return self._practice.clients.secret

    def change_client_secret(self, secret: Secret) -> None:
        """Give that client another secret, as its owner does who fears that the old one is known."""
        self._practice.clients.change_secret(secret)

    def worth(self, access_token: str) -> AccessToken | None:
        """Return what an access token stands for, or None where it is unknown, expired or revoked."""
        return self._practice.grants.access(access_token)

    def add_client(self, client: Client) -> None:
        """Register a client by hand, as a person does on a provider's own pages."""
        self._practice.clients.add(client)

    def set_faults(self, specs: list[str]) -> None:
        """Put other faults in force, from any thread; held answers go out.

        Raises:
            InvalidRequest: a spec cannot be read; nothing is changed.
        """
        self._practice.set_faults(specs)

    def revoke_grants(self) -> int:
        """Kill every grant, from any thread; return how many were alive."""
        return self._practice.revoke_grants()

    async def start(self, port: int = 0) -> None:
        """Listen. After a stop it may start again, with all its grants, as after an outage.

        Args:
            port: 0 means any free one.

        Raises:
            CannotStart: the port is taken or not allowed.
        """
        listening = _bind(port)
        self.port = listening.getsockname()[1]
        self._practice.listens_at(f"http://127.0.0.1:{self.port}")
        self._practice.stopping = asyncio.Event()
        config = uvicorn.Config(
            build(self._practice),
            http=HangUpProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,  # it would print codes and states
            proxy_headers=False,
            server_header=False,
        )
        config.load()
        self._connections = ServerState()
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: HangUpProtocol(config, self._connections, {}), sock=listening, backlog=config.backlog
        )

    async def stop(self) -> None:
        """Stop listening, let answers under way finish, close every connection."""
        if self._listener is None:
            return
        self._listener.close()
        self._practice.stopping.set()
        if self._connections.tasks:
            await asyncio.wait(set(self._connections.tasks), timeout=_LAST_WORDS)
        for connection in list(self._connections.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # connection_lost is called by the loop, not by abort
        if self._connections.tasks:
            await asyncio.wait(set(self._connections.tasks), timeout=_LAST_WORDS)
        self._listener = None


def _bind(port: int) -> socket.socket:
    # proto is named because asyncio sets TCP_NODELAY only where it is: without, small answers wait for 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as exc:
        listening.close()
        reason = exc.strerror if isinstance(exc, OSError) else "there is no such port"
        raise CannotStart(
            f"The practice provider cannot listen on 127.0.0.1:{port}: {reason}.",
            f"See who does with `ss -ltnp 'sport = :{port}'`, or choose another port: --port 0 takes any free one.",
        ) from exc
    return listening


@contextlib.contextmanager
def practice_in_thread(
    settings: PracticeSettings | None = None,
    *,
    port: int = 0,
    clock: Callable[[], float] = time.time,
    chance: Callable[[], float] = random.random,
) -> Iterator[PracticeServer]:
    """Run a provider in a thread with a loop of its own, for synchronous tests.

    Raises:
        CannotStart: as ``PracticeServer.start``.
    """
    server = PracticeServer(settings, clock=clock, chance=chance)
    with in_thread("practice", partial(server.start, port), server.stop, _START):
        yield server
