"""What the owner refused an app for good, so that nobody asks again.

Part of ``Store``. Whoever takes a row away makes Keyfob ask once more, and whoever adds one makes it ask no more:
neither opens anything, so these rows carry no seal.
"""

from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert as upsert

from broker.store import tables as t
from broker.store.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Refusal:
    """One remembered no.

    Attributes:
        app: the app's name.
        account: the account's name, as the app asked for it.
        at: when, epoch seconds.
    """

    app: str
    account: str
    at: float


class Refusals(Shelf):
    """The part of ``Store`` for remembered refusals."""

    async def put_refusal(self, app: str, account: str, now: float) -> None:
        """Remember a no, by today's clock. The app must exist."""
        values = {"app": app, "account": account, "at": now}
        row = upsert(t.refusal).values(**values).on_conflict_do_nothing()
        await self._db.write(lambda tx: tx.execute(row))

    async def delete_refusal(self, app: str, account: str) -> None:
        """Forget a no; no error where there was none."""
        gone = delete(t.refusal).where(t.refusal.c.app == app, t.refusal.c.account == account)
        await self._db.write(lambda tx: tx.execute(gone))

    async def is_refused(self, app: str, account: str) -> bool:
        """Whether the owner refused that account to that app for good."""
        query = select(t.refusal.c.at).where(t.refusal.c.app == app, t.refusal.c.account == account)
        return await self._db.read(lambda tx: tx.execute(query).first()) is not None

    async def refusals(self) -> list[Refusal]:
        """Return all of them, by app and account."""
        query = select(t.refusal).order_by(t.refusal.c.app, t.refusal.c.account)
        return await self._db.read(lambda tx: [Refusal(row.app, row.account, row.at) for row in tx.execute(query)])
