"""``keyfob backup`` and ``keyfob restore``: what they say, where it goes, and how they end."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from broker.cli.main import main
from broker.store.files import lock_state_directory
from broker.store.keys import FileKey
from broker.store.store import Store
from tests.store.made import NOW, with_account


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Make the database of the environment's home, with one account."""
    state, key = tmp_path / ".local/state/keyfob", tmp_path / ".config/keyfob/key"

    async def life() -> None:
        store = await Store.open(f"sqlite:///{state}/keyfob.db", key=FileKey(key), now=NOW)
        await with_account(store)
        await store.close()

    asyncio.run(life())
    return state / "keyfob.db"


def test_a_backup_says_what_is_not_in_it(database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The copy is there, stdout is empty, and the person is told of the key and where it is."""
    assert main(["backup", str(tmp_path / "b.db")]) == 0

    out, err = capsys.readouterr()
    assert out == ""
    assert "1 account, sealed" in err
    assert "The key is not in it" in err
    assert str(tmp_path / ".config/keyfob/key") in err
    assert (tmp_path / "b.db").stat().st_mode & 0o7777 == 0o600
    assert database.exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("passphrase", "made of your passphrase"),
        ("systemd", "systemd credential keyfob-key"),
        ("command", "what KEYFOB_KEY_COMMAND prints"),
    ],
)
@pytest.mark.usefixtures("database")
def test_where_the_key_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    """Whatever the key's source, a backup names it and does not need the key."""
    monkeypatch.setenv("KEYFOB_KEY_SOURCE", source)
    monkeypatch.setenv("KEYFOB_KEY_COMMAND", "false")

    assert main(["backup", str(tmp_path / "b.db")]) == 0

    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["backup", "-"], 2, "keyfob backup FILE"),
        (["backup", "taken"], 2, "--force"),
        (["backup", "--force", "taken"], 2, "no backup"),
        (["backup", "nowhere/b.db"], 2, "directory"),
        (["restore", "nowhere"], 2, "No such file"),
        (["restore", "taken"], 2, "no backup of Keyfob"),
    ],
)
@pytest.mark.usefixtures("database")
def test_what_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    """A slip in the name ends with 2 and a next step, and leaves every file as it was."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a letter")
    before = sorted(tmp_path.iterdir())

    assert main(words) == code

    assert said in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "taken").read_text() == "a letter"


def test_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the daemon keeps its state elsewhere, the settings are named that lead there."""
    assert main(["backup", str(tmp_path / "b.db")]) == 2

    assert "KEYFOB_STATE_DIR or KEYFOB_DATABASE_URL" in capsys.readouterr().err


def test_a_restore_says_what_comes_next(database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one of before is named, and so is what helps the accounts that will be suspect."""
    main(["backup", str(tmp_path / "b.db")])
    capsys.readouterr()

    assert main(["restore", str(tmp_path / "b.db")]) == 0

    out, err = capsys.readouterr()
    assert out == ""
    (aside,) = database.parent.glob("keyfob.db.replaced-*")
    for said in ("1 account", str(aside), "suspect", "keyfob refresh NAME --confirm", "keyfob login NAME"):
        assert said in err


def test_a_restore_from_stdin(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the daemon's user may not read the file, somebody who may can hand it over; an empty stdin is refused."""
    main(["backup", str(tmp_path / "b.db")])
    with (tmp_path / "b.db").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert main(["restore", "-"]) == 0
        assert "stdin" in capsys.readouterr().err
        before = database.read_bytes()
        assert main(["restore", "-"]) == 2  # there is nothing left in it
    assert "stdin is damaged, or no backup of Keyfob" in capsys.readouterr().err
    assert database.read_bytes() == before


def test_a_restore_wants_the_daemon_stopped(database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While the state directory is held, nothing is touched, and the message says who holds it and how to stop it."""
    main(["backup", str(tmp_path / "b.db")])
    before = database.read_bytes()

    with lock_state_directory(database.parent):
        assert main(["restore", str(tmp_path / "b.db")]) == 1

    err = capsys.readouterr().err
    assert f"pid {os.getpid()}" in err
    assert "systemctl --user stop keyfob.socket keyfob.service" in err
    assert database.read_bytes() == before
    assert main(["restore", str(tmp_path / "b.db")]) == 0


@pytest.mark.usefixtures("database")
def test_a_restore_with_another_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends with 7 and names the way out; on a new machine the key can also come later."""
    main(["backup", str(tmp_path / "b.db")])
    (tmp_path / ".config/keyfob/key").unlink()
    assert main(["restore", str(tmp_path / "b.db")]) == 7
    FileKey(tmp_path / ".config/keyfob/key").create()
    assert main(["restore", str(tmp_path / "b.db")]) == 7
    assert "is not the one that" in capsys.readouterr().err

    assert main(["restore", "--without-key", str(tmp_path / "b.db")]) == 0


@pytest.mark.usefixtures("database")
def test_a_restore_on_a_new_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing is yet, the directory is made, private, and nothing of before is spoken of."""
    main(["backup", str(tmp_path / "b.db")])
    capsys.readouterr()
    monkeypatch.setenv("KEYFOB_STATE_DIR", str(tmp_path / "new/state"))

    assert main(["restore", str(tmp_path / "b.db")]) == 0

    assert "of before" not in capsys.readouterr().err
    assert (tmp_path / "new/state").stat().st_mode & 0o7777 == 0o700
    assert (tmp_path / "new/state/keyfob.db").stat().st_mode & 0o7777 == 0o600
