"""Times that were written down by a clock that was then set: moved along in one transaction.

Part of ``Store``.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, Connection, and_, bindparam, case, func, select, update
from sqlalchemy.engine import RowMapping

from broker.core.timing import REFUSED_CAP, RETRY_AFTER_CAP
from broker.store import readable
from broker.store import tables as t
from broker.store.account_rows import DATED
from broker.store.shelf import Shelf
from broker.store.transactions import after_commit

# How long tokens live, and how long ago one was sent. The end of a login is not among them: a person is in the middle.
_LIVES = frozenset({*DATED, t.refresh_intent.c.started_at, t.derived_token.c.issued_at, t.derived_token.c.expires_at})

# Seconds by which a time may be ahead of the clock: what has been seen of two clocks that both are right.
AHEAD = 60.0
# When something was sent of which nobody knows when: long enough ago for every grace to be over.
LONG_AGO = 1.0


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

    async def take_back(self, now: float) -> int:
        """Move back what seems to be from the future; to be called before anything is judged by a clock that is new.

        It was written down by another clock, and nobody knows how long ago. So a token counts as issued just now, at
        the latest, a request as sent long ago, and nothing waits for longer than Keyfob ever does.

        Args:
            now: epoch seconds.

        Returns:
            How many accounts have changed.

        Raises:
            StoreUnavailable: nothing was changed.
        """
        d, i = t.derived_token, t.refresh_intent
        ahead = d.c.issued_at - now
        present = {"issued_at": d.c.issued_at - ahead, "expires_at": d.c.expires_at - ahead}

        def work(tx: Connection) -> int:
            after_commit(tx, self._memory.accounts_changed)
            found = readable.rows(tx, _from_the_future(now), self._vault)
            rows = [row._mapping for row in found]  # noqa: SLF001 -- SQLAlchemy's public name for it
            for row in rows:
                values = _taken_back(row, now) | {"version": row["version"] + 1}
                tx.execute(update(t.account).where(t.account.c.uuid == row["uuid"]).values(values))
            tx.execute(update(d).where(ahead > AHEAD).values(present))
            tx.execute(update(i).where(i.c.started_at > now + AHEAD).values(started_at=LONG_AGO))
            return len(rows)

        return await self._db.write(work)


def _from_the_future(now: float) -> Any:  # noqa: ANN401 -- SQLAlchemy's select
    a = t.account.c
    longest = case((a.state == "misconfigured", REFUSED_CAP), else_=RETRY_AFTER_CAP)
    newest = func.max(func.coalesce(a.issued_at, 0.0), func.coalesce(a.last_refresh_at, 0.0), a.state_since)
    most = now + AHEAD
    times = (*DATED, a.retry_at, a.throttled_until)
    numbers = and_(*(func.typeof(time).in_(("real", "integer", "null")) for time in times))
    return select(a.uuid, a.version, a.client, *times, newest.label("newest")).where(
        numbers, (newest > most) | (a.throttled_until > most + RETRY_AFTER_CAP) | (a.retry_at > most + longest)
    )


def _taken_back(row: RowMapping, now: float) -> dict[str, float]:
    """Return the times of such a row as they can be at the most."""
    back = max(0.0, row["newest"] - now)
    dated = {column.name for column in DATED if row[column.name]}
    if row["client"] is None:
        dated.discard("expires_at")  # a pasted token's: a date by calendar
    values = {name: row[name] - back for name in dated}
    if back and row["lost_at"]:
        values["lost_at"] = LONG_AGO
    most = now + RETRY_AFTER_CAP
    return values | {wait: min(row[wait], most) for wait in ("retry_at", "throttled_until")}
