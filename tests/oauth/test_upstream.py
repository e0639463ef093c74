"""The way out for the proxy: certificates, addresses and proxies as for everything else; what may be sent again."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.core.secret import Secret
from broker.oauth.http import AnswerLost, Http, NotAllowed, NotSent
from broker.oauth.upstream import Sending, Upstream
from tests.oauth.loopback import CLIENT, Loopback, http, read_request

BODY = b"x" * 100_000


async def in_pieces() -> AsyncIterator[bytes]:
    """Yield a body."""
    for _ in range(10):
        yield BODY[:10_000]


def sending(
    base: str, method: str = "GET", body: AsyncIterator[bytes] | None = None, *, private: bool = False
) -> Sending:
    """Return a request for /x."""
    headers = [] if body is None else [(b"content-length", b"%d" % len(BODY))]
    return Sending(method, urlsplit(base), b"/x?y", private, headers, Secret("the-token"), body, wait=5, idle=5)


def told(story: Callable[[Upstream], Awaitable[object]]) -> None:
    """Tell a story with connections of its own."""

    async def telling() -> None:
        upstream = Upstream()
        try:
            await story(upstream)
        finally:
            await upstream.aclose()

    asyncio.run(telling())


async def asked(upstream: Upstream, client: Http, request: Sending) -> bytes:
    """Send a request, and return the whole body of its answer."""
    answer = await upstream.send(client, request)
    try:
        return b"".join([chunk async for chunk in answer.chunks()])
    finally:
        await answer.aclose()


def test_a_body_and_an_answer_go_through_tls(tls: ssl.SSLContext, certificate: Path) -> None:
    """The token goes into the encrypted connection to the very host, whose certificate is trusted."""
    client = Http(deadline=5, ca_file=certificate)

    async def story(upstream: Upstream) -> None:
        assert await asked(upstream, client, sending(server.url, "POST", in_pieces())) == BODY

    with Loopback(tls, http("200 OK", BODY)) as server:
        told(story)
        assert server.head().startswith("POST /x?y HTTP/1.1\r\n")
        assert "Authorization: Bearer the-token" in server.head()
        assert server.form().encode() == BODY


def test_an_unknown_certificate_gets_nothing(tls: ssl.SSLContext) -> None:
    """Nothing of a request is written to who does not prove who it is."""

    async def story(upstream: Upstream) -> None:
        with pytest.raises(NotSent, match="certificate of 127"):
            await asked(upstream, CLIENT, sending(server.url))

    with Loopback(tls, http("200 OK", b"")) as server:
        told(story)
        assert server.requests == []


@pytest.mark.parametrize("host", ["10.0.0.1", "169.254.169.254", "[fd00::1]", "192.168.1.1"])
def test_a_special_purpose_address_is_not_asked(host: str) -> None:
    """What is behind the firewall is asked with a person's word only, also where a name leads there by now."""

    async def story(upstream: Upstream) -> None:
        with pytest.raises(NotAllowed, match="special-purpose"):
            await asked(upstream, CLIENT, sending(f"https://{host}"))

    told(story)


def test_through_a_proxy_it_sees_a_tunnel_only(server: Loopback, tls: ssl.SSLContext, certificate: Path) -> None:
    """The configured proxy is asked for a tunnel, and hears nothing of the token."""

    def tunnel(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with tls.wrap_socket(connection, server_side=True) as inner:
            server.requests.append(read_request(inner))
            inner.sendall(http("200 OK", b"through"))

    async def story(upstream: Upstream) -> None:
        assert await asked(upstream, client, sending("https://provider.example")) == b"through"

    server.default = tunnel
    client = Http(deadline=5, proxy=server.url, ca_file=certificate)
    told(story)
    assert server.head(0).startswith("CONNECT provider.example:443 ")
    assert "the-token" not in server.head(0)
    assert "Bearer the-token" in server.head(1)


def test_a_proxy_that_is_not_there_is_named() -> None:
    """A proxy that refuses is what refuses, and not the API."""

    async def story(upstream: Upstream) -> None:
        with pytest.raises(NotSent, match=r"^the proxy 127\.0\.0\.1:1 refuses the connection$"):
            await asked(upstream, client, sending("https://provider.example"))

    client = Http(deadline=5, proxy="http://127.0.0.1:1")
    told(story)


def test_the_certificate_of_a_proxy_is_the_proxys(tls: ssl.SSLContext) -> None:
    """A proxy whose certificate is not valid is named with it."""

    async def story(upstream: Upstream) -> None:
        with pytest.raises(NotSent, match=r"^the certificate of the proxy 127\.0\.0\.1:"):
            await asked(upstream, Http(deadline=5, proxy=proxy.url), sending("https://provider.example"))

    with Loopback(tls) as proxy:
        told(story)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_a_closed_connection_may_cost(server: Loopback, method: str) -> None:
    """A kept connection that ends under a request: a GET is sent once more, what may have done something is not."""

    def once(connection: socket.socket) -> None:
        connection.sendall(http("200 OK", b"first"))
        server.requests.append(read_request(connection))

    async def story(upstream: Upstream) -> None:
        assert await asked(upstream, CLIENT, sending(server.url)) == b"first"
        if method == "GET":
            assert await asked(upstream, CLIENT, sending(server.url)) == b"first"
        else:
            with pytest.raises(AnswerLost):
                await asked(upstream, CLIENT, sending(server.url, "POST", in_pieces()))

    server.default = once
    told(story)
    lines = [request.partition(b" ")[0].decode() for request in server.requests]
    assert lines[:3] == ["GET", "GET", "GET"] if method == "GET" else lines == ["GET", "POST"]
