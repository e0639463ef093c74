"""The lives of a daemon: restarts and crashes, a second one, taken places, and a quick end."""

import contextlib
import os
import signal
import socket
import sqlite3

import pytest

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.e2e.home import PATIENCE, Home, until

# What a person who pressed Ctrl-C, or a service manager who restarts, should wait at the most.
QUICK = 3.0
# An idle daemon ends sooner.
AT_ONCE = 0.6


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_tokens_survive_a_restart(home: Home, practice: PracticeServer, signum: signal.Signals) -> None:
    """After a stop or a crash the same token is there at once, and the refresh token still works."""
    first = home.serve()
    home.log_in(practice.url)
    home.run("refresh", "me")
    token = home.token()

    if signum == signal.SIGKILL:
        first.kill()
    else:
        first.stop(signum)
    home.serve()

    assert home.token() == token
    assert home.run("refresh", "me").code == 0
    assert home.token() != token
    assert len(practice.log.all("code", "ok")) == 1


def test_a_crash_in_the_middle_of_a_refresh(home: Home, practice: PracticeServer) -> None:
    """Killed between question and answer, Keyfob serves the old token on and says that an answer was lost."""
    daemon = home.serve()
    home.log_in(practice.url)
    token = home.token()
    practice.set_faults(["refresh:hold"])
    refreshing = home.begin("refresh", "me")
    practice.log.wait_for("refresh")

    daemon.kill()
    refused = refreshing.end()
    practice.set_faults([])
    home.serve()

    assert refused.code != 0
    assert home.token() == token
    account = home.run("show", "me", "--json").json()
    assert account["state"] == "uncertain"
    assert "lost" in account["reason"]
    assert "keyfob refresh me --confirm" in home.run("refresh", "me").err


def test_a_stop_waits_for_a_refresh(home: Home) -> None:
    """Stopped while the scheduler's refresh is in the air, the daemon lets it land: the rotated token is not lost."""
    with practice_in_thread(PracticeSettings(ttl=1, auto_approve=True, faults=("refresh:hold",))) as practice:
        daemon = home.serve()
        home.log_in(practice.url)
        practice.log.wait_for("refresh")

        os.kill(daemon.pid, signal.SIGTERM)
        assert not daemon.ends_within(AT_ONCE)
        practice.set_faults([])
        daemon.stop()
        home.serve()

        assert home.run("refresh", "me").code == 0
        assert home.run("show", "me", "--json").json()["state"] == "active"
        assert practice.log.all("refresh", "reuse") == []


def drop(home: Home, name: str) -> None:
    """Take a table out of the database, as damage would."""
    with contextlib.closing(sqlite3.connect(home.database, isolation_level=None)) as database:
        database.execute(f"DROP TABLE {name}")


def test_a_stop_ends_though_the_database_refuses(home: Home, practice: PracticeServer) -> None:
    """Hand-outs that cannot be written down at the end are said to be missing; they do not keep the process."""
    daemon = home.serve()
    home.log_in(practice.url)
    drop(home, "audit")
    home.token()

    assert daemon.stop() < QUICK
    assert "the last hand-outs are not in the audit" in daemon.log


def test_a_start_ends_though_the_database_is_open(home: Home) -> None:
    """A start that cannot go on lets everything go: the process ends, and leaves no socket behind."""
    home.serve().stop()
    drop(home, "pulse")

    refused = home.run("serve")

    assert refused.code == 1, refused
    assert "The database cannot be used: no such table: pulse" in refused.err
    assert not home.socket.exists()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_quick_end(home: Home, signum: signal.Signals) -> None:
    """An idle daemon ends within three seconds, well, though clients are connected and one listens to the events."""
    daemon = home.serve()
    with socket.socket(socket.AF_UNIX) as half, home.door() as idle, home.door() as listener:
        half.connect(str(home.socket))
        half.sendall(b"GET /healthz HTTP/1.1\r\nHost: loc")
        idle.get("/healthz")
        with listener.stream("GET", "/v1/events") as events:
            assert events.status_code == 200

            assert daemon.stop(signum) < QUICK

    assert home.run("healthcheck").code == 1


def test_a_second_daemon(home: Home) -> None:
    """A second daemon on the same state directory names the first one and ends; the first goes on as before."""
    first = home.serve()

    second = home.run("serve", KEYFOB_RUNTIME_DIR=str(home.place / "elsewhere"))

    assert second.code == 2
    assert f"pid {first.pid}" in second.err
    assert "keyfob status" in second.err
    assert home.run("status", "--json").json()["pid"] == first.pid


def test_a_second_daemon_at_the_same_socket(home: Home) -> None:
    """A daemon with a state directory of its own does not take the socket of one that answers."""
    first = home.serve()

    second = home.run("serve", KEYFOB_STATE_DIR=str(home.place / "another"))

    assert second.code == 2
    assert str(home.socket) in second.err
    assert "--runtime-dir" in second.err
    assert home.run("status", "--json").json()["pid"] == first.pid


@pytest.mark.parametrize("flag", ["--browser-port", "--app-port"])
def test_a_taken_port(home: Home, flag: str) -> None:
    """A taken port is named, with the way to find who has it and the flag that moves Keyfob."""
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]

        done = home.run("serve", flag, str(port))

        assert done.code == 2
        assert f"Port {port}" in done.err
        assert f"sport = :{port}" in done.err
        assert flag in done.err
        home.serve()


def test_a_dead_socket_is_replaced(home: Home) -> None:
    """The socket that a crash left behind is no obstacle."""
    home.serve().kill()
    assert home.socket.is_socket()

    home.serve()

    assert home.run("healthcheck").code == 0


def test_something_else_in_the_sockets_place(home: Home) -> None:
    """A file that lies where the socket should be is never removed."""
    home.runtime.mkdir(mode=0o700)
    home.socket.write_text("a letter")

    done = home.run("serve")

    assert (done.code, home.socket.read_text()) == (2, "a letter")
    assert str(home.socket) in done.err


def test_a_socket_path_that_is_too_long(home: Home) -> None:
    """A runtime directory too deep for a socket is said to be so, with the limit."""
    done = home.run("serve", "--runtime-dir", str(home.place / ("deep" * 30)))

    assert done.code == 2
    assert "107" in done.err


def test_the_daemon_is_not_running(home: Home) -> None:
    """Without a daemon every verb says how to start it, and ends with 6; a health check with 1, soon."""
    verbs = (["token", "me"], ["status"], ["accounts"], ["login", "me", "--provider", "practice"], ["refresh", "me"])
    for words in verbs:
        done = home.run(*words)

        assert (done.code, done.out) == (6, ""), words
        assert "keyfob serve" in done.err
    assert home.run("healthcheck").code == 1


def test_a_daemon_that_hangs(home: Home) -> None:
    """A health check does not wait for a daemon that has stopped to answer: two seconds, then 1."""
    daemon = home.serve()
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        check = home.begin("healthcheck")
        assert check.process.wait(QUICK) == 1
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    until("it answers again", lambda: home.run("healthcheck").code == 0, PATIENCE)
