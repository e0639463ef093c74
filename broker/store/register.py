"""The register: which apps there are, and in which state each of them is.

Used by ``apps``, ``rotation`` and ``findings``. Whoever can write the database file and has no key must neither give an
app a grant nor widen one, replace a key, lengthen an expiry, or put back what was taken away.

Two MACs under the master key do that:

* Each app's row has a seal over its name, the hash of its key, its expiry, its epoch, and a digest of each of its
  grants.
* The register, one row, says which apps there are and the epoch of each, with a MAC over all of it.

The epoch of the register grows with every change, and an app that is changed takes that number. So an app's row of
before does not fit to the register, and a grant that was revoked is not among the digests. A register of before, put
back together with all that fitted to it, has an epoch that is too low: the newest one stands in the daemon's memory and
in the fence beside the database. What that cannot tell: somebody who can write the fence too makes the two agree.

What is missing is not noticed and need not be: a row that is deleted only takes away. That is also how a grant is
revoked, an app removed and an account deleted while there is no key; what has gone by then is struck off as soon as
there is one (:meth:`Register.tidy`). Until then it could be put back, and nothing is handed out.

A grant that does not fit is as good as absent. An app that does not fit has nothing at all, and can only be removed.
"""

import hashlib
import hmac
import json
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from broker.store import tables as t
from broker.store.memory import Row
from broker.store.seal import Sealer

APP = t.app.c
HEAD = t.app_register.c
GRANT = t.app_grant.c
# The columns of a grant that came after schema 0008.
LATER = ("token_file", "rules", "rate_share")
# The columns that judging an app needs, for queries that join the register to it.
SEALED = (
    *(APP.name, APP.key_hash, APP.expires_at, APP.epoch, APP.listed, APP.seal),
    *(HEAD.epoch.label("head_epoch"), HEAD.apps.label("head_apps"), HEAD.mac.label("head_mac")),
)
# Apps with their grants, one row a grant and at least one an app: one statement, because all of it is judged together.
WITH_GRANTS = (
    select(
        *SEALED,
        GRANT.account,
        GRANT.scope,
        GRANT.resource,
        GRANT.mode,
        GRANT.rules,
        GRANT.rate_share,
        GRANT.expires_at.label("ends"),
        GRANT.token_file,
        t.account.c.name.label("account_name"),
    )
    .select_from(
        t.app.outerjoin(t.app_register, HEAD.id == 1)
        .outerjoin(t.app_grant, GRANT.app == APP.name)
        .outerjoin(t.account, t.account.c.uuid == GRANT.account)
    )
    .order_by(APP.name, t.account.c.name)
)


def of_head(sealer: Sealer, epoch: object, apps: object) -> bytes:
    """Return the MAC of a register."""
    return sealer.mac("apps|v1", _text([epoch, apps]))


def of_app(sealer: Sealer, row: Row) -> bytes:
    """Return the seal of an app's row."""
    return sealer.mac("app|v1", _text([row[name] for name in ("name", "key_hash", "expires_at", "epoch", "listed")]))


def digest(row: Row) -> str:
    """Return what stands in an app's row for one of its grants; its expiry is called ``ends``.

    What a later schema added is part of it where it says anything: grants of before, which say nothing, stay as sealed.
    """
    parts = [row[name] for name in ("account", "scope", "resource", "mode", "ends")]
    if later := {name: row[name] for name in LATER if row[name] is not None}:
        parts.append(later)
    return hashlib.sha256(_text(parts).encode()).hexdigest()


def is_listed(row: Row) -> bool:
    """Whether a grant, a row of :data:`WITH_GRANTS`, is one of those that the app's row lists."""
    listed = row["listed"]
    return isinstance(listed, dict) and listed.get(row["account"]) == digest(row)


def called(app: str, account: str) -> str:
    """Return what a grant is called in a message."""
    return f"a grant of app '{app}' (account '{account}')"


def fits(row: Row, sealer: Sealer, told: int) -> bool:
    """Whether an app is as it was written last.

    Args:
        row: with the columns :data:`SEALED`, all of one statement.
        sealer: the opened master key.
        told: the newest epoch that was known before the row was read.
    """
    epoch, apps = row["head_epoch"], row["head_apps"]
    return (
        _same(of_head(sealer, epoch, apps), row["head_mac"])
        and epoch >= told
        and apps.get(row["name"], 0) == row["epoch"]
        and _same(of_app(sealer, row), row["seal"])
    )


class Register:
    """The register in one transaction. What is changed here is to be saved in it.

    Attributes:
        sealer: the opened master key.
        trusted: it is as it was written last. Where it is not, it begins anew with what is changed from now on, and
            every other app stays refused.
        epoch: how far it has come.
        apps: name of an app -> the epoch of its row.
    """

    def __init__(self, tx: Connection, sealer: Sealer, told: int) -> None:
        self._tx = tx
        self.sealer = sealer
        self.epoch: int = told
        self.apps: dict[str, int] = {}
        row = tx.execute(select(t.app_register)).mappings().one_or_none()
        self.missing = row is None
        self.trusted = not told
        if row is not None:
            self.trusted = _same(of_head(sealer, row["epoch"], row["apps"]), row["mac"]) and row["epoch"] >= told
            if self.trusted:
                self.epoch, self.apps = row["epoch"], dict(row["apps"])
        self._next = self.epoch + 1

    def row(self, name: str) -> Row | None:
        """Return an app's row, or None."""
        return self._tx.execute(select(t.app).where(APP.name == name)).mappings().one_or_none()

    def knows(self, row: Row) -> bool:
        """Whether an app's row is as it was written last."""
        return self.apps.get(row["name"], 0) == row["epoch"] and _same(of_app(self.sealer, row), row["seal"])

    def put(self, name: str, listed: dict[str, str]) -> None:
        """Seal an app as this transaction has written it, with these grants and no others.

        Args:
            name: of the app.
            listed: uuid of an account -> :func:`digest` of what was granted of it.
        """
        mine = update(t.app).where(APP.name == name)
        self._tx.execute(mine.values(epoch=self._next, listed=listed))
        row = self._tx.execute(select(t.app).where(APP.name == name)).mappings().one()
        self._tx.execute(mine.values(seal=of_app(self.sealer, row)))
        self.apps[name] = self._next

    def drop(self, name: str) -> None:
        """Strike an app off."""
        self.apps.pop(name, None)

    def save(self) -> int:
        """Write it; return its new epoch."""
        self.epoch = self._next
        values = {"epoch": self.epoch, "apps": self.apps, "mac": of_head(self.sealer, self.epoch, self.apps)}
        self._tx.execute(
            upsert(t.app_register).values(id=1, **values).on_conflict_do_update(index_elements=["id"], set_=values)
        )
        return self.epoch

    def granted(self, name: str) -> dict[str, str]:
        """Return the digests of all grants that an app has now, by the account's uuid."""
        grants = self._tx.execute(
            select(t.app_grant, GRANT.expires_at.label("ends")).where(GRANT.app == name)
        ).mappings()
        return {row["account"]: digest(row) for row in grants}

    def seal_all(self) -> None:
        """Seal every app with every grant as it stands: once, for a database from before schema 0008."""
        for name in self._tx.execute(select(APP.name)).scalars().all():
            self.put(name, self.granted(name))

    def tidy(self) -> bool:
        """Strike off what has gone while there was no key; tell whether there was any."""
        if not self.trusted:
            return False
        rows = {row["name"]: row for row in self._tx.execute(select(t.app)).mappings().all()}
        changed = bool(gone := self.apps.keys() - rows.keys())
        for name in gone:
            self.drop(name)
        for row in rows.values():
            if not self.knows(row):
                continue
            here = self.granted(row["name"])
            kept = {account: known for account, known in row["listed"].items() if account in here}
            if kept != row["listed"]:
                self.put(row["name"], kept)
                changed = True
        return changed


def _same(expected: bytes, found: object) -> bool:
    return isinstance(found, bytes) and hmac.compare_digest(expected, found)


def _text(parts: list[Any]) -> str:
    # Keys in order; and of what JSON does not know (the bytes of a hash, or what somebody planted) its own text.
    return json.dumps(parts, sort_keys=True, default=repr)
