"""Tampering with the audit: whoever can write the database, and has no key, does not rewrite what happened."""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.ground import TOKEN, Ground, new_ground
from tests.e2e.home import Home, until

# In the place of %L.
LAST = "(SELECT max(link) FROM audit)"
CHANGES = {
    "an entry is changed": "UPDATE audit SET detail = 'nothing happened' WHERE link = %L - 2",
    "an account in it is changed": "UPDATE audit SET account = 'other' WHERE link = %L - 2",
    "its time is changed": "UPDATE audit SET at = at - 3600 WHERE link = %L - 2",
    "an app is put in": "UPDATE audit SET app = 'evil' WHERE link = %L - 2",
    "an entry is deleted": "DELETE FROM audit WHERE link = %L - 2",
    "the newest is cut of": "DELETE FROM audit WHERE link = %L",
    "many are cut of": "DELETE FROM audit WHERE link > %L - 3",
    "the oldest is deleted": "DELETE FROM audit WHERE link = (SELECT min(link) FROM audit)",
    "two change places": """UPDATE audit SET link = CASE link WHEN %L - 2 THEN -1 ELSE link END;
        UPDATE audit SET link = %L - 2 WHERE link = %L - 3;
        UPDATE audit SET link = %L - 3 WHERE link = -1""",
    "one is added": """INSERT INTO audit (at, action, detail, link, hash, late)
        SELECT at, action, 'forged', link + 1, hash, 0 FROM audit WHERE link = %L""",
    "a seal is taken away": "UPDATE audit SET hash = NULL WHERE link = %L - 2",
    "the head is put back": "UPDATE audit_head SET last = last - 1",
    "everything is deleted": "DELETE FROM audit",
    "a count of hand-outs is lowered": "UPDATE audit SET count = count + 7 WHERE count IS NOT NULL AND link IS NULL",
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Let some things happen, stop the daemon, and return where its files are: state directory and key."""
    with new_ground() as ground:
        for _ in range(3):
            ground.post("/v1/accounts/me/refresh")
            assert ground.app(ground.key, TOKEN).status_code == 200
        assert ground.get("/v1/audit/verify").json()["intact"]
        ground.daemon.stop()
        kept = tmp_path_factory.mktemp("kept")
        shutil.copytree(ground.home.state, kept / "state")
        shutil.copy(ground.home.key, kept / "key")
        yield kept / "state", kept / "key"


@pytest.fixture
def thief(recorded: tuple[Path, Path], home: Home) -> Home:
    """Put those files into a home, as they were."""
    state, key = recorded
    shutil.copytree(state, home.state)
    home.state.chmod(0o700)
    home.key.parent.mkdir(parents=True)
    shutil.copy(key, home.key)
    return home


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_found(thief: Home, name: str) -> None:
    """The next check says so, with the kind and the place."""
    with contextlib.closing(sqlite3.connect(thief.database)) as database, database:
        database.executescript(CHANGES[name].replace("%L", LAST))
        assert database.total_changes > 0

    thief.serve()

    with thief.door() as owner:
        found = owner.get("/v1/audit/verify").json()
        assert not found["intact"]
        assert found["broken"]["detail"].isprintable()


def test_a_script_is_told(thief: Home) -> None:
    """At the command line a record that was changed is an exit code of 1, after another start too."""
    with contextlib.closing(sqlite3.connect(thief.database)) as database, database:
        database.executescript(CHANGES["an entry is deleted"].replace("%L", LAST))
    for _ in range(2):
        daemon = thief.serve()
        assert thief.run("audit", "--verify").code == 1
        daemon.stop()


def test_without_a_change_it_is_intact(thief: Home) -> None:
    """The copy alone is no reason for alarm."""
    thief.serve()

    assert thief.run("audit", "--verify").code == 0


def test_no_app_writes_or_reads_it(ground: Ground) -> None:
    """Neither an entry nor a look is an app's, and of an owner's own words only one action is taken."""
    assert ground.app(ground.key, "/v1/audit").status_code == 403
    assert ground.app(ground.key, "/v1/audit", "POST", json={"action": "backed-up"}).status_code == 403
    for action in ("logged-in", "granted", "refreshed", "", "x\ny"):
        assert ground.post("/v1/audit", json={"action": action, "detail": "forged"}).status_code == 400


def test_refusals_are_recorded(ground: Ground) -> None:
    """Whoever tries keys or other apps' accounts is seen in the record, without the key that they tried."""
    forged = "kf_" + "Z" * 43
    assert ground.app(forged).status_code == 401
    assert ground.app(ground.key, "/v1/accounts/other/token").status_code in (403, 404)

    until("they are in the record", lambda: "refused" in ground.get("/v1/audit").text)
    assert "ZZZZ" not in ground.get("/v1/audit").text
