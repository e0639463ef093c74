"""The sockets behind the doors: how they are made, what may be in their way, and how they are closed."""

import asyncio
import contextlib
import logging
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from broker import settings
from broker.daemon import Daemon
from broker.errors import CannotStart
from broker.practice.server import PracticeServer
from broker.practice.settings import PUBLIC_CLIENT
from broker.web.doors import Door, bind_port, bind_socket
from broker.web.protocol import GuardedProtocol
from tests.web.house import running
from tests.web.raw import Answer, Line, bearer, head


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Run with the most generous umask, and put back whatever was there."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    """Return a file's permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


def start(home: Path, **flags: str) -> None:
    """Start a daemon that must not start."""
    ports: dict[str, str | None] = {"browser_port": "0", "app_port": "0", "runtime_dir": str(home / "run")}
    asyncio.run(Daemon(settings.read({"HOME": str(home)}, ports | flags), {}).start())


# --- the app socket ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("open_umask")
def test_socket_is_its_owners_from_birth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask, the socket is 0600 when it appears, not a moment later; the umask is as it was."""
    seen: list[int] = []
    listen = socket.socket.listen

    def watched(self: socket.socket, backlog: int) -> None:
        seen.append(mode_of(tmp_path / "keyfob.sock"))
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", watched)
    for change in ("chmod", "fchmod"):
        monkeypatch.setattr(os, change, lambda *_: pytest.fail("made right afterwards"))

    bind_socket(tmp_path / "keyfob.sock").close()

    assert seen == [0o600]
    assert mode_of(tmp_path / "keyfob.sock") == 0o600
    assert os.umask(0) == 0


@pytest.mark.usefixtures("open_umask")
def test_runtime_directory_is_its_owners(tmp_path: Path) -> None:
    """The socket of a running daemon is 0600 in a directory that is 0700."""
    with running(tmp_path) as house:
        assert mode_of(Path(house.socket)) == 0o600
        assert mode_of(Path(house.socket).parent) == 0o700


@pytest.mark.parametrize("kind", ["file", "directory", "pipe", "link to a socket", "link to nothing"])
def test_what_is_no_socket_stays(tmp_path: Path, kind: str) -> None:
    """A thing that Keyfob did not make is not replaced, and a link not followed: it says what is in the way."""
    path = tmp_path / "keyfob.sock"
    if kind == "file":
        path.write_text("mine")
    elif kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "elsewhere")
        if kind == "link to a socket":
            bind_socket(tmp_path / "elsewhere").close()
    before = path.lstat()

    with pytest.raises(CannotStart) as refused:
        bind_socket(path)

    assert str(path) in refused.value.detail
    assert "--runtime-dir" in refused.value.hint
    assert path.lstat().st_ino == before.st_ino


def test_dead_socket_is_replaced(tmp_path: Path) -> None:
    """What a daemon that was killed left behind does not hinder the next one."""
    path = tmp_path / "keyfob.sock"
    bind_socket(path).close()

    with bind_socket(path) as sock, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        sock.accept()[0].close()


def test_answering_socket_is_left_alone(tmp_path: Path) -> None:
    """Two daemons that share a runtime directory by mistake do not steal each other's socket."""
    path = tmp_path / "keyfob.sock"
    with bind_socket(path) as first:
        with pytest.raises(CannotStart) as refused:
            bind_socket(path)
        first.settimeout(1)
        first.accept()[0].close()  # the question whether anybody is there

        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            first.accept()[0].close()

    assert "--runtime-dir" in refused.value.hint


def test_too_long_a_path(tmp_path: Path) -> None:
    """A path that no socket can have is refused with the limit and the flag."""
    (tmp_path / ("d" * 100)).mkdir()

    with pytest.raises(CannotStart) as refused:
        bind_socket(tmp_path / ("d" * 100) / "keyfob.sock")

    assert "107" in refused.value.hint
    assert "--runtime-dir" in refused.value.hint


# --- ports ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["browser-port", "app-port"])
def test_taken_port(flag: str) -> None:
    """A port that another program has is named, with who to ask and the flag that moves Keyfob."""
    with bind_port(0, flag) as other:
        port = other.getsockname()[1]
        with pytest.raises(CannotStart) as refused:
            bind_port(port, flag)

    assert str(port) in refused.value.detail
    assert f"ss -ltnp 'sport = :{port}'" in refused.value.hint
    assert f"--{flag}" in refused.value.hint


def test_port_is_free_again_at_once(tmp_path: Path) -> None:
    """A daemon that was stopped with open connections can be started again on the same port without waiting."""
    with contextlib.ExitStack() as clients:
        with running(tmp_path) as house:
            assert clients.enter_context(Line(house.app_url)).ask("GET", "/healthz").status == 200
            port = int(house.app_url.rpartition(":")[2])

        with bind_port(port, "app-port") as sock:
            assert sock.getsockname() == ("127.0.0.1", port)


def test_ports_are_for_this_machine_only(tmp_path: Path) -> None:
    """Both ports are on 127.0.0.1: another address of the machine does not answer."""
    with running(tmp_path) as house:
        for url in (house.app_url, house.browser_url):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", int(url.rpartition(":")[2])), 1)


def test_scope_says_who_is_there_and_not_what_headers_claim() -> None:
    """No handler behind a door can be told another client or scheme by whoever is at its other end."""

    async def mirror(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse([scope["client"][0], scope["scheme"]])(scope, receive, send)

    async def life() -> Answer:
        door = Door(mirror, bind_port(0, "app-port"))
        await door.open()
        try:
            return await asyncio.to_thread(asked, f"http://127.0.0.1:{door.servers[0].sockets[0].getsockname()[1]}")
        finally:
            await door.close()

    def asked(url: str) -> Answer:
        with Line(url) as line:
            return line.ask("GET", "/", "X-Forwarded-For: 8.8.8.8", "X-Forwarded-Proto: https")

    assert asyncio.run(life()).json() == ["127.0.0.1", "http"]


# --- a start that cannot be -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("flag", ["browser-port", "app-port"])
def test_refused_start_changes_nothing(tmp_path: Path, flag: str) -> None:
    """Where a port is taken, no database, key or socket is made, and the lock is free for the next try."""
    with bind_port(0, flag) as other, pytest.raises(CannotStart, match=f"--{flag}"):
        start(tmp_path, **{flag.replace("-", "_"): str(other.getsockname()[1])})

    assert {path.name for path in tmp_path.rglob("*") if not path.is_dir()} <= {"keyfob.lock", "keyfob.db.lock", "lock"}
    with running(tmp_path) as house:
        house.owner.ask("GET", "/healthz", 200)


def test_second_daemon(tmp_path: Path) -> None:
    """A second daemon, on the same state or only in the same runtime directory, does not start or harm the first."""
    with running(tmp_path / "first") as house:
        for flags in (
            {"state_dir": str(tmp_path / "first/.local/state/keyfob")},
            {"runtime_dir": str(Path(house.socket).parent)},
        ):
            with pytest.raises(CannotStart):
                start(tmp_path / "second", **flags)

        house.owner.ask("GET", "/v1/status", 200)
        with Line(house.socket) as line:
            assert line.ask("GET", "/healthz").status == 200


# --- crowds and stops -------------------------------------------------------------------------------------------------


def test_crowd_at_one_door_does_not_close_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many connections at the app port the idlest is hung up on; one more, and the socket, are answered."""
    monkeypatch.setattr(GuardedProtocol, "most_connections", 5)
    with running(tmp_path) as house:
        with contextlib.ExitStack() as crowd:
            slow = [crowd.enter_context(Line(house.app_url)) for _ in range(5)]
            for line in slow:
                line.send(b"GET /hea")
            with Line(house.app_url) as line:
                assert line.ask("GET", "/healthz").status == 200
            assert slow[0].gone()
            with Line(house.socket) as line:
                assert line.ask("GET", "/v1/status").status == 200

        deadline = time.monotonic() + 5
        statuses = set[int]()
        while 200 not in statuses and time.monotonic() < deadline:
            with Line(house.app_url) as line, contextlib.suppress(OSError):
                statuses.add(line.ask("GET", "/healthz").status)
        assert 200 in statuses


def test_stop_waits_for_nobody(tmp_path: Path, practice: PracticeServer, caplog: pytest.LogCaptureFixture) -> None:
    """A stop takes less than 3 s whatever is open: each gets its answer or the end of its connection.

    Nothing of it is an error, or leaves a traceback in the log.
    """
    caplog.set_level(logging.INFO)
    with contextlib.ExitStack() as afterwards, contextlib.ExitStack() as life:
        house = life.enter_context(running(tmp_path))
        key = house.owner.ask("POST", "/v1/apps", 201, json={"name": "job"})["key"]
        new = {"provider": "practice", "base_url": practice.url, "client_id": PUBLIC_CLIENT}
        login = house.owner.ask("POST", "/v1/logins", 201, json=new)["id"]
        doors_of = {
            "kept": house.app_url,
            "idle": house.browser_url,
            "stream": house.socket,
            "waiting": house.socket,
            "half a head": house.socket,
            "half a body": house.socket,
            "refused": house.app_url,
        }
        lines = {name: afterwards.enter_context(Line(where)) for name, where in doors_of.items()}
        assert lines["kept"].ask("GET", "/v1/apps/job", bearer(key)).status == 200
        lines["stream"].send(head("GET", "/v1/events", "Host: localhost"))
        lines["stream"].until(b": listening\n\n")
        lines["waiting"].send(head("GET", f"/v1/logins/{login}?wait=60", "Host: localhost"))
        lines["half a head"].send(b"GET /v1/sta")
        lines["half a body"].send(head("POST", "/v1/apps", "Host: localhost", "Content-Length: 100") + b"{")
        lines["refused"].send(head("POST", "/v1/apps", f"Host: {lines['refused'].host}", "Content-Length: 100") + b"{")
        assert lines["refused"].answer().status == 401
        with Line(house.socket) as last:  # whatever was sent before has arrived when this is answered
            assert last.ask("GET", "/v1/status").status == 200

        began = time.monotonic()
        life.close()

        assert time.monotonic() - began < 3
        assert lines["waiting"].answer().json()["state"] == "pending"
        assert lines["stream"].end().endswith(b"0\r\n\r\n")
        assert [lines[name].end() for name in ("kept", "idle", "half a head", "refused")] == [b""] * 4
        assert b" 200 " not in lines["half a body"].end()
    assert not [record for record in caplog.records if record.levelno > logging.INFO or record.exc_info]
