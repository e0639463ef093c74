"""Accounts: their rows, and the secrets that an account can be asked for.

Part of ``Store``; what changes tokens is in ``refreshes``. Nothing here opens a secret but the methods that say so, so
accounts can be shown while the store is locked.
"""

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, insert, select, update

from broker.core.account import BY_REFRESH_TOKEN, Account, Destination, Identity, Renewal, State
from broker.core.secret import Secret
from broker.core.token import Grant
from broker.errors import Conflict, Locked, StoreUnavailable, UnknownAccount, UnknownProvider
from broker.store import naming
from broker.store import tables as t
from broker.store.account_rows import (
    ANSWER,
    DATED,
    HANDED_OUT,
    IN_FORCE,
    account_of,
    identity_columns,
    renewal_columns,
    state_columns,
    token_columns,
)
from broker.store.bindings import bind, of_account
from broker.store.memory import Row
from broker.store.prepared import Prepared
from broker.store.shelf import Shelf
from broker.store.transactions import after_commit
from broker.store.vault import SEALED


def _held(kind: str, generation: Any) -> Any:  # noqa: ANN401 -- a column or a bound value, as SQLAlchemy takes them
    """Build the query for one secret of an account; a row without one has NULL in the secret's columns."""
    sealed = and_(t.secret.c.owner == t.account.c.uuid, t.secret.c.kind == kind, t.secret.c.generation == generation)
    return (
        select(t.account.c.client, generation.label("held"), *SEALED)
        .select_from(
            t.account.outerjoin(t.secret, sealed).outerjoin(t.data_key, t.data_key.c.owner == t.account.c.uuid)
        )
        .where(t.account.c.uuid == bindparam("owner"), t.account.c.generation == bindparam("present"))
    )


_OF_UUID = Prepared(select(t.account).where(t.account.c.uuid == bindparam("uuid")))
_OF_NAME = Prepared(select(t.account).where(t.account.c.name == bindparam("name")))
_HELD = {kind: Prepared(_held(kind, column)) for kind, column in IN_FORCE.items()}


def find(tx: Connection, account_uuid: str) -> Row | None:
    """Return an account's row, or None."""
    return _OF_UUID.row(tx, {"uuid": account_uuid})


def held(tx: Connection, owner: str, generation: int, kind: str) -> Row | None:
    """Return the sealed secret of an account, with what opens it; None where the account is of another generation."""
    return _HELD[kind].row(tx, {"owner": owner, "present": generation})


def uuid_of(tx: Connection, name: str) -> str:
    """Return the uuid of the account called ``name``.

    Raises:
        UnknownAccount: there is none.
    """
    found = tx.execute(select(t.account.c.uuid).where(t.account.c.name == name)).scalar_one_or_none()
    if found is None:
        raise UnknownAccount(f"There is no account '{name}'.", "See: keyfob accounts")
    return str(found)


class Accounts(Shelf):
    """The part of ``Store`` for accounts."""

    async def account(self, name: str) -> Account | None:
        """Return the account called ``name``, or None. Works while locked, and from memory when it has to."""
        epoch, row = self._memory.epoch, self._memory.account_named(name)
        return await self._recalled(lambda tx: _OF_NAME.row(tx, {"name": name}), row, epoch)

    async def account_by_uuid(self, uuid: str) -> Account | None:
        """Return the account with that uuid, or None. Works as :meth:`account` does."""
        epoch, row = self._memory.epoch, self._memory.account(uuid)
        return await self._recalled(lambda tx: find(tx, uuid), row, epoch)

    async def _recalled(
        self, query: Callable[[Connection], Row | None], remembered: Row | None, epoch: int
    ) -> Account | None:
        try:
            row = await self._db.read(query)
        except StoreUnavailable:
            if remembered is None:
                raise
            return self._account(remembered)
        if row is None:
            return None
        self._memory.saw_account(row, epoch)
        return self._account(row)

    async def create_account(  # noqa: PLR0913 -- an account is that much, and each part is named
        self,
        *,
        name: str,
        provider: str,
        client: str,
        destination: Destination,
        identity: Identity | None,
        asked_scope: tuple[str, ...],
        resource: str | None,
        state: State,
        grant: Grant | None,
        now: float,
        renewal: Renewal = BY_REFRESH_TOKEN,
    ) -> Account:
        """Make an account, with what its login brought.

        Args:
            name: must be free.
            provider: name of a stored provider.
            client: uuid of a stored client, or empty for a token that needs none.
            destination: where the account's secrets may go from now on.
            identity: who it is, where known.
            asked_scope: what the login asked for.
            resource: the RFC 8707 resource, or None.
            state: the first state.
            grant: the tokens, or None while there are none.
            now: epoch seconds.
            renewal: how it gets its next token.

        Raises:
            Conflict: the name is taken.
            UnknownProvider: the provider is not stored.
            Locked: there is no key to seal with.
        """
        owner = str(uuid.uuid4())

        def work(tx: Connection) -> Account:
            if tx.execute(select(t.account.c.uuid).where(t.account.c.name == name)).first():
                raise Conflict(f"There is an account '{name}' already.", "Choose another name, or log in to that one.")
            if not tx.execute(select(t.provider.c.name).where(t.provider.c.name == provider)).first():
                raise UnknownProvider(f"There is no provider '{provider}'.", "See: keyfob provider list")
            values = state_columns(state) | identity_columns(identity) | renewal_columns(renewal)
            tx.execute(
                insert(t.account).values(
                    uuid=owner,
                    name=name,
                    provider=provider,
                    client=client or None,
                    issuer=destination.issuer,
                    token_endpoint=destination.token_endpoint,
                    client_id=destination.client_id,
                    binding=b"",
                    version=1,
                    generation=0 if grant is None else 1,
                    asked_scope=list(asked_scope),
                    scope=[],
                    resource=resource,
                    created_at=now,
                    logged_in_at=now if grant is not None else None,
                    **values,
                )
            )
            self._date(tx, owner, *DATED)
            if grant is not None:
                if grant.refresh_token is not None:
                    self._count(tx)
                stowed = self._stow(tx, owner, client, destination, 1, grant)
                tx.execute(update(t.account).where(t.account.c.uuid == owner).values(**stowed))
            bind(tx, self._vault.sealer, t.account, owner)
            return self._present(tx, owner)

        return await self._db.write(work)

    async def access_token(self, account: Account) -> Secret | None:
        """Return the access token that ``account`` describes, or None where the account has moved on or has none.

        Raises:
            Locked: there is no key.
            StoreUnavailable: it does not open: somebody changed it or where it belongs.
        """
        return await self._secret(account, "access_token")

    async def id_token(self, account: Account) -> Secret | None:
        """Return the newest ID token, or None. Raises like :meth:`access_token`."""
        return await self._secret(account, "id_token")

    async def refresh_token(self, account: Account) -> Secret | None:
        """Return the refresh token to send next, or None. Raises like :meth:`access_token`."""
        return await self._secret(account, "refresh_token")

    async def rename_account(self, account: Account, new_name: str) -> Account:
        """Give the account another name; grants of apps, logins under way and remembered refusals go with it.

        The version stays: a refresh under way must still find its account when the rotated token arrives.

        Raises:
            Conflict: the name is taken.
            UnknownAccount: the account is gone.
            Locked: there is no key to authenticate the name with.
            SecretChanged: the account was changed behind Keyfob's back.
        """

        def work(tx: Connection) -> Account:
            taken = tx.execute(select(t.account.c.uuid).where(t.account.c.name == new_name)).scalar_one_or_none()
            if taken not in (None, account.uuid):
                raise Conflict(f"There is an account '{new_name}' already.", "Choose another name.")
            row = find(tx, account.uuid)
            if row is None:
                return self._present(tx, account.uuid)
            self._check(self._account(row))
            tx.execute(update(t.account).where(t.account.c.uuid == account.uuid).values(name=new_name))
            bind(tx, self._vault.sealer, t.account, account.uuid)
            naming.follow(tx, self._vault, row, new_name)
            after_commit(tx, self._memory.apps_changed)  # their grants tell accounts by name
            return self._present(tx, account.uuid)

        return await self._db.write(work)

    async def set_api_base(self, account: Account, api_base: str) -> Account:
        """Write down where the account's API is; empty for where preset or resource say. The version stays, as above.

        Raises:
            UnknownAccount: the account is gone.
            Locked: there is no key to authenticate it with.
            SecretChanged: the account was changed behind Keyfob's back.
        """

        def work(tx: Connection) -> Account:
            row = find(tx, account.uuid)
            if row is not None:
                self._check(self._account(row))
                tx.execute(update(t.account).where(t.account.c.uuid == account.uuid).values(api_base=api_base or None))
                bind(tx, self._vault.sealer, t.account, account.uuid)
            return self._present(tx, account.uuid)

        return await self._db.write(work)

    async def delete_account(self, account: Account) -> None:
        """Delete the account, its secrets, their key, its intents and grants, from the write-ahead log too.

        Where a foreign reader keeps the log busy, it is emptied at a later :meth:`Store.ping` or at the end.
        """

        def work(tx: Connection) -> None:
            self._vault.forget(tx, account.uuid)
            tx.execute(delete(t.account).where(t.account.c.uuid == account.uuid))
            after_commit(tx, lambda: self._memory.account_gone(account.uuid))

        await self._db.write(work)
        await self._db.truncate()

    async def _secret(self, account: Account, kind: str) -> Secret | None:
        # Locked is said even where there is nothing to open, so that the answer does not depend on the account.
        _ = self._vault.sealer
        epoch = self._memory.epoch
        try:
            row = await self._db.read(lambda tx: held(tx, account.uuid, account.generation, kind))
        except StoreUnavailable:
            row = self._remembered(account, kind)
            if row is None:
                raise
        else:
            if row is not None and kind != "refresh_token":  # none is sent without a word in the database
                self._memory.saw_secret(account.uuid, kind, row, epoch)
        return self._held_token(account, row, kind)

    def _held_token(self, account: Account, row: Row | None, kind: str) -> Secret | None:
        """Open what :func:`held` found. Raises like :meth:`access_token`."""
        _ = self._vault.sealer
        return None if row is None or row["held"] is None else self._opened(account, row, kind, row["held"])

    def _remembered(self, account: Account, kind: str) -> Row | None:
        row = self._memory.account(account.uuid)
        if row is None or row["generation"] != account.generation:
            return None
        return self._memory.secret(account.uuid, kind, row[IN_FORCE[kind].name])

    def _account(self, row: Row) -> Account:
        """Read an account, and look whether its row is as it was written."""
        return account_of(row, proven=self._is_proven(row))

    def _is_proven(self, row: Row) -> bool | None:
        """Whether an account's row is as it was written; None where nobody can tell, without a key."""
        if not self._vault.holds_key:
            return None
        proven = self._vault.proves(row["binding"], lambda sealer: of_account(sealer, row))
        if not proven:
            self._vault.suspect(f"account '{row['name']}'")
        return proven

    def _check(self, account: Account) -> None:
        """Refuse to use the secrets of an account that is not known to be as it was written.

        Raises:
            Locked: it was read without the key.
            SecretChanged: it was changed behind Keyfob's back.
        """
        if account.proven is None:
            _ = self._vault.sealer
            raise Locked("Keyfob was locked when that was looked up.", "Ask again.")
        if not account.proven:
            raise self._vault.suspect(f"account '{account.name}'")

    def _opened(self, account: Account, row: Row, kind: str, generation: int) -> Secret:
        self._check(account)
        return self._vault.open(
            row,
            owner=account.uuid,
            kind=kind,
            generation=generation,
            destination=account.destination,
            client=row["client"] or "",
            whose=f"account '{account.name}'",
        )

    def _present(self, tx: Connection, owner: str) -> Account:
        """Return the account as this transaction leaves it."""
        row = find(tx, owner)
        if row is None:
            raise UnknownAccount("The account has been deleted meanwhile.", "See: keyfob accounts")
        return self._left(tx, row)

    def _left(self, tx: Connection, row: Row) -> Account:
        """Return the account of a row that this transaction leaves so."""
        after_commit(tx, lambda: self._memory.account_changed(row))
        return self._account(row)

    def _stow(
        self,
        tx: Connection,
        owner: str,
        client: str,
        destination: Destination,
        generation: int,
        grant: Grant,
        *,
        held: int | None = None,
    ) -> dict[str, Any]:
        """Seal all that ``grant`` holds under ``generation``, drop what it replaces; return the columns to set.

        The refresh token that it replaces stays: ``refreshes`` decides for how long. The one that is ``held`` already
        under that generation is the one of the grant, taken from the answer when that was kept. The kept answer goes.
        """
        columns = token_columns(grant.token) | {"last_refresh_at": grant.token.issued_at}
        parts = {"access_token": grant.access_token, "id_token": grant.id_token, "refresh_token": grant.refresh_token}
        if held == generation:
            del parts["refresh_token"]
        values = {kind: value for kind, value in parts.items() if value is not None}
        where: dict[str, Any] = {"owner": owner, "destination": destination, "client": client}
        alone = (*(kind for kind in HANDED_OUT if kind in values), ANSWER)
        for kind, sealed in self._vault.put_all(tx, values, generation=generation, alone=alone, **where).items():
            columns[IN_FORCE[kind].name] = generation
            if kind in HANDED_OUT:
                known = {**sealed, "client": client, "held": generation}
                after_commit(tx, partial(self._memory.secret_changed, owner, kind, known))
        if grant.refresh_token is not None or grant.refresh_expires_at is not None:
            columns["refresh_expires_at"] = grant.refresh_expires_at
        return columns
