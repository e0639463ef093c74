"""When an answer that is ready is written: at once where few ask, together where many do, and never out of turn."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from broker.web.doors import configured
from broker.web.protocol import MOST_REQUEST_BYTES, GuardedProtocol, Outbox, whole
from tests.fuzz.doors import Line as Connection
from tests.usecases.house import PATIENCE
from tests.web.raw import Line, head
from tests.web.test_standing import Room, room

__all__ = ["room"]
ASKED = head("GET", "/ready", "Host: localhost")
MANY, FEW = Outbox.many, Outbox.many - 1


class Ready:
    """An app whose answers are ready."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer what is not asked for first on its connection's read."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"later"})

    def again(self, scope: Scope) -> bytes | None:
        """Answer at once, with what was asked."""
        return whole(200, [(b"content-length", b"%d" % len(scope["query_string"]))], scope["query_string"])


class Door:
    """Some connections to one door, in memory."""

    def __init__(self, count: int) -> None:
        config, state = configured(Ready()), ServerState()
        config.load()
        self.state = state
        self.lines: list[Connection] = []
        self.ends: list[GuardedProtocol] = []
        for _ in range(count):
            line = Connection(None)
            line.protocol = end = config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[call-arg]
            assert isinstance(end, GuardedProtocol)
            end.connection_made(line)
            self.lines.append(line)
            self.ends.append(end)

    def asks(self, number: int) -> bytes:
        """Let one connection ask; return what is written to it at once."""
        before = len(self.lines[number].written)
        self.ends[number].data_received(head("GET", f"/ready?{number}", "Host: localhost"))
        return bytes(self.lines[number].written[before:])

    def has(self, number: int) -> bytes:
        """Return the body of the last answer that a connection was given."""
        return bytes(self.lines[number].written).rpartition(b"\r\n\r\n")[2]

    def close(self) -> None:
        """Hang up all."""
        for line in self.lines:
            line.close()


@contextlib.contextmanager
def door(count: int) -> Iterator[Door]:
    """Open it."""
    with contextlib.closing(Door(count)) as found:
        yield found


def test_many_at_once_are_answered_together() -> None:
    """Nothing is written while others are read; then each has its own answer. So it goes on while they are many."""

    async def story() -> None:
        with door(MANY) as found:
            for _ in range(3):
                assert [found.asks(number) for number in range(MANY)] == [b""] * MANY
                await asyncio.sleep(0)
                assert [found.has(number) for number in range(MANY)] == [b"%d" % number for number in range(MANY)]

    asyncio.run(story())


def test_few_are_answered_at_once() -> None:
    """One answer is held back to see how many there are; the next ones are not, and then it is looked again."""

    async def story() -> None:
        with door(FEW) as found:
            for number in range(FEW):
                assert found.asks(number) == b""
            await asyncio.sleep(0)
            assert all(found.has(number) == b"%d" % number for number in range(FEW))
            for asked in range(Outbox.trust):
                assert found.asks(asked % FEW).endswith(b"%d" % (asked % FEW))
            assert found.asks(0) == b""

    asyncio.run(story())


def test_who_has_gone_away_keeps_nobody_else_from_an_answer() -> None:
    """A connection that ends before its answer is written is passed over."""

    async def story() -> None:
        with door(2) as found:
            found.asks(0)
            found.asks(1)
            found.lines[0].close()
            await asyncio.sleep(0)
            assert (bytes(found.lines[0].written), found.has(1)) == (b"", b"1")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("after", "then"),
    [
        (b"GARBAGE\r\n\r\n", [b"200", b"400"]),
        (b"GET /big HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", [b"200", b"400"]),
        (ASKED, [b"200", b"200"]),
    ],
    ids=["no request", "too large", "another"],
)
def test_an_answer_is_never_overtaken(after: bytes, then: list[bytes]) -> None:
    """What is sent in one piece with the request is answered after it, a refusal too."""

    async def story() -> None:
        with door(1) as found:
            found.ends[0].data_received(head("GET", "/ready?0", "Host: localhost") + after)
            await asyncio.sleep(0)
            if found.state.tasks:
                await asyncio.wait(found.state.tasks, timeout=PATIENCE)
            statuses = [part[:3] for part in bytes(found.lines[0].written).split(b"HTTP/1.1 ")[1:]]
            assert statuses == then
            assert b"\r\n\r\n0HTTP/1.1 " in found.lines[0].written

    asyncio.run(story())


def test_a_body_without_an_end_is_cut_after_the_answer() -> None:
    """Whoever goes on sending has one answer, and no second one that would pass for that to the next request."""

    async def story() -> None:
        with door(1) as found:
            asked = head("GET", "/ready?0", "Host: localhost", f"Content-Length: {4 * MOST_REQUEST_BYTES}")
            found.ends[0].data_received(asked)
            found.ends[0].data_received(b"x" * (MOST_REQUEST_BYTES + 1))
            assert (found.lines[0].written.count(b"HTTP/1.1"), found.has(0), found.lines[0].closed) == (1, b"0", True)

    asyncio.run(story())


def test_a_stop_lets_what_is_ready_out() -> None:
    """A connection that is shut down between its request and its answer has the answer first."""

    async def story() -> None:
        with door(1) as found:
            assert found.asks(0) == b""
            found.ends[0].shutdown()
            assert (found.has(0), found.lines[0].closed) == (b"0", True)

    asyncio.run(story())


def test_real_connections_each_have_their_own(room: Room) -> None:
    """At the real door, over and over: as many answers as requests on each of them, all whole."""
    room.again()
    request = head("GET", "/v1/accounts/work/token", "Host: localhost")
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(Line(room.house.socket)) for _ in range(3 * MANY)]
        for _ in range(20):
            for line in lines:
                line.send(request)
            assert {line.answer().json()["access_token"] for line in lines} == {room.get()["access_token"]}
