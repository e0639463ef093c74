"""What a connection may do: sizes, deadlines, framing - against the real daemon, byte by byte."""

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.web import doors, protocol
from tests.web.house import House, running
from tests.web.raw import Line, head

KIB = 1024
HOST = "Host: localhost"
# Real ones are 10 s and 75 s: no test should wait so long for what a number decides.
SOON = 0.3
# A machine in trouble is late; a connection that is never cut would be later.
LATE = 5.0


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whoever is slow be cut soon."""
    monkeypatch.setattr(protocol, "RECEIVE_DEADLINE", SOON)


@pytest.fixture
def line(house: House) -> Iterator[Line]:
    """Return a connection to the socket: the owner's."""
    with Line(house.socket) as found:
        found.timeout(LATE)
        yield found


def posted(body: bytes, *headers: str) -> bytes:
    """Return a request that would make an app."""
    return head("POST", "/v1/apps", HOST, *headers) + body


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 2, 50], ids=["at once", "in two", "in many"])
@pytest.mark.parametrize("where", ["one line", "many lines", "target"])
def test_head_too_large(line: Line, where: str, pieces: int) -> None:
    """More than 32 KiB before the body is refused and hung up on, however it comes and wherever it is."""
    whole = {
        "one line": head("GET", "/healthz", HOST, f"X: {'a' * 40 * KIB}"),
        "many lines": head("GET", "/healthz", HOST, *(f"X: {'a' * KIB}" for _ in range(40))),
        "target": head("GET", f"/healthz/{'a' * 40 * KIB}", HOST),
    }[where]

    step = -(-len(whole) // pieces)
    for start in range(0, len(whole), step):
        line.send(whole[start : start + step])

    assert line.end().startswith(b"HTTP/1.1 400 ")


def test_line_that_never_ends(line: Line) -> None:
    """A header that only grows is cut off, long before the deadline."""
    line.send(b"GET /healthz HTTP/1.1\r\nX: ")
    for _ in range(100):
        line.send(b"a" * 10 * KIB)

    assert line.end().startswith(b"HTTP/1.1 400 ")


def test_head_that_fits(line: Line) -> None:
    """A token of 16 KiB and 64 lines are no attack."""
    answer = line.ask("GET", "/healthz", f"X: {'a' * 16 * KIB}", *["X: y"] * 62)

    assert answer.status == 200


def test_too_many_header_lines(line: Line) -> None:
    """The 65th line is one too many."""
    line.send(head("GET", "/healthz", HOST, *["X: y"] * 64))

    assert line.end().startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("kind", ["counted", "chunked"])
def test_body_too_large(line: Line, kind: str) -> None:
    """A body over 128 KiB is refused with the limit, before all of it has come."""
    over = b"a" * (128 * KIB + 1)
    if kind == "counted":
        line.send(posted(over, "Content-Length: 1000000000"))
    else:
        line.send(posted(b"%x\r\n" % len(over) + over + b"\r\n", "Transfer-Encoding: chunked"))

    answer = line.answer()

    assert (answer.status, answer.json()["code"]) == (400, "invalid_request")
    assert "128 KiB" in answer.json()["detail"]


@pytest.mark.parametrize("target", ["/v1/apps", "/v1/logins/x/finish", "/nothing"])
def test_sender_that_does_not_stop(line: Line, target: str) -> None:
    """Who goes on sending a body that nobody reads is hung up on after a megabyte or so, not when he is done."""
    line.send(head("POST", target, HOST, "Content-Length: 1000000000"))
    for _ in range(40):
        line.send(b"a" * 100 * KIB)

    assert line.end().startswith(b"HTTP/1.1 4")


def test_body_that_fits(house: House, line: Line) -> None:
    """A body of 100 KiB, in chunks of 100 bytes, is read to its end."""
    body = json.dumps({"name": "large", "grants": [], "x": "y" * 100 * KIB}).encode()
    chunks = b"".join(b"64\r\n%s\r\n" % body[start : start + 100] for start in range(0, len(body) - 100, 100))
    rest = body[len(chunks) // 106 * 100 :]

    line.send(posted(chunks + b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest), "Transfer-Encoding: chunked"))

    assert "Unknown in the body: 'x'" in line.answer().json()["detail"]
    assert not [app for app in house.owner.ask("GET", "/v1/apps", 200)["apps"] if app["name"] == "large"]


@pytest.mark.parametrize("trailer", [b"Authorization: Bearer kf_x", b"Host: evil.example", b"X: " + b"a" * 2000 * KIB])
def test_trailers_are_not_taken(house: House, line: Line, trailer: bytes) -> None:
    """Nothing that comes after a body counts as a header: the request is refused, however long (RFC 9110 6.5.1)."""
    body = b'{"name":"trailed"}'
    line.send(posted(b"%x\r\n%s\r\n0\r\n" % (len(body), body), "Transfer-Encoding: chunked"))
    line.send(trailer + b"\r\n\r\n")

    assert b" 201 " not in line.end()
    assert not [app for app in house.owner.ask("GET", "/v1/apps", 200)["apps"] if app["name"] == "trailed"]


# --- deadlines --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_half_a_request(house: House) -> None:
    """Who does not finish what he began is hung up on at every door when the deadline has passed."""
    halves = {
        "nothing": b"",
        "a letter": b"G",
        "half a head": b"GET /healthz HTTP/1.1\r\nHost: local",
        "no end of the head": head("GET", "/healthz", HOST)[:-2],
        "no body": posted(b"", "Content-Length: 10"),
        "half a body": posted(b'{"nam', "Content-Length: 10"),
        "half a chunk": posted(b"5\r\n12", "Transfer-Encoding: chunked"),
        "no last line": posted(b"2\r\n{}\r\n0\r\n", "Transfer-Encoding: chunked"),
    }
    with contextlib.ExitStack() as stack:
        lines = {}
        for where in (house.socket, house.app_url, house.browser_url):
            for name, half in halves.items():
                line = lines[where, name] = stack.enter_context(Line(where))
                line.timeout(LATE)
                line.send(half.replace(b"localhost", line.host.encode()))

        for line in lines.values():
            line.end()  # which raises when nobody hangs up


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("before", [b"GET /healthz HTTP/1.1\r\nX: ", posted(b"", "Content-Length: 100000")])
def test_a_byte_at_a_time_buys_no_time(line: Line, before: bytes) -> None:
    """The deadline is for the whole request: slow progress does not move it."""
    line.send(before)
    line.timeout(SOON / 10)

    began = time.monotonic()
    while not line.gone():
        assert time.monotonic() - began < LATE
        line.send(b"a")

    assert time.monotonic() - began >= SOON / 2


@pytest.mark.usefixtures("impatient")
def test_each_request_has_its_own_deadline(line: Line) -> None:
    """Time between requests does not count, and the second request is held to the deadline like the first."""
    for _ in range(3):
        assert line.ask("GET", "/healthz").status == 200
        line.timeout(SOON / 2)
        assert not line.gone()  # ... half the deadline each time
    line.timeout(LATE)

    line.send(b"GET /healthz HTT")

    assert line.end() == b""


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("nothing", [b"\r\n", b"\r\n\r\n", b"\n"])
def test_empty_lines_keep_no_connection(line: Line, nothing: bytes) -> None:
    """What begins no request is no reason to wait for ever: it ends the idle timer, so the deadline takes over."""
    assert line.ask("GET", "/healthz").status == 200

    line.send(nothing)

    assert line.end() == b""


@pytest.mark.usefixtures("impatient")
def test_an_answer_may_take_its_time(house: House, line: Line) -> None:
    """The deadline is for requests: a stream, whose answer never ends, outlives it."""
    line.send(head("GET", "/v1/events", HOST))
    assert line.answer().status == 200
    line.until(b": listening\n\n")
    line.timeout(2 * SOON)
    assert not line.gone()
    line.timeout(LATE)

    house.owner.ask("POST", "/v1/apps", 201, json={"name": "heard"})

    assert b"event: app-added" in line.until(b"\n\n")
    house.owner.ask("DELETE", "/v1/apps/{app}", 204, path={"app": "heard"})


def test_idle_connections_are_not_kept_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which nothing more is asked is closed after a while."""
    monkeypatch.setattr(doors, "KEEP_ALIVE", SOON)
    with running(tmp_path) as house, Line(house.socket) as line:
        assert line.ask("GET", "/healthz").status == 200
        began = time.monotonic()

        assert line.end() == b""
        assert time.monotonic() - began < LATE


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("hung_up", [True, False], ids=["hung up", "too slow"])
def test_slow_body_is_no_fault_of_ours(house: House, caplog: pytest.LogCaptureFixture, *, hung_up: bool) -> None:
    """Whoever leaves in the middle of a body leaves no error and no traceback in the log."""
    with caplog.at_level(logging.INFO), Line(house.socket) as line:
        line.send(posted(b'{"name', "Content-Length: 100"))
        if not hung_up:
            line.end()
    with caplog.at_level(logging.INFO):
        while not [record for record in caplog.records if "POST /v1/apps" in record.getMessage()]:
            house.owner.ask("GET", "/healthz", 200)

    assert not [record for record in caplog.records if record.levelno > logging.INFO or record.exc_info]
    assert " 500 " not in caplog.text


# --- framing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        posted(b"0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"),
        posted(b"0\r\n\r\n", "Transfer-Encoding: chunked", "Content-Length: 5"),
        posted(b"00000", "Content-Length: 5", "Content-Length: 5"),
        posted(b"00000", "Content-Length: 5, 5"),
        posted(b"00000", "Content-Length: +5"),
        posted(b"00000", "Content-Length: -5"),
        posted(b"00000", "Content-Length: 0x5"),
        posted(b"00000", "Content-Length: 99999999999999999999999"),
        posted(b"0\r\n\r\n", "Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        posted(b"0\r\n\r\n", "Transfer-Encoding: chunked, identity"),
        posted(b"g\r\n", "Transfer-Encoding: chunked"),
        posted(b"fffffffffffffffff\r\n", "Transfer-Encoding: chunked"),
        b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
        b"GET /healthz HTTP/1.1\r\nX: a\r\n b\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\rY: b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /health\xffz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"get /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_parsers_disagree_on_is_refused(line: Line, request_: bytes) -> None:
    """No length said twice, no odd line end, no foreign protocol: one refusal, and nothing after it is read."""
    line.send(request_ + head("GET", "/v1/status", HOST))

    answer = line.answer()
    assert answer.status == 400
    assert answer.headers["connection"] == "close"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert line.end() == b""


def test_one_connection_serves_many_requests(line: Line) -> None:
    """Programs that ask every minute need not connect every minute; a refusal does not cost the connection either."""
    statuses = [line.ask("GET", path).status for path in ("/healthz", "/nothing", "/v1/status", "/v1/apps/none")]

    assert statuses == [200, 404, 200, 404]


def test_pipelined_requests_are_answered_in_order(line: Line) -> None:
    """Requests sent without waiting are answered one by one: a quick one after a slower one, and one in two parts."""
    first, second, third = (head("GET", path, HOST) for path in ("/v1/logins/none", "/healthz", "/v1/apps/none"))
    line.send(first + second + third[:20])
    answers = [line.answer(), line.answer()]
    line.send(third[20:])
    answers.append(line.answer())

    assert [answer.json().get("code") for answer in answers] == ["unknown_login", None, "unknown_app"]


@pytest.mark.parametrize("header", ["X: y", "Connection: keep-alive"])
def test_http_1_0(line: Line, header: str) -> None:
    """An old client gets its answer, and the end of the connection as the end of it."""
    line.send(head("GET", "/healthz", HOST, header, version="HTTP/1.0"))

    assert line.answer().json() == {"state": "ok"}
    assert line.end() == b""


def test_http_1_0_needs_a_host_too(line: Line) -> None:
    """A client that is too old to name whom it means is not served."""
    line.send(head("GET", "/healthz", version="HTTP/1.0"))

    assert line.answer().status == 400


def test_close_is_close(line: Line) -> None:
    """What follows a request that was said to be the last one is not answered."""
    line.send(head("GET", "/healthz", HOST, "Connection: close") + head("GET", "/v1/status", HOST))

    assert line.answer().json() == {"state": "ok"}
    assert line.end() == b""


def test_expect_continue(line: Line) -> None:
    """A client that asks before it sends its body is told to go on - unless it is refused by the head alone."""
    line.send(posted(b"", "Expect: 100-continue", "Content-Length: 2"))
    assert line.answer().status == 100
    line.send(b"{}")
    assert line.answer().status == 400

    line.send(posted(b"", "Expect: 100-continue", "Content-Length: 2", "Origin: null"))
    assert line.answer().status == 403


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "TLS/1.0"])
@pytest.mark.parametrize("door", ["socket", "app", "browser"])
def test_nothing_is_upgraded(house: House, key: str, caplog: pytest.LogCaptureFixture, door: str, upgrade: str) -> None:
    """A connection stays HTTP/1.1 whatever it is asked to become, and nobody is advised to install what is left out."""
    where, path = {
        "socket": (house.socket, "/healthz"),
        "app": (house.app_url, "/v1/apps/job"),
        "browser": (house.browser_url, "/ui/"),
    }[door]
    asked = (f"Upgrade: {upgrade}", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    shown = (f"Authorization: Bearer {key}",) if door == "app" else ()

    with Line(where) as line:
        answer = line.ask("GET", path, *shown, "Connection: Upgrade, HTTP2-Settings", *asked)
        assert answer.status != 101
        assert "upgrade" not in answer.headers
        line.send(b"\x81\x05hello")
        assert b" 400 " in line.end()

    assert "WebSocket" not in caplog.text
