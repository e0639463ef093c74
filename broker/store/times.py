"""Times that were written down by a clock that was then set: moved along in one transaction.

Part of ``Store``.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, Connection, bindparam, case, update

from broker.store import tables as t
from broker.store.account_rows import DATED
from broker.store.engine import after_commit
from broker.store.shelf import Shelf

# How long tokens live, and how long ago one was sent. The end of a login is not among them: a person is in the middle.
_LIVES = frozenset({*DATED, t.refresh_intent.c.started_at, t.derived_token.c.issued_at, t.derived_token.c.expires_at})


def _later(column: Column[Any], seconds: float) -> Any:  # noqa: ANN401 -- an expression, as SQLAlchemy takes it
    """Move a time; 0 stands for "never" and stays. So does the end of a pasted token: that is a date by calendar."""
    moves = column > 0
    if column is t.account.c.expires_at:
        moves &= t.account.c.client.is_not(None)
    return case((moves, column + seconds), else_=column)


class Times(Shelf):
    """The part of ``Store`` that follows the clock."""

    async def move_times(self, seconds: float, then: Callable[[], None]) -> None:
        """Move every life and every wait by so many seconds.

        Waits move wherever they are from, because they are waits. Lives that this start wrote move too. Those from an
        earlier start may be by either clock, so they are taken for the shorter of both: they move back and never
        forward. A token that is renewed too soon costs a request; a dead one that is handed out costs a program's day.

        Args:
            seconds: by how much the clock was set.
            then: runs as soon as the times have moved, before anybody is told; it must not raise.

        Raises:
            StoreUnavailable: nothing was changed.
        """
        a = t.account.c
        waits = {column.name: _later(column, seconds) for column in (a.retry_at, a.throttled_until)}

        def work(tx: Connection) -> None:
            after_commit(tx, self._memory.accounts_changed)
            after_commit(tx, then)
            # The version grows: a change that was begun by the old times has to look again.
            tx.execute(update(t.account).values(version=a.version + 1, **waits))
            back = _LIVES if seconds < 0 else frozenset[Column[Any]]()
            for column in back.union(self._dated):
                moved = update(column.table).values({column.name: _later(column, seconds)})
                if column in back:
                    tx.execute(moved)
                else:
                    (primary,) = column.table.primary_key
                    tx.execute(moved.where(primary == bindparam("row")), [{"row": key} for key in self._dated[column]])

        await self._db.write(work)
