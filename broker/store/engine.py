"""The connections to SQLite: one writer, a few readers, and the pragmas that every one of them begins with.

Used by every module of the store that reads or writes rows. A transaction is a plain function on a ``Connection``; it
runs as a whole in a thread, and to its end even when the caller is cancelled, so no half-done work waits on the
writer's connection. Such a function changes nothing that the event loop sees: that is for ``after_commit`` of
``transactions``.
"""

import asyncio
import contextlib
import contextvars
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.util import LRUCache

from broker.errors import StoreUnavailable
from broker.store.changes import Changes
from broker.store.transactions import Outcome, Step, transaction, transactions

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
# What a search calls for a text that has other letters than those of ASCII, whose small ones SQLite does not know.
CASEFOLD = "keyfob_casefold"
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


# What SQLite's refusals, and values that are not as they were written, are raised as.
REFUSALS = (SQLAlchemyError, sqlite3.Error, JSONDecodeError, UnicodeDecodeError)


def is_refusal(exc: Exception) -> bool:
    """Whether SQLite itself refused; else a value is not as it was written, which Python's driver or we came upon."""
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    return isinstance(cause, sqlite3.Error) and hasattr(cause, "sqlite_errorname")


def unavailable(exc: Exception) -> StoreUnavailable:
    """Translate an error of SQLite; only SQLite's own words are repeated, never statements or values.

    Python's driver repeats values ("could not decode ..."); its errors are told by their lack of a SQLite code.
    """
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    said = str(cause) if is_refusal(exc) else "something stored in it cannot be read"
    hint = next((hint for sign, hint in HINTS.items() if sign in said), "Try again; keyfob status may know more.")
    return StoreUnavailable(f"The database cannot be used: {said}.", hint)


@dataclass(frozen=True, slots=True, eq=False)
class Joint(Generic[T]):
    """What waits to be written with others.

    Attributes:
        work: it.
        account: as ``write_jointly`` has it.
        written: what came of it.
    """

    work: Callable[[Connection], T]
    account: str
    written: asyncio.Future[T]


class Dialect(SQLiteDialect_pysqlite):
    """SQLite's, the same for all connections: a statement that was made into SQL for one is for the others, too."""

    driver = "keyfob"
    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dialect)

    def __hash__(self) -> int:
        return hash(Dialect)


registry.register(f"sqlite.{Dialect.driver}", __name__, Dialect.__name__)
# The SQL that statements became. Making it costs more than running it, and each engine would make its own.
COMPILED: LRUCache[Any, Any] = LRUCache(500)


class Connections:
    """Those connections to one file that begin in the same way, to be used by one thread each at a time.

    One that nobody uses is kept as it is: SQLAlchemy's pool would look at each before and after.
    """

    def __init__(self, path: Path, *more: str) -> None:
        self.engine = create_engine(
            URL.create(f"sqlite+{Dialect.driver}", database=str(path)),
            # The driver in autocommit: Python's own transaction guessing would begin too late and commit too early.
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_reset_on_return=None,
            pool_size=0,  # as many as there are threads
            hide_parameters=True,
            execution_options={"compiled_cache": COMPILED},
            # A connection goes from thread to thread, and is in one at a time.
            connect_args={"timeout": BUSY_TIMEOUT / 1000, "check_same_thread": False},
        )
        self._idle: list[Connection] = []

        def prepare(connection: sqlite3.Connection, _record: object) -> None:
            cursor = connection.cursor()
            try:
                for pragma in (*PRAGMAS, *more):
                    cursor.execute(pragma)
                    cursor.fetchall()
            finally:
                cursor.close()
            connection.create_function(CASEFOLD, 1, _casefold, deterministic=True)

        event.listen(self.engine, "connect", prepare)

    @contextlib.contextmanager
    def one(self) -> Iterator[Connection]:
        """Hold one of them for the length of the block."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self.engine.connect()
        try:
            yield connection
        finally:
            self._idle.append(connection)

    def dispose(self) -> None:
        """Close those that nobody uses; who wants one after that gets a new one."""
        while self._idle:
            connection = self._idle.pop()
            connection.detach()  # from a pool, which would keep it open
            connection.close()
        self.engine.dispose()


class Database:
    """One SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changes = Changes(path)
        self._writer = Connections(path, "PRAGMA journal_mode = WAL")
        self._readers = Connections(path, READ_ONLY)
        self._writing = ThreadPoolExecutor(1, "store-writer")
        self._reading = ThreadPoolExecutor(READERS, "store-reader")
        self._turn = asyncio.Lock()
        # What is to be written as soon as it is somebody's turn, in one commit.
        self._joint: list[Joint[Any]] = []
        self._running: set[asyncio.Future[Any]] = set()
        self._closed = False
        # Something deleted still stands in the write-ahead log, because a foreign reader kept it busy.
        self.truncate_due = False

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` on a connection that cannot write. Each statement sees the newest commit.

        Raises:
            StoreUnavailable: SQLite refused.
        """

        def reading() -> T:
            with self._readers.one() as connection:
                return work(connection)

        self._check_open()
        try:
            return await self._finish(_in(self._reading, reading))
        except REFUSALS as exc:
            raise unavailable(exc) from exc

    async def write(self, work: Callable[[Connection], T], *, harmless: bool = False) -> T:
        """Run ``work`` as one transaction that is durable when this returns; an exception undoes all of it.

        Args:
            work: what to do.
            harmless: it changes something, and nothing that decides what is handed out to whom: it is a count.

        Raises:
            StoreUnavailable: SQLite refused; then nothing was changed.
        """
        self._check_open()
        return await self._finish(asyncio.create_task(self._write(work, harmless=harmless)))

    async def write_jointly(self, work: Callable[[Connection], T], *, account: str = "") -> T:
        """Do the same, in one commit with whatever else waits to be written so: the disk is waited for once.

        Each sees what those before it have done, and an exception undoes only what its own ``work`` did. What any of
        them is to have done after the commit comes after all of them, so ``work`` must not build on such a step.

        Args:
            work: what to do.
            account: the uuid of the only account of which it changes what is handed out; empty where it changes nothing
                of that.

        Raises:
            StoreUnavailable: SQLite refused; then nothing was changed, by none of them.
        """
        self._check_open()
        one = Joint(work, account, asyncio.get_running_loop().create_future())
        waiting = self._joint
        waiting.append(one)
        if len(waiting) == 1:  # the others are written along with it
            writing = asyncio.create_task(self._write_all(waiting))
            # Not by the task itself: one that is cancelled before its first step does nothing at all.
            writing.add_done_callback(lambda _: self._written(waiting))
            self._finish(writing)
        return await self._finish(one.written)

    async def snapshot(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work``, which may take long, in a thread and on a connection of its own, which cannot write.

        All its reads see the same commit. Writers do not wait for it; the write-ahead log is not emptied meanwhile.

        Raises:
            StoreUnavailable: SQLite refused.
        """
        self._check_open()
        return await self._finish(asyncio.create_task(asyncio.to_thread(self._snapshot, work)))

    async def truncate(self) -> None:
        """Move the write-ahead log into the database and empty it; where a reader is in the way, it stays due.

        Raises:
            StoreUnavailable: SQLite refused.
        """
        self._check_open()
        self.truncate_due = True
        self.truncate_due = not await self._finish(asyncio.create_task(self._checkpoint()))

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
        """End the threads, once they have done what they were at, and close every connection as it is."""
        self._closed = True
        await asyncio.to_thread(self._end)
        self.changes.close()

    def _end(self) -> None:
        for thread, connections in ((self._reading, self._readers), (self._writing, self._writer)):
            thread.shutdown()
            connections.dispose()  # the last one to close may have to write to the disk

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("The database has been closed.", "Start Keyfob again.")

    def _finish(self, work: asyncio.Future[T]) -> asyncio.Future[T]:
        """Let work that has begun go on to its end, whoever waits for it."""
        self._running.add(work)
        work.add_done_callback(self._running.discard)
        return asyncio.shield(work)

    async def _write(self, work: Callable[[Connection], T], *, harmless: bool) -> T:
        marking = self.changes.harmless if harmless else self.changes.harmful

        def writing() -> tuple[T, list[Step]]:
            with self._writer.one() as connection:
                return transaction(connection, work, marking)

        try:
            async with self._turn:
                result, steps = await _in(self._writing, writing)
                for step in steps:
                    step()
                return result
        except REFUSALS as exc:
            raise unavailable(exc) from exc

    async def _write_all(self, waiting: list[Joint[Any]]) -> None:
        """Write in one commit what waits for that by the time that it is their turn, and tell each what came of it."""
        async with self._turn:
            self._joint = []
            await self._write_these(waiting)

    def _written(self, waiting: list[Joint[Any]]) -> None:
        if self._joint is waiting:  # it was not to be
            self._joint = []
        for one in waiting:
            one.written.cancel()  # which changes nothing for those that have been told

    async def _write_these(self, waiting: Sequence[Joint[Any]]) -> None:
        works = [one.work for one in waiting]
        marking = partial(self.changes.harmless, accounts={one.account for one in waiting} - {""})

        def writing() -> list[Outcome]:
            with self._writer.one() as connection:
                return transactions(connection, works, marking)

        try:
            outcomes = await _in(self._writing, writing)
        except Exception as exc:  # noqa: BLE001 -- it is for each who waits
            outcomes = [exc] * len(works)
        for outcome in outcomes:
            if not isinstance(outcome, Exception):
                for step in outcome[1]:
                    step()
        for one, outcome in zip(waiting, outcomes, strict=True):
            if isinstance(outcome, REFUSALS):
                one.written.set_exception(unavailable(outcome))
            elif isinstance(outcome, Exception):
                one.written.set_exception(outcome)
            else:
                one.written.set_result(outcome[0])

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
        def emptying() -> bool:
            with self._writer.one() as connection:
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {CHECKPOINT_TIMEOUT}")
                try:
                    row = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
                finally:
                    connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
                return bool(row[0] == 0)

        try:
            async with self._turn:
                return await _in(self._writing, emptying)
        except SQLAlchemyError as exc:
            raise unavailable(exc) from exc


def _casefold(said: bytes) -> str:
    return said.decode(errors="replace").casefold()


def _in(thread: Executor, work: Callable[[], T]) -> asyncio.Future[T]:
    # In the caller's context, as ``asyncio.to_thread`` does for its own threads.
    return asyncio.get_running_loop().run_in_executor(thread, contextvars.copy_context().run, work)
