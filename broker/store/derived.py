"""Tokens that carry less than the account's own, or are for another resource: one for each account and wish.

Part of ``Store``. They hang on the login: a new one, or a token that carries less than before, drops them.
"""

from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert as upsert

from broker.core.account import Account, Destination
from broker.core.secret import Secret
from broker.core.token import Grant, Token, Wish
from broker.errors import StoreUnavailable
from broker.store import tables as t
from broker.store.accounts import Accounts, find
from broker.store.memory import Row
from broker.store.transactions import after_commit
from broker.store.vault import SEALED

d = t.derived_token.c


def _slot(owner: str, wish: Wish) -> str:
    return f"{owner}/{wish.slot}"


def _kind(slot: str) -> str:
    """Return the kind of the sealed row: bound into it, so that one wish's token never opens as another's."""
    return f"derived {slot}"


class DerivedTokens(Accounts):
    """The part of ``Store`` for narrower tokens."""

    async def derived_token(self, account: Account, wish: Wish) -> tuple[Secret, Token] | None:
        """Return the token that was got for a wish, or None where there is none. From memory when it has to be.

        Raises:
            Locked: there is no key.
            StoreUnavailable: it cannot be read, or does not open.
        """
        _ = self._vault.sealer
        slot = _slot(account.uuid, wish)
        query = _sealed().where(d.slot == slot)
        epoch, row = self._memory.epoch, self._memory.derived(slot)
        try:
            found = await self._db.read(lambda tx: tx.execute(query).mappings().one_or_none())
        except StoreUnavailable:
            if row is None:
                raise
        else:
            if found is None:
                return None
            self._memory.saw_derived(found, epoch)
            row = found
        facts = Token(row["token_type"], tuple(row["scope"]), row["issued_at"], row["expires_at"])
        return self._opened(account, row, _kind(row["slot"]), row["generation"]), facts

    async def put_derived(self, account: Account, wish: Wish, grant: Grant) -> bool:
        """Keep a token that was got without a refresh; tell whether the login is still the one that it came from."""

        def work(tx: Connection) -> bool:
            row = find(tx, account.uuid)
            if row is None or row["logged_in_at"] != account.logged_in_at:
                return False
            self._stow_derived(tx, row, account.destination, row["generation"], wish, grant)
            return True

        return await self._db.write(work)

    async def forget_derived(self, account: Account, token: Secret, before: float) -> bool | None:
        """Drop a narrower token that a resource server refused.

        Args:
            account: whose.
            token: which.
            before: epoch seconds; one that was issued later stays.

        Returns:
            Whether it was dropped; None where the account has no such token.
        """
        query = _sealed().where(d.account == account.uuid)
        for row in await self._db.read(lambda tx: tx.execute(query).mappings().all()):
            if self._opened(account, row, _kind(row["slot"]), row["generation"]) != token:
                continue
            if row["issued_at"] > before:
                return False
            await self._db.write(partial(self._drop_one, account.uuid, row["slot"]))
            return True
        return None

    def _stow_derived(
        self, tx: Connection, row: Row, destination: Destination, generation: int, wish: Wish, grant: Grant
    ) -> None:
        owner, token = row["uuid"], grant.token
        slot = _slot(owner, wish)
        self._drop_derived(tx, owner, (d.slot == slot) | (d.expires_at <= token.issued_at))
        values = {
            "account": owner,
            "generation": generation,
            "token_type": token.token_type,
            "scope": list(token.scope),
            "issued_at": token.issued_at,
            "expires_at": token.expires_at,
        }
        tx.execute(upsert(t.derived_token).values(slot=slot, **values))
        self._date(tx, slot, d.issued_at, d.expires_at)
        sealed = self._vault.put(
            tx,
            grant.access_token,
            owner=owner,
            kind=_kind(slot),
            generation=generation,
            destination=destination,
            client=row["client"] or "",
        )
        known = {**values, **sealed, "slot": slot, "client": row["client"]}
        after_commit(tx, lambda: self._memory.derived_changed(known))

    def _drop_one(self, owner: str, slot: str, tx: Connection) -> None:
        self._drop_derived(tx, owner, d.slot == slot)

    def _drop_derived(self, tx: Connection, owner: str, *which: Any) -> None:  # noqa: ANN401 -- SQLAlchemy's conditions
        """Drop the narrower tokens of an account; ``which`` says which of them."""
        slots = tx.execute(select(d.slot).where(d.account == owner, *which)).scalars().all()
        after_commit(tx, lambda: self._memory.derived_gone(slots))
        for slot in slots:
            self._vault.drop(tx, owner, _kind(slot))
            tx.execute(delete(t.derived_token).where(d.slot == slot))


def _sealed() -> Any:  # noqa: ANN401 -- SQLAlchemy's select
    """Build the query for narrower tokens together with what opens them."""
    return select(t.derived_token, t.account.c.client, *SEALED).select_from(
        t.derived_token.join(t.account, t.account.c.uuid == d.account)
        .join(
            t.secret,
            (t.secret.c.owner == d.account)
            & (t.secret.c.generation == d.generation)
            & (t.secret.c.kind == "derived " + d.slot),
        )
        .join(t.data_key, t.data_key.c.owner == d.account)
    )
