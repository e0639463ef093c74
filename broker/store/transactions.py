"""Work that is done as one transaction, or several pieces of it in one commit.

Used by ``engine``, in the writer's thread; what is to follow a commit is said by the modules whose work it is.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from sqlalchemy import Connection

from broker.store.changes import Others

T = TypeVar("T")
Step = Callable[[], None]
# What has to be told of a commit, while it is made.
Marking = Callable[[Others], contextlib.AbstractContextManager[None]]
# What came of one of several transactions: what it returned and what is to follow, or why it was undone.
Outcome = tuple[Any, Sequence[Step]] | Exception
# Where a transaction keeps what is to follow its commit.
FOLLOWS = "follows"


def after_commit(tx: Connection, step: Step) -> None:
    """Have ``step`` run in the event loop as soon as this transaction is durable, and never if it is undone.

    No other transaction begins before it. It must not raise.
    """
    tx.info[FOLLOWS].append(step)


def transaction(tx: Connection, work: Callable[[Connection], T], marking: Marking) -> tuple[T, list[Step]]:
    """Do the work in one transaction; return what it returned, and what is to follow."""
    steps: list[Step] = []
    tx.info[FOLLOWS] = steps
    with _committing(tx, marking):
        result = work(tx)
    return result, steps


def transactions(tx: Connection, works: Sequence[Callable[[Connection], Any]], marking: Marking) -> list[Outcome]:
    """Do several pieces of work in one commit; what one of them raises undoes that one only."""
    if len(works) == 1:
        return [transaction(tx, works[0], marking)]
    outcomes: list[Outcome] = []
    with _committing(tx, marking):
        for work in works:
            steps: list[Step] = []
            tx.info[FOLLOWS] = steps
            driver(tx).execute("SAVEPOINT one")
            try:
                outcomes.append((work(tx), steps))
            except Exception as exc:
                if not _is_open(tx):
                    raise  # it took all the others with it
                driver(tx).execute("ROLLBACK TO one")
                outcomes.append(exc)
            driver(tx).execute("RELEASE one")
    return outcomes


@contextlib.contextmanager
def _committing(tx: Connection, marking: Marking) -> Iterator[None]:
    # IMMEDIATE: what is read here cannot be changed by anybody before it is written.
    driver(tx).execute("BEGIN IMMEDIATE")
    try:
        with marking(partial(_others, tx)):
            yield
            driver(tx).execute("COMMIT")
    except BaseException:
        # SQLite may have rolled back by itself (disk full, I/O error); a second ROLLBACK would hide the first error.
        if _is_open(tx):
            driver(tx).execute("ROLLBACK")
        raise


def driver(tx: Connection) -> sqlite3.Connection:
    """Return the driver's own connection."""
    return cast("sqlite3.Connection", tx.connection.driver_connection)


def _others(tx: Connection) -> int | None:
    try:
        return cast("int", driver(tx).execute("PRAGMA data_version").fetchone()[0])
    except sqlite3.Error:
        return None  # it is also asked after a commit, which stands whatever this says


def _is_open(tx: Connection) -> bool:
    return driver(tx).in_transaction
