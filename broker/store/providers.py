"""Configured providers, and the OAuth clients that Keyfob is at them.

Part of ``Store``.
"""

import json
import uuid
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Connection, bindparam, delete, or_, select
from sqlalchemy.dialects.sqlite import insert as upsert

from broker.core.account import Destination
from broker.core.login import BY_KEY, Client, Management, Registered
from broker.core.secret import Secret
from broker.errors import Conflict, UnknownProvider
from broker.providers.model import ProviderConfig
from broker.store import readable
from broker.store import tables as t
from broker.store.bindings import bind, config_of, of_client, of_provider, plain
from broker.store.memory import Row
from broker.store.prepared import Prepared
from broker.store.shelf import Shelf
from broker.store.vault import SEALED, Vault

SECRET = "client_secret"  # noqa: S105 -- the name of a kind
KEY = "client_key"
REGISTRATION = "registration"
GENERATION = 1  # a client has one secret at a time; what it replaces is deleted

_CALLED = Prepared(select(t.provider).where(t.provider.c.name == bindparam("name")))


def _kind(auth_method: str) -> str:
    """Return what a client's proof is called: a key never opens as a secret, which would be sent as it is."""
    return KEY if auth_method == BY_KEY else SECRET


def client_of(row: Row) -> Client:
    """Read a client from its row."""
    return Client(
        uuid=row["uuid"],
        provider=row["provider"],
        client_id=row["client_id"],
        auth_method=row["auth_method"],
        origin=row["origin"],
        has_secret=row["has_secret"],
        created_at=row["created_at"],
        redirect_uris=tuple(row["redirect_uris"] or ()),
        scope=tuple(row["scope"] or ()),
        secret_expires_at=row["secret_expires_at"],
        registration_uri=row["registration_uri"] or "",
    )


def sealed_client(tx: Connection, client: str) -> Row | None:
    """Return a client's row with its secret or private key, or None where there is no such client."""
    return _PROVED.row(tx, {"client": client})


def opened_client(vault: Vault, row: Row) -> tuple[Client, Secret | None]:
    """Return a client and its secret or private key.

    Raises:
        Locked: it has a secret and there is no key.
        StoreUnavailable: its row or its secret was changed behind Keyfob's back.
    """
    _check(vault, row)
    found = client_of(row)
    if not found.has_secret:
        return found, None
    secret = vault.open(
        row,
        owner=found.uuid,
        kind=_kind(found.auth_method),
        generation=GENERATION,
        destination=Destination(row["issuer"], row["token_endpoint"], row["client_id"]),
        client=found.uuid,
        whose=f"client '{found.client_id}'",
    )
    return found, secret


def _check(vault: Vault, row: Row) -> None:
    """Refuse a client that is not as it was written; without a key nobody can tell, and nothing is sent.

    Raises:
        SecretChanged: with which one it is.
    """
    if vault.holds_key and not vault.proves(row["binding"], lambda sealer: of_client(sealer, row)):
        raise vault.suspect(f"client '{row['client_id']}'")


def _waits_at(provider: str) -> Any:  # noqa: ANN401 -- SQLAlchemy's own
    return (t.client.c.provider == provider) & (t.client.c.client_id == "")


def _with_secret(*kinds: str) -> Prepared:
    """Build the query for a client's row with the one secret of some kinds, where it has one."""
    of_client = (t.secret.c.owner == t.client.c.uuid) & or_(*(t.secret.c.kind == kind for kind in kinds))
    joined = t.client.outerjoin(t.secret, of_client).outerjoin(t.data_key, t.data_key.c.owner == t.client.c.uuid)
    return Prepared(select(t.client, *SEALED).select_from(joined).where(t.client.c.uuid == bindparam("client")))


_PROVED = _with_secret(SECRET, KEY)
_MANAGED = _with_secret(REGISTRATION)


class Providers(Shelf):
    """The part of ``Store`` for providers and clients."""

    async def providers(self) -> list[ProviderConfig]:
        """Return all configured providers by name, without those of which something stored cannot be read."""
        query = select(t.provider).order_by(t.provider.c.name)
        rows = await self._db.read(lambda tx: readable.mappings(tx, query, t.provider))
        tables = ("overrides", "discovered")
        return [config_of(row) for row in rows if all(isinstance(row[name], dict) for name in tables)]

    async def provider_names(self) -> set[str]:
        """Return the names that are taken, be the rest of the row readable or not."""
        query = select(t.provider.c.name)
        return set(await self._db.read(lambda tx: tx.execute(query).scalars().all()))

    async def provider(self, name: str) -> ProviderConfig | None:
        """Return the provider called ``name``, or None.

        Raises:
            StoreUnavailable: where it is was changed behind Keyfob's back: codes, tokens and the client secret would
                go to a stranger. While locked nothing is sent, and that cannot be told.
        """
        row = await self._db.read(lambda tx: _CALLED.row(tx, {"name": name}))
        if row is None:
            return None
        if self._vault.holds_key and not self._vault.proves(row["binding"], partial(of_provider, row=row)):
            raise self._vault.suspect(f"provider '{name}'")
        return config_of(row)

    async def put_provider(self, config: ProviderConfig) -> None:
        """Store a provider, or replace the one of the same name, which keeps its ``created_at``.

        Raises:
            Locked: there is no key to authenticate it with.
        """
        values = {
            "name": config.name,
            "preset": config.preset,
            "base_url": config.base_url,
            "overrides": plain(config.overrides),
            "discovered": plain(config.discovered),
            "private": config.private,
            "created_at": config.created_at,
            "discovered_at": config.discovered_at,
        }

        def work(tx: Connection) -> None:
            changes = {name: value for name, value in values.items() if name not in ("name", "created_at")}
            tx.execute(upsert(t.provider).values(**values).on_conflict_do_update(index_elements=["name"], set_=changes))
            bind(tx, self._vault.sealer, t.provider, config.name)

        await self._db.write(work)

    async def delete_provider(self, name: str) -> None:
        """Forget a provider, its clients with their secrets, and its logins.

        Raises:
            UnknownProvider: there is none of that name.
            Conflict: accounts use it.
        """

        def work(tx: Connection) -> None:
            users = tx.execute(
                select(t.account.c.name).where(t.account.c.provider == name).order_by(t.account.c.name)
            ).scalars()
            named = ", ".join(f"'{user}'" for user in users)
            if named:
                raise Conflict(f"Provider '{name}' is used by {named}.", "Log those accounts out first.")
            owners = [
                *tx.execute(select(t.client.c.uuid).where(t.client.c.provider == name)).scalars(),
                *tx.execute(select(t.login.c.id).where(t.login.c.provider == name)).scalars(),
            ]
            for owner in owners:
                self._vault.forget(tx, owner)
            if tx.execute(delete(t.provider).where(t.provider.c.name == name)).rowcount == 0:
                raise UnknownProvider(f"There is no provider '{name}'.", "See: keyfob provider list")

        await self._db.write(work)

    async def add_client(
        self,
        *,
        provider: str,
        client_id: str,
        secret: Secret | None,
        auth_method: str,
        origin: str,
        destination: Destination,
        now: float,
        registered: Registered | None = None,
    ) -> Client:
        """Store a client; one of the same provider and client id gets the new secret, method, destination and time.

        A key may be made before the provider has given its client an id; the first client with a key takes that one
        over, so the row that kept it goes.
        What manages its registration stays as it is unless ``registered`` brings another.

        Args:
            provider: name of a stored provider.
            client_id: as the provider knows it; empty for a key that waits for its client.
            secret: its secret or private key; None for a public client, and then what was stored before is deleted.
            auth_method: RFC 7591 2.
            origin: ``given``, ``registered``, ``preset`` or ``program``.
            destination: where the secret may go; its client id is ``client_id``, whatever it says.
            now: epoch seconds.
            registered: what the provider said when it registered or changed it, where it did.

        Raises:
            UnknownProvider: the provider is not stored.
            Locked: there is no key; a public client is refused too, because it could delete a secret unread.
        """
        _ = self._vault.sealer
        values = {
            "auth_method": auth_method,
            "origin": origin,
            "issuer": destination.issuer,
            "token_endpoint": destination.token_endpoint,
            "has_secret": secret is not None,
            "created_at": now,
            "secret_expires_at": registered.secret_expires_at if registered is not None else None,
        }
        management = registered.management if registered is not None else None
        if registered is not None:
            values |= {"redirect_uris": list(registered.redirect_uris), "scope": list(registered.scope)}
        if management is not None:
            values["registration_uri"] = management.uri

        def work(tx: Connection) -> Client:
            if not tx.execute(select(t.provider.c.name).where(t.provider.c.name == provider)).first():
                raise UnknownProvider(f"There is no provider '{provider}'.", "See: keyfob provider list")
            same = (t.client.c.provider == provider) & (t.client.c.client_id == client_id)
            before = tx.execute(select(t.client).where(same)).mappings().one_or_none()
            kept = {}
            if before is not None and not self._vault.proves(before["binding"], partial(of_client, row=before)):
                kept = dict.fromkeys(("redirect_uris", "scope", "registration_uri"))  # nothing of it can be believed
            tx.execute(
                upsert(t.client)
                .values(uuid=str(uuid.uuid4()), provider=provider, client_id=client_id, **values)
                .on_conflict_do_update(index_elements=["provider", "client_id"], set_=kept | values)
            )
            if client_id and auth_method == BY_KEY:
                self._forget_waiting(tx, provider)
            bind(tx, self._vault.sealer, t.client, str(tx.execute(select(t.client.c.uuid).where(same)).scalar_one()))
            client = client_of(tx.execute(select(t.client).where(same)).mappings().one())
            if client.registration_uri:
                self._vault.drop(tx, client.uuid, SECRET)
                self._vault.drop(tx, client.uuid, KEY)
            else:
                self._vault.forget(tx, client.uuid)
            if management is not None:
                self._keep_management(tx, client, management, destination)
            if secret is not None:
                self._vault.put(
                    tx,
                    secret,
                    owner=client.uuid,
                    kind=_kind(auth_method),
                    generation=GENERATION,
                    destination=replace(destination, client_id=client_id),
                    client=client.uuid,
                )
            return client

        return await self._db.write(work)

    async def waiting_key(self, provider: str) -> Secret | None:
        """Return the private key at ``provider`` that waits for its client, or None. Raises as :meth:`client`."""
        query = select(t.client.c.uuid).where(_waits_at(provider))

        def work(tx: Connection) -> tuple[Client, Secret | None] | None:
            uuid = tx.execute(query).scalar_one_or_none()
            row = None if uuid is None else sealed_client(tx, uuid)
            return None if row is None else opened_client(self._vault, row)

        found = await self._db.read(work)
        return None if found is None else found[1]

    def _forget_waiting(self, tx: Connection, provider: str) -> None:
        waiting = tx.execute(select(t.client.c.uuid).where(_waits_at(provider))).scalar_one_or_none()
        if waiting is not None:
            self._vault.forget(tx, waiting)
            tx.execute(delete(t.client).where(t.client.c.uuid == waiting))

    def _keep_management(self, tx: Connection, client: Client, management: Management, there: Destination) -> None:
        """Seal what manages a registration, bound to where that is: a new one takes the old one's place at once."""
        written = json.dumps({"token": management.token.reveal(), "metadata": plain(management.metadata)})
        self._vault.put(
            tx,
            Secret(written),
            owner=client.uuid,
            kind=REGISTRATION,
            generation=GENERATION,
            destination=Destination(there.issuer, management.uri, client.client_id),
            client=client.uuid,
        )

    async def management(self, uuid: str) -> Management | None:
        """Return what manages a client's registration, or None where nothing does.

        Raises:
            Locked: something does, and there is no key.
            StoreUnavailable: it, or where it may go, was changed behind Keyfob's back.
        """

        def work(tx: Connection) -> Management | None:
            row = _MANAGED.row(tx, {"client": uuid})
            if row is None or not row["registration_uri"]:
                return None
            _check(self._vault, row)
            opened = self._vault.open(
                row,
                owner=uuid,
                kind=REGISTRATION,
                generation=GENERATION,
                destination=Destination(row["issuer"], row["registration_uri"], row["client_id"]),
                client=uuid,
                whose=f"client '{row['client_id']}'",
            )
            said = json.loads(opened.reveal())
            return Management(row["registration_uri"], Secret(said["token"]), said["metadata"])

        return await self._db.read(work)

    async def expiring_clients(self) -> list[Client]:
        """Return the clients whose registration can be renewed and whose secret ends, the first to end first."""
        query = (
            select(t.client)
            .where(t.client.c.secret_expires_at.is_not(None), t.client.c.registration_uri.is_not(None))
            .order_by(t.client.c.secret_expires_at)
        )
        return [client_of(row) for row in await self._db.read(lambda tx: readable.mappings(tx, query, t.client))]

    async def clients(self, provider: str) -> list[Client]:
        """Return the clients at ``provider``, newest first."""
        query = (
            select(t.client)
            .where(t.client.c.provider == provider, t.client.c.client_id != "")
            .order_by(t.client.c.created_at.desc(), t.client.c.uuid)
        )
        return [client_of(row) for row in await self._db.read(lambda tx: readable.mappings(tx, query, t.client))]

    async def client(self, uuid: str) -> tuple[Client, Secret | None] | None:
        """Return a client and its secret or private key, or None.

        Raises:
            Locked: it has a secret and there is no key.
            StoreUnavailable: the secret, or where it may go, was changed behind Keyfob's back.
        """
        row = await self._db.read(lambda tx: sealed_client(tx, uuid))
        return None if row is None else opened_client(self._vault, row)
