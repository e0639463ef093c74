"""Times that were written down by a clock that was then set: moved along in one transaction.

Part of ``Store``.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, Connection, bindparam, case, update

from broker.store import tables as t
from broker.store.engine import after_commit
from broker.store.shelf import Shelf


def _later(column: Column[Any], seconds: float) -> Any:  # noqa: ANN401 -- an expression, as SQLAlchemy takes it
    """Move a time; 0 stands for "never" and stays."""
    return case((column > 0, column + seconds), else_=column)


class Times(Shelf):
    """The part of ``Store`` that follows the clock."""

    async def move_times(self, seconds: float, then: Callable[[], None]) -> None:
        """Move every life and every wait by so many seconds.

        Lives move where this start wrote them: the clock of an earlier one may have been right. Waits move wherever
        they are from, because they are waits.

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
            for column, keys in self._dated.items():
                table = column.table
                (primary,) = table.primary_key
                moved = update(table).where(primary == bindparam("row")).values({column.name: _later(column, seconds)})
                tx.execute(moved, [{"row": key} for key in keys])

        await self._db.write(work)
