"""Apps: programs with a key of their own, and what each may have.

Part of ``Store``. Of a key only its hash is known here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.engine import RowMapping

from broker import challenge
from broker.core.policy import App, AppGrant
from broker.errors import Conflict, StoreUnavailable, UnknownApp
from broker.store import tables as t
from broker.store.accounts import uuid_of
from broker.store.engine import after_commit
from broker.store.shelf import Shelf


@dataclass(frozen=True, slots=True)
class AppRow:
    """An app as people see it.

    Attributes:
        name: unique.
        grants: what it may have, by account.
        created_at: epoch seconds.
        last_used_at: when a token was last handed to it, or None.
        expires_at: when its key stops working, or None.
    """

    name: str
    grants: tuple[AppGrant, ...]
    created_at: float
    last_used_at: float | None
    expires_at: float | None


_GRANTS = (
    select(
        t.app_grant.c.app,
        t.account.c.name,
        t.app_grant.c.scope,
        t.app_grant.c.resource,
        t.app_grant.c.mode,
        t.app_grant.c.expires_at,
    )
    .join(t.account, t.account.c.uuid == t.app_grant.c.account)
    .order_by(t.account.c.name)
)


def _grants(rows: Iterable[RowMapping], app: str) -> tuple[AppGrant, ...]:
    return tuple(
        AppGrant(row["name"], tuple(row["scope"]), row["resource"], row["mode"], row["expires_at"])
        for row in rows
        if row["app"] == app
    )


def _put_grant(tx: Connection, app: str, grant: AppGrant) -> None:
    values = {
        "scope": list(grant.scope),
        "resource": grant.resource,
        "mode": grant.mode,
        "expires_at": grant.expires_at,
    }
    tx.execute(
        upsert(t.app_grant)
        .values(app=app, account=uuid_of(tx, grant.account), **values)
        .on_conflict_do_update(index_elements=["app", "account"], set_=values)
    )


def _known(tx: Connection, name: str) -> None:
    if not tx.execute(select(t.app.c.name).where(t.app.c.name == name)).first():
        raise UnknownApp(f"There is no app '{name}'.", "See: keyfob app list")


class Apps(Shelf):
    """The part of ``Store`` for apps."""

    async def add_app(
        self, name: str, key_hash: bytes, grants: Sequence[AppGrant], expires_at: float | None, now: float
    ) -> None:
        """Store a new app.

        Args:
            name: must be free.
            key_hash: hash of its key.
            grants: what it may have; the accounts must exist.
            expires_at: when the key stops working, epoch seconds, or None.
            now: epoch seconds.

        Raises:
            Conflict: the name is taken.
            UnknownAccount: a grant names an account that does not exist.
        """

        def work(tx: Connection) -> None:
            if tx.execute(select(t.app.c.name).where(t.app.c.name == name)).first():
                raise Conflict(f"There is an app '{name}' already.", "Choose another name, or rotate its key.")
            tx.execute(insert(t.app).values(name=name, key_hash=key_hash, created_at=now, expires_at=expires_at))
            for grant in grants:
                _put_grant(tx, name, grant)

        await self._change(work)

    async def apps(self) -> list[AppRow]:
        """Return all apps by name."""
        return await self._rows(None)

    async def app(self, name: str) -> AppRow | None:
        """Return the app called ``name``, or None."""
        return next(iter(await self._rows(name)), None)

    async def app_by_key(self, key_hash: bytes, now: float) -> App | None:
        """Return the app whose key has that hash, or None where there is none or its key has expired.

        While nothing can be read, from memory.
        """
        epoch = self._memory.epoch

        def work(tx: Connection) -> App | None:
            row = tx.execute(select(t.app.c.name, t.app.c.expires_at).where(t.app.c.key_hash == key_hash)).one_or_none()
            if row is None or (row.expires_at is not None and row.expires_at <= now):
                return None
            grants = tx.execute(_GRANTS.where(t.app_grant.c.app == row.name)).mappings()
            app = App(row.name, _grants(grants, row.name), key_hash)
            self._memory.saw_app(app, row.expires_at, epoch)
            return app

        try:
            return await self._db.read(work)
        except StoreUnavailable:
            if (app := self._memory.app(key_hash, now)) is not None:
                return app
            raise

    async def app_by_key_id(self, key_id: str, now: float) -> App | None:
        """Return the app whose key has that public name, or None where there is none or its key has expired.

        While nothing can be read, from memory.
        """

        def work(tx: Connection) -> list[bytes]:
            return list(tx.execute(select(t.app.c.key_hash)).scalars())

        try:
            known = await self._db.read(work)
        except StoreUnavailable:
            if not (known := [found for found in self._memory.key_hashes() if challenge.key_id(found) == key_id]):
                raise
        found = next((key_hash for key_hash in known if challenge.key_id(key_hash) == key_id), None)
        return None if found is None else await self.app_by_key(found, now)

    async def rotate_app(self, name: str, key_hash: bytes) -> None:
        """Give the app another key; the old one stops working at once.

        Raises:
            UnknownApp: there is none of that name.
        """

        def work(tx: Connection) -> None:
            _known(tx, name)
            tx.execute(update(t.app).where(t.app.c.name == name).values(key_hash=key_hash))

        await self._change(work)

    async def delete_app(self, name: str) -> None:
        """Forget an app and its grants.

        Raises:
            UnknownApp: there is none of that name.
        """

        def work(tx: Connection) -> None:
            _known(tx, name)
            tx.execute(delete(t.app).where(t.app.c.name == name))

        await self._change(work)

    async def put_grant(self, app: str, grant: AppGrant) -> None:
        """Let the app have what ``grant`` says of its account, in the place of what it had of it.

        Raises:
            UnknownApp: there is no such app.
            UnknownAccount: there is no such account.
        """

        def work(tx: Connection) -> None:
            _known(tx, app)
            _put_grant(tx, app, grant)

        await self._change(work)

    async def delete_grant(self, app: str, account: str) -> None:
        """Let the app have nothing of the account any more; no error where it had nothing.

        Raises:
            UnknownApp: there is no such app.
            UnknownAccount: there is no such account.
        """

        def work(tx: Connection) -> None:
            _known(tx, app)
            owner = uuid_of(tx, account)
            tx.execute(delete(t.app_grant).where(t.app_grant.c.app == app, t.app_grant.c.account == owner))

        await self._change(work)

    async def _change(self, work: Callable[[Connection], None]) -> None:
        def changing(tx: Connection) -> None:
            after_commit(tx, self._memory.apps_changed)
            work(tx)

        await self._db.write(changing)

    async def _rows(self, name: str | None) -> list[AppRow]:
        query = select(t.app).order_by(t.app.c.name)
        if name is not None:
            query = query.where(t.app.c.name == name)

        def work(tx: Connection) -> list[AppRow]:
            grants = tx.execute(_GRANTS).mappings().all()
            return [
                AppRow(row.name, _grants(grants, row.name), row.created_at, row.last_used_at, row.expires_at)
                for row in tx.execute(query)
            ]

        return await self._db.read(work)
