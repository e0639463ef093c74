"""The way out through a configured proxy: what the proxy hears, what of it is the request, and who is named."""

import socket
import ssl
from pathlib import Path

import pytest

from broker.errors import CannotStart
from broker.oauth.http import Http, NotSent, Reply
from tests.oauth.loopback import Loopback, headers_of, http, read_request, run


def get(url: str, client: Http) -> Reply:
    """Send a GET and return the answer."""
    return run(client.send("GET", url, private=False))


def post(url: str, client: Http) -> Reply:
    """Send a form and return the answer."""
    return run(client.send("POST", url, private=False, form={"grant_type": "x"}))


@pytest.mark.parametrize("proxy", ["socks5://x:1", "proxy:3128", "http://[::1", "http://"])
def test_a_proxy_that_is_none_stops_the_start(proxy: str) -> None:
    """A proxy that cannot be used is told at start."""
    with pytest.raises(CannotStart, match="proxy"):
        Http(proxy=proxy)


def test_a_proxy_is_asked_for_a_tunnel_and_sees_no_request(
    server: Loopback, tls: ssl.SSLContext, certificate: Path
) -> None:
    """Through a proxy the request goes inside TLS to the provider's own name."""

    def tunnel(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with tls.wrap_socket(connection, server_side=True) as inner:
            server.requests.append(read_request(inner))
            inner.sendall(http("200 OK", {"through": True}))

    server.default = tunnel
    client = Http(deadline=5, proxy=f"http://me:p%40ss@127.0.0.1:{server.port}", ca_file=certificate)
    reply = get("https://provider.example/token", client)
    assert reply.body == b'{"through": true}'
    assert server.head(0).startswith("CONNECT provider.example:443 ")
    assert headers_of(server.head(0))["proxy-authorization"] == "Basic bWU6cEBzcw=="
    assert server.head(1).startswith("GET /token ")
    assert "proxy-authorization" not in headers_of(server.head(1))


@pytest.mark.parametrize("answer", [http("403 Forbidden"), b"", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_proxy_that_does_not_lead_on_means_that_nothing_was_sent(server: Loopback, answer: bytes) -> None:
    """What the proxy itself was told is not the request."""
    server.default = answer
    with pytest.raises(NotSent):
        post("https://provider.example/token", Http(deadline=5, proxy=server.url))


GONE = [
    (b"", "the proxy {proxy} did not answer in HTTP, or not to the end"),
    (http("403 Forbidden"), "the proxy does not let the request through"),
]


@pytest.mark.parametrize(("answer", "said"), GONE)
def test_who_did_not_answer_is_named(server: Loopback, answer: bytes, said: str) -> None:
    """Where the proxy is at fault, nobody looks for the fault at the provider."""
    server.default = answer
    with pytest.raises(NotSent) as told:
        post("https://provider.example/token", Http(deadline=5, proxy=server.url))
    assert told.value.reason == said.format(proxy=f"127.0.0.1:{server.port}")


def test_who_is_behind_the_tunnel_is_named(server: Loopback) -> None:
    """Once the tunnel is open it is the provider that did not answer, however the connection ended."""
    server.default = b"HTTP/1.1 200 OK\r\n\r\n"
    with pytest.raises(NotSent, match=r"onnection to provider\.example (came about|failed)") as told:
        post("https://provider.example/token", Http(deadline=5, proxy=server.url))
    assert "proxy" not in told.value.reason


def test_a_proxy_that_is_not_there_is_named() -> None:
    """A proxy that refuses is what refuses."""
    with pytest.raises(NotSent) as told:
        post("https://provider.example/token", Http(deadline=5, proxy="http://127.0.0.1:1"))
    assert told.value.reason == "the proxy 127.0.0.1:1 refuses the connection"


def test_a_proxy_that_is_silent_is_named(server: Loopback) -> None:
    """A proxy that takes the request for a tunnel and says nothing is what did not answer."""
    server.default = server.silent
    with pytest.raises(NotSent) as told:
        post("https://provider.example/token", Http(deadline=0.3, proxy=server.url))
    assert told.value.reason == f"the proxy 127.0.0.1:{server.port} did not answer within 0.3 s"


def test_the_certificate_of_a_proxy_is_the_proxys(tls: ssl.SSLContext) -> None:
    """A proxy whose certificate is not valid is named with it."""
    with Loopback(tls, b"") as proxy, pytest.raises(NotSent, match=r"the certificate of the proxy 127\.0\.0\.1:"):
        post("https://provider.example/token", Http(deadline=5, proxy=proxy.url))


def test_this_machine_is_not_asked_through_a_proxy(server: Loopback) -> None:
    """A proxy elsewhere cannot know what listens here."""
    server.default = http("200 OK", {})
    assert get(server.url, Http(deadline=5, proxy="http://127.0.0.1:1")).status == 200
