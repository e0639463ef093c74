"""The client library keeps one connection, tells its errors apart and never shows a token."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import client as clients
from broker.client import Client, ClientError, DaemonNotRunning, LoginNeeded, NotAllowed

from .cli.scripted_daemon import ScriptedDaemon, scripted_daemon

TOKEN = {
    "account": "work",
    "access_token": "secret-token-1",
    "token_type": "Bearer",
    "expires_at": "2030-01-01T00:00:00Z",
    "expires_in": 3599,
    "scope": "read write",
    "resource": None,
}
ASK = "GET /v1/accounts/work/token"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("KEYFOB_", "XDG_RUNTIME"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    """The other side, on a socket."""
    with scripted_daemon(tmp_path / "s.sock") as served:
        yield served


@pytest.fixture
def client(daemon: ScriptedDaemon) -> Iterator[Client]:
    """A client of it."""
    with Client(socket=daemon.where) as opened:
        yield opened


def test_token(daemon: ScriptedDaemon, client: Client) -> None:
    """A token comes with what is known about it, asked of Host localhost."""
    daemon.answers(ASK, TOKEN)

    token = client.token("work")

    assert (token.access_token, token.expires_at, token.scope) == (
        "secret-token-1",
        "2030-01-01T00:00:00Z",
        "read write",
    )
    assert (token.account, token.token_type, token.expires_in, token.resource) == ("work", "Bearer", 3599, None)
    assert daemon.requests[0].headers["host"] == "localhost"
    assert "authorization" not in daemon.requests[0].headers


def test_token_is_not_shown(daemon: ScriptedDaemon, client: Client) -> None:
    """Neither repr nor str of a token shows it."""
    daemon.answers(ASK, TOKEN)

    token = client.token("work")

    assert "secret-token-1" not in f"{token!r} {token} {client!r}"


def test_token_parameters_are_encoded(daemon: ScriptedDaemon, client: Client) -> None:
    """Whatever is asked for arrives percent-encoded, the account included."""
    query = "min_ttl=1234567&scope=a%3Ab%20c&resource=https%3A%2F%2Fapi.example%2F&id_token=true"
    line = f"GET /v1/accounts/a%2Fb%3F/token?{query}"
    daemon.answers(line, TOKEN)

    client.token("a/b?", 1234567, ["a:b", "c"], "https://api.example/", id_token=True)

    assert daemon.lines() == [line]


def test_one_connection_is_kept(daemon: ScriptedDaemon, client: Client) -> None:
    """Many tokens travel over one connection, and nothing is cached."""
    daemon.answers(ASK, TOKEN)

    for _ in range(5):
        client.token("work")

    assert daemon.connections == 1
    assert len(daemon.requests) == 5


def test_stale_connection_is_replaced(daemon: ScriptedDaemon, client: Client) -> None:
    """A daemon that let the idle connection go is asked again on a new one, and the caller notices nothing."""
    daemon.answers_raw(ASK, _raw(TOKEN, "X-In-Secret: Connection: close"))

    tokens = {client.token("work").access_token for _ in range(3)}

    assert tokens == {"secret-token-1"}
    assert daemon.connections == 3


def test_daemon_that_restarted(tmp_path: Path) -> None:
    """A client outlives its daemon: it finds the next one at the same place."""
    with Client(socket=tmp_path / "s.sock") as client:
        for name in ("first", "second"):
            with scripted_daemon(tmp_path / "s.sock") as daemon:
                daemon.answers_raw(ASK, _raw({**TOKEN, "access_token": name}, "X-In-Secret: Connection: close"))
                assert client.token("work").access_token == name
            (tmp_path / "s.sock").unlink()


def test_post_is_never_sent_twice(daemon: ScriptedDaemon, client: Client) -> None:
    """A POST goes out on a connection of its own, and a lost answer is reported instead of asked for again."""
    daemon.answers(ASK, TOKEN)
    daemon.answers_raw("POST /v1/accounts/work/refresh", b"")
    client.token("work")

    with pytest.raises(ClientError) as caught:
        client.request("POST", "/v1/accounts/work/refresh", {})

    assert caught.value.code == "connection_lost"
    assert daemon.lines().count("POST /v1/accounts/work/refresh") == 1
    assert daemon.connections == 2


def test_threads_share_a_client(daemon: ScriptedDaemon, client: Client) -> None:
    """Threads never get each other's answers."""
    for number in range(8):
        daemon.answers(f"GET /v1/accounts/a{number}/token", {**TOKEN, "access_token": f"token-{number}"})
    wrong: list[str] = []

    def ask(number: int) -> None:
        got = {client.token(f"a{number}").access_token for _ in range(20)}
        if got != {f"token-{number}"}:
            wrong.append(f"{number}: {got}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert len(daemon.requests) == 160


def test_fork_gets_its_own_connection(daemon: ScriptedDaemon, client: Client) -> None:
    """A forked child never reads from its parent's connection, even where a thread held the lock at the fork."""
    daemon.answers(ASK, TOKEN)
    client.token("work")
    with client._lock:  # noqa: SLF001 -- stands for another thread in the middle of a request
        pid = os.fork()
        if pid == 0:
            ok = client.token("work").access_token == "secret-token-1"
            os._exit(0 if ok else 1)
        _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert client.token("work").access_token == "secret-token-1"
    assert daemon.connections == 2


@pytest.mark.parametrize(
    ("status", "code", "kind", "exit_code"),
    [
        (409, "login_needed", clients.LoginNeeded, 3),
        (403, "not_granted", clients.NotAllowed, 4),
        (401, "unauthorized", clients.NotAllowed, 4),
        (503, "provider_unavailable", clients.ProviderUnavailable, 5),
        (429, "too_many_requests", clients.ProviderUnavailable, 5),
        (423, "locked", clients.Locked, 7),
        (400, "invalid_request", ClientError, 2),
        (404, "unknown_account", ClientError, 1),
        (409, "confirm_needed", ClientError, 1),
        (409, "a_code_of_the_future", ClientError, 1),
    ],
)
def test_refusals(
    daemon: ScriptedDaemon, client: Client, status: int, code: str, kind: type[ClientError], exit_code: int
) -> None:
    """Every code of a problem document becomes its exception, with its exit code."""
    daemon.refuses(ASK, status, code, "It is so.", hint="Do this.")

    with pytest.raises(ClientError) as caught:
        client.token("work")

    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.status, caught.value.exit_code) == (code, status, exit_code)
    assert str(caught.value) == "It is so. Do this."


def test_refusal_carries_the_ways_out(daemon: ScriptedDaemon, client: Client) -> None:
    """login_url, approval_url and retry_after are attributes; retry_after may come as a header alone."""
    daemon.refuses(ASK, 409, "login_needed", login_url="http://127.0.0.1:8400/login/x", retry_after=3)
    daemon.answers(ASK, {"code": "not_granted", "approval_url": "http://a"}, status=403, Retry_After="7")

    with pytest.raises(LoginNeeded) as needed:
        client.token("work")
    with pytest.raises(NotAllowed) as denied:
        client.token("work")

    assert (needed.value.login_url, needed.value.retry_after) == ("http://127.0.0.1:8400/login/x", 3)
    assert (denied.value.approval_url, denied.value.retry_after) == ("http://a", 7)


def test_refusal_without_a_problem_document(daemon: ScriptedDaemon, client: Client) -> None:
    """A refusal that is no problem document still has a code and words."""
    daemon.answers_raw(ASK, b"HTTP/1.1 502 Bad\r\nContent-Length: 6\r\n\r\n<html>")

    with pytest.raises(ClientError) as caught:
        client.token("work")

    assert (caught.value.code, caught.value.detail) == ("http_502", "The daemon answered 502.")


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Retry-After: \xb2\r\n", b""),
        (b"Retry-After: " + b"9" * 5000 + b"\r\n", b""),
        (b"", b'{"retry_after": 1' + b"0" * 400 + b"}"),
        (b"", b'{"retry_after": NaN}'),
        (b"", b"[" * 100_000),
    ],
)
def test_a_wait_that_is_none_is_left_out(daemon: ScriptedDaemon, client: Client, head: bytes, body: bytes) -> None:
    """A refusal stays a refusal, whatever it says of when to come again."""
    daemon.answers_raw(ASK, b"HTTP/1.1 503 X\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), head, body))

    with pytest.raises(ClientError) as caught:
        client.token("work")

    assert (caught.value.status, caught.value.retry_after) == (503, None)


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n",
        b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nnot json",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{"access_token": "a b"}',
        b'HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n{"access_token": "a\\u001b"}',
    ],
)
def test_garbage(daemon: ScriptedDaemon, client: Client, raw: bytes) -> None:
    """Whatever answers instead of a daemon, the caller gets a ClientError and never a wrong token."""
    daemon.answers_raw(ASK, raw)

    with pytest.raises(ClientError) as caught:
        client.token("work")

    assert caught.value.code == "bad_answer"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n[1,2,3]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n[1,\r\n4\r\n2,3]\r\n0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n[1,2,3]",
        b"HTTP/1.1 200 OK\r\n\r\n[1,2,3]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n[1,2,3]",
    ],
)
def test_framings(daemon: ScriptedDaemon, client: Client, raw: bytes) -> None:
    """Every way to frame an HTTP/1.1 answer is understood, again and again."""
    daemon.answers_raw("GET /x", raw)

    assert client.request("GET", "/x") == [1, 2, 3]
    assert client.request("GET", "/x") == [1, 2, 3]


def test_no_content(daemon: ScriptedDaemon, client: Client) -> None:
    """An answer without a body is None, and the connection stays good."""
    daemon.answers_raw("DELETE /x", b"HTTP/1.1 204 No Content\r\nX-Not: Content-Length\r\n\r\n")

    assert client.request("DELETE", "/x") is None
    assert client.request("DELETE", "/x") is None
    assert daemon.connections == 1


def test_nobody_listens(tmp_path: Path) -> None:
    """Without a daemon the error names the place and the command that starts one."""
    with Client(socket=tmp_path / "none.sock") as client, pytest.raises(DaemonNotRunning) as caught:
        client.token("work")

    assert caught.value.exit_code == 6
    assert str(tmp_path / "none.sock") in caught.value.detail
    assert "keyfob serve" in caught.value.hint
    assert "systemctl --user start keyfob.socket" in caught.value.hint


def test_socket_file_without_a_daemon(tmp_path: Path) -> None:
    """A socket file that a dead daemon left behind means the same as none."""
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "s.sock"))
    left.close()

    with Client(socket=tmp_path / "s.sock") as client, pytest.raises(DaemonNotRunning):
        client.token("work")


def test_socket_path_too_long(tmp_path: Path) -> None:
    """A path that no socket can have is a usage error, not a traceback."""
    with Client(socket=tmp_path / ("x" * 120)) as client, pytest.raises(ClientError) as caught:
        client.token("work")

    assert caught.value.exit_code == 2


def test_deadline_covers_a_dripping_answer(daemon: ScriptedDaemon, client: Client) -> None:
    """The timeout is for the whole answer: one that never ends is given up, and its connection with it."""
    daemon.answers_raw(ASK, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
    daemon.answers("GET /x", [])
    start = time.monotonic()

    with pytest.raises(ClientError) as caught:
        client.request("GET", "/v1/accounts/work/token", timeout=0.1)

    assert caught.value.code == "timeout"
    assert time.monotonic() - start < 2
    assert client.request("GET", "/x") == []


def _raw(body: object, header: str) -> bytes:
    content = json.dumps(body)
    return f"HTTP/1.1 200 OK\r\n{header}\r\nContent-Length: {len(content)}\r\n\r\n{content}".encode()
