"""The disk: the real store on a real SQLite file, without threads, and with a disk that can be full or the power cut.

Used by ``world``. ``aiosqlite`` gives every statement to a thread; here its connection runs the statement on the
spot, so that one seed is one order of events. That is the whole substitution: SQLAlchemy, both engines with their
pools and pragmas, the transactions, the sealing and SQLite itself are the product's own. SQLAlchemy's ``do_connect``
hook puts the connection in. What a statement meets (a full disk, a lock, the end of the process before or after it)
is decided here, between two statements.
"""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy import Engine, event

# SQLite's own words, and at which statement of a transaction they come.
TROUBLES = {
    "locked": ("database is locked", "SQLITE_BUSY", ("BEGIN IMMEDIATE",)),
    "full": ("database or disk is full", "SQLITE_FULL", ("INSERT", "UPDATE", "COMMIT")),
    "read-only": ("attempt to write a readonly database", "SQLITE_READONLY", ("INSERT", "UPDATE", "DELETE")),
    "failing": ("disk I/O error", "SQLITE_IOERR", ("COMMIT",)),
}


@dataclass(slots=True, eq=False)
class Life:
    """One life of the engine: what it had open ends with it."""

    dead: bool = False
    connections: list["_Inline"] = field(default_factory=list)

    def end(self) -> None:
        """Cut the power: nothing that was not committed will ever have been."""
        self.dead = True
        for connection in self.connections:
            connection.cut()


class Disk:
    """Where the database lies.

    Args:
        rng: decides when trouble strikes.
        step: called before and after everything that can be cut in two; it may end the life.
    """

    def __init__(self, rng: random.Random, step: Callable[[], None]) -> None:
        self.rng = rng
        self.step = step
        self.troubles: dict[str, float] = {}
        self.life = Life()

    async def before(self, sql: str) -> None:
        """Let happen what happens before a statement is carried out."""
        if sql.startswith(("SELECT", "PRAGMA")):
            return
        self.step()
        if sql == "BEGIN IMMEDIATE" and self.rng.random() < 0.5:
            await asyncio.sleep(self.rng.uniform(0.0, 0.01))  # others come in between, as they do with threads
        for trouble, part in self.troubles.items():
            words, name, when = TROUBLES[trouble]
            if sql.startswith(when) and self.rng.random() < part:
                exc = sqlite3.OperationalError(words)
                exc.sqlite_errorname = name
                raise exc


class _OnTheSpot:
    """Takes what SQLAlchemy puts in the queue of the thread, and does it."""

    def put_nowait(self, item: tuple[asyncio.Future[Any], Callable[[], Any]]) -> None:
        future, function = item
        future.set_result(function())


class _Inline(aiosqlite.Connection):
    """A connection without a thread."""

    def __init__(self, path: str, disk: Disk, **options: Any) -> None:  # noqa: ANN401 -- sqlite3's own
        super().__init__(lambda: sqlite3.connect(path, **options), 64)
        self._tx = _OnTheSpot()  # type: ignore[assignment]  # as much of a queue as is used
        self._disk = disk
        self._life = disk.life
        self._life.connections.append(self)

    async def _connect(self) -> "_Inline":
        self._check()
        self._connection = self._connector()
        return self

    def __await__(self) -> Any:  # noqa: ANN401 -- a generator, as aiosqlite has it
        return self._connect().__await__()

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- as aiosqlite
        self._check()
        sql = args[0] if args and isinstance(args[0], str) else ""
        if sql:
            await self._disk.before(sql)
            self._check()
        result = fn(*args, **kwargs)
        if sql == "COMMIT":
            self._disk.step()
            self._check()
        return result

    def _check(self) -> None:
        if self._life.dead:
            raise asyncio.CancelledError

    @property
    def _conn(self) -> sqlite3.Connection:
        self._check()
        return super()._conn

    def stop(self) -> None:
        self.cut()

    def cut(self) -> None:
        """Close as a dying process does: SQLite rolls back what was open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def close(self) -> None:
        self.cut()


@contextlib.contextmanager
def mounted(disk: Disk, place: Path) -> Iterator[None]:
    """Open every database below ``place`` through ``disk`` for the length of the block."""

    def connect(_dialect: object, _record: object, args: list[Any], options: dict[str, Any]) -> None:
        if str(args[0]).startswith(str(place)):
            options["async_creator_fn"] = lambda path, **more: _Inline(path, disk, **more)

    event.listen(Engine, "do_connect", connect)
    try:
        yield
    finally:
        event.remove(Engine, "do_connect", connect)
