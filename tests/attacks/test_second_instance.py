"""A second daemon, by mistake or on purpose: two that refresh the same logins end them."""

import os
import signal
import sqlite3
from contextlib import closing

import pytest

from tests.attacks.ground import Ground
from tests.e2e.home import Home, until

ELSEWHERE = {
    "the same everywhere": [],
    "another runtime directory": ["KEYFOB_RUNTIME_DIR"],
    "another state directory": ["KEYFOB_STATE_DIR"],
    "the same database only": ["KEYFOB_RUNTIME_DIR", "KEYFOB_STATE_DIR", "KEYFOB_DATABASE_URL"],
}


CASES = [(name, False) for name in ELSEWHERE]


@pytest.mark.parametrize(
    ("name", "stopped"), [*CASES, ("the same everywhere", True), ("another state directory", True)]
)
def test_there_is_one_daemon(ground: Ground, name: str, *, stopped: bool) -> None:
    """Whatever they share, directory, socket or database: the second one ends, and the first goes on undisturbed."""
    moved = {variable: str(ground.home.place / "second") for variable in ELSEWHERE[name]}
    if "KEYFOB_DATABASE_URL" in moved:
        moved["KEYFOB_DATABASE_URL"] = f"sqlite:///{ground.home.database}"
    before = ground.token
    if stopped:
        os.kill(ground.daemon.pid, signal.SIGSTOP)
    try:
        second = ground.home.run("serve", **moved)
    finally:
        os.kill(ground.daemon.pid, signal.SIGCONT)

    assert second.code == 2, second
    assert ground.token == before
    assert ground.get("/v1/status").json()["pid"] == ground.daemon.pid


def test_of_many_that_start_one_goes_on(home: Home) -> None:
    """Five that start in the same moment: exactly one of them is there in the end, and it owns the socket."""
    running = [home.begin("serve") for _ in range(5)]

    until("four of them have ended", lambda: sum(each.process.poll() is not None for each in running) == 4)
    left = next(each for each in running if each.process.poll() is None)
    until("it answers", lambda: home.run("healthcheck").code == 0)

    assert home.run("status", "--json").json()["pid"] == left.process.pid
    assert {each.process.returncode for each in running if each is not left} == {2}


def test_a_lock_file_that_is_removed(ground: Ground) -> None:
    """Who cleans up the lock file of a running daemon lets no second one in: the socket answers."""
    (ground.home.state / "lock").unlink()

    assert ground.home.run("serve").code == 2
    assert ground.get("/v1/status").json()["pid"] == ground.daemon.pid


def test_the_database_is_not_taken_away(ground: Ground) -> None:
    """Another program that locks the database delays, and neither breaks nor empties anything."""
    with closing(sqlite3.connect(ground.home.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert ground.app(ground.key).status_code == 200
        other.execute("ROLLBACK")

    assert ground.get("/v1/audit/verify").json()["intact"]
