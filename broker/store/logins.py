"""Logins under way: single use, owned by the browser that opened them first.

Part of ``Store``. The OAuth state and the browser's cookie are kept as SHA-256 only; the PKCE verifier and the
authorization URL (which holds the state) are sealed.
"""

import contextlib
import hashlib
import hmac
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, case, delete, func, insert, select, update
from sqlalchemy.engine import RowMapping

from broker.core.account import Destination
from broker.core.login import Client, DevicePrompt, Login, LoginState
from broker.core.secret import Secret
from broker.errors import SecretChanged
from broker.store import readable
from broker.store import tables as t
from broker.store.bindings import bind, of_login
from broker.store.shelf import Shelf
from broker.store.vault import SEALED

VERIFIER = "verifier"
URL = "authorization_url"
CLIENT = "client"
GENERATION = 1  # a login has one of each
# How long past its time the end of a login can be asked for: longer than any program waits for it.
KEEP_ENDED = 3600.0


@dataclass(frozen=True, slots=True)
class TakenLogin:
    """A login that was taken for its only use.

    Attributes:
        login: what it was.
        verifier: the PKCE verifier, or the device code; an empty one where the flow has none.
        brought: the client that came with the login, with its secret; None where a kept one is used.
    """

    login: Login
    verifier: Secret
    brought: tuple[Client, Secret | None] | None


def _hash(secret: Secret) -> bytes:
    return hashlib.sha256(secret.reveal().encode("utf-8", "surrogatepass")).digest()


def _sealed(kind: str) -> Any:  # noqa: ANN401 -- SQLAlchemy's select
    return select(t.login, *SEALED).select_from(
        t.login.outerjoin(t.secret, and_(t.secret.c.owner == t.login.c.id, t.secret.c.kind == kind)).outerjoin(
            t.data_key, t.data_key.c.owner == t.login.c.id
        )
    )


def _readable(tx: Connection, query: Select[Any]) -> list[RowMapping]:
    """Return what a query on logins finds, without what cannot be read."""
    return [row for row in readable.mappings(tx, query, t.login) if isinstance(row["scope"], list)]


def _shown(login: Login) -> Secret:
    """Return what a person is shown, as it is sealed: the authorization URL, or of a device login all that there is."""
    return Secret(login.authorization_url if login.device is None else json.dumps(asdict(login.device)))


def _login(row: RowMapping, shown: str) -> Login:
    by_device = row["flow"] == "device"
    return Login(
        id=row["id"],
        account=row["account"],
        replaces=row["replaces"],
        provider=row["provider"],
        client=row["client"] or "",
        flow=row["flow"],
        destination=Destination(row["issuer"], row["token_endpoint"], row["client_id"]),
        redirect_uri=row["redirect_uri"],
        scope=tuple(row["scope"]),
        resource=row["resource"],
        nonce=row["nonce"],
        authorization_url="" if by_device else shown,
        state=row["state"],
        reason=row["reason"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        device=DevicePrompt(**json.loads(shown)) if by_device and shown else None,
    )


def _written(client: Client, secret: Secret | None) -> Secret:
    proof = None if secret is None else secret.reveal()
    return Secret(json.dumps({"auth_method": client.auth_method, "origin": client.origin, "secret": proof}))


def _read(row: RowMapping, sealed: Secret) -> tuple[Client, Secret | None]:
    said = json.loads(sealed.reveal())
    secret = None if said["secret"] is None else Secret(said["secret"])
    return Client(
        uuid="",
        provider=row["provider"],
        client_id=row["client_id"],
        auth_method=said["auth_method"],
        origin=said["origin"],
        has_secret=secret is not None,
        created_at=row["created_at"],
    ), secret


class Logins(Shelf):
    """The part of ``Store`` for logins."""

    async def put_login(
        self,
        login: Login,
        *,
        state: Secret,
        verifier: Secret,
        brought: tuple[Client, Secret | None] | None = None,
    ) -> None:
        """Store a new login.

        Args:
            login: what it is; its authorization URL, or the codes of a device login, are sealed.
            state: the OAuth state; empty where the flow has none. Only its SHA-256 is stored.
            verifier: the PKCE verifier or the device code, sealed; empty where the flow has none.
            brought: the client to use, sealed, where that is not a kept one.

        Raises:
            Locked: there is no key to seal with.
        """
        sealed = {VERIFIER: verifier, URL: _shown(login)}
        if brought is not None:
            sealed[CLIENT] = _written(*brought)

        def work(tx: Connection) -> None:
            there = login.destination
            # It may have got another name since the login was prepared.
            known = select(t.account.c.name).where(t.account.c.uuid == login.replaces)
            tx.execute(
                insert(t.login).values(
                    id=login.id,
                    account=tx.execute(known).scalar_one_or_none() or login.account,
                    replaces=login.replaces,
                    provider=login.provider,
                    client=login.client or None,
                    flow=login.flow,
                    issuer=there.issuer,
                    token_endpoint=there.token_endpoint,
                    client_id=there.client_id,
                    redirect_uri=login.redirect_uri,
                    scope=list(login.scope),
                    resource=login.resource,
                    nonce=login.nonce,
                    state=login.state,
                    reason=login.reason,
                    state_hash=_hash(state) if state else None,
                    taken=False,
                    created_at=login.created_at,
                    expires_at=login.expires_at,
                )
            )
            bind(tx, self._vault.sealer, t.login, login.id)
            self._date(tx, login.id, t.login.c.created_at, t.login.c.expires_at)
            for kind, value in sealed.items():
                self._vault.put(
                    tx,
                    value,
                    owner=login.id,
                    kind=kind,
                    generation=GENERATION,
                    destination=there,
                    client=login.client,
                )

        await self._db.write(work)

    async def login(self, id: str) -> Login | None:  # noqa: A002 -- the word that API and database use
        """Return a login, or None. While locked its authorization URL is empty."""
        row = await self._db.read(
            lambda tx: tx.execute(_sealed(URL).where(t.login.c.id == id)).mappings().one_or_none()
        )
        return None if row is None else self._seen(row)

    async def brought_client(self, id: str) -> tuple[Client, Secret | None] | None:  # noqa: A002 -- as above
        """Return the client that came with a login, with its secret; None where a kept one is used, or it has ended.

        Raises:
            Locked: there is no key.
            StoreUnavailable: it does not open.
        """
        query = _sealed(CLIENT).where(t.login.c.id == id)
        row = await self._db.read(lambda tx: tx.execute(query).mappings().one_or_none())
        return None if row is None or row["secret_uuid"] is None else _read(row, self._open(row, CLIENT))

    async def logins_matter_at(self) -> float:
        """Return from when on a login has to be looked at, epoch seconds; infinite where there is none.

        While one is under way that is 0; one that has ended is deleted then.
        """
        when = case((t.login.c.state == "pending", 0.0), else_=t.login.c.expires_at + KEEP_ENDED)
        first = await self._db.read(lambda tx: tx.execute(select(func.min(when))).scalar_one())
        return math.inf if first is None else float(first)

    async def logins_pending(self) -> list[Login]:
        """Return the logins that have not ended, oldest first.

        One that was changed outside Keyfob is none of them, whether or not it can still be read: it cannot be finished,
        and is in nobody's way.
        """
        query = _sealed(URL).where(t.login.c.state == "pending").order_by(t.login.c.created_at)
        found = []
        for row in await self._db.read(lambda tx: _readable(tx, query)):
            with contextlib.suppress(SecretChanged):  # which the vault remembers, and the audit tells
                found.append(self._seen(row))
        return found

    async def claim_login(self, id: str, browser: Secret) -> bool:  # noqa: A002 -- as above
        """Tie a login to the first browser that opens it (RFC 9700 4.7.1).

        Returns:
            Whether the login is this browser's: it came first, or came back. False for another one, and for a login
            that is unknown, used or over.
        """
        shown = _hash(browser)

        def work(tx: Connection) -> bool:
            mine = and_(t.login.c.id == id, t.login.c.state == "pending", t.login.c.taken.is_(False))
            tx.execute(update(t.login).where(mine, t.login.c.browser_hash.is_(None)).values(browser_hash=shown))
            owner = tx.execute(select(t.login.c.browser_hash).where(mine)).scalar_one_or_none()
            return owner is not None and hmac.compare_digest(owner, shown)

        return await self._db.write(work)

    async def opened_by(self, id: str, browser: Secret) -> bool:  # noqa: A002 -- as above
        """Tell whether ``browser`` owns a login, whatever became of it: it may be told how that went."""
        query = select(t.login.c.browser_hash).where(t.login.c.id == id)
        owner = await self._db.read(lambda tx: tx.execute(query).scalar_one_or_none())
        return owner is not None and hmac.compare_digest(owner, _hash(browser))

    async def take_login(
        self,
        *,
        state: Secret | None = None,
        id: str | None = None,  # noqa: A002 -- as above
        now: float,
    ) -> TakenLogin | None:
        """Take a login for its only use; whatever comes next, it cannot be taken again.

        Args:
            state: the OAuth state that came back, for a callback.
            id: the login's id, for a pasted answer. Where both are given, both must fit.
            now: epoch seconds.

        Returns:
            The login and its verifier, or None where nothing fits, it is used, ended or expired.

        Raises:
            Locked: there is no key; the login is not used up.
            StoreUnavailable: the verifier does not open; the login is used up.
        """
        return await self._find(state, id, now, use_up=True)

    async def waiting_login(
        self,
        *,
        id: str | None = None,  # noqa: A002 -- as above
        state: Secret | None = None,
        now: float,
    ) -> TakenLogin | None:
        """Return what :meth:`take_login` would, and leave the login as it is: a device polls many times.

        Raises:
            Locked: there is no key.
            StoreUnavailable: the device code does not open.
        """
        return await self._find(state, id, now, use_up=False)

    async def put_prompt(self, login: Login) -> None:
        """Seal anew what the person of a device login is shown; nothing happens where it has ended meanwhile.

        Raises:
            Locked: there is no key to seal with.
        """

        def work(tx: Connection) -> None:
            waits = and_(t.login.c.id == login.id, t.login.c.state == "pending", t.login.c.taken.is_(False))
            if tx.execute(select(t.login.c.id).where(waits)).first():
                self._vault.put(
                    tx,
                    _shown(login),
                    owner=login.id,
                    kind=URL,
                    generation=GENERATION,
                    destination=login.destination,
                    client=login.client,
                )

        await self._db.write(work)

    async def _find(self, state: Secret | None, id: str | None, now: float, *, use_up: bool) -> TakenLogin | None:  # noqa: A002 -- as above
        _ = self._vault.sealer
        keys = []
        if state is not None:
            keys.append(t.login.c.state_hash == _hash(state))
        if id is not None:
            keys.append(t.login.c.id == id)
        if not keys:
            return None
        live = [t.login.c.state == "pending", t.login.c.taken.is_(False), t.login.c.expires_at > now]

        def work(tx: Connection) -> tuple[RowMapping, RowMapping] | None:
            found = tx.execute(_sealed(VERIFIER).where(*keys, *live)).mappings().one_or_none()
            if found is None:
                return None
            with_client = tx.execute(_sealed(CLIENT).where(t.login.c.id == found["id"])).mappings().one_or_none()
            if with_client is None:  # it was removed between the two looks
                return None
            if use_up:
                self._use_up(tx, [found["id"]], {})
            return found, with_client

        rows = await (self._db.write(work) if use_up else self._db.read(work))
        if rows is None:
            return None
        row, with_client = rows
        brought = _read(row, self._open(with_client, CLIENT)) if with_client["secret_uuid"] is not None else None
        return TakenLogin(_login(row, ""), self._open(row, VERIFIER), brought)

    async def end_login(
        self,
        id: str,  # noqa: A002 -- as above
        *,
        state: LoginState,
        account: str,
        reason: str,
    ) -> None:
        """Record how a login ended; its secrets go. The first end stays, but "expired" may still turn out well."""
        values = {"state": state, "account": account, "reason": reason}

        def work(tx: Connection) -> None:
            open_still = and_(t.login.c.id == id, t.login.c.state.in_(("pending", "expired")))
            if tx.execute(select(t.login.c.id).where(open_still)).first():
                self._use_up(tx, [id], values)

        await self._db.write(work)

    async def expire_logins(self, now: float) -> list[Login]:
        """End the logins whose time is over, delete those an hour past it; return the newly expired."""
        pending = and_(t.login.c.state == "pending", t.login.c.expires_at <= now)
        old = and_(t.login.c.state != "pending", t.login.c.expires_at <= now - KEEP_ENDED)
        # Most calls find nothing: they should not cost a write.
        if not await self._db.read(lambda tx: tx.execute(select(t.login.c.id).where(pending | old)).first()):
            return []

        def work(tx: Connection) -> list[RowMapping]:
            ids = tx.execute(select(t.login.c.id).where(pending)).scalars().all()
            self._use_up(tx, ids, {"state": "expired", "reason": "nobody finished it in time"})
            tx.execute(delete(t.login).where(old))
            return _readable(tx, _sealed(URL).where(t.login.c.id.in_(ids)))

        return [_login(row, "") for row in await self._db.write(work)]

    def _use_up(self, tx: Connection, ids: Sequence[str], values: dict[str, Any]) -> None:
        for owner in ids:
            self._vault.forget(tx, owner)
        tx.execute(
            update(t.login).where(t.login.c.id.in_(ids)).values(state_hash=None, taken=True, binding=None, **values)
        )

    def _open(self, row: RowMapping, kind: str) -> Secret:
        if not self._vault.proves(row["binding"], lambda sealer: of_login(sealer, row)):
            raise self._vault.suspect("a login")
        return self._vault.open(
            row,
            owner=row["id"],
            kind=kind,
            generation=GENERATION,
            destination=Destination(row["issuer"], row["token_endpoint"], row["client_id"]),
            client=row["client"] or "",
            whose="a login",
        )

    def _seen(self, row: RowMapping) -> Login:
        """Read a login as it is shown: with its URL while that is of use and can be opened."""
        useful = row["state"] == "pending" and not row["taken"] and not self._vault.locked
        return _login(row, self._open(row, URL).reveal() if useful else "")
