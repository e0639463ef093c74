"""Times that were written down by a clock that was then set: moved along in one transaction.

Part of ``Store``.
"""

from typing import Any

from sqlalchemy import Column, Connection, case, update

from broker.store import tables as t
from broker.store.vault import Shelf


def _later(column: Column[Any], seconds: float) -> Any:  # noqa: ANN401 -- an expression, as SQLAlchemy takes it
    """Move a time; 0 stands for "never" and stays."""
    return case((column > 0, column + seconds), else_=column)


class Times(Shelf):
    """The part of ``Store`` that follows the clock."""

    async def move_times(self, seconds: float, *, since: float) -> None:
        """Move every life and every wait by so many seconds.

        Args:
            seconds: by how much the clock was set.
            since: by the clock as it was: what was written earlier may be from another clock. Of such accounts the
                waits move, because they were waits, and the token's times stay.

        Raises:
            StoreUnavailable: nothing was changed.
        """
        a, login = t.account.c, t.login.c
        waits = {column.name: _later(column, seconds) for column in (a.retry_at, a.throttled_until)}
        lives = {
            column.name: column + seconds
            for column in (a.issued_at, a.expires_at, a.refresh_expires_at, a.last_refresh_at)
        }
        recent = {column.name: column + seconds for column in (a.state_since, a.forced_at, a.lost_at)}

        def work(tx: Connection) -> None:
            # The version grows: a change that was begun by the old times has to look again.
            tx.execute(update(t.account).values(version=a.version + 1, **waits))
            tx.execute(update(t.account).where(a.last_refresh_at >= since).values(**lives))
            for name, moved in recent.items():
                tx.execute(update(t.account).where(a[name] >= since).values({name: moved}))
            started = t.refresh_intent.c.started_at
            tx.execute(update(t.refresh_intent).where(started >= since).values(started_at=started + seconds))
            tx.execute(
                update(t.login)
                .where(login.created_at >= since)
                .values(created_at=login.created_at + seconds, expires_at=login.expires_at + seconds)
            )

        await self._db.write(work)
