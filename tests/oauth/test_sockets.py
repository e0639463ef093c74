"""The connection to a server: nothing is lost, nothing piles up, and what breaks is told for what it is."""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpcore2
import pytest
import uvloop

from broker.oauth.addresses import Attempt, CheckedBackend
from broker.oauth.http import AnswerLost, Http, NotSent
from broker.oauth.sockets import Sockets
from tests.loopback import held_port
from tests.oauth.loopback import Loopback, http, read_request, run

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


def test_nothing_is_lost(server: Loopback) -> None:
    """What nobody has asked for yet is there later, all of it."""
    server.default = LONG

    async def story(stream: httpcore2.AsyncNetworkStream) -> None:
        assert await stream.read(1, 5) + await all_of(stream) == LONG

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
    with held_port() as port, pytest.raises(httpcore2.ConnectError):
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


def test_a_handshake_that_hangs_is_given_up() -> None:
    """Who takes the first word of TLS and says nothing is waited for as long as was said; then it is closed."""

    async def story(port: int) -> None:
        stream = await CheckedBackend(["127.0.0.1"], Attempt(), Sockets()).connect_tcp("localhost", port)
        with pytest.raises(httpcore2.ConnectTimeout):
            await stream.start_tls(ssl.create_default_context(), "127.0.0.1", 0.05)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        run(story(listener.getsockname()[1]))
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            while connection.recv(4096):
                pass


# --- what comes in the clear is never taken for what comes inside TLS -------------------------------------------------

FORGED, TRUE = http("200 OK", b"FORGED"), http("200 OK", b"TRUE")
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]


def not_sent(client: Http, url: str, loop: Loop) -> None:
    """Try a request, and see that nothing of it was sent."""
    with asyncio.Runner(loop_factory=loop) as runner, pytest.raises(NotSent):
        runner.run(client.send("POST", url, private=False, form={"a": "b"}))


@LOOPS
def test_nobody_on_the_way_answers_before_tls(tls: ssl.SSLContext, certificate: Path, loop: Loop) -> None:
    """An answer in the clear, there before the handshake begins, breaks the handshake and is nobody's answer."""
    ready = threading.Event()

    def injecting(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.sendall(FORGED)
        ready.set()
        with contextlib.suppress(OSError), tls.wrap_socket(connection, server_side=True) as inside:
            read_request(inside)
            inside.sendall(TRUE)

    async def asking(port: int) -> None:
        stream = await Sockets().connect_tcp("127.0.0.1", port, 5)
        try:
            await asyncio.to_thread(ready.wait, 5)
            for _ in range(20):  # turns of the loop, in which it could take in what is there
                await asyncio.sleep(0)
            with pytest.raises(httpcore2.ConnectError):
                await stream.start_tls(ssl.create_default_context(cafile=certificate), "127.0.0.1", 5)
        finally:
            await stream.aclose()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=injecting, args=(listener,))
        thread.start()
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(asking(listener.getsockname()[1]))
        thread.join()


@LOOPS
def test_a_proxy_does_not_answer_for_the_server(
    server: Loopback, tls: ssl.SSLContext, certificate: Path, loop: Loop
) -> None:
    """What a proxy says after it has opened the tunnel, and before the server's TLS, is not the server's answer."""

    def tunnel(connection: socket.socket) -> None:
        # httpcore2 reads 64 KiB of it for the proxy's own answer.
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n".ljust(65_536, b"x") + FORGED)
        with contextlib.suppress(OSError), tls.wrap_socket(connection, server_side=True) as inside:
            read_request(inside)
            inside.sendall(TRUE)

    server.default = tunnel
    not_sent(Http(deadline=5, ca_file=certificate, proxy=server.url), "https://provider.example/", loop)


@LOOPS
def test_tls_inside_tls_that_does_not_come_about_is_no_connection(
    tls: ssl.SSLContext, certificate: Path, loop: Loop
) -> None:
    """A proxy that is asked by TLS, and goes while TLS with the server begins, was told nothing of the request."""
    with Loopback(tls, b"HTTP/1.1 200 OK\r\n\r\n") as server:  # and closes
        not_sent(Http(deadline=5, ca_file=certificate, proxy=server.url), "https://provider.example/", loop)


@LOOPS
def test_a_proxy_may_have_an_address_that_is_dead(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, loop: Loop
) -> None:
    """Of the addresses of a proxy's name each is tried."""
    server.default = http("502 Bad Gateway")

    async def both(_host: str, _port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]  # the first one refuses

    monkeypatch.setattr("broker.oauth.http.addresses_of", both)
    not_sent(Http(deadline=5, proxy=f"http://proxy.example:{server.port}"), "https://provider.example/", loop)
    assert server.head().startswith("CONNECT provider.example:443")


@LOOPS
def test_silence_inside_tls_is_silence(tls: ssl.SSLContext, certificate: Path, loop: Loop) -> None:
    """Who says nothing inside TLS is late, and nothing is wrong with the encryption."""
    with Loopback(tls) as server:
        server.default = server.silent
        asking = Http(deadline=0.2, ca_file=certificate).send("GET", server.url, private=False)
        with asyncio.Runner(loop_factory=loop) as runner, pytest.raises(AnswerLost, match="did not answer within"):
            runner.run(asking)


@LOOPS
def test_a_flood_lets_others_have_their_turn(server: Loopback, loop: Loop) -> None:
    """A server that goes on and on is given up at the deadline, and the daemon does its other work meanwhile."""

    def flood(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)

    server.default = flood
    turns = 0

    async def story() -> None:
        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(others())
        try:
            with pytest.raises(AnswerLost):
                await Http(deadline=0.3).send("GET", server.url, private=False)
        finally:
            other.cancel()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(story())
    assert turns > 5
