"""The way out (security.md M20, R17, R18, R24): what is refused, what is lost, and what surely was not sent."""

import gzip
import ssl
from pathlib import Path

import pytest

from broker import __version__
from broker.core.secret import Secret
from broker.errors import CannotStart
from broker.oauth.addresses import Attempt, CheckedBackend
from broker.oauth.http import AnswerLost, Http, NotSent, Reply
from broker.oauth.sockets import Sockets
from tests.loopback import held_port
from tests.oauth.loopback import CLIENT, Loopback, headers_of, http, run


def get(url: str, client: Http | None = None, *, private: bool = False) -> Reply:
    """Send a GET and return the answer."""
    return run((client or CLIENT).send("GET", url, private=private))


def post(url: str, client: Http | None = None) -> Reply:
    """Send a form and return the answer."""
    return run((client or CLIENT).send("POST", url, private=False, form={"grant_type": "x"}))


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_a_form_is_sent_whole_and_says_who_asks(server: Loopback) -> None:
    """Form, Basic credentials and the headers of every request arrive as they should."""
    server.default = http("200 OK", {})
    form: dict[str, str | Secret] = {"code": Secret("a b&c"), "redirect_uri": "http://127.0.0.1/cb"}
    run(CLIENT.send("POST", server.url, private=False, form=form, basic=("me", Secret("pw"))))
    assert server.form() == "code=a+b%26c&redirect_uri=http%3A%2F%2F127.0.0.1%2Fcb"
    headers = headers_of(server.head())
    assert headers["user-agent"] == f"keyfob/{__version__}"
    assert headers["authorization"] == "Basic bWU6cHc="
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert headers["accept"] == "application/json"
    assert headers["accept-encoding"] == "identity"
    assert headers["connection"] == "close"
    assert "cookie" not in headers


def test_json_may_hold_secrets_and_nothing_else_that_json_has_not(server: Loopback) -> None:
    """They are revealed on the way out only; what is neither secret nor JSON is a mistake of ours."""
    server.default = http("200 OK", {})
    run(CLIENT.send("DELETE", server.url, private=False, json={"token": Secret("a b"), "n": [1]}))
    assert server.head().startswith("DELETE / ")
    assert server.form() == '{"token": "a b", "n": [1]}'
    with pytest.raises(TypeError):
        run(CLIENT.send("POST", server.url, private=False, json={"x": object()}))


def test_a_post_without_a_body_tells_its_length(server: Loopback) -> None:
    """Some servers answer 411 where nobody says that there is nothing (RFC 9110 8.6)."""
    server.default = http("200 OK", {})
    run(CLIENT.send("POST", server.url, private=False))
    assert headers_of(server.head())["content-length"] == "0"
    get(server.url)
    assert "content-length" not in headers_of(server.head())


def test_no_proxy_and_no_netrc_of_the_environment_is_used(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment says about proxies and passwords changes nothing (M20)."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.default = http("200 OK", {})
    assert get(server.url).status == 200
    assert "authorization" not in headers_of(server.head())


def test_every_request_has_a_connection_of_its_own(server: Loopback) -> None:
    """No idle connection is used again: it might be closing just then (security.md 4.1)."""
    server.default = server.then_hold(http("200 OK", {}))

    async def twice() -> None:
        client = CLIENT
        await client.send("GET", server.url + "/1", private=False)
        await client.send("GET", server.url + "/2", private=False)

    run(twice())
    assert len(server.requests) == 2


def test_only_four_methods_are_spoken() -> None:
    """A method that no caller uses is a mistake of ours."""
    with pytest.raises(ValueError, match="PATCH"):
        run(CLIENT.send("PATCH", "https://x.example", private=False))


# --- what is not taken in ---------------------------------------------------------------------------------------------


def test_a_redirect_is_an_answer_and_is_not_followed(server: Loopback) -> None:
    """A redirect would carry secrets to another place (R18)."""
    server.routes = {"/token": http("307 Temporary Redirect", Location=f"{server.url}/elsewhere")}
    assert post(f"{server.url}/token").status == 307
    assert len(server.requests) == 1


def test_an_odd_location_does_no_harm(server: Loopback) -> None:
    """A Location that is no web address, as out-of-band answers have, is not even looked at."""
    server.default = http("302 Found", Location="urn:ietf:wg:oauth:2.0:oob?code=1")
    assert get(server.url).status == 302


@pytest.mark.parametrize("encoding", ["gzip", "br", ", ".join(["gzip"] * 200)])
def test_a_compressed_answer_is_refused_unopened(server: Loopback, encoding: str) -> None:
    """A small answer can unpack to gigabytes; none is unpacked (M20)."""
    server.default = http("200 OK", gzip.compress(b"0" * 10_000_000), Content_Encoding=encoding)
    with pytest.raises(AnswerLost, match="compressed"):
        get(server.url)


@pytest.mark.parametrize("length", [{}, {"Content_Length": "9999999999"}])
def test_a_huge_answer_is_cut_off(server: Loopback, length: dict[str, str]) -> None:
    """No more than 256 KiB is read, whatever length was announced."""
    server.default = http("200 OK", b"x" * 300_000, **length)
    with pytest.raises(AnswerLost, match="256 KiB"):
        get(server.url)


def test_a_drip_ends_at_the_deadline(server: Loopback) -> None:
    """The deadline is for the whole exchange: a byte now and then does not extend it (M20)."""
    server.default = server.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    with pytest.raises(AnswerLost, match=r"within 0\.3 s"):
        get(server.url, Http(deadline=0.3))


def test_a_drip_of_headers_ends_at_the_deadline(server: Loopback) -> None:
    """The same for headers."""
    server.default = server.drip(b"HTTP/1.1 200 OK\r\nX-Long: ")
    with pytest.raises(AnswerLost, match=r"within 0\.3 s"):
        get(server.url, Http(deadline=0.3))


LOST = {
    "closed without a word": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"access_token"',
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{",
    "not HTTP": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
}


@pytest.mark.parametrize("answer", LOST.values(), ids=LOST.keys())
def test_half_an_answer_is_no_answer(server: Loopback, answer: bytes) -> None:
    """Sent, and not answered to the end: nobody knows what it did."""
    server.default = answer
    with pytest.raises(AnswerLost):
        post(server.url)
    assert len(server.requests) == 1


def test_a_silent_server_is_an_answer_lost(server: Loopback) -> None:
    """A server that takes the request and says nothing may have acted on it."""
    server.default = server.silent
    with pytest.raises(AnswerLost, match="within"):
        post(server.url, Http(deadline=0.2))


def test_a_refusal_counts_without_its_page(server: Loopback) -> None:
    """An error status says enough: its page may be cut, dripping, compressed or huge."""
    head = b"HTTP/1.1 502 Bad Gateway\r\nRetry-After: 5\r\n"
    server.routes = {
        "/cut": head + b"Content-Length: 100\r\n\r\n<html",
        "/drip": server.drip(head + b"Content-Length: 100000\r\n\r\n"),
        "/gzip": http("502 Bad Gateway", b"\x1f\x8b", Content_Encoding="gzip", Retry_After="5"),
        "/huge": http("502 Bad Gateway", b"x" * 300_000, Retry_After="5"),
    }
    for path in server.routes:
        reply = post(server.url + path, Http(deadline=0.5))
        assert (reply.status, reply.body, reply.retry_after) == (502, b"", 5.0)


# --- what was surely not sent -----------------------------------------------------------------------------------------


def test_a_closed_port_means_that_nothing_was_sent() -> None:
    """A refused connection leaves no doubt."""
    with held_port() as port, pytest.raises(NotSent, match="refuses"):
        get(f"http://127.0.0.1:{port}")


def test_a_name_that_does_not_exist_means_that_nothing_was_sent() -> None:
    """.invalid never resolves (RFC 6761)."""
    with pytest.raises(NotSent, match="cannot be resolved"):
        get("https://keyfob.invalid")


@pytest.mark.parametrize(
    "url",
    [
        "http://provider.example/token",
        "http://10.0.0.1/",
        "file:///etc/passwd",
        "https://user:pw@provider.example/",
        "https://provider.example/#x",
        "https://provider.example\\@127.0.0.1/",
        "https://provider.example/\r\nX: y",
        "https://[::1",
        "https://provider.example:99999/",
        "https:///token",
    ],
)
def test_an_address_that_secrets_must_not_go_to_is_refused(url: str) -> None:
    """Off this machine nothing but https, and no tricks in the address (R17)."""
    with pytest.raises(NotSent):
        get(url, private=True)


@pytest.mark.parametrize(
    "host",
    [
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 -- an address to be refused
        "224.0.1.1",
        "2130706433",
        "0x7f.1",
        "127.1",
        "[fd00::1]",
        "[fe80::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::]",
        "[2001:db8::1]",
        "[::]",
    ],
)
def test_a_special_purpose_address_is_not_asked(host: str) -> None:
    """Addresses behind the firewall need a person's word, in whatever spelling they come (R24, RFC 6890)."""
    with pytest.raises(NotSent, match="special-purpose"):
        get(f"https://{host}/")


def test_a_private_provider_may_be_there() -> None:
    """With the person's word the address is asked: here nobody listens."""
    with pytest.raises(NotSent, match="refuses"):
        get("https://127.1:1/", private=True)


def test_the_connection_goes_to_the_address_that_was_checked(server: Loopback) -> None:
    """A name that resolves to something else the second time changes nothing (R24)."""
    attempt = Attempt()

    async def connect() -> None:
        stream = await CheckedBackend(["127.0.0.1"], attempt, Sockets()).connect_tcp("rebinding.invalid", server.port)
        await stream.write(b"GET / HTTP/1.1\r\n\r\n")
        await stream.aclose()

    assert not attempt.sent
    run(connect())
    assert attempt.sent


def test_the_next_address_is_tried(server: Loopback) -> None:
    """A name with several addresses is reached where one of them answers."""

    async def connect() -> None:
        backend = CheckedBackend(["127.0.0.2", "127.0.0.1"], Attempt(), Sockets())
        stream = await backend.connect_tcp("x.invalid", server.port)
        await stream.aclose()

    run(connect())


# --- TLS and proxies --------------------------------------------------------------------------------------------------


def test_an_unknown_certificate_means_that_nothing_was_sent(tls: ssl.SSLContext) -> None:
    """Nothing is written to a server that does not prove who it is (R17)."""
    with Loopback(tls, http("200 OK", {})) as server, pytest.raises(NotSent, match="certificate of 127"):
        get(server.url)


def test_a_certificate_for_another_host_is_refused(tls: ssl.SSLContext, certificate: Path) -> None:
    """A trusted certificate is good for its own names only (R17)."""
    client = Http(deadline=5, ca_file=certificate)
    with Loopback(tls, http("200 OK", {})) as server, pytest.raises(NotSent, match="certificate of localhost"):
        get(f"https://localhost:{server.port}", client)


def test_an_extra_ca_is_trusted(tls: ssl.SSLContext, certificate: Path) -> None:
    """A CA file of the person's own is trusted beside the system's."""
    with Loopback(tls, http("200 OK", {"a": 1})) as server:
        assert get(server.url, Http(deadline=5, ca_file=certificate)).body == b'{"a": 1}'


def test_silence_after_tls_is_an_answer_lost(tls: ssl.SSLContext, certificate: Path) -> None:
    """Inside TLS the request counts as sent from its first byte."""
    with Loopback(tls) as server, pytest.raises(AnswerLost):
        post(server.url, Http(deadline=5, ca_file=certificate))


def test_a_plain_server_behind_https_gets_nothing(server: Loopback) -> None:
    """A handshake that does not come about sends nothing of the request."""
    server.default = http("200 OK", {})
    with pytest.raises(NotSent):
        post(f"https://127.0.0.1:{server.port}", Http(deadline=0.3))


@pytest.mark.parametrize("content", ["", "no certificate"])
def test_a_ca_file_that_is_none_stops_the_start(tmp_path: Path, content: str) -> None:
    """A CA file that cannot be used is told at start, with its name."""
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    with pytest.raises(CannotStart, match=r"ca\.pem"):
        Http(ca_file=path)
