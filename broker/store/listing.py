"""Many accounts at once: read a few at a time, so that nobody who asks for a token waits for all of them.

Part of ``Store``.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import (
    Select,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    text,
    union_all,
)

from broker.core.account import Account, Identity
from broker.store import attention, readable
from broker.store import tables as t
from broker.store.accounts import Accounts
from broker.store.memory import Row
from broker.store.readable import PAGE

a = t.account.c
# How many accounts are kept as they were read.
MOST_PROVEN = 2000
_BY_NAME = select(t.account).order_by(a.name)
# Most are active: all but the others, which an index has.
_notable = text(attention.NOTABLE)
_others = select(func.count()).select_from(t.account)
_STATES = union_all(
    select(a.state.label("state"), func.count().label("count")).where(_notable).group_by(a.state),
    select(literal("active"), _others.scalar_subquery() - _others.where(_notable).scalar_subquery()),
)
_OF_PEOPLE = a.renewal.not_in(("client_credentials", "jwt_bearer"))


class Listing(Accounts):
    """The part of ``Store`` that lists accounts."""

    async def accounts(self) -> list[Account]:
        """Return all accounts by name. Works while locked."""
        return [account async for page in self.account_pages() for account in page]

    async def account_pages(self) -> AsyncIterator[list[Account]]:
        """Yield all accounts by name, as many at a time as hold up nobody else. Works while locked.

        An account that gets another name meanwhile may come twice or not at all, where it is not a matter of one page.
        Those of which something is stored that cannot be read are left out and reported.
        """
        # Of very many nothing is kept.
        kept = dict[str, tuple[tuple[Any, ...], Account]]()
        after, beyond = "", 0
        while True:
            query = _BY_NAME.where(a.name > after).limit(PAGE).offset(beyond)
            rows = await self._db.read(lambda tx, query=query: readable.or_none(tx, query, self._vault))  # type: ignore[misc]
            page = []
            for row in rows:
                if row is None:
                    beyond += 1  # its name may be what cannot be read, so it is counted
                    continue
                after, beyond = row.name, 0
                values = (self._vault.turn, *row)
                account = self._as_proven(row.uuid, values)
                if account is None:
                    account = readable.one(row._mapping, self._account, self._vault)  # noqa: SLF001 -- SQLAlchemy's public name for it
                if account is None:
                    continue
                if account.proven and len(kept) < MOST_PROVEN:
                    kept[row.uuid] = values, account
                page.append(account)
            yield page
            if len(rows) < PAGE:
                break
        self._proven = kept if len(kept) < MOST_PROVEN else {}

    def _as_proven(self, uuid: str, values: tuple[Any, ...]) -> Account | None:
        """Return the account that was proven of the very same row."""
        before, account = self._proven.get(uuid, ((), None))
        return account if before == values else None

    def _again(self, row: Row) -> Account:
        """Read an account as ``_account`` does, where its row is not the one that was read before.

        What is letter for letter as it was, its seal included, and was proven with the key that is here, needs no other
        proof: the owner's page reads the same rows again and again.
        """
        values = (self._vault.turn, *row.values())
        account = self._as_proven(row["uuid"], values)
        if account is None:
            account = self._account(row)
            if account.proven:
                if len(self._proven) >= MOST_PROVEN:
                    self._proven = {}
                self._proven[row["uuid"]] = values, account
        return account

    async def account_names(self, most: int | None = None) -> tuple[str, ...]:
        """Return the names of all accounts, or of so many, in order. Works while locked."""
        query = select(a.name).order_by(a.name).limit(most)
        return tuple(await self._db.read(lambda tx: tx.execute(query).scalars().all()))

    async def needing(self, until: float) -> list[Account]:
        """Return the accounts that may need a person: those that wait for one, or have a last token that ends by then.

        Args:
            until: epoch seconds.
        """
        rowid = readable.rowid_of(t.account)
        waiting = select(rowid).where(_notable, a.state.in_(attention.WAITING))
        ending = select(rowid).where(text(attention.ENDS), a.expires_at <= until)
        either = or_(*(rowid.in_(some.select_from(t.account).correlate(None)) for some in (waiting, ending)))
        return await self._readable(select(t.account).where(either).order_by(a.name))

    async def accounts_at(self, provider: str, who: Identity) -> list[Account]:
        """Return a person's accounts at a provider, by name."""
        same = and_(a.identity_subject == who.subject, a.identity_issuer == who.issuer)
        return await self._readable(select(t.account).where(a.provider == provider, same).order_by(a.name))

    async def has_account(self, provider: str, client_id: str, who: Identity | None) -> bool:
        """Whether a client at a provider may have a person's account already; anybody's where somebody is unknown."""
        query = select(a.uuid).where(a.provider == provider, a.client_id == client_id, _OF_PEOPLE)
        if who is not None:
            same = and_(a.identity_subject == who.subject, a.identity_issuer == who.issuer)
            query = query.where(or_(a.identity_subject.is_(None), same))
        return await self._db.read(lambda tx: tx.execute(query.limit(1)).first()) is not None

    async def client_ids(self, provider: str) -> set[str]:
        """Return the clients that people's accounts at a provider logged in with, as the provider calls them."""
        query = select(a.client_id).where(a.provider == provider, _OF_PEOPLE).distinct()
        return set(await self._db.read(lambda tx: tx.execute(query).scalars().all()))

    async def names_at(self, provider: str) -> list[str]:
        """Return the names of the accounts at a provider, in order."""
        query = select(a.name).where(a.provider == provider).order_by(a.name)
        return list(await self._db.read(lambda tx: tx.execute(query).scalars().all()))

    async def names_of_issuer(self, issuer: str) -> list[str]:
        """Return the names of the accounts whose tokens are of an issuer, in order; a slash at its end is nothing."""
        known = case((a.identity_subject.is_not(None), a.identity_issuer), else_=a.issuer)
        query = select(a.name).where(func.rtrim(known, "/") == issuer.rstrip("/")).order_by(a.name)
        return list(await self._db.read(lambda tx: tx.execute(query).scalars().all()))

    async def accounts_of(self, uuids: Sequence[str]) -> list[Account]:
        """Return the accounts with these uuids, as far as there are any. Works while locked."""
        found: list[Account] = []
        for begin in range(0, len(uuids), PAGE):  # a query takes so many values, and not any number
            found += await self._readable(select(t.account).where(a.uuid.in_(uuids[begin : begin + PAGE])))
        return found

    async def names_among(self, names: Sequence[str]) -> set[str]:
        """Return which of these names accounts have. Works while locked."""
        found: set[str] = set()
        for begin in range(0, len(names), PAGE):  # as above
            query = select(a.name).where(a.name.in_(names[begin : begin + PAGE]))
            found |= set(await self._db.read(lambda tx, query=query: tx.execute(query).scalars().all()))  # type: ignore[misc]
        return found

    async def states(self) -> dict[str, int]:
        """Return how many accounts are in each state, counted by index. Works while locked."""
        counts = dict(await self._db.read(lambda tx: [(row.state, row.count) for row in tx.execute(_STATES)]))
        return {state: count for state, count in counts.items() if count}

    async def _readable(self, query: Select[Any]) -> list[Account]:
        """Return the accounts that a query for whole rows finds, in its order, without holding up everybody else.

        Those of which something is stored that cannot be read are left out and reported.
        """
        rows = await self._db.read(lambda tx: readable.rows(tx, query, self._vault))
        return [account async for account, _ in readable.accounts(rows, self._account, self._vault)]
