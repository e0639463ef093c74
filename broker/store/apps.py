"""Apps: programs with a key of their own, and what each may have.

Part of ``Store``. Of a key only its hash is known here. ``register`` tells whether an app is as it was written.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.engine import RowMapping

from broker import challenge
from broker.core.policy import App, AppGrant
from broker.errors import Conflict, SecretChanged, StoreUnavailable, UnknownApp
from broker.store import register
from broker.store import tables as t
from broker.store.accounts import uuid_of
from broker.store.memory import Row
from broker.store.register import Register
from broker.store.shelf import Shelf
from broker.store.transactions import after_commit


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
        t.account.c.uuid,
        t.account.c.name,
        t.app_grant.c.scope,
        t.app_grant.c.resource,
        t.app_grant.c.mode,
        t.app_grant.c.expires_at,
        t.app_grant.c.rules,
        t.app_grant.c.rate_share,
        t.app_grant.c.token_file,
    )
    .join(t.account, t.account.c.uuid == t.app_grant.c.account)
    .order_by(t.account.c.name)
)


def _by_app(rows: Iterable[RowMapping]) -> dict[str, list[AppGrant]]:
    found: dict[str, list[AppGrant]] = {}
    for row in rows:
        found.setdefault(row["app"], []).append(_grant(row, row["name"], row["uuid"], row["expires_at"]))
    return found


def _grant(row: RowMapping, account: str, uuid: str, expires_at: float | None) -> AppGrant:
    return AppGrant(
        account=account,
        scope=tuple(row["scope"]),
        resource=row["resource"],
        mode=row["mode"],
        expires_at=expires_at,
        token_file=row["token_file"],
        uuid=uuid,
        rules=tuple(row["rules"] or ()),
        rate_share=row["rate_share"],
    )


_WITH_TOKEN_FILES = register.WITH_GRANTS.where(
    t.app.c.name.in_(select(t.app_grant.c.app).where(t.app_grant.c.token_file.is_not(None)))
)
_BY_KEY = register.WITH_GRANTS.where(t.app.c.key_hash == bindparam("key"))


def _put_grant(tx: Connection, app: str, grant: AppGrant) -> str:
    """Write a grant; return the uuid of its account."""
    account = uuid_of(tx, grant.account)
    values = {
        "scope": list(grant.scope),
        "resource": grant.resource,
        "mode": grant.mode,
        "expires_at": grant.expires_at,
        "rules": list(grant.rules) or None,
        "token_file": grant.token_file,
        "rate_share": grant.rate_share,
    }
    tx.execute(
        upsert(t.app_grant)
        .values(app=app, account=account, **values)
        .on_conflict_do_update(index_elements=["app", "account"], set_=values)
    )
    return account


def _again(name: str) -> str:
    return f"Remove it (keyfob app remove {name}) and add it again, or put back a backup: keyfob restore FILE"


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
            Locked: there is no key to authenticate it with.
        """

        def work(tx: Connection) -> None:
            if tx.execute(select(t.app.c.name).where(t.app.c.name == name)).first():
                raise Conflict(f"There is an app '{name}' already.", "Choose another name, or rotate its key.")
            tx.execute(delete(t.app_grant).where(t.app_grant.c.app == name))  # nobody granted that: there was no app
            tx.execute(insert(t.app).values(name=name, key_hash=key_hash, created_at=now, expires_at=expires_at))
            for grant in grants:
                _put_grant(tx, name, grant)
            here = self._register(tx)
            here.put(name, here.granted(name))
            self._save(tx, here)

        await self._change(work)

    async def apps(self) -> list[AppRow]:
        """Return all apps by name."""
        return await self._rows(None)

    async def app(self, name: str) -> AppRow | None:
        """Return the app called ``name``, or None."""
        return next(iter(await self._rows(name)), None)

    async def app_by_key(self, key_hash: bytes, now: float) -> App | None:
        """Return the app whose key has that hash, or None where there is none or its key has expired.

        While nothing can be read, from memory. A grant that was changed behind Keyfob's back is left out.

        Raises:
            Locked: there is such an app, and no key to tell whether it was changed.
            SecretChanged: it was changed behind Keyfob's back.
        """
        epoch, told = self._memory.epoch, self._register_told
        try:
            rows = await self._db.read(lambda tx: tx.execute(_BY_KEY, {"key": key_hash}).mappings().all())
        except StoreUnavailable:
            if (app := self._memory.app(key_hash, now)) is not None:
                return app
            raise
        if not rows:
            return None
        app = self._as_written(rows, told)
        if app.expires_at is not None and app.expires_at <= now:
            return None
        self._memory.saw_app(app, epoch)
        return app

    async def apps_with_token_files(self) -> list[App]:
        """Return the apps that are granted a token file, those whose key has expired among them.

        Those that were changed behind Keyfob's back are left out, and grants that were as well.

        Raises:
            Locked: there is no key to tell whether they were changed.
            StoreUnavailable: they cannot be read.
        """
        told = self._register_told
        rows = await self._db.read(lambda tx: tx.execute(_WITH_TOKEN_FILES).mappings().all())
        found = []
        for _, of_one in groupby(rows, key=itemgetter("name")):
            with contextlib.suppress(SecretChanged):  # told of by then
                found.append(self._as_written([*of_one], told))
        return found

    def _as_written(self, rows: Sequence[RowMapping], told: int) -> App:
        """Return the app of some rows of :data:`register.WITH_GRANTS`.

        Raises:
            Locked, SecretChanged: as :meth:`app_by_key`.
        """
        first = rows[0]
        if not self._vault.fits(lambda sealer: register.fits(first, sealer, told)):
            raise self._vault.suspect(f"app '{first['name']}'", _again(first["name"]))
        return App(first["name"], tuple(self._listed(rows)), first["key_hash"], first["expires_at"])

    def _listed(self, rows: Sequence[RowMapping]) -> Iterator[AppGrant]:
        """Yield an app's grants, without those that nobody granted."""
        for row in rows:
            if row["account_name"] is None:
                continue
            if register.is_listed(row):
                yield _grant(row, row["account_name"], row["account"], row["ends"])
            else:
                self._vault.suspect(register.called(row["name"], row["account_name"]))

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
            Locked: there is no key to authenticate it with.
            SecretChanged: it was changed behind Keyfob's back; nobody knows what it may have.
        """

        def work(tx: Connection) -> None:
            here, row = self._mine(tx, name)
            tx.execute(update(t.app).where(t.app.c.name == name).values(key_hash=key_hash))
            here.put(name, row["listed"])
            self._save(tx, here)

        await self._change(work)

    async def delete_app(self, name: str) -> None:
        """Forget an app and its grants. Works while locked.

        Raises:
            UnknownApp: there is none of that name.
        """

        def work(tx: Connection) -> None:
            _known(tx, name)
            tx.execute(delete(t.app).where(t.app.c.name == name))
            if self._vault.holds_key and name in (here := self._register(tx)).apps:
                here.drop(name)
                self._save(tx, here)

        await self._change(work)

    async def put_grant(self, app: str, grant: AppGrant) -> None:
        """Let the app have what ``grant`` says of its account, in the place of what it had of it.

        Raises:
            UnknownApp: there is no such app.
            UnknownAccount: there is no such account.
            Locked: there is no key to authenticate it with.
            SecretChanged: the app was changed behind Keyfob's back.
        """

        def work(tx: Connection) -> None:
            here, row = self._mine(tx, app)
            account = _put_grant(tx, app, grant)
            here.put(app, row["listed"] | {account: here.granted(app)[account]})
            self._save(tx, here)

        await self._change(work)

    async def delete_grant(self, app: str, account: str) -> None:
        """Let the app have nothing of the account any more; no error where it had nothing. Works while locked.

        Raises:
            UnknownApp: there is no such app.
            UnknownAccount: there is no such account.
        """

        def work(tx: Connection) -> None:
            _known(tx, app)
            owner = uuid_of(tx, account)
            tx.execute(delete(t.app_grant).where(t.app_grant.c.app == app, t.app_grant.c.account == owner))
            if not self._vault.holds_key:
                return  # struck off as soon as there is one
            here = self._register(tx)
            row = here.row(app)
            if row is not None and here.knows(row) and owner in row["listed"]:
                here.put(app, {account: known for account, known in row["listed"].items() if account != owner})
                self._save(tx, here)

        await self._change(work)

    def _mine(self, tx: Connection, name: str) -> tuple[Register, Row]:
        """Return the register and an app's row, which is to be changed: it has to be as it was written."""
        _known(tx, name)
        here = self._register(tx)
        row = here.row(name)
        if row is None or not here.knows(row):
            raise self._vault.suspect(f"app '{name}'", _again(name))
        return here, row

    async def _change(self, work: Callable[[Connection], None]) -> None:
        def changing(tx: Connection) -> None:
            after_commit(tx, self._memory.apps_changed)
            work(tx)

        await self._db.write(changing)

    async def grants_of(self, account_uuid: str) -> list[tuple[str, AppGrant]]:
        """Return which app may have what of an account, by app, as stored."""
        query = _GRANTS.where(t.account.c.uuid == account_uuid)
        by_app = await self._db.read(lambda tx: _by_app(tx.execute(query).mappings()))
        return [(app, grant) for app in sorted(by_app) for grant in by_app[app]]

    async def _rows(self, name: str | None) -> list[AppRow]:
        query, granted = select(t.app).order_by(t.app.c.name), _GRANTS
        if name is not None:
            query, granted = query.where(t.app.c.name == name), granted.where(t.app_grant.c.app == name)

        def work(tx: Connection) -> list[AppRow]:
            grants = _by_app(tx.execute(granted).mappings())
            return [
                AppRow(row.name, tuple(grants.get(row.name, ())), row.created_at, row.last_used_at, row.expires_at)
                for row in tx.execute(query)
            ]

        return await self._db.read(work)
