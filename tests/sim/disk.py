"""The disk: the real store on a real SQLite file, and a disk that can be full or the power cut.

Used by ``world``. The store gives each transaction to a thread; ``loop`` runs it itself, so that one seed is one order
of events, and SQLAlchemy's ``do_connect`` hook puts our own connection in. That is the whole substitution: SQLAlchemy,
both engines with their pools and pragmas, the transactions, the sealing and SQLite itself are the product's own. What a
statement meets (a full disk, a lock, the end of the process before or after it) is decided here, between two
statements.
"""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from broker.store.changes import Changes

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
    changes: Changes | None = None

    def end(self) -> None:
        """Cut the power: nothing that was not committed will ever have been."""
        self.dead = True
        for connection in self.connections:
            connection.cut()

    def bury(self) -> None:
        """Let go of what it looked at the disk with, once none of its tasks can look any more."""
        if self.changes is not None:
            self.changes.close()


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

    def busy(self) -> float:
        """Return for how long a transaction waits for its thread: others come in between."""
        return self.rng.uniform(0.0, 0.01) if self.rng.random() < 0.5 else 0.0

    def before(self, sql: str) -> None:
        """Let happen what happens before a statement is carried out."""
        if sql.startswith(("SELECT", "PRAGMA")):
            return
        self.step()
        for trouble, part in self.troubles.items():
            words, name, when = TROUBLES[trouble]
            if sql.startswith(when) and self.rng.random() < part:
                exc = sqlite3.OperationalError(words)
                exc.sqlite_errorname = name
                raise exc


class _Inline(sqlite3.Connection):
    """A connection of a life, through a disk."""

    disk: Disk
    life: Life

    def cursor(self, factory: Any = None) -> Any:  # noqa: ANN401, ARG002 -- as sqlite3 has it
        self.check()
        return super().cursor(_Cursor)

    def check(self) -> None:
        """End the work of an engine that is dead."""
        if self.life.dead:
            raise asyncio.CancelledError

    def cut(self) -> None:
        """Close as a dying process does: SQLite rolls back what was open."""
        super().close()


class _Cursor(sqlite3.Cursor):
    """Carries out statements where the disk lets it."""

    connection: _Inline

    def execute(self, sql: str, parameters: Any = ()) -> "_Cursor":  # noqa: ANN401 -- sqlite3's own
        self._before(sql)
        super().execute(sql, parameters)
        if sql == "COMMIT":
            self.connection.disk.step()
            self.connection.check()
        return self

    def executemany(self, sql: str, parameters: Any) -> "_Cursor":  # noqa: ANN401 -- sqlite3's own
        self._before(sql)
        super().executemany(sql, parameters)
        return self

    def _before(self, sql: str) -> None:
        self.connection.check()
        self.connection.disk.before(sql)
        self.connection.check()


@contextlib.contextmanager
def mounted(disk: Disk, place: Path) -> Iterator[None]:
    """Open every database below ``place`` through ``disk`` for the length of the block."""

    def connect(_dialect: object, _record: object, args: list[Any], options: dict[str, Any]) -> _Inline | None:
        if not str(args[0]).startswith(str(place)):
            return None
        connection: _Inline = sqlite3.connect(*args, **options, factory=_Inline)
        connection.disk, connection.life = disk, disk.life
        disk.life.connections.append(connection)
        return connection

    event.listen(Engine, "do_connect", connect)
    try:
        yield
    finally:
        event.remove(Engine, "do_connect", connect)
