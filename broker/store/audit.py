"""The record of what was done and what was handed out.

Part of ``Store``. Entries keep the account's name, because the record outlives the account.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, func, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from broker.store import tables as t
from broker.store.shelf import Shelf

HANDOUT = "handout"


@dataclass(frozen=True, slots=True)
class Handout:
    """So many hand-outs of one token to one app.

    Attributes:
        account_uuid: whose token.
        app: the app's name, or ``owner``.
        generation: which token of the account.
        first: when the first was, epoch seconds.
        last: when the last was.
        count: how many.
    """

    account_uuid: str
    app: str
    generation: int
    first: float
    last: float
    count: int


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the record.

    Attributes:
        at: when; for hand-outs the last one, epoch seconds.
        action: what; ``handout`` for tokens that left.
        account: the account's name, or None.
        app: the app's name or ``owner``, or None.
        detail: more, for people.
        generation: of hand-outs: which token of the account.
        first: of hand-outs: when the first was.
        last: of hand-outs: when the last was.
        count: of hand-outs: how many.
    """

    at: float
    action: str
    account: str | None
    app: str | None
    detail: str
    generation: int | None
    first: float | None
    last: float | None
    count: int | None


class Audit(Shelf):
    """The part of ``Store`` for the record."""

    async def note_handouts(self, items: Sequence[Handout]) -> None:
        """Record hand-outs, in the rows that they continue, and when accounts and apps were last used.

        The accounts' versions stay: being used is no change that a refresh could conflict with.
        """
        if not items:
            return

        def work(tx: Connection) -> None:
            for item in items:
                _note_handout(tx, item)

        await self._db.write(work)

    async def note(self, *, at: float, action: str, account: str | None, app: str | None, detail: str) -> None:
        """Record something that was done.

        Args:
            at: epoch seconds.
            action: a stable word for it.
            account: the account's name, if it is about one.
            app: the app's name or ``owner``, if somebody asked for it.
            detail: more, for people; never a secret.
        """
        known = select(t.account.c.uuid).where(t.account.c.name == account).scalar_subquery()
        values = {"at": at, "action": action, "account": account, "app": app, "detail": detail}
        await self._db.write(lambda tx: tx.execute(insert(t.audit).values(account_uuid=known, **values)))

    async def last_noted(self, account_uuid: str, action: str) -> tuple[float, str] | None:
        """Return when an action was last recorded of an account, and its detail; None where it never was.

        Args:
            account_uuid: the account, whatever its name was then.
            action: the word for it.
        """
        query = (
            select(t.audit.c.at, t.audit.c.detail)
            .where(t.audit.c.account_uuid == account_uuid, t.audit.c.action == action)
            .order_by(t.audit.c.id.desc())
            .limit(1)
        )
        row = await self._db.read(lambda tx: tx.execute(query).one_or_none())
        return None if row is None else (row.at, row.detail)

    async def audit(
        self, *, account: str | None = None, app: str | None = None, since: float | None = None, limit: int = 100
    ) -> list[AuditEntry]:
        """Return the record, newest first.

        Args:
            account: only of the account that has or had this name.
            app: only of this app.
            since: only from this time on, epoch seconds.
            limit: at most so many.
        """
        name = func.coalesce(t.account.c.name, t.audit.c.account)
        query = (
            select(t.audit, name.label("name"))
            .outerjoin(t.account, t.account.c.uuid == t.audit.c.account_uuid)
            .order_by(t.audit.c.at.desc(), t.audit.c.id.desc())
            .limit(limit)
        )
        if account is not None:
            query = query.where(or_(t.audit.c.account == account, t.account.c.name == account))
        if app is not None:
            query = query.where(t.audit.c.app == app)
        if since is not None:
            query = query.where(t.audit.c.at >= since)
        rows = await self._db.read(lambda tx: tx.execute(query).mappings().all())
        return [
            AuditEntry(
                at=row["at"],
                action=row["action"],
                account=row["name"],
                app=row["app"],
                detail=row["detail"],
                generation=row["generation"],
                first=row["first"],
                last=None if row["generation"] is None else row["at"],
                count=row["count"],
            )
            for row in rows
        ]


def _later(column: Any, at: float) -> Any:  # noqa: ANN401 -- SQLAlchemy's expressions
    return case((column > at, column), else_=at)


def _note_handout(tx: Connection, item: Handout) -> None:
    whose = select(t.account.c.name).where(t.account.c.uuid == item.account_uuid).scalar_subquery()
    row = upsert(t.audit).values(
        at=item.last,
        action=HANDOUT,
        account_uuid=item.account_uuid,
        account=whose,
        app=item.app,
        detail="",
        generation=item.generation,
        first=item.first,
        count=item.count,
    )
    tx.execute(
        row.on_conflict_do_update(
            index_elements=["account_uuid", "app", "generation"],
            set_={
                "at": func.max(t.audit.c.at, row.excluded.at),
                "first": func.min(t.audit.c.first, row.excluded.first),
                "count": t.audit.c.count + row.excluded["count"],
            },
        )
    )
    account, app = t.account, t.app
    tx.execute(
        update(account)
        .where(account.c.uuid == item.account_uuid)
        .values(last_used_at=_later(account.c.last_used_at, item.last))
    )
    tx.execute(update(app).where(app.c.name == item.app).values(last_used_at=_later(app.c.last_used_at, item.last)))
