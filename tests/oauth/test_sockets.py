"""The connection to a server: nothing is lost, nothing piles up, and what breaks is told for what it is."""

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpcore2
import pytest

from broker.oauth.addresses import Attempt, CheckedBackend
from broker.oauth.sockets import Sockets
from tests.oauth.loopback import Loopback, run

LONG = bytes(range(256)) * 16 * 1024
REQUEST = b"GET / HTTP/1.1\r\n\r\n"


def told(server: Loopback, story: Callable[[httpcore2.AsyncNetworkStream], Awaitable[None]]) -> None:
    """Connect, ask for something, and tell a story."""

    async def telling() -> None:
        stream = await Sockets().connect_tcp("127.0.0.1", server.port, 5)
        try:
            await stream.write(REQUEST)
            await story(stream)
        finally:
            await stream.aclose()

    run(telling())


async def all_of(stream: httpcore2.AsyncNetworkStream) -> bytes:
    """Read to the end, in pieces."""
    found = bytearray()
    while part := await stream.read(10_000, 5):
        assert len(part) <= 10_000
        found += part
    return bytes(found)


def test_nothing_piles_up_and_nothing_is_lost(server: Loopback) -> None:
    """Of what nobody has asked for yet little is taken in, and later all of it is there."""
    server.default = LONG

    async def story(stream: httpcore2.AsyncNetworkStream) -> None:
        found = await stream.read(1, 5)
        for _ in range(50):  # turns of the loop, in each of which more could come
            await asyncio.sleep(0)
        assert len(stream._reader._buffer) < len(LONG) / 4  # type: ignore[attr-defined]  # noqa: SLF001 -- nobody else sees it
        assert found + await all_of(stream) == LONG

    told(server, story)


def test_a_server_that_takes_nothing_is_not_waited_for(server: Loopback) -> None:
    """What cannot be sent ends in a timeout, and not in memory."""
    over = threading.Event()

    def deaf(_connection: socket.socket) -> None:
        over.wait(5)

    server.default = deaf

    async def story(stream: httpcore2.AsyncNetworkStream) -> None:
        with pytest.raises(httpcore2.WriteTimeout):
            await stream.write(4 * LONG, 0.05)

    try:
        told(server, story)
    finally:
        over.set()


def test_silence_ends_in_a_timeout(server: Loopback) -> None:
    """Who says nothing is waited for as long as was said."""
    server.default = server.silent

    async def story(stream: httpcore2.AsyncNetworkStream) -> None:
        with pytest.raises(httpcore2.ReadTimeout):
            await stream.read(1, 0.01)

    told(server, story)


def test_a_reset_is_no_end(server: Loopback) -> None:
    """A connection that breaks is told from one that the server has ended: half an answer could pass for all of it."""

    def reset(connection: socket.socket) -> None:
        connection.sendall(b"half")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    server.default = reset

    async def story(stream: httpcore2.AsyncNetworkStream) -> None:
        with pytest.raises(httpcore2.ReadError):
            await all_of(stream)
        with pytest.raises(httpcore2.WriteError):
            await stream.write(b"more")

    told(server, story)


def test_nobody_there() -> None:
    """A closed port is told as such."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(httpcore2.ConnectError):
        run(Sockets().connect_tcp("127.0.0.1", port, 5))


@pytest.mark.parametrize("farewell", [True, False], ids=["with", "without"])
def test_tls_goes_both_ways_and_ends_with_its_connection(
    tls: ssl.SSLContext,
    certificate: Path,
    farewell: bool,  # noqa: FBT001 -- a parameter of the test
) -> None:
    """What is longer than any record arrives whole both ways, also where the server leaves without a farewell."""
    trust = ssl.create_default_context(cafile=certificate)
    request = b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(LONG) + LONG

    def answered(connection: socket.socket) -> None:
        connection.sendall(LONG)
        if farewell and isinstance(connection, ssl.SSLSocket):
            connection.unwrap()

    async def asking() -> bytes:
        stream = await Sockets().connect_tcp("127.0.0.1", server.port, 5)
        inside = await stream.start_tls(trust, "127.0.0.1", 5)
        try:
            assert inside.get_extra_info("ssl_object").version() >= "TLSv1.2"
            await inside.write(request, 5)
            return await all_of(inside)
        finally:
            await inside.aclose()

    with Loopback(tls) as server:
        server.default = answered
        assert run(asking()) == LONG
    assert server.requests == [request]


def test_a_handshake_that_hangs_is_given_up(server: Loopback) -> None:
    """Who takes the first word of TLS and says nothing is waited for as long as was said; then it is closed."""
    server.default = server.silent

    async def story() -> None:
        backend = CheckedBackend(["127.0.0.1"], Attempt(), Sockets())
        stream = await backend.connect_tcp("localhost", server.port)
        with pytest.raises(httpcore2.ConnectTimeout):
            await stream.start_tls(ssl.create_default_context(), "127.0.0.1", 0.05)
        assert stream._inner._writer.transport.is_closing()  # type: ignore[attr-defined]  # noqa: SLF001 -- as above

    run(story())
