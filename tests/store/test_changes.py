"""Whether the database has changed is known at once, whoever changed it; what does not matter is left out."""

import asyncio
import contextlib
import gc
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from broker.errors import StoreUnavailable
from broker.store import changes
from broker.store.engine import Database
from broker.store.store import Count
from tests.store.made import NOW, behind, database, opened, with_account

TOUCH = "UPDATE instance SET sequence = sequence + 1"


@contextlib.asynccontextmanager
async def known(place: Path) -> AsyncIterator[tuple[Database, sqlite3.Connection]]:
    """Open a database that somebody else has open, too."""
    async with opened(place):
        pass
    db = Database(database(place))
    try:
        await db.write(touch)
        with contextlib.closing(sqlite3.connect(database(place), isolation_level=None)) as other:
            yield db, other
    finally:
        await db.close()


def locks_on(file: Path) -> list[str]:
    """Return the locks that this process has on a file (proc_locks(5)): kind and bytes."""
    whose = [str(os.getpid()), str(file.stat().st_ino)]
    lines = (line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines() if "->" not in line)
    return sorted(" ".join(line[3:4] + line[6:]) for line in lines if [line[4], line[5].split(":")[2]] == whose)


@contextlib.contextmanager
def aside(file: Path) -> Iterator[None]:
    """Have a file under another name for the length of a block."""
    moved = file.rename(file.with_name("aside"))
    yield
    moved.rename(file)


def remake(file: Path) -> None:
    """Put another file in the place of one, with the same bytes."""
    held = file.read_bytes()
    file.unlink()
    file.write_bytes(held)


class Forgetful(dict[str, int]):
    """Tells when it is about to be emptied."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def clear(self) -> None:
        """Tell, and be emptied."""
        self._tell()
        super().clear()


def touch(tx: Connection) -> None:
    """Change something."""
    tx.execute(text(TOUCH))


def test_each_commit_is_another_mark(tmp_path: Path) -> None:
    """Our own and other programs' commits change it, and nothing else does."""

    async def story() -> None:
        async with known(tmp_path) as (db, other):
            marks = [db.changes.new_mark()]
            await db.read(lambda tx: tx.execute(text("SELECT 1")).all())
            assert db.changes.mark() == marks[0] is not None
            await db.write(touch)
            marks.append(db.changes.mark())
            other.execute(TOUCH)
            marks.append(db.changes.mark())
            assert len(set(marks)) == 3
            assert db.changes.mark() == marks[-1]

    asyncio.run(story())


def test_a_harmless_commit_is_none(tmp_path: Path) -> None:
    """Whether somebody looks while it is under way or after it: a count of hand-outs changes no answer."""

    async def story() -> None:
        async with known(tmp_path) as (db, _):
            mark = db.changes.new_mark()
            writing = asyncio.create_task(db.write(touch, harmless=True))
            while not writing.done():
                assert db.changes.mark() == mark
                await asyncio.sleep(0)
            assert db.changes.mark() == mark
            await db.write(touch)
            assert db.changes.mark() != mark

    asyncio.run(story())


def test_a_harmless_one_that_begins_the_log_anew_is_none(tmp_path: Path) -> None:
    """Where all of the log has been moved into the database, what is written next begins it anew before it commits."""

    async def story() -> None:
        async with known(tmp_path) as (db, other):

            def work(tx: Connection) -> int | None:
                tx.execute(text("PRAGMA cache_size = 10"))  # so that some of it is written before the commit
                tx.execute(text("CREATE TABLE large (body BLOB)"))
                for _ in range(50):
                    tx.execute(text("INSERT INTO large VALUES (zeroblob(4000))"))
                return db.changes.mark()

            other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            mark = db.changes.new_mark()
            header = db.changes._seen  # noqa: SLF001 -- nobody else knows it
            assert await db.write(work, harmless=True) == mark
            assert db.changes.mark() == mark
            assert db.changes._seen[32:40] != header[32:40]  # noqa: SLF001 -- the salts: it is a new log

    asyncio.run(story())


def test_an_account_that_is_written_jointly_is_known_to_have_changed(tmp_path: Path) -> None:
    """It, and no other; as one of several too, and where it was one of more than are told apart."""

    async def story() -> None:
        async with known(tmp_path) as (db, other):
            mark, moment = db.changes.new_mark(), db.changes.moment
            written = (db.write_jointly(touch, account=name) for name in ("a", "b", ""))
            await asyncio.gather(*written)
            assert db.changes.mark() == mark
            assert [db.changes.touched(name) > moment for name in ("a", "b", "c", "")] == [True, True, False, False]
            moment = db.changes.moment
            await db.write_jointly(touch, account="b")
            assert [db.changes.touched(name) > moment for name in ("a", "b")] == [False, True]
            other.execute(TOUCH)
            assert db.changes.mark() != mark
            mark = db.changes.mark()
            meanwhile: list[int | None] = []
            forgetful = Forgetful(lambda: meanwhile.append(db.changes.mark()))
            forgetful.update(a=1, b=2)
            monkeypatch.setattr(db.changes, "_touched", forgetful)
            monkeypatch.setattr(changes, "MOST", 2)
            await db.write_jointly(touch, account="c")
            assert db.changes.mark() != mark
            assert meanwhile == [db.changes.mark()]

    with pytest.MonkeyPatch.context() as monkeypatch:
        asyncio.run(story())


def test_what_others_commit_beside_a_harmless_one_is_seen(tmp_path: Path) -> None:
    """Just before it, and just after it."""

    async def story() -> None:
        async with known(tmp_path) as (db, other):
            before = db.changes.new_mark()
            other.execute(TOUCH)
            await db.write(touch, harmless=True)
            after = db.changes.mark()
            assert after != before
            await db.write(touch, harmless=True)
            other.execute(TOUCH)
            assert db.changes.mark() != after

    asyncio.run(story())


def test_one_that_wrote_nothing_takes_no_commit_of_others_for_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing was written nothing was committed: the one commit that is seen then is somebody else's."""

    async def story() -> None:
        async with known(tmp_path) as (db, _):
            harmless = db.changes.harmless

            @contextlib.contextmanager
            def slow(others: changes.Others) -> Iterator[None]:
                with harmless(others):
                    yield
                    behind(tmp_path, TOUCH)  # after the end of ours, and before anything is made of it

            monkeypatch.setattr(db.changes, "harmless", slow)
            mark = db.changes.new_mark()
            await db.write(lambda tx: tx.execute(text("SELECT 1")).scalar_one(), harmless=True)
            assert db.changes.mark() != mark

    asyncio.run(story())


def test_others_that_commit_in_the_midst_of_the_looks_are_seen(tmp_path: Path) -> None:
    """One commit of ours is left out, and not whichever came last: the looks are made in two threads."""

    async def story() -> None:
        async with known(tmp_path) as (db, other):
            db.changes.new_mark()
            with db.changes.harmless(int):  # nobody else commits, it says
                other.execute(TOUCH)  # let this one be ours
                other.execute(TOUCH)
                mark = db.changes.mark()
                other.execute(TOUCH)
            assert db.changes.mark() != mark

    asyncio.run(story())


def test_to_look_takes_no_lock_away(tmp_path: Path) -> None:
    """To close a file ends all locks of a process on it (fcntl(2)): others would make SQLite's index anew under us."""

    async def story() -> None:
        async with known(tmp_path) as (db, _):
            index = Path(f"{database(tmp_path)}-shm")
            held = locks_on(index)
            assert db.changes.new_mark() is not None
            assert locks_on(index) == held != []
            with aside(index):
                assert db.changes.new_mark() is None
            assert db.changes.new_mark() is not None
            gc.collect()
            assert locks_on(index) == held

    asyncio.run(story())


def test_our_own_commits_are_seen_whatever_became_of_the_file(tmp_path: Path) -> None:
    """Somebody removes the index under us, and others make one of their own."""

    async def story() -> None:
        async with known(tmp_path) as (db, _):
            remake(Path(f"{database(tmp_path)}-shm"))
            mark = db.changes.new_mark()
            await db.write(touch)
            assert db.changes.mark() != mark is not None

    asyncio.run(story())


def test_what_was_undone_is_no_change(tmp_path: Path) -> None:
    """A transaction that fails leaves the mark, and what comes after it is seen."""

    def broken(tx: Connection) -> None:
        touch(tx)
        tx.execute(text("INSERT INTO nowhere VALUES (1)"))

    async def story() -> None:
        async with known(tmp_path) as (db, other):
            mark = db.changes.new_mark()
            for harmless in (True, False):
                with pytest.raises(StoreUnavailable):
                    await db.write(broken, harmless=harmless)
                assert db.changes.mark() == mark
            other.execute(TOUCH)
            assert db.changes.mark() != mark

    asyncio.run(story())


def test_an_emptied_log_is_as_good_as_a_change(tmp_path: Path) -> None:
    """After a checkpoint marks differ, and go on to tell changes."""

    async def story() -> None:
        async with known(tmp_path) as (db, other):
            await db.write(touch)
            await db.truncate()
            mark = db.changes.new_mark()
            other.execute(TOUCH)
            assert db.changes.mark() != mark

    asyncio.run(story())


def test_nobody_can_tell_where_nobody_has_opened_it(tmp_path: Path) -> None:
    """Then there is no mark, before the first connection as after the last."""

    async def story() -> None:
        db = Database(tmp_path / "new.db")
        assert db.changes.new_mark() is None
        await db.write(lambda tx: tx.execute(text("CREATE TABLE t (a)")))
        assert db.changes.new_mark() is not None
        await db.close()
        assert db.changes.mark() is None

    asyncio.run(story())


def test_the_record_is_harmless(tmp_path: Path) -> None:
    """Hand-outs are written every few seconds, which is no reason to look at everything anew; nor is a sign of life."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            mark = store.new_mark()
            await store.note_counts([Count(account.uuid, "owner", 1, NOW, NOW, 1)])
            await store.ping(NOW)
            await store.note(at=NOW, action="started", account=None, app=None, detail="")
            assert store.mark() == mark is not None

    asyncio.run(story())
