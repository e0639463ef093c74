"""The record of what was done and what was handed out.

Part of ``Store``. Entries keep the account's name, because the record outlives the account. ``chain`` has the seals.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Label, bindparam, func, or_, select

from broker.store import tables as t
from broker.store import tally, verify
from broker.store.chain import Chain, plain, prune_unsealed, put
from broker.store.prepared import Prepared
from broker.store.shelf import Shelf
from broker.store.tally import Count, Place
from broker.store.transactions import after_commit, driver
from broker.store.verify import Verdict

# How many entries are kept where nobody says anything.
MOST_ENTRIES = 100_000
# Among so many of the newest counts of an account is the one that grew last: no more apps use one at a time.
RECENT = 20


def _last_use() -> Label[Any]:
    """Build the query for the app that an account's token was handed out to last."""
    a = t.audit.c
    # Counts grow where they stand, so that the newest row need not be the one that grew last.
    newest = (
        select(a.at, a.app)
        .where(a.account_uuid == t.account.c.uuid, a.action == tally.HANDOUT)
        .order_by(a.id.desc())
        .limit(RECENT)
        .correlate(t.account)
        .subquery()
    )
    last = select(newest.c.app).order_by(newest.c.at.desc()).limit(1)
    return last.scalar_subquery().correlate(t.account).label("app")


_LAST_USE = _last_use()
_OF_NAME = Prepared(select(t.account.c.uuid).where(t.account.c.name == bindparam("name")))


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the record.

    Attributes:
        id: tells it from every other, also while it grows.
        number: its number in the chain; None of a count that still grows, and of what has no seal.
        at: when; of counts the last time, epoch seconds.
        action: what; ``handout`` for tokens that left.
        account: the account's name, or None.
        app: the app's name or ``owner``, or None.
        detail: more, for people.
        generation: of hand-outs: which token of the account.
        first: of counts: when it was first.
        last: of counts: when it was last.
        count: of counts: how often.
    """

    id: int
    number: int | None
    at: float
    action: str
    account: str | None
    app: str | None
    detail: str
    generation: int | None
    first: float | None
    last: float | None
    count: int | None


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that was done.

    Attributes:
        at: when, epoch seconds.
        action: a stable word for it.
        account: the account's name, if it is about one.
        app: the app's name or ``owner``, if somebody asked for it.
        detail: more, for people; never a secret. Control characters are taken out, and the end if it is long.
    """

    at: float
    action: str
    account: str | None
    app: str | None
    detail: str


class Audit(Shelf):
    """The part of ``Store`` for the record."""

    async def note_counts(self, items: Sequence[Count]) -> None:
        """Record hand-outs and refusals, in the rows that they continue, and when accounts and apps were last used."""
        if not items:
            return

        def work(tx: Connection) -> None:
            version = (self._vault.turn, driver(tx), driver(tx).execute("PRAGMA data_version").fetchone())
            known = self._place.version == version
            with self._recording(tx) as chain:
                place = tally.note(tx, chain, items, replace(self._place, version=version if known else None))
            after_commit(tx, lambda: self._counted(replace(place, version=version)))

        await self._db.write(work, harmless=True)

    def _counted(self, place: Place) -> None:
        self._place = place

    async def note(self, *, at: float, action: str, account: str | None, app: str | None, detail: str) -> None:
        """Record something that was done; the arguments are as :class:`Noted` has them."""
        await self.note_all([Noted(at, action, account, app, detail)])

    async def note_all(self, noted: Sequence[Noted]) -> None:
        """Record what was done, in this order; all of it, or nothing."""

        def work(tx: Connection) -> None:
            with self._recording(tx) as chain:
                for one in noted:
                    known = _OF_NAME.value(tx, {"name": one.account})
                    values = {name: getattr(one, name) for name in Noted.__slots__}
                    values |= {"account_uuid": known, "detail": plain(one.detail)}
                    if chain is None:
                        put(tx, values)
                    else:
                        chain.write(values)

        await self._db.write_jointly(work)

    @contextmanager
    def _recording(self, tx: Connection) -> Iterator[Chain | None]:
        """Open the chain for one transaction; None while there is no key, and then what is written has no seal."""
        if not self._vault.holds_key:
            self._unsealed = True
            yield None
            prune_unsealed(tx, self._most_entries)
            return
        chain = Chain(tx, self._vault.sealer, self._told)
        if self._unsealed:
            chain.seal_late()
        yield chain
        chain.prune(self._most_entries)
        chain.save()
        after_commit(tx, lambda: self._recorded(chain.head.last))

    def _recorded(self, number: int) -> None:
        self._unsealed = False
        self._told = max(self._told, number)
        if self._fence is not None:
            self._fence.follow_audit(number)

    async def verify_audit(self) -> Verdict:
        """Look whether the record is as it was written. Takes a while, in a thread of its own; writers do not wait.

        Raises:
            Locked: there is no key to check it with.
            StoreUnavailable: SQLite refused.
        """
        async with self._turn:
            # What is known of the end is taken first: what is added meanwhile is in the snapshot, or not asked for.
            sealer, told, unsealed = self._vault.sealer, self._told, self._unsealed
            return await self._db.snapshot(lambda tx: verify.verify(tx, sealer, told, unsealed=unsealed))

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

    async def last_uses(self, account_uuids: Sequence[str]) -> dict[str, str]:
        """Return account uuid -> the app, or ``owner``, to which a token of it was handed out last, as recorded."""
        query = select(t.account.c.uuid, _LAST_USE).where(t.account.c.uuid.in_(account_uuids))
        rows = await self._db.read(lambda tx: tx.execute(query).all())
        return {row.uuid: row.app for row in rows if row.app is not None}

    async def audit(
        self,
        *,
        account: str | None = None,
        account_uuid: str | None = None,
        app: str | None = None,
        actions: Sequence[str] = (),
        words: Sequence[str] = (),
        since: float | None = None,
        limit: int = 100,
        skip: int = 0,
    ) -> list[AuditEntry]:
        """Return the record, newest first.

        Args:
            account: only of the account that has or had this name.
            account_uuid: only of this account, whatever its name was.
            app: only of this app.
            actions: only these; empty for all.
            words: only what holds each of them somewhere, in capital letters or small ones.
            since: only from this time on, epoch seconds.
            limit: at most so many.
            skip: leave out so many of the newest.
        """
        name = func.coalesce(t.account.c.name, t.audit.c.account)
        query = (
            select(t.audit, name.label("name"))
            .outerjoin(t.account, t.account.c.uuid == t.audit.c.account_uuid)
            .order_by(t.audit.c.at.desc(), t.audit.c.id.desc())
            .limit(limit)
            .offset(skip)
        )
        for word in words:
            query = query.where(or_(*(held.icontains(word, autoescape=True) for held in _texts(name))))
        if actions:
            query = query.where(t.audit.c.action.in_(actions))
        if account_uuid is not None:
            query = query.where(t.audit.c.account_uuid == account_uuid)
        if account is not None:
            query = query.where(or_(t.audit.c.account == account, t.account.c.name == account))
        if app is not None:
            query = query.where(t.audit.c.app == app)
        if since is not None:
            query = query.where(t.audit.c.at >= since)
        rows = await self._db.read(lambda tx: tx.execute(query).mappings().all())
        return [
            AuditEntry(
                id=row["id"],
                number=row["link"],
                at=row["at"],
                action=row["action"],
                account=row["name"],
                app=row["app"],
                detail=row["detail"],
                generation=row["generation"],
                first=row["first"],
                last=None if row["count"] is None else row["at"],
                count=row["count"],
            )
            for row in rows
        ]


def _texts(name: ColumnElement[str]) -> tuple[ColumnElement[str], ...]:
    """Return what of an entry is searched."""
    a = t.audit.c
    return (a.action, a.detail, func.coalesce(name, ""), func.coalesce(a.app, ""))
