"""Every connection is set up the same, readers cannot write, and SQLite's errors leave as ours, without values."""

import asyncio
import resource
import sqlite3
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, literal_column, select, text

from broker.errors import CannotStart, StoreUnavailable
from broker.store.engine import COMPILED, Database
from broker.store.keys import FileKey
from broker.store.store import Store
from broker.store.transactions import after_commit
from tests.store.made import NOW, behind, database, key_file, opened, with_account

PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": 2,
    "foreign_keys": 1,
    "secure_delete": 1,
    "trusted_schema": 0,
    "busy_timeout": 5000,
}


def settings(tx: Connection) -> dict[str, object]:
    """Read the pragmas of a connection."""
    return {name: tx.execute(text(f"PRAGMA {name}")).scalar_one() for name in PRAGMAS}


def commits(place: Path) -> int:
    """Return how many commits the index of the write-ahead log has counted."""
    header = Path(f"{database(place)}-shm").read_bytes()
    return int.from_bytes(header[8:12], sys.byteorder)


def test_every_connection_begins_with_the_pragmas(tmp_path: Path) -> None:
    """Durability, foreign keys and secure deletion hold for the writer and for readers, after a checkpoint too."""

    async def story() -> None:
        async with opened(tmp_path):
            pass
        store = Database(database(tmp_path))
        try:
            assert await store.read(settings) == PRAGMAS
            assert await store.write(settings) == PRAGMAS
            await store.truncate()
            assert await store.write(settings) == PRAGMAS
        finally:
            await store.close()

    asyncio.run(story())


def test_a_statement_is_made_into_sql_once(tmp_path: Path) -> None:
    """Whichever connection it is for, and whichever database."""

    async def story() -> None:
        for place in ("one.db", "other.db"):
            store = Database(tmp_path / place)
            try:
                for ask in (store.write, store.read):
                    assert (
                        await ask(lambda tx: tx.execute(select(literal_column("'only here'"))).scalar()) == "only here"
                    )
            finally:
                await store.close()

    before = set(COMPILED)
    asyncio.run(story())
    assert len(set(COMPILED) - before) == 1


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    """A write on a reader's connection is refused by SQLite itself."""

    async def story() -> None:
        async with opened(tmp_path):
            pass
        store = Database(database(tmp_path))
        try:
            with pytest.raises(StoreUnavailable, match="readonly"):
                await store.read(lambda tx: tx.execute(text("DELETE FROM account")))
        finally:
            await store.close()

    asyncio.run(story())


def test_a_write_that_raises_is_undone(tmp_path: Path) -> None:
    """Whatever a transaction raises, nothing of it stays and the next one works."""

    def work(tx: Connection) -> None:
        tx.execute(text("INSERT INTO pulse VALUES (1, 1.0)"))
        raise LookupError("of our own")

    async def story() -> None:
        async with opened(tmp_path) as store:
            with pytest.raises(LookupError):
                await store._db.write(work)  # noqa: SLF001 -- the promise of the layer below
            assert behind(tmp_path, "SELECT * FROM pulse") == []
            await store.ping(NOW)

    asyncio.run(story())


def test_errors_repeat_no_value(tmp_path: Path) -> None:
    """What cannot be read, and tables that are gone, are reported in SQLite's words, never with what was stored."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            damage = [
                "UPDATE secret SET sealed = CAST('MARK' || x'ff' AS TEXT)",
                "UPDATE account SET state = 'MARK'",
                "UPDATE account SET state = 'active', asked_scope = '[MARK'",
                "ALTER TABLE account RENAME TO elsewhere",
            ]
            for statement in damage:
                behind(tmp_path, statement)
                with pytest.raises(StoreUnavailable) as caught:
                    await (store.refresh_token(made) if "secret" in statement else store.accounts())
                assert "MARK" not in str(caught.value)
                assert caught.value.hint
            with pytest.raises(StoreUnavailable, match="no such table"):
                await store.begin_refresh(made, NOW)

    asyncio.run(story())


def test_a_full_disk_loses_nothing_that_was_there(tmp_path: Path) -> None:
    """Where SQLite has no room the caller is told so, what stood stays, and with room again all goes on."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)

            async def limit(pages: int) -> None:
                statement = text(f"PRAGMA max_page_count = {pages}")  # stands for a full disk
                await store._db.write(lambda tx: tx.execute(statement).scalar())  # noqa: SLF001 -- no other way in

            await limit(1)
            big = "x" * 200_000
            with pytest.raises(StoreUnavailable, match="full") as caught:
                await store.note(at=NOW, action="fill", account=big, app=None, detail="")
            assert "space" in caught.value.hint
            assert await store.accounts() == [made]
            await limit(100_000)
            assert await store.begin_refresh(made, NOW) is not None

    asyncio.run(story())


def test_a_snapshot_is_of_one_moment(tmp_path: Path) -> None:
    """What is written meanwhile is not in it and does not wait for it; it cannot write, and refusals are told."""
    began, written = threading.Event(), threading.Event()

    def count(connection: sqlite3.Connection) -> list[int]:
        found = [connection.execute("SELECT count(*) FROM audit").fetchone()[0]]
        began.set()
        assert written.wait(10.0)
        return [*found, connection.execute("SELECT count(*) FROM audit").fetchone()[0]]

    async def story() -> None:
        async with opened(tmp_path) as store:
            database = store._db  # noqa: SLF001 -- no other way in
            looking = asyncio.create_task(database.snapshot(count))
            await asyncio.to_thread(began.wait, 10.0)
            await store.note(at=NOW, action="granted", account=None, app=None, detail="")
            written.set()
            assert await looking == [0, 0]
            with pytest.raises(StoreUnavailable, match="readonly"):
                await database.snapshot(lambda connection: connection.execute("DELETE FROM audit"))

    asyncio.run(story())


def test_a_schema_that_stops_being_text_is_a_refusal(tmp_path: Path) -> None:
    """What SQLite says of it is no text either; whoever looks into the database meanwhile is told that it refuses."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store._db._checkpoint()  # noqa: SLF001 -- so that the file holds the schema now
            whole = database(tmp_path).read_bytes()
            with database(tmp_path).open("r+b") as file:
                file.seek(whole.index(b"TABLE account"))
                file.write(b"\xe4")
            with pytest.raises(StoreUnavailable, match="cannot be read"):
                await store.verify_audit()

    asyncio.run(story())


def test_a_store_that_cannot_open_says_so_and_leaves_nothing_running(tmp_path: Path) -> None:
    """A database whose tables are not what its revision says is refused at the start."""

    async def story() -> None:
        async with opened(tmp_path):
            pass
        behind(tmp_path, "DROP TABLE instance")
        with pytest.raises(CannotStart, match="no such table"):
            await Store.open(f"sqlite:///{database(tmp_path)}", key=FileKey(key_file(tmp_path)), now=NOW)

    asyncio.run(story())


def pulse(at: float) -> Callable[[Connection], float]:
    """Return what writes a row that everybody wants to be the only one."""

    def work(tx: Connection) -> float:
        tx.execute(text("INSERT INTO pulse VALUES (1, :at)"), {"at": at})
        return at

    return work


def grow(tx: Connection) -> float:
    """Make that row a greater one."""
    return float(tx.execute(text("UPDATE pulse SET at = at + 1 RETURNING at")).scalar_one())


async def jointly(db: Database, *works: Callable[[Connection], Any]) -> list[Any]:
    """Have these wait together for their turn, and return what each got."""
    busy = db.write(lambda _: None)
    return (await asyncio.gather(busy, *map(db.write_jointly, works), return_exceptions=True))[1:]


def test_what_is_written_jointly_is_one_commit(tmp_path: Path) -> None:
    """Whatever waits while the disk is busy is durable with one commit more, and each caller has its own answer."""

    def seen(tx: Connection) -> int:
        steps.append("")
        after_commit(tx, partial(steps.append, f"after {len(steps)}"))
        return int(tx.execute(text("UPDATE pulse SET at = at + 1 RETURNING at")).scalar_one())

    steps: list[str] = []

    async def story() -> None:
        async with opened(tmp_path) as store:
            db = store._db  # noqa: SLF001 -- the promise of the layer below
            await db.write(pulse(0.0))
            before = commits(tmp_path)
            assert await jointly(db, *[seen] * 9) == list(range(1, 10))
            assert steps == [*[""] * 9, *(f"after {number}" for number in range(1, 10))]
            assert commits(tmp_path) == before + 1

    asyncio.run(story())


def test_who_goes_away_while_many_wait_stops_none_of_them(tmp_path: Path) -> None:
    """Whoever of those that are written together is cancelled: all of them are written, before the end too."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            db = store._db  # noqa: SLF001 -- as above
            await db.write(pulse(0.0))
            for gone in (0, 1):
                busy = asyncio.create_task(db.write(lambda _: None))
                tasks = [asyncio.create_task(db.write_jointly(grow)) for _ in range(3)]
                await asyncio.sleep(0)
                tasks[gone].cancel()
                told = await asyncio.gather(busy, *tasks, return_exceptions=True)
                assert [type(one) for one in told].count(asyncio.CancelledError) == 1
            last = asyncio.create_task(db.write_jointly(grow))
            await asyncio.sleep(0)
        assert await last == 7.0
        assert behind(tmp_path, "SELECT at FROM pulse") == [(7.0,)]

    asyncio.run(story())


def test_one_of_many_that_fails_undoes_only_its_own(tmp_path: Path) -> None:
    """A joint write that raises, or that SQLite refuses, leaves nothing, follows with nothing, and harms no other."""

    def raising(tx: Connection) -> None:
        pulse(9.0)(tx)
        after_commit(tx, partial(steps.append, "raised"))
        raise LookupError("of our own")

    steps: list[str] = []

    async def story() -> None:
        async with opened(tmp_path) as store:
            works = (raising, pulse(1.0), pulse(2.0), lambda tx: tx.execute(text("UPDATE pulse SET at = at + 5")))
            raised, written, refused, _ = await jointly(store._db, *works)  # noqa: SLF001 -- as above
            assert isinstance(raised, LookupError)
            assert written == 1.0
            assert isinstance(refused, StoreUnavailable)
            assert "UNIQUE" in str(refused)
            assert behind(tmp_path, "SELECT at FROM pulse") == [(6.0,)]
            assert steps == []

    asyncio.run(story())


def test_a_commit_that_fails_fails_for_all(tmp_path: Path) -> None:
    """Where the one commit of many is refused nothing of any stays, and nobody is told that it does."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            db, steps = store._db, list[str]()  # noqa: SLF001 -- as above

            def dangling(tx: Connection) -> None:
                tx.execute(text("PRAGMA defer_foreign_keys = ON"))
                tx.execute(text("INSERT INTO refresh_intent (account, generation, started_at) VALUES ('x', 1, 1)"))

            def well(tx: Connection) -> None:
                pulse(1.0)(tx)
                after_commit(tx, partial(steps.append, "followed"))

            told = await jointly(db, well, dangling)
            assert [type(one) for one in told] == [StoreUnavailable] * 2
            assert behind(tmp_path, "SELECT * FROM pulse") == []
            assert steps == []
            await db.write_jointly(well)
            assert steps == ["followed"]

    asyncio.run(story())


def test_whoever_ends_all_that_runs_ends_no_later_write(tmp_path: Path) -> None:
    """A commit that is cancelled before it has begun is no obstacle to the next one, nor to the end."""

    async def story() -> None:
        async with opened(tmp_path):
            pass
        db = Database(database(tmp_path))
        asking = asyncio.create_task(db.write_jointly(pulse(NOW)))
        await asyncio.sleep(0)  # it has asked, and the commit has not begun
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(5):
            assert await db.write_jointly(pulse(NOW)) == NOW
            await db.close()

    asyncio.run(story())


def test_a_log_that_cannot_be_emptied_leaves_the_patience_of_writers(tmp_path: Path) -> None:
    """For that a busy database is waited for only shortly; later as long as before, where the disk is full, too."""

    async def story() -> None:
        async with opened(tmp_path):
            pass
        db = Database(database(tmp_path))
        try:
            await db.write(lambda tx: tx.execute(text("CREATE TABLE wide (content BLOB)")))
            await db.truncate()
            await db.write(lambda tx: tx.execute(text("INSERT INTO wide VALUES (zeroblob(200000))")))
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (database(tmp_path).stat().st_size + 4096, limits[1]))
            try:
                with pytest.raises(StoreUnavailable):
                    await db.truncate()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert await db.write(settings) == PRAGMAS
        finally:
            await db.close()

    asyncio.run(story())


def test_a_connection_that_is_in_use_at_the_end_is_closed_after_it(tmp_path: Path) -> None:
    """Whoever is not waited for leaves nothing open."""

    def held() -> int:
        there = (link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
        return sum(str(file).startswith(str(database(tmp_path))) for file in there)

    async def story() -> None:
        async with opened(tmp_path):
            pass
        db = Database(database(tmp_path))
        reading, go_on = threading.Event(), threading.Event()

        def slow(tx: Connection) -> None:
            tx.execute(text("SELECT 1"))
            reading.set()
            go_on.wait(5)

        asking = asyncio.create_task(db.read(slow))
        await asyncio.to_thread(reading.wait, 5)
        asking.cancel()
        await db.dispose()
        go_on.set()
        await asyncio.wait(db._running)  # noqa: SLF001 -- nobody else waits for it any more
        assert held() == 0

    asyncio.run(story())
