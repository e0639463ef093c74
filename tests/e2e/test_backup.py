"""Backups, restores and copies with real daemons, at a provider that ends a login when a spent token comes back."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.e2e.home import Home, until


@pytest.fixture
def strict() -> Iterator[PracticeServer]:
    """Run a provider that lets each refresh token be used once and takes a second use for theft."""
    with practice_in_thread(PracticeSettings(rotation="single-use", auto_approve=True)) as server:
        yield server


def results(provider: PracticeServer) -> list[str]:
    """Return what came of the refreshes that reached the provider."""
    return [event.result for event in provider.log.all("refresh")]


def restored(home: Home, provider: PracticeServer) -> str:
    """Log in, back up, refresh twice, stop, restore, start again; return the token of the backup."""
    daemon = home.serve()
    home.log_in(provider.url)
    token = home.token()
    backup = home.run("backup", "backup.db")
    assert (backup.code, backup.out) == (0, "")
    for _ in range(2):
        assert home.run("refresh", "me").code == 0
    assert home.token() != token
    daemon.stop()
    done = home.run("restore", "backup.db")
    assert done.code == 0, done
    home.serve()
    return token


def test_a_restored_backup_harms_no_login(home: Home, strict: PracticeServer) -> None:
    """The account is suspect, its living token is served, and the spent refresh token is not sent unasked."""
    token = restored(home, strict)

    account = home.run("show", "me", "--json").json()
    assert account["state"] == "suspect"
    assert "put back from a backup" in account["reason"]
    assert home.token() == token
    refused = home.run("refresh", "me")
    assert refused.code != 0
    assert "keyfob refresh me --confirm" in refused.err
    assert results(strict) == ["ok", "ok"]
    with home.door() as door:
        entries = door.get("/v1/audit").json()["entries"]
    assert [entry["account"] for entry in entries if entry["action"] == "suspect"] == ["me"]


def test_after_a_restore_a_login_helps(home: Home, strict: PracticeServer) -> None:
    """A new login makes the account what it was, and it is refreshed again."""
    restored(home, strict)

    home.log_in(strict.url)

    assert home.run("show", "me", "--json").json()["state"] == "active"
    assert home.run("refresh", "me").code == 0
    assert results(strict) == ["ok"] * 3


def test_after_a_restore_a_person_may_try(home: Home, strict: PracticeServer) -> None:
    """Confirmed, the refresh is sent: with a backup from before other refreshes the provider ends the login."""
    restored(home, strict)

    assert home.run("refresh", "me", "--confirm").code == 3

    assert results(strict) == ["ok", "ok", "reuse"]
    assert home.run("show", "me", "--json").json()["state"] == "needs-login"


def test_a_backup_of_now_goes_on(home: Home, strict: PracticeServer) -> None:
    """Where nothing was refreshed since, the confirmed refresh succeeds, and later ones need no word any more."""
    daemon = home.serve()
    home.log_in(strict.url)
    daemon.stop()
    assert home.run("backup", "backup.db").code == 0  # without a daemon
    assert home.run("restore", "backup.db").code == 0
    daemon = home.serve()

    assert home.run("refresh", "me", "--confirm").code == 0

    assert home.run("show", "me", "--json").json()["state"] == "active"
    daemon.stop()
    home.serve()
    assert home.run("refresh", "me").code == 0
    assert results(strict) == ["ok", "ok"]


def test_a_copy_beside_the_original(home: Home, strict: PracticeServer) -> None:
    """A copied state directory with a daemon of its own asks nothing; the original goes on untouched."""
    daemon = home.serve()
    home.log_in(strict.url)
    daemon.stop()
    copy = Path(shutil.copytree(home.state, home.place / "copy"))
    home.serve()
    elsewhere = {
        "KEYFOB_STATE_DIR": str(copy),
        "KEYFOB_RUNTIME_DIR": str(home.place / "r2"),
        "KEYFOB_SOCKET": str(home.place / "r2/keyfob.sock"),
    }
    home.begin("serve", **elsewhere)
    until("the second daemon answers", lambda: home.run("healthcheck", **elsewhere).code == 0)

    theirs = home.run("show", "me", "--json", **elsewhere).json()

    assert theirs["state"] == "suspect"
    assert "copy" in theirs["reason"]
    assert home.run("token", "me", **elsewhere).out.strip() == home.token()
    assert home.run("refresh", "me").code == 0
    assert home.run("refresh", "me", **elsewhere).code != 0
    assert home.run("show", "me", "--json").json()["state"] == "active"
    assert results(strict) == ["ok"]


def test_a_restore_wants_the_daemon_stopped(home: Home, strict: PracticeServer) -> None:
    """While it runs nothing is replaced, and the daemon does not notice."""
    daemon = home.serve()
    home.log_in(strict.url)
    home.run("backup", "backup.db")

    done = home.run("restore", "backup.db")

    assert done.code == 1
    assert f"pid {daemon.pid}" in done.err
    assert "Stop it first" in done.err
    assert home.run("show", "me", "--json").json()["state"] == "active"


def test_a_damaged_database_is_refused_and_put_back(home: Home, strict: PracticeServer) -> None:
    """The start names the way back; after it the living token is served, and the ruin is still there."""
    daemon = home.serve()
    home.log_in(strict.url)
    token = home.token()
    home.run("backup", "backup.db")
    daemon.stop()
    ruin = b"\0" * 4096 + home.database.read_bytes()[4096:]
    home.database.write_bytes(ruin)

    refused = home.run("serve")
    assert refused.code == 2
    assert "keyfob restore FILE" in refused.err
    assert home.database.read_bytes() == ruin
    assert home.run("restore", "backup.db").code == 0
    home.serve()

    assert home.token() == token
    (kept,) = home.state.glob("keyfob.db.replaced-*")
    assert kept.read_bytes() == ruin


def test_a_lost_database_is_not_begun_anew(home: Home, strict: PracticeServer) -> None:
    """A daemon whose database has gone does not start with an empty one, as if there had never been a login."""
    daemon = home.serve()
    home.log_in(strict.url)
    daemon.stop()
    home.database.unlink()

    refused = home.run("serve")

    assert refused.code == 2
    assert "keyfob restore FILE" in refused.err
    assert not home.database.exists()


def test_a_backup_is_sealed_and_sound(home: Home, strict: PracticeServer) -> None:
    """The file that a running daemon's backup makes is private, whole, and holds no token."""
    home.umask = 0
    home.serve()
    home.log_in(strict.url)
    token = home.token()

    assert home.run("backup", "backup.db").code == 0

    backup = home.place / "backup.db"
    assert backup.stat().st_mode & 0o7777 == 0o600
    assert token.encode() not in backup.read_bytes()
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT name FROM account").fetchall() == [("me",)]
    assert home.run("backup", "backup.db").code == 2
    assert home.run("backup", "--force", "backup.db").code == 0
