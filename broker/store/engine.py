"""The connections to SQLite: one writer, a few readers, and the pragmas that every one of them begins with.

Used by every module of the store that reads or writes rows. A transaction is a plain function on a ``Connection``; it
runs to its end even when the caller is cancelled, so no half-done work waits on the writer's connection.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Coroutine
from json import JSONDecodeError
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from broker.errors import StoreUnavailable
from broker.store.changes import Changes

T = TypeVar("T")

# Milliseconds to wait for another process's write (a backup, a curious sqlite3) before the database counts as locked.
BUSY_TIMEOUT = 5000
# Milliseconds that emptying the write-ahead log may wait for a foreign reader: writers wait behind it, and it can be
# done later.
CHECKPOINT_TIMEOUT = 100
# Reads are short; more connections than this only cost threads.
READERS = 3
PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT}",
    "PRAGMA synchronous = FULL",  # a commit that was answered survives a power cut: a rotated token is not lost
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",  # python.org's SQLite is built without it: deleted secrets would stay in free pages
    "PRAGMA trusted_schema = OFF",  # a planted view or trigger must not call functions
    "PRAGMA temp_store = MEMORY",  # nothing of ours goes to /tmp
)
READ_ONLY = "PRAGMA query_only = ON"
# What to do about the refusals of SQLite that a person can meet.
HINTS = {
    "full": "Free some space on its disk.",
    "readonly": "Let Keyfob's user write the database file and its directory.",
    "locked": "Another program holds the database; close it.",
    "malformed": "Stop Keyfob and put back a backup: keyfob restore FILE (the damaged database is kept aside).",
    "not a database": "Stop Keyfob and put back a backup: keyfob restore FILE (the damaged database is kept aside).",
    "unable to open": "See that the file and its directory exist and are Keyfob's user's own.",
    "disk I/O": "Look at the system log: the disk reports errors.",
}


# Where a transaction keeps what is to follow its commit.
FOLLOWS = "follows"


def unavailable(exc: Exception) -> StoreUnavailable:
    """Translate an error of SQLite; only SQLite's own words are repeated, never statements or values.

    Python's driver repeats values ("could not decode ..."); its errors are told by their lack of a SQLite code.
    """
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    own = isinstance(cause, sqlite3.Error) and hasattr(cause, "sqlite_errorname")
    said = str(cause) if own else "something stored in it cannot be read"
    hint = next((hint for sign, hint in HINTS.items() if sign in said), "Try again; keyfob status may know more.")
    return StoreUnavailable(f"The database cannot be used: {said}.", hint)


class Database:
    """One SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changes = Changes(path)
        self._writer = self._engine(("PRAGMA journal_mode = WAL",), size=1)
        self._readers = self._engine((READ_ONLY,), size=READERS)
        self._turn = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False
        # Something deleted still stands in the write-ahead log, because a foreign reader kept it busy.
        self.truncate_due = False

    def _engine(self, more: tuple[str, ...], size: int) -> AsyncEngine:
        engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(self.path)),
            # The driver in autocommit: Python's own transaction guessing would begin too late and commit too early.
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_reset_on_return=None,
            pool_size=size,
            max_overflow=0,
            hide_parameters=True,
            connect_args={"timeout": BUSY_TIMEOUT / 1000},
        )

        def prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 -- SQLAlchemy's adapted connection
            cursor = connection.cursor()
            try:
                for pragma in (*PRAGMAS, *more):
                    cursor.execute(pragma)
                    cursor.fetchall()
            finally:
                cursor.close()

        event.listen(engine.sync_engine, "connect", prepare)
        # The driver would log every statement's values at DEBUG.
        logging.getLogger("aiosqlite").setLevel(logging.WARNING)
        return engine

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` on a connection that cannot write. Each statement sees the newest commit.

        Raises:
            StoreUnavailable: SQLite refused.
        """
        return await self._finish(self._read(work))

    async def write(self, work: Callable[[Connection], T], *, harmless: bool = False) -> T:
        """Run ``work`` as one transaction that is durable when this returns; an exception undoes all of it.

        Args:
            work: what to do.
            harmless: it changes something, and nothing that decides what is handed out to whom: it is a count.

        Raises:
            StoreUnavailable: SQLite refused; then nothing was changed.
        """
        return await self._finish(self._write(work, harmless=harmless))

    async def snapshot(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work``, which may take long, in a thread and on a connection of its own, which cannot write.

        All its reads see the same commit. Writers do not wait for it; the write-ahead log is not emptied meanwhile.

        Raises:
            StoreUnavailable: SQLite refused.
        """
        return await self._finish(asyncio.to_thread(self._snapshot, work))

    async def truncate(self) -> None:
        """Move the write-ahead log into the database and empty it; where a reader is in the way, it stays due.

        Raises:
            StoreUnavailable: SQLite refused.
        """
        self.truncate_due = True
        self.truncate_due = not await self._finish(self._checkpoint())

    async def close(self) -> None:
        """Wait for what is under way, empty the write-ahead log and close every connection.

        Raises:
            StoreUnavailable: the log could not be emptied.
        """
        if self._closed:
            return
        self._closed = True
        if self._running:
            await asyncio.wait(self._running)
        try:
            await self._checkpoint()
        finally:
            await self.dispose()

    async def dispose(self) -> None:
        """Close every connection as it is."""
        self._closed = True
        await self._readers.dispose()
        await self._writer.dispose()
        self.changes.close()

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            work.close()
            raise StoreUnavailable("The database has been closed.", "Start Keyfob again.")
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            async with self._readers.connect() as connection:
                return await connection.run_sync(work)
        except (SQLAlchemyError, JSONDecodeError, UnicodeDecodeError) as exc:
            raise unavailable(exc) from exc

    async def _write(self, work: Callable[[Connection], T], *, harmless: bool) -> T:
        marking = self.changes.harmless if harmless else self.changes.harmful
        try:
            async with self._turn, self._writer.connect() as connection:
                return await connection.run_sync(_transaction, work, marking)
        except (SQLAlchemyError, JSONDecodeError, UnicodeDecodeError) as exc:
            raise unavailable(exc) from exc

    def _snapshot(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT / 1000)) as connection:
                connection.isolation_level = None
                for pragma in (*PRAGMAS, READ_ONLY):
                    connection.execute(pragma)
                connection.execute("BEGIN")
                return work(connection)
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            raise unavailable(exc) from exc

    async def _checkpoint(self) -> bool:
        try:
            async with self._turn, self._writer.connect() as connection:
                await connection.exec_driver_sql(f"PRAGMA busy_timeout = {CHECKPOINT_TIMEOUT}")
                row = (await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")).one()
                await connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
        except SQLAlchemyError as exc:
            raise unavailable(exc) from exc
        return bool(row[0] == 0)


def after_commit(tx: Connection, step: Callable[[], None]) -> None:
    """Have ``step`` run as soon as this transaction is durable, and never if it is undone. It must not raise."""
    tx.info[FOLLOWS].append(step)


def _transaction(
    tx: Connection, work: Callable[[Connection], T], marking: Callable[[], contextlib.AbstractContextManager[None]]
) -> T:
    # IMMEDIATE: what is read here cannot be changed by anybody before it is written.
    tx.exec_driver_sql("BEGIN IMMEDIATE")
    steps: list[Callable[[], None]] = []
    tx.info[FOLLOWS] = steps
    try:
        with marking():
            result = work(tx)
            tx.exec_driver_sql("COMMIT")
    except BaseException:
        # SQLite may have rolled back by itself (disk full, I/O error); a second ROLLBACK would hide the first error.
        driver = tx.connection.driver_connection
        if driver is not None and driver.in_transaction:
            tx.exec_driver_sql("ROLLBACK")
        raise
    for step in steps:
        step()
    return result
