"""Whose browser it is: the kernel's word for it, and what it decides."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.web import peers
from tests.e2e.home import until
from tests.web.house import House
from tests.web.raw import Line, bearer
from tests.web.test_localhost import needs_ipv6
from tests.web.walk import Walk

NOBODY = 65534


def connected(family: int, uid: int, port: int) -> socket.socket:
    """Connect to a port of this machine as a program of that user."""
    before = os.geteuid()
    os.seteuid(uid)
    try:
        client = socket.socket(family, socket.SOCK_STREAM)
    finally:
        os.seteuid(before)
    client.connect(("::ffff:127.0.0.1" if family == socket.AF_INET6 else "127.0.0.1", port))
    return client


@contextlib.contextmanager
def connection(family: int, uid: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield both ends of a TCP connection on loopback, the first made by a program of that user."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = connected(family, uid, listening.getsockname()[1])
        accepted, _ = listening.accept()
        with client, accepted:
            yield client, accepted


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_kernel_names_the_user(family: int) -> None:
    """However a program writes 127.0.0.1, its user is found; for ends that nobody holds nobody is named."""
    with connection(family, os.geteuid()) as (_, accepted):
        client, server = accepted.getpeername(), accepted.getsockname()
        assert peers.uid_of(client, server) == os.getuid()
        assert peers.uid_of(client, ("127.0.0.2", server[1])) is None
    assert peers.uid_of(None, ("127.0.0.1", 1)) is None


def test_what_is_left_of_a_connection_is_nobodys() -> None:
    """The kernel calls root the owner of an end that was closed; whoever sends and is off is not taken for root."""
    with connection(socket.AF_INET, os.geteuid()) as (program, accepted):
        client, server = accepted.getpeername(), accepted.getsockname()
        program.close()
        assert accepted.recv(1) == b""
        until("its end is closed", lambda: peers.uid_of(client, server) != os.getuid(), 5.0)
        assert peers.uid_of(client, server) == peers.GONE


def test_the_kernel_is_asked_once_for_a_connection(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its table is long on a busy machine: a second wrong key on the same connection does not have it read again."""
    asked: list[object] = []

    def noted(*ends: peers.Address | None) -> int | None:
        asked.append(ends)
        return uid_of(*ends)

    uid_of = peers.uid_of
    monkeypatch.setattr(peers, "uid_of", noted)
    for connections in (1, 2):
        with Line(house.app_url) as line:
            for _ in range(3):
                assert line.ask("GET", "/v1/apps", bearer("kf_wrong")).status == 401
        assert len(asked) == connections


@needs_ipv6
def test_the_user_is_found_behind_the_other_loopback_address() -> None:
    """A browser that takes ``localhost`` for ::1 is somebody's, too."""
    listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    with listening, socket.create_connection(listening.getsockname()[:2]) as client:
        accepted, _ = listening.accept()
        with accepted:
            assert peers.uid_of(client.getsockname()[:2], accepted.getsockname()[:2]) == os.getuid()


def test_where_the_kernel_tells_nothing_nobody_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Systems without that table are served as before."""
    monkeypatch.setattr(peers, "TABLES", (tmp_path / "tcp", tmp_path / "tcp6"))
    with connection(socket.AF_INET, os.geteuid()) as (_, accepted):
        assert peers.uid_of(accepted.getpeername(), accepted.getsockname()) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_another_user_cannot_open_a_login(walk: Walk, family: int) -> None:
    """The address of a login stands in the command line of the browser, which everybody can read: it is not enough."""
    where = urlsplit(walk.start_url)
    with connected(family, NOBODY, where.port or 0) as spy:
        spy.sendall(f"GET {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n".encode())
        told = b"".join(iter(lambda: spy.recv(65536), b"")).decode()

    assert told.startswith("HTTP/1.1 403 ")
    assert "another user" in told or "another’s" in told or "user’s" in told
    assert "set-cookie" not in told.lower()
    assert walk.browser.get(walk.answered()).status_code == 303
    assert walk.state() == "done"
