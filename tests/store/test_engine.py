"""Every connection is set up the same, readers cannot write, and SQLite's errors leave as ours, without values."""

import asyncio
import resource
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection, literal_column, select, text

from broker.errors import CannotStart, StoreUnavailable
from broker.store.engine import COMPILED, Database
from broker.store.keys import FileKey
from broker.store.store import Store
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
                    await (store.refresh_token(made) if "secret" in statement else store.account("me"))
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


def test_nothing_is_left_of_what_is_in_use_at_the_end(tmp_path: Path) -> None:
    """Whoever does not wait for an answer leaves no connection open, and no thread that is only about to go."""

    def held() -> int:
        there = (link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
        return sum(str(file).startswith(str(database(tmp_path))) for file in there)

    async def story() -> None:
        async with opened(tmp_path):
            pass
        threads = set(threading.enumerate())
        db = Database(database(tmp_path))
        reading, go_on = threading.Event(), threading.Event()

        def slow(tx: Connection) -> None:
            tx.execute(text("SELECT 1"))
            reading.set()
            go_on.wait(5)

        asking = asyncio.create_task(db.read(slow))
        await asyncio.to_thread(reading.wait, 5)
        asking.cancel()
        ending = asyncio.create_task(db.dispose())
        over, _ = await asyncio.wait([ending], timeout=0.1)
        assert not over
        go_on.set()
        await ending
        assert held() == 0
        left = set(threading.enumerate()) - threads
        assert not [thread for thread in left if thread.name.startswith("store-")]

    asyncio.run(story())
