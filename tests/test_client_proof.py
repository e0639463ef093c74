"""Over TCP the client sends its key to nobody but the daemon: whoever else listens there never sees it."""

import contextlib
import hashlib
import json
import os
import re
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest

from broker import challenge
from broker.client import Client, ClientError, Locked, NotAllowed

from .cli.scripted_daemon import scripted_daemon
from .web.house import House, running
from .web.test_localhost import needs_ipv6

KEY = "kf_" + "k" * 43
PATIENCE = 10.0
# How often a look-alike sees whether its test is over.
SOON = 0.02

Change = Callable[[bytes], bytes]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("KEYFOB_", "XDG_RUNTIME"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run a real daemon."""
    with running(tmp_path_factory.mktemp("house")) as found:
        yield found


@pytest.fixture(scope="module")
def key(house: House) -> str:
    """Return the key of an app, called ``job``."""
    made: str = house.owner.ask("POST", "/v1/apps", 201, json={"name": "job"})["key"]
    return made


class LookAlike:
    """A program that took a port and keeps what it gets; it answers by itself, or with what the daemon says.

    Args:
        host: where it listens.
        port: its port, 0 for any.
        upstream: port of the daemon to which it passes everything on, or None.
        change: what it does to a request before that.
        answer: the bytes that it answers, where it passes nothing on.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        upstream: int | None = None,
        change: Change = bytes,
        answer: bytes = b"",
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, port))
        self._listener.listen()
        self._upstream, self._change, self.answer = upstream, change, answer
        self.port = self._listener.getsockname()[1]
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self.got = b""
        self.told = b""
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    def _serve(self) -> None:
        onward: dict[socket.socket, socket.socket] = {}
        back: dict[socket.socket, socket.socket] = {}
        callers: list[socket.socket] = []
        with contextlib.ExitStack() as opened:
            opened.enter_context(self._listener)
            while not self._enough.is_set():
                for ready in select.select([self._listener, *callers, *back], [], [], SOON)[0]:
                    if ready is self._listener:
                        caller = opened.enter_context(ready.accept()[0])
                        callers.append(caller)
                        if self._upstream is not None:
                            onward[caller] = socket.create_connection(("127.0.0.1", self._upstream), PATIENCE)
                            back[opened.enter_context(onward[caller])] = caller
                    elif not (data := ready.recv(65_536)):
                        callers.remove(ready) if ready in callers else back.pop(ready)
                    elif ready in back:
                        self.told += data
                        back[ready].sendall(data)
                    else:
                        self.got += data
                        if ready in onward:
                            onward[ready].sendall(self._change(data))
                        else:
                            ready.sendall(self.answer)


def http(body: object, status: int = 200) -> bytes:
    """Return an answer in JSON."""
    content = json.dumps(body).encode()
    return f"HTTP/1.1 {status} Said\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def port_of(house: House) -> int:
    """Return the real app port."""
    port = urlsplit(house.app_url).port
    assert port
    return port


def saw_no_key(got: bytes, key: str) -> None:
    """Whatever a look-alike got, neither the key nor its hash is among it."""
    assert got
    assert b"kf_" not in got
    assert b"authorization" not in got.lower()
    assert hashlib.sha256(key.encode()).hexdigest().encode() not in got.lower()


# --- the right one ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_daemon_proves_itself(house: House, key: str, name: str) -> None:
    """The daemon is asked as before, under either of its names, GET and POST."""
    url = f"http://{name}:{port_of(house)}"
    with Client(url=url, key=key) as client:
        assert client.request("GET", "/v1/apps/job")["name"] == "job"
        assert client.request("GET", "/v1/apps/job")["name"] == "job"
        with pytest.raises(NotAllowed) as refused:
            client.request("POST", "/v1/accounts/work/token/rejected", {"access_token": "x"})

    assert refused.value.code == "not_granted"


def test_a_connection_proves_once() -> None:
    """What was proved holds for the connection; each new one is asked again, with another nonce."""
    with scripted_daemon(None) as daemon:
        daemon.key = KEY
        daemon.answers("GET /x", [])
        daemon.answers("POST /x", [])
        with Client(url=daemon.where, key=KEY) as client:
            for method in ("GET", "GET", "POST", "GET"):
                client.request(method, "/x", {} if method == "POST" else None)

    paths = [line.partition("?")[0] for line in daemon.lines()]
    assert paths == ["GET /healthz", "GET /x", "GET /x", "GET /healthz", "POST /x", "GET /x"]
    questions = [request for request in daemon.requests if "healthz" in request.line]
    assert all("authorization" not in request.headers for request in questions)
    nonces = {re.findall(r"nonce=([0-9a-f]{64})", request.line)[0] for request in questions}
    assert len(nonces) == 2


def test_without_a_key_nothing_is_asked_first() -> None:
    """Who has nothing to lose asks no question."""
    with scripted_daemon(None) as daemon:
        daemon.answers("GET /healthz", {"state": "ok"})
        with Client(url=daemon.where) as client:
            assert client.send("GET", "/healthz").status == 200

    assert daemon.lines() == ["GET /healthz"]


def test_a_locked_daemon_proves_nothing(tmp_path: Path) -> None:
    """Nobody can tell now whether its apps are as they were: the key stays here, and the exit code says locked."""
    with running(tmp_path) as house:
        key = house.owner.ask("POST", "/v1/apps", 201, json={"name": "job"})["key"]
        house.owner.ask("POST", "/v1/lock", 200)
        with Client(url=house.app_url, key=key) as client, pytest.raises(Locked, match="was not sent") as caught:
            client.request("GET", "/v1/apps/job")
        assert (caught.value.code, caught.value.exit_code) == ("locked", 7)


@needs_ipv6
def test_a_squatter_beside_a_name(house: House, key: str) -> None:
    """Whichever address ``localhost`` leads to: the daemon brings the answer, the squatter a refusal that names it."""
    real = port_of(house)
    url = f"http://localhost:{real}"
    looked_up = socket.getaddrinfo("localhost", real, type=socket.SOCK_STREAM)
    with (
        LookAlike("::1", real, upstream=real, change=readdressed(house)) as squatter,
        Client(url=url, key=key) as client,
    ):
        if looked_up[0][0] == socket.AF_INET6:
            with pytest.raises(NotAllowed, match=re.escape(f"localhost:{real} ([::1]:{real})")) as caught:
                client.request("GET", "/v1/apps/job")
            assert caught.value.code == "server_not_proven"
            saw_no_key(squatter.got, key)
        else:
            assert client.request("GET", "/v1/apps/job")["name"] == "job"

    assert b"kf_" not in squatter.got


# --- others -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        http({"state": "ok"}),  # a Keyfob from before, or somebody who says so
        http({"state": "ok", "proof": "0" * 64}),
        http({"state": "ok", "proof": "é" * 64}),
        http({"state": "ok", "proof": "\ud800"}),
        http({"state": "ok", "proof": 7}),
        http({"state": "ok", "proof": None}),
        http({"state": "ok", "proof": None, "code": "invalid_request"}),
        http({"state": "ok", "proof": None, "code": ["unauthorized"]}),
        http([]),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"[" * 60_000,
        http({"code": "unauthorized", "detail": "Show it."}, 401),
        http({"code": "login_needed", "detail": "Log in.", "login_url": "http://evil.example/"}, 409),
        http({"code": "x"}, 404),
    ],
)
def test_a_look_alike_gets_nothing(answer: bytes) -> None:
    """Whatever it answers, the client ends with words of its own, and no word of the look-alike's is passed on."""
    with LookAlike(answer=answer) as other, Client(url=other.url, key=KEY) as client:
        for method in ("GET", "POST"):
            with pytest.raises(NotAllowed) as caught:
                client.request(method, "/v1/accounts/work/token")
            assert (caught.value.code, caught.value.exit_code) == ("server_not_proven", 4)
            assert caught.value.login_url is None
            assert "evil" not in str(caught.value)
            assert "was not sent" in caught.value.detail
            assert "keyfob status" in caught.value.hint

    saw_no_key(other.got, KEY)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 404 No\r\nContent-Length: 6\r\n\r\n<html>"])
def test_another_program_gets_nothing(answer: bytes) -> None:
    """One that is no app port at all, or hangs up, does not get the key either."""
    with scripted_daemon(None) as other, Client(url=other.where, key=KEY) as client:
        other.otherwise = answer or None
        with pytest.raises(ClientError) as caught:
            client.token("work")

    assert caught.value.code in ("bad_answer", "connection_lost")
    assert all("authorization" not in request.headers for request in other.requests)


def test_an_answer_to_another_question_is_none(key: str) -> None:
    """A proof that somebody kept does for its own nonce only."""
    hashed = challenge.hash_key(key)
    with LookAlike() as other:
        kept = challenge.proof(hashed, b"n" * 32, f"127.0.0.1:{other.port}")
        other.answer = http({"state": "ok", "proof": kept})
        with Client(url=other.url, key=key) as client, pytest.raises(NotAllowed) as caught:
            client.token("work")

    assert caught.value.code == "server_not_proven"
    saw_no_key(other.got, key)


def renamed(house: House) -> Change:
    """Let the daemon hear its own name."""
    right = f"127.0.0.1:{port_of(house)}".encode()
    return lambda data: re.sub(rb"Host: [^\r]+", b"Host: " + right, data)


def readdressed(house: House) -> Change:
    """Let it hear its own address too."""
    right = f"address=127.0.0.1:{port_of(house)}".encode()
    return lambda data: re.sub(rb"address=[^ &]+", right, renamed(house)(data))


def untouched(_: House) -> Change:
    """Pass on what came."""
    return bytes


@pytest.mark.parametrize("way", [untouched, renamed, readdressed])
@pytest.mark.parametrize(
    "place",
    [pytest.param("same port on ::1", marks=needs_ipv6), "another port", "another loopback address"],
)
def test_a_relay_gets_nothing(house: House, key: str, way: Callable[[House], Change], place: str) -> None:
    """A squatter that passes the question on to the real daemon has an answer for another address than its own."""
    real = port_of(house)
    host, port = {
        "same port on ::1": ("::1", real),
        "another port": ("127.0.0.1", 0),
        "another loopback address": ("127.0.0.2", real),
    }[place]
    with LookAlike(host, port, upstream=real, change=way(house)) as relay, Client(url=relay.url, key=key) as client:
        with pytest.raises(NotAllowed) as caught:
            client.request("GET", "/v1/apps/job")
        assert caught.value.code == "server_not_proven"

    saw_no_key(relay.got, key)
    # It did reach the daemon, and where it lied well enough it even got a proof: one that does not fit.
    assert relay.told.startswith(b"HTTP/1.1 ")
    assert (b'"proof":"' in relay.told) == (way is readdressed)


# --- a key that is not known ------------------------------------------------------------------------------------------


def test_a_key_that_is_not_known(house: House) -> None:
    """A wrong, old or expired key is not sent: the client says that it is not known there, as a 401 would."""
    made = house.owner.ask("POST", "/v1/apps", 201, json={"name": "old"})["key"]
    house.owner.ask("POST", "/v1/apps/{app}/rotate", 200, path={"app": "old"})

    for wrong in (KEY, made):
        with Client(url=house.app_url, key=wrong) as client, pytest.raises(NotAllowed) as caught:
            client.token("work")
        assert (caught.value.code, caught.value.exit_code) == ("unauthorized", 4)
        assert "was not sent" in caught.value.detail
        assert "keyfob app list" in caught.value.hint


@pytest.mark.parametrize(("code", "exit_code"), [("unauthorized", 4), ("store_unavailable", 1), ("locked", 7)])
def test_a_daemon_that_cannot_prove_itself_now(code: str, exit_code: int) -> None:
    """What it says of that decides the words and the exit code, and no key goes out on its word."""
    answer = http({"state": "ok", "proof": None, "code": code})
    with LookAlike(answer=answer) as other, Client(url=other.url, key=KEY) as client:
        with pytest.raises(ClientError) as caught:
            client.token("work")
        assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
        assert "was not sent" in caught.value.detail

    saw_no_key(other.got, KEY)


# --- the socket -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_socket_of_another_user_gets_nothing(tmp_path: Path) -> None:
    """Who finds another user's program at the path of the socket sends nothing at all, a key or not."""
    path = tmp_path / "s.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    ready, here = os.pipe()
    child = os.fork()
    if child == 0:
        came = 99
        try:
            os.setuid(65534)
            listener.listen()  # from here on the kernel names this user to whoever connects (unix(7))
            os.write(here, b"x")
            came = len(listener.accept()[0].recv(10))
        finally:
            os._exit(came)
    os.read(ready, 1)

    with Client(socket=path, key=KEY) as client, pytest.raises(NotAllowed) as caught:
        client.token("work")

    assert caught.value.code == "server_not_proven"
    assert "65534" in caught.value.detail
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for opened in (ready, here):
        os.close(opened)
    listener.close()
