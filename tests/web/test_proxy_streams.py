"""Streams through the proxy: piece by piece, both ways, and either side may go at any time."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from broker import daemon
from broker.practice.server import PracticeServer
from broker.web import protocol
from tests.web.api import Call
from tests.web.house import House, running
from tests.web.proxied import Proxied, problem, proxied
from tests.web.raw import Line, head

PATIENCE = 10.0
MIB = 1024 * 1024
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: text/event-stream\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return one piece of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def test_events_come_at_once(me: Proxied) -> None:
    """Each event is with the reader before the next one is sent."""
    read = threading.Semaphore(0)

    def events(call: Call) -> None:
        call.say(CHUNKED)
        for number in range(3):
            call.say(chunk(b"data: %d\n\n" % number))
            assert read.acquire(timeout=PATIENCE)
        call.say(b"0\r\n\r\n")

    me.api.acts["/v1/events"] = events
    seen = []
    with me.app.stream("GET", "/proxy/me/events") as answer:
        for piece in answer.iter_raw():
            seen.append(piece)
            read.release()

    assert seen == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]


def test_a_body_is_not_waited_for(me: Proxied) -> None:
    """The API gets each piece of a body while the next one has not been sent, however much there is."""
    come = threading.Semaphore(0)
    pieces = [b"x" * 700_000] * 4

    def take(call: Call) -> None:
        size = 0
        for piece in call.pieces():
            size += len(piece)
            if size % len(pieces[0]) == 0:
                come.release()
        call.answer("200 OK", {}, str(size).encode())

    def given() -> Iterator[bytes]:
        for piece in pieces:
            yield piece
            assert come.acquire(timeout=PATIENCE)

    me.api.acts["/v1/upload"] = take

    assert me.app.post("/proxy/me/upload", content=given()).text == str(sum(map(len, pieces)))
    assert me.api.calls[0].header("transfer-encoding") == ["chunked"]


def test_a_reader_that_goes_ends_the_request(me: Proxied) -> None:
    """What nobody reads any more is not asked for any longer."""
    gone = threading.Event()

    def endless(call: Call) -> None:
        call.say(CHUNKED + chunk(b"data: 0\n\n"))
        if not call.connection.recv(1):
            gone.set()

    me.api.acts["/v1/endless"] = endless
    with me.app.stream("GET", "/proxy/me/endless") as answer:
        next(answer.iter_raw())

    assert gone.wait(PATIENCE)


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_an_api_that_goes_breaks_the_answer(me: Proxied, framing: str) -> None:
    """Half an answer never looks like a whole one."""

    def half(call: Call) -> None:
        call.say(
            CHUNKED + chunk(b"half") if framing == "chunked" else b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"
        )
        call.hang_up()

    me.api.acts["/v1/half"] = half

    with pytest.raises(httpx2.RemoteProtocolError), me.app.stream("GET", "/proxy/me/half") as answer:
        answer.read()


def test_an_api_that_is_not_there(me: Proxied) -> None:
    """An API that hangs up without an answer, or is not there, is a problem in words."""

    def hang_up(call: Call) -> None:
        call.hang_up()

    me.api.acts["/v1/gone"] = hang_up

    assert "did not answer" in problem(me.app.post("/proxy/me/gone"), 502, "provider_unavailable")["detail"]
    assert len(me.api.calls) == 1


def test_the_connection_is_kept(me: Proxied) -> None:
    """One request after the other goes over the same connection, at both ends."""
    before = me.api.connections
    for _ in range(3):
        me.app.get("/proxy/me/x").raise_for_status()

    assert me.api.connections <= before + 1


def test_a_large_answer_waits_for_its_reader(me: Proxied) -> None:
    """An API is read as slowly as the caller reads: nothing piles up in between."""
    sent = threading.Event()
    size = 64 * MIB

    def large(call: Call) -> None:
        call.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // MIB):
            call.say(b"x" * MIB)
        sent.set()

    me.api.acts["/v1/large"] = large
    with Line(me.house.socket) as line:
        line.send(head("GET", "/proxy/me/large", "Host: localhost"))
        line.until(b"\r\n\r\n")
        assert not sent.wait(0.5)
        line.all_of(size)

    assert sent.wait(PATIENCE)


def test_a_large_body_waits_for_the_api(me: Proxied) -> None:
    """A caller is read as slowly as the API reads, however long that takes."""
    go, sent = threading.Event(), threading.Event()
    size = 64 * MIB

    def slow(call: Call) -> None:
        assert go.wait(PATIENCE)
        call.answer("200 OK", {}, str(sum(map(len, call.pieces()))).encode())

    def send(line: Line) -> None:
        for _ in range(size // MIB):
            line.send(b"x" * MIB)
        sent.set()

    me.api.acts["/v1/slow"] = slow
    with Line(me.house.socket) as line:
        line.send(head("POST", "/proxy/me/slow", "Host: localhost", f"Content-Length: {size}"))
        sending = threading.Thread(target=send, args=(line,))
        sending.start()
        assert not sent.wait(0.5)
        go.set()
        answer = line.answer()
        sending.join(PATIENCE)

    assert (answer.status, answer.text) == (200, str(size))


def test_a_refused_token_is_renewed_once(house: House, practice: PracticeServer) -> None:
    """A request that an API refuses for its token is sent again with another; a second refusal goes to the caller."""
    with proxied(house, "stale", practice.url) as stale:
        first = stale.token

        def once(call: Call) -> None:
            call.body = b"".join(call.pieces())
            known = call.header("authorization") == [f"Bearer {first}"]
            call.answer("401 Unauthorized" if known or call.target.endswith("never") else "200 OK", {}, call.body)

        stale.api.acts |= dict.fromkeys(("/v1/x", "/v1/never"), once)
        again = stale.app.post("/proxy/stale/x", content=b"body")
        never = stale.app.post("/proxy/stale/never", content=b"body")

        assert (again.status_code, again.text) == (200, "body")
        assert (never.status_code, never.text) == (401, "body")
        assert [call.body for call in stale.api.calls] == [b"body"] * 3
        assert stale.token != first


def test_a_body_that_was_not_kept_is_not_sent_twice(house: House, practice: PracticeServer) -> None:
    """A large body cannot be sent again: the refusal goes to the caller, and the next request has another token."""
    with proxied(house, "large", practice.url) as large:
        first = large.token

        def refuse(call: Call) -> None:
            for _ in call.pieces():
                pass
            call.answer("401 Unauthorized" if call.header("authorization") == [f"Bearer {first}"] else "200 OK", {})

        large.api.acts["/v1/x"] = refuse
        statuses = [large.app.post("/proxy/large/x", content=b"x" * MIB).status_code for _ in range(2)]

        assert statuses == [401, 200]


def test_many_at_once(me: Proxied) -> None:
    """Requests do not wait for each other."""
    together = threading.Barrier(8, timeout=PATIENCE)

    def wait(call: Call) -> None:
        together.wait()
        call.answer("200 OK", {})

    me.api.acts["/v1/wait"] = wait
    done: list[int] = []
    with contextlib.ExitStack() as stack:
        threads = [
            threading.Thread(target=lambda: done.append(me.app.get("/proxy/me/wait").status_code)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
            stack.callback(thread.join, PATIENCE)

    assert done == [200] * 8


def test_a_caller_that_goes_while_it_waits(me: Proxied) -> None:
    """A request that nobody waits for any more is ended at the API, before it has answered at all."""
    gone, come = threading.Event(), threading.Event()

    def silent(call: Call) -> None:
        come.set()
        if not call.connection.recv(1):
            gone.set()

    me.api.acts["/v1/silent"] = silent
    with Line(me.house.socket) as line:
        line.send(head("GET", "/proxy/me/silent", "Host: localhost"))
        assert come.wait(PATIENCE)

    assert gone.wait(PATIENCE)


def test_a_caller_that_goes_in_the_middle_of_a_body(me: Proxied) -> None:
    """Half a body never arrives as a whole one."""
    broken, come = threading.Event(), threading.Event()

    def take(call: Call) -> None:
        try:
            for _ in call.pieces():
                come.set()
        except OSError:
            broken.set()

    me.api.acts["/v1/upload"] = take
    with Line(me.house.socket) as line:
        line.send(head("POST", "/proxy/me/upload", "Host: localhost", "Transfer-Encoding: chunked") + chunk(b"half"))
        assert come.wait(PATIENCE)

    assert broken.wait(PATIENCE)


@pytest.mark.parametrize("taken", ["grant", "app", "key"])
def test_what_is_taken_away_ends_at_once(house: House, practice: PracticeServer, taken: str) -> None:
    """A request under way ends with the grant, the key or the app that it came by."""
    with proxied(house, f"taken-{taken}", practice.url) as found:
        name, path = found.account, {"app": f"{found.account}-app", "account": found.account}
        found.api.acts["/v1/endless"] = lambda call: call.say(CHUNKED + chunk(b"data: 0\n\n"))
        with found.app.stream("GET", f"/proxy/{name}/endless") as answer:
            pieces = answer.iter_raw()
            next(pieces)
            if taken == "grant":
                house.owner.ask("DELETE", "/v1/apps/{app}/grants/{account}", 204, path=path)
            elif taken == "app":
                house.owner.ask("DELETE", "/v1/apps/{app}", 204, path={"app": path["app"]})
            else:
                house.owner.ask("POST", "/v1/apps/{app}/rotate", 200, path={"app": path["app"]})
            with pytest.raises(httpx2.RemoteProtocolError):
                next(pieces)

        assert found.app.get(f"/proxy/{name}/x").status_code == (403 if taken == "grant" else 401)


@pytest.mark.parametrize("taken", ["grant", "account"])
def test_what_is_taken_away_ends_before_its_answer(house: House, practice: PracticeServer, taken: str) -> None:
    """A request that the API has not answered yet ends with the grant or the login as well."""
    come = threading.Event()
    with proxied(house, f"waiting-{taken}", practice.url) as found, ThreadPoolExecutor() as pool:
        name, path = found.account, {"app": f"{found.account}-app", "account": found.account}
        found.api.acts["/v1/silent"] = lambda _: come.set()
        asked = pool.submit(found.app.get, f"/proxy/{name}/silent")
        assert come.wait(PATIENCE)
        if taken == "grant":
            house.owner.ask("DELETE", "/v1/apps/{app}/grants/{account}", 204, path=path)
        else:
            house.owner.ask("DELETE", "/v1/accounts/{account}", 200, path={"account": name})

        assert "broken off" in problem(asked.result(), 503, "provider_unavailable")["detail"]


def test_a_lock_begins_nothing_and_breaks_nothing_off(tmp_path: Path, practice: PracticeServer) -> None:
    """While Keyfob is locked no request begins; one that was let through goes on, and does not keep the key."""
    go = threading.Event()

    def slow(call: Call) -> None:
        call.say(CHUNKED + chunk(b"1"))
        assert go.wait(PATIENCE)
        call.say(chunk(b"2") + b"0\r\n\r\n")

    with running(tmp_path) as house, proxied(house, "me", practice.url) as me:
        me.api.acts["/v1/slow"] = slow
        with me.app.stream("GET", "/proxy/me/slow") as answer:
            pieces = answer.iter_raw()
            assert next(pieces) == b"1"
            assert house.owner.ask("POST", "/v1/lock", 200, json={})["under_way"] == 0
            assert house.owner.http.get("/proxy/me/x").status_code == 423
            go.set()
            assert next(pieces) == b"2"


def test_the_limits(tmp_path: Path, practice: PracticeServer) -> None:
    """Too many at once, too large a body, and an API that says nothing for too long are refused in words."""
    with (
        running(tmp_path, proxy_streams="1", proxy_body_limit="1000", proxy_wait="1", proxy_idle="1") as house,
        proxied(house, "me", practice.url) as me,
    ):
        me.api.acts["/v1/endless"] = lambda call: call.say(CHUNKED + chunk(b"data: 0\n\n"))
        me.api.acts["/v1/silent"] = lambda _: None
        with me.app.stream("GET", "/proxy/me/endless") as answer:
            pieces = answer.iter_raw()
            next(pieces)
            full = me.app.get("/proxy/me/x")
            with pytest.raises(httpx2.RemoteProtocolError):
                next(pieces)
        large = [me.app.post("/proxy/me/x", content=body) for body in (b"x" * 1001, iter([b"x" * 1001]))]
        silent = me.app.get("/proxy/me/silent")

        assert "no place" in problem(full, 503, "provider_unavailable")["detail"]
        assert full.headers["retry-after"]
        assert ["1000 bytes" in problem(answer, 413, "invalid_request")["detail"] for answer in large] == [True, True]
        assert "within 1 s" in problem(silent, 502, "provider_unavailable")["detail"]


def test_a_stop_ends_what_is_under_way(
    tmp_path: Path, practice: PracticeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop waits a while for requests under way, and breaks off those that go on."""
    monkeypatch.setattr(daemon, "STREAMS", 0.1)
    with contextlib.ExitStack() as stack:
        with running(tmp_path) as house:
            me = stack.enter_context(proxied(house, "me", practice.url))
            me.api.acts["/v1/endless"] = lambda call: call.say(CHUNKED + chunk(b"data: 0\n\n"))
            pieces = stack.enter_context(me.app.stream("GET", "/proxy/me/endless")).iter_raw()
            next(pieces)

        with pytest.raises(httpx2.RemoteProtocolError):
            next(pieces)


def test_a_body_may_take_longer_than_a_request(me: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that goes on is waited for, where any other request would be too slow by now."""
    monkeypatch.setattr(protocol, "RECEIVE_DEADLINE", 0.2)
    come = threading.Semaphore(0)

    def take(call: Call) -> None:
        size = 0
        for piece in call.pieces():
            size += len(piece)
            come.release()
        call.answer("200 OK", {}, str(size).encode())

    def given() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x"
            assert come.acquire(timeout=PATIENCE)
            threading.Event().wait(0.15)

    me.api.acts["/v1/upload"] = take

    assert me.app.post("/proxy/me/upload", content=given()).text == "3"


def test_no_token_stays_in_clear(tmp_path: Path, practice: PracticeServer) -> None:
    """The way that a request went is kept for the next one, and forgotten with a lock."""
    with running(tmp_path) as house, proxied(house, "me", practice.url) as me:
        me.app.get("/proxy/me/x").raise_for_status()
        assert house.ctx.ways
        house.owner.ask("POST", "/v1/lock", 200, json={})

        assert (house.ctx.ways, house.ctx.known, house.ctx.standing) == ({}, {}, {})
