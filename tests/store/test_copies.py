"""A backup is whole, private and sealed although it is made in use; a restore loses nothing that was there before."""

import asyncio
import itertools
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from broker.errors import CannotStart, InvalidRequest, KeyfobError, Locked, StoreUnavailable
from broker.store.copies import back_up, put_back
from broker.store.fence import PUT_BACK
from broker.store.keys import CommandKey, FileKey
from broker.store.store import Store
from tests.store.made import NOW, TO_0001, database, key_file, made_older, opened, reveal, with_account
from tests.store.test_fence import at, lived, rotated

STAMP = "20231114T221320Z"


def secrets_in(place: Path) -> tuple[str | None, str | None]:
    """Return the access token and the refresh token of the account at ``place``."""

    async def story() -> tuple[str | None, str | None]:
        async with opened(place) as store:
            account = await store.account("me")
            assert account is not None
            return reveal(await store.access_token(account)), reveal(await store.refresh_token(account))

    return asyncio.run(story())


def everything(place: Path) -> dict[str, bytes]:
    """Return every file beside the database."""
    return {path.name: path.read_bytes() for path in database(place).parent.iterdir()}


def backup(place: Path) -> Path:
    """Make a backup of ``place`` in a directory of its own."""
    (place / "kept").mkdir()
    back_up(database(place), place / "kept" / "backup.db")
    return place / "kept" / "backup.db"


def killed(place: Path, target: Path) -> Path:
    """Copy ``place``, as a kill leaves it: what happened last is in the write-ahead log alone. Return the new place."""

    async def story() -> None:
        async with opened(place) as store:
            await rotated(store, "last")
            shutil.copytree(place, target)

    asyncio.run(story())
    assert database(target).with_name("keyfob.db-wal").stat().st_size > 0
    return target


# --- backup


def test_a_backup_comes_back(tmp_path: Path) -> None:
    """What was in the database is in the backup, and opens with the same key at another place."""
    file = backup(lived(tmp_path))
    new = tmp_path / "new"
    shutil.copytree(tmp_path / "config", new / "config")
    database(new).parent.mkdir()
    found, aside = put_back(file, database(new), FileKey(key_file(new)), NOW)
    assert (found.accounts, aside) == (1, None)
    assert secrets_in(new) == ("access-lived-1", "refresh-lived-1")


def test_a_backup_while_everything_changes(tmp_path: Path) -> None:
    """Copies that are made while refreshes are written are sound, each with a token that opens."""
    (tmp_path / "kept").mkdir()

    async def refreshes(store: Store, done: asyncio.Event, written: asyncio.Event) -> None:
        for number in itertools.count():
            if done.is_set():
                return
            await rotated(store, str(number))
            written.set()

    async def story() -> None:
        async with opened(tmp_path) as store:
            await with_account(store)
            done, written = asyncio.Event(), asyncio.Event()
            busy = asyncio.create_task(refreshes(store, done, written))
            for number in range(6):
                for _ in range(2):  # however slow the disk is: the second one begins after the copy before
                    written.clear()
                    await written.wait()
                await asyncio.to_thread(back_up, database(tmp_path), tmp_path / "kept" / str(number))
            done.set()
            await busy

    asyncio.run(story())
    shutil.rmtree(database(tmp_path).parent)
    seen = set()
    for number in range(6):
        database(tmp_path).parent.mkdir(exist_ok=True)
        put_back(tmp_path / "kept" / str(number), database(tmp_path), FileKey(key_file(tmp_path)), NOW)
        access, refresh = secrets_in(tmp_path)
        assert access is not None
        assert refresh is not None
        seen.add(refresh)
    assert len(seen) == 6


def test_a_backup_after_a_kill(tmp_path: Path) -> None:
    """The write-ahead log of a daemon that was killed belongs to the backup, and is left as it was."""
    place = killed(lived(tmp_path / "a"), tmp_path / "b")
    before = everything(place)
    file = backup(place)
    assert everything(place)["keyfob.db"] == before["keyfob.db"]
    assert everything(place)["keyfob.db-wal"] == before["keyfob.db-wal"]
    shutil.rmtree(database(place).parent)
    database(place).parent.mkdir()
    put_back(file, database(place), FileKey(key_file(place)), NOW)
    assert secrets_in(place)[1] == "refresh-last"


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_a_backup_is_private_and_alone(tmp_path: Path, umask: int) -> None:
    """It is 0600 whatever the umask, one file with nothing beside it, and neither token nor key is in it."""
    lived(tmp_path)
    (tmp_path / "kept").mkdir()
    before = os.umask(umask)
    try:
        back_up(database(tmp_path), tmp_path / "kept" / "backup.db")
    finally:
        os.umask(before)
    (file,) = (tmp_path / "kept").iterdir()
    assert file.stat().st_mode & 0o7777 == 0o600
    content = file.read_bytes()
    for secret in (b"access-lived-1", b"refresh-lived-1", key_file(tmp_path).read_bytes().strip()):
        assert secret not in content


def test_a_backup_replaces_nothing_unasked(tmp_path: Path) -> None:
    """A file of that name is kept; with force an older backup gives way, and nothing else does."""
    file = backup(lived(tmp_path))
    first = file.read_bytes()
    with pytest.raises(InvalidRequest, match="--force"):
        back_up(database(tmp_path), file)
    assert file.read_bytes() == first
    at(tmp_path, lambda store: rotated(store, "since"))
    back_up(database(tmp_path), file, force=True)
    assert file.read_bytes() != first

    (tmp_path / "link").symlink_to(file)
    link_to_database = tmp_path / "hard"
    link_to_database.hardlink_to(database(tmp_path))
    for path in (key_file(tmp_path), tmp_path / "link", database(tmp_path), link_to_database, tmp_path / "kept"):
        before = everything(tmp_path), key_file(tmp_path).read_bytes()
        with pytest.raises(InvalidRequest, match=r"no backup|is a directory"):
            back_up(database(tmp_path), path, force=True)
        assert (everything(tmp_path), key_file(tmp_path).read_bytes()) == before
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["backup.db"]


def test_where_no_backup_can_be_written(tmp_path: Path) -> None:
    """A directory that does not exist is told with the name, before anything is copied."""
    with pytest.raises(InvalidRequest, match="No such file or directory"):
        back_up(database(lived(tmp_path)), tmp_path / "nowhere" / "backup.db")


def test_no_database_to_back_up(tmp_path: Path) -> None:
    """Where there is none, the settings are named that say where it is, and no empty backup appears."""
    with pytest.raises(CannotStart, match="KEYFOB_STATE_DIR"):
        back_up(database(tmp_path), tmp_path / "backup.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["page", "header", "cut"])
def test_a_damaged_database_makes_no_backup(tmp_path: Path, what: str) -> None:
    """What cannot be read whole does not become a backup, so the good one of before is still the newest."""
    file = backup(lived(tmp_path))
    good = file.read_bytes()
    damage(database(tmp_path), what)
    with pytest.raises(StoreUnavailable, match=r"cannot be copied.*keyfob restore FILE"):
        back_up(database(tmp_path), file, force=True)
    assert file.read_bytes() == good
    assert [path.name for path in file.parent.iterdir()] == ["backup.db"]


def damage(file: Path, what: str) -> None:
    """Do to a database what disks and careless programs do."""
    whole = file.read_bytes()
    with closing(sqlite3.connect(file)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'secret'").fetchone()[0]
    ruins = {
        "page": whole[: (page - 1) * 4096] + b"\xff" * 4096 + whole[page * 4096 :],
        "header": b"x" * 100 + whole[100:],
        "cut": whole[: len(whole) // 2],
        "empty": b"",
    }
    file.write_bytes(ruins[what])


# --- restore


def test_what_was_there_is_kept(tmp_path: Path) -> None:
    """The database of before is aside with all that its log held, and nothing of that log reaches the new one."""
    file = backup(lived(tmp_path / "a"))
    place = killed(tmp_path / "a", tmp_path / "b")
    _, aside = put_back(file, database(place), FileKey(key_file(place)), NOW)
    assert aside == database(place).with_name(f"keyfob.db.replaced-{STAMP}")
    assert sorted(path.name for path in database(place).parent.iterdir()) == [
        "keyfob.db",
        "keyfob.db.fence",
        aside.name,
        f"{aside.name}-wal",
    ]
    assert {path.stat().st_mode & 0o7777 for path in database(place).parent.iterdir()} == {0o600}
    assert secrets_in(place)[1] == "refresh-lived-1"
    shutil.copy(aside, database(place))
    shutil.copy(f"{aside}-wal", f"{database(place)}-wal")
    assert secrets_in(place)[1] == "refresh-last"


def test_two_restores_within_a_second(tmp_path: Path) -> None:
    """Each keeps what it found; no name is used twice."""
    file = backup(lived(tmp_path))
    key = FileKey(key_file(tmp_path))
    kept = [put_back(file, database(tmp_path), key, NOW)[1] for _ in range(3)]
    assert [path.name.removeprefix("keyfob.db.replaced-") for path in kept if path] == [
        STAMP,
        f"{STAMP}-2",
        f"{STAMP}-3",
    ]


def test_a_restored_database_is_a_copy(tmp_path: Path) -> None:
    """Even a backup of this very moment is suspected after a restore, and until it is adopted."""
    file = backup(lived(tmp_path))
    put_back(file, database(tmp_path), FileKey(key_file(tmp_path)), NOW)
    assert at(tmp_path) == PUT_BACK
    assert at(tmp_path, Store.adopt) == PUT_BACK
    assert at(tmp_path) == ""


def test_a_raw_copy_with_its_log(tmp_path: Path) -> None:
    """A copy of the bare file that still has its log is put back with what stands in that."""
    place = killed(lived(tmp_path / "a"), tmp_path / "b")
    raw = database(place)
    before = everything(place)
    put_back(raw, database(tmp_path / "a"), FileKey(key_file(place)), NOW)
    assert everything(place) == before
    assert secrets_in(tmp_path / "a")[1] == "refresh-last"


def test_the_copy_before_a_migration_is_a_backup_too(tmp_path: Path) -> None:
    """An older schema is put back as it is, and the next start migrates it."""
    file = backup(lived(tmp_path))
    made_older(tmp_path, TO_0001, file)
    found, _ = put_back(file, database(tmp_path), FileKey(key_file(tmp_path)), NOW)
    assert found.revision == "0001"
    assert at(tmp_path) == PUT_BACK
    assert secrets_in(tmp_path)[1] == "refresh-lived-1"


def newer(file: Path) -> None:
    """Make a backup one of a later program."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()


def endless(file: Path) -> None:
    """Put a view that has no last row in the place of the accounts."""
    rows = "WITH RECURSIVE rows (uuid) AS (SELECT 1 UNION ALL SELECT uuid + 1 FROM rows) SELECT * FROM rows"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(f"DROP TABLE account; CREATE VIEW account AS {rows}")


def of_another_program(file: Path) -> None:
    """Put another program's database in the backup's place."""
    file.unlink()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE other (id)")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda file: damage(file, "page"), "is damaged"),
        (lambda file: damage(file, "header"), "is damaged"),
        (lambda file: damage(file, "cut"), "is damaged"),
        (lambda file: damage(file, "empty"), "no backup of Keyfob"),
        (lambda file: file.write_bytes(b"dear diary"), "no backup of Keyfob"),
        (of_another_program, "no backup of Keyfob"),
        (newer, "newer Keyfob"),
        (endless, "views or triggers"),
        (Path.unlink, "No such file"),
        (lambda file: (file.unlink(), file.mkdir()), "Is a directory"),
    ],
    ids=["page", "header", "cut", "empty", "text", "another program's", "newer", "endless", "missing", "directory"],
)
def test_what_is_no_backup_is_refused(tmp_path: Path, what: Callable[[Path], object], said: str) -> None:
    """Such a file is told from a backup before anything is touched, and the message has a next step."""
    file = backup(lived(tmp_path))
    what(file)
    before = everything(tmp_path)
    with pytest.raises(CannotStart, match=said) as caught:
        put_back(file, database(tmp_path), FileKey(key_file(tmp_path)), NOW)
    assert caught.value.hint
    assert everything(tmp_path) == before


def test_the_database_itself_is_no_backup(tmp_path: Path) -> None:
    """Restoring the database from itself is a slip, and changes nothing."""
    before = everything(lived(tmp_path))
    with pytest.raises(InvalidRequest, match="is the database itself"):
        put_back(database(tmp_path), database(tmp_path), FileKey(key_file(tmp_path)), NOW)
    assert everything(tmp_path) == before


def test_another_key_is_refused(tmp_path: Path) -> None:
    """A backup that the key at hand does not open is not put in place, unless that is asked for."""
    file = backup(lived(tmp_path))
    before = everything(tmp_path)
    other = FileKey(tmp_path / "other")
    other.create()
    for key in (other, FileKey(tmp_path / "missing"), CommandKey("false")):
        with pytest.raises(Locked, match="--without-key"):
            put_back(file, database(tmp_path), key, NOW)
        assert everything(tmp_path) == before
    put_back(file, database(tmp_path), None, NOW)
    assert secrets_in(tmp_path)[1] == "refresh-lived-1"


@pytest.mark.parametrize(
    "change", ["UPDATE instance SET master = randomblob(length(master))", "UPDATE instance SET instance_id = x'ff'"]
)
def test_a_changed_key_record_is_refused(tmp_path: Path, change: str) -> None:
    """A backup whose master key was exchanged, or whose name is no text, is refused; a start with it stays locked."""
    file = backup(lived(tmp_path))
    for changed in (file, database(tmp_path)):
        with closing(sqlite3.connect(changed)) as connection:
            connection.execute(change)
            connection.commit()
    with pytest.raises(CannotStart, match="master key"):
        put_back(file, database(tmp_path), FileKey(key_file(tmp_path)), NOW)

    async def look() -> str:
        async with opened(tmp_path) as store:
            return store.locked

    assert "was changed outside Keyfob" in asyncio.run(look())


def test_a_backup_without_any_key(tmp_path: Path) -> None:
    """A database that never had a key has nothing to open, so none is asked for."""
    asyncio.run(_without_key(tmp_path))
    file = backup(tmp_path)
    found, _ = put_back(file, database(tmp_path), FileKey(tmp_path / "missing"), NOW)
    assert (found.accounts, found.record) == (0, None)


async def _without_key(place: Path) -> None:
    store = await Store.open(f"sqlite:///{database(place)}", key=CommandKey("false"), now=NOW)
    assert store.locked
    await store.close()


def test_a_damaged_database_gives_way(tmp_path: Path) -> None:
    """What cannot be opened any more is kept byte for byte, and the backup serves again."""
    file = backup(lived(tmp_path))
    damage(database(tmp_path), "page")
    ruin = database(tmp_path).read_bytes()
    with pytest.raises(CannotStart, match="keyfob restore FILE"):
        at(tmp_path)
    _, aside = put_back(file, database(tmp_path), FileKey(key_file(tmp_path)), NOW)
    assert aside is not None
    assert aside.read_bytes() == ruin
    assert secrets_in(tmp_path)[1] == "refresh-lived-1"


def test_a_restore_that_cannot_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk fills up while the old database is set aside, that one is still the database."""
    file = backup(lived(tmp_path))
    before = everything(tmp_path)
    copyfile = shutil.copyfile

    def fails(source: Path, target: Path) -> object:
        if "replaced" in target.name:
            raise OSError(28, "No space left on device")
        return copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", fails)
    with pytest.raises(KeyfobError, match="No space left"):
        put_back(file, database(tmp_path), FileKey(key_file(tmp_path)), NOW)
    monkeypatch.undo()
    assert everything(tmp_path) == before
    assert at(tmp_path) == ""
