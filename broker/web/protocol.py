"""The HTTP protocol of every door: uvicorn's, with deadlines, caps and the peer's identity added.

Given to uvicorn by ``daemon``. Measured on uvicorn 0.54: an idle or half-sent request stays open for ever, a header may
have a megabyte and 20,000 lines; ``timeout_keep_alive`` acts only after a finished request.
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Any, cast

from starlette.types import Scope
from uvicorn._types import ASGI3Application, HTTPScope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from broker.web import peers

# A local program sends its request in one piece; ten seconds is a swapped-out laptop, not a network.
RECEIVE_DEADLINE = 10.0
# Keys, tokens in bodies of 64 KiB, and URLs with a pasted redirect in them fit well; a flood does not.
MOST_HEAD_BYTES = 32 * 1024
MOST_HEADER_LINES = 64
# Of a whole request as it comes over the wire: the largest body that anybody reads (128 KiB) in very small chunks.
MOST_REQUEST_BYTES = 1024 * 1024
TOO_LARGE = "the header is too large"
SPOKEN = ("1.1", "1.0")
# What every answer carries, the parser's own refusals too.
REFUSAL_HEADERS = b"cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n"


def whole(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Return an answer with its Content-Length as it goes over the wire, byte for byte as uvicorn writes it.

    Raises:
        ValueError: a header cannot be sent.
    """
    lines = []
    for name, value in headers:
        if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
            raise ValueError(name)
        lines.append(b"%b: %b\r\n" % (name.lower(), value))
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", body])


class Outbox:
    """Answers that are ready: written at once where few ask, and all together where many ask at once.

    A write wakes the program that waits for it, and on a virtual machine, whose cores wake each other through the host,
    that costs more than the rest of the answer. Many written in a row wake it once; but few that are held back until
    all is read let it stand idle meanwhile. So every now and then answers are held back to see how many there are.
    """

    # Fewer are written at once. Measured with wrk on two cores: it pays from about ten connections on.
    many = 5
    # After so few, so many answers go out at once before it is looked again.
    trust = 64

    def __init__(self) -> None:
        self._waiting: list[tuple[GuardedProtocol, RequestResponseCycle, bytes]] = []
        self._at_once = 0

    def put(self, connection: "GuardedProtocol", cycle: RequestResponseCycle, answer: bytes) -> None:
        """Take an answer."""
        if self._at_once:
            self._at_once -= 1
            connection.write(cycle, answer)
            return
        if not self._waiting:
            connection.loop.call_soon(self.send)  # when all that has arrived is read
        self._waiting.append((connection, cycle, answer))

    def send(self) -> None:
        """Write all that waits."""
        waiting, self._waiting = self._waiting, []
        if len(waiting) < self.many:
            self._at_once = self.trust
        for connection, cycle, answer in waiting:
            connection.write(cycle, answer)


class GuardedProtocol(HttpToolsProtocol):
    """One connection.

    ``scope["state"]["peer"]`` is (pid, uid) on a Unix socket and None on TCP; ``last`` and ``whose`` are lists of the
    connection's own. An app may have a method ``again``: it is asked first, with the scope, for an answer that is ready
    (see ``whole``). All connections of a door have the same ``outbox``.
    """

    # More than a desktop's programs ever hold. For one more, the one that says nothing for longest is hung up on: then
    # whoever holds many shuts nobody out, and descriptors do not run out.
    most_connections = 512

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        outbox: Outbox | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._outbox = outbox or Outbox()
        self._again: Callable[[Scope], bytes | None] | None = getattr(self.app, "again", None)
        self._may_answer = False
        # What each request's scope has in its state.
        self._given: dict[str, Any] = {}
        self._deadline: asyncio.TimerHandle | None = None
        self._receiving = True
        self._in_head = True
        self._streaming = False
        # Seconds in which a body that is streamed has to go on; None for no limit.
        self._patience: float | None = None
        self._heard = 0.0
        self.since = 0.0
        # Counted as it is read, for a line that never ends, and as it is parsed, for many requests in one read.
        self._read_bytes = 0
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note who is there, and expect a first request soon."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows it to Transport
        self.since = self.loop.time()
        if len(self.connections) > self.most_connections:
            self._make_room()
        # ``last`` is what ``standing`` keeps of the connection's last request, ``whose`` who ``peers`` found.
        self._given = {
            "peer": peers.peer_of(transport),
            "last": [],
            "whose": [],
            "hang_up": self._hang_up,
            "stream_body": self._stream_body,
        }
        self._deadline = self.loop.call_later(RECEIVE_DEADLINE, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline, and the request: its scope knows us, and a circle stays until the collector comes."""
        self._disarm()
        super().connection_lost(exc)
        self.scope = self.cycle = None  # type: ignore[assignment]  # as before the first request
        self._given = {}

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and hold the sender to the deadline while a request is not complete."""
        self._read_bytes += len(data)
        self._heard = self.loop.time()
        self._may_answer = self._again is not None
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._receiving and self._read_bytes > self._most_bytes():
            self._outbox.send()
            if not self._in_head and not self._answering():
                self.transport.close()  # it has its answer; another one would be taken for that to the next request
            else:
                self.send_400_response("The request is too large.")
        elif not self._receiving and (self._answering() or self.timeout_keep_alive_task is not None):
            self._disarm()
        elif self._deadline is None:
            # Also for what begins no request, such as empty lines: it has just ended uvicorn's own idle timer.
            self._deadline = self.loop.call_later(RECEIVE_DEADLINE, self._too_slow)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request that can be read, and hang up."""
        self._outbox.send()  # what was asked before it on this connection is answered before it
        text = msg.encode("ascii")
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n" + REFUSAL_HEADERS
        self.transport.write(head + b"content-length: %d\r\n\r\n" % len(text) + text)
        self.transport.close()

    def shutdown(self) -> None:
        """End the connection: after its answer, or at once where the request has not even arrived."""
        self._outbox.send()
        if self._receiving and not self._streams():
            self.transport.abort()
        else:
            super().shutdown()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["state"].update(self._given)
        self._receiving = self._in_head = True
        self._streaming = False
        self.since = self.loop.time()
        self._read_bytes = self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header line.

        Raises:
            ValueError: it is one too many, or comes after the body; the parser turns it into a 400.
        """
        if not self._in_head:
            # RFC 9110 6.5.1: a trailer must not be merged into the header. Nobody needs one here.
            raise ValueError("trailers are not taken")
        if len(self.headers) >= MOST_HEADER_LINES:
            raise ValueError("too many header lines")
        self._head_bytes += len(name) + len(value)  # as _count, without the call: there are many lines
        if self._head_bytes > MOST_HEAD_BYTES:
            raise ValueError(TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The header is there; what follows is the body.

        Raises:
            ValueError: the target is not a path. One with a host in it would overrule the Host that the guards look
                at (RFC 9112 3.2.2). Or it is another HTTP, which the parser would read as this one.
        """
        if self.parser.get_http_version() not in SPOKEN:
            raise ValueError("another version of HTTP")
        if not self.url.startswith(b"/") or b"#" in self.url:
            raise ValueError("the target is not in origin form")
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is there."""
        self._receiving = False
        self._in_head = True
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Answer at once where an answer is ready, which is cheaper than a task; else begin one, as uvicorn does.

        It is one for each read at the most, so that whoever sends many requests together keeps nobody else waiting.
        """
        answer = None
        if self._may_answer and self._again and cycle is self.cycle and cycle.keep_alive and not self.flow.write_paused:
            try:
                answer = self._again(cast("Scope", cycle.scope))
            except Exception:  # noqa: BLE001 -- the task meets it, too, and tells; here it would pass for a bad request
                answer = None
        if answer is None:
            super()._start_asgi_task(cycle, app)
            return
        self._may_answer = False
        self._outbox.put(self, cycle, answer)

    def write(self, cycle: RequestResponseCycle, answer: bytes) -> None:
        """Write a whole answer, and go on to the next request."""
        cycle.response_started = cycle.response_complete = True
        if not self.transport.is_closing():
            self.transport.write(answer)
        cycle.on_response()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MOST_HEAD_BYTES:
            raise ValueError(TOO_LARGE)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: uvicorn would advise to install a WebSocket library, which is not missing but left out."""

    def _answering(self) -> bool:
        # uvicorn's hints say that there is always a cycle; before the first request there is none.
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _make_room(self) -> None:
        """Hang up on whoever is not being answered for longest; this connection, the newest, comes last."""
        idle = (one for one in self.connections if isinstance(one, GuardedProtocol) and one.is_idle())
        min(idle, key=lambda one: one.since).transport.abort()

    def is_idle(self) -> bool:
        """Whether nothing is being answered here: the request is not there yet, or its answer is over."""
        arriving = self._receiving and not self._streams()
        return (arriving or not self._answering()) and not self.transport.is_closing()

    def _stream_body(self, scope: HTTPScope, patience: float | None) -> None:
        """Take the rest of a request's body without an end, as long as it goes on and the answer is not over.

        For who has let the request pass, and takes the body as fast as it comes or lets it wait.

        Args:
            scope: of that request; whatever has come after it on this connection is not meant.
            patience: seconds without a byte after which its sender is hung up on; None for no limit.
        """
        if scope is self.scope and self._receiving:
            self._streaming, self._patience = True, patience

    def _streams(self) -> bool:
        return self._streaming and self._answering()

    def _most_bytes(self) -> float:
        if self._in_head:
            return MOST_HEAD_BYTES
        return math.inf if self._streams() else MOST_REQUEST_BYTES

    def _hang_up(self) -> None:
        """End an answer that cannot come to its end, so that nobody takes it for whole."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        self.transport.close()
        self.loop.call_later(RECEIVE_DEADLINE, self.transport.abort)  # whoever does not even take what was written

    def _too_slow(self) -> None:
        self._deadline = None
        if self._streams():
            if self.flow.read_paused:
                self._heard = self.loop.time()  # nobody is late who is kept waiting
            left = math.inf if self._patience is None else self._patience - (self.loop.time() - self._heard)
            if left > 0:
                self._deadline = self.loop.call_later(min(left, RECEIVE_DEADLINE), self._too_slow)
                return
        self.transport.close()

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
