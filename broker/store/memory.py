"""What was read last of the rows that a token is handed out by, for when the database cannot be read any more.

Used by ``accounts``, ``derived`` and ``apps``. As sealed as in the database. A change forgets what it touches before
anybody can ask again, so nothing is served from here that was revoked.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import RowMapping

from broker.core.policy import App

# As SQLAlchemy brings it, or as it was put together to be written.
Row = Mapping[str, Any] | RowMapping


# Accounts of which a token was asked for; whose was not for the longest time is forgotten first.
MOST_USED = 4096
# Accounts that were only looked at, as each refresh does: a row is remembered until its token is asked for, too.
MOST_SEEN = 256


@dataclass(slots=True)
class _Known:
    """What is remembered of an account.

    Attributes:
        row: its row.
        secrets: kind -> a sealed secret.
        derived: slot -> a narrower token.
    """

    row: Row | None = None
    secrets: dict[str, Row] = field(default_factory=dict)
    derived: dict[str, Row] = field(default_factory=dict)


class Memory:
    """The newest rows, as far as somebody asked for them, and of so many accounts at the most.

    Attributes:
        epoch: grows with each change. Whoever reads takes it before, and hands it in with what was read: what was
            overtaken by a change meanwhile is not remembered.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._used: OrderedDict[str, _Known] = OrderedDict()
        self._seen: OrderedDict[str, _Known] = OrderedDict()
        self._names: dict[str, str] = {}
        self._apps: dict[bytes, App] = {}

    def account(self, uuid: str) -> Row | None:
        """Return an account's row."""
        known = self._of(uuid)
        return None if known is None else known.row

    def account_named(self, name: str) -> Row | None:
        """Return the row of the account called so."""
        return self.account(self._names.get(name, ""))

    def secret(self, uuid: str, kind: str, generation: int) -> Row | None:
        """Return the secret of an account that was sealed under that generation."""
        known = self._of(uuid)
        row = None if known is None else known.secrets.get(kind)
        return row if row is not None and row["held"] == generation else None

    def derived(self, slot: str) -> Row | None:
        """Return the narrower token of a slot, with what opens it."""
        known = self._of(_owner(slot))
        return None if known is None else known.derived.get(slot)

    def app(self, key_hash: bytes, now: float) -> App | None:
        """Return the app whose key has that hash and has not expired."""
        app = self._apps.get(key_hash)
        return app if app is None or app.expires_at is None or app.expires_at > now else None

    def key_hashes(self) -> list[bytes]:
        """Return the hash of each key that was seen."""
        return list(self._apps)

    def saw_account(self, row: Row, epoch: int) -> None:
        """Remember an account's row."""
        if epoch != self.epoch:
            return
        if row["uuid"] not in self._used:
            self._keep(self._seen, row["uuid"], MOST_SEEN)
        self._put(row)

    def saw_secret(self, uuid: str, kind: str, row: Row, epoch: int) -> None:
        """Remember a sealed secret."""
        if epoch == self.epoch:
            self._keep(self._used, uuid, MOST_USED).secrets[kind] = row

    def saw_derived(self, row: Row, epoch: int) -> None:
        """Remember a narrower token."""
        if epoch == self.epoch:
            self._keep(self._used, _owner(row["slot"]), MOST_USED).derived[row["slot"]] = row

    def saw_app(self, app: App, epoch: int) -> None:
        """Remember an app; its key is known by its hash."""
        if epoch == self.epoch:
            self._apps[app.key_hash] = app

    def account_changed(self, row: Row) -> None:
        """An account's row is this one from now on."""
        self.epoch += 1
        if self._of(row["uuid"]) is not None:
            self._put(row)

    def secret_changed(self, uuid: str, kind: str, row: Row) -> None:
        """An account's secret is this one from now on."""
        self.epoch += 1
        if (known := self._of(uuid)) is not None:
            known.secrets[kind] = row

    def derived_changed(self, row: Row) -> None:
        """The narrower token of a slot is this one from now on."""
        self.epoch += 1
        if (known := self._of(_owner(row["slot"]))) is not None:
            known.derived[row["slot"]] = row

    def derived_gone(self, slots: Sequence[str]) -> None:
        """These narrower tokens were dropped."""
        self.epoch += 1
        for slot in slots:
            if (known := self._of(_owner(slot))) is not None:
                known.derived.pop(slot, None)

    def account_gone(self, uuid: str) -> None:
        """An account was deleted, and with it the grants of it."""
        self.epoch += 1
        self._forget(self._used.pop(uuid, None) or self._seen.pop(uuid, None))
        self._apps.clear()

    def accounts_changed(self) -> None:
        """Any account may have changed, and the lives of its narrower tokens."""
        self.epoch += 1
        self._names.clear()
        self._seen.clear()
        for known in self._used.values():
            known.row = None
            known.derived.clear()

    def forget(self) -> None:
        """Everything was sealed anew."""
        self.accounts_changed()
        self._used.clear()

    def apps_changed(self) -> None:
        """Any app or grant may have changed."""
        self.epoch += 1
        self._apps.clear()

    def _of(self, uuid: str) -> _Known | None:
        return self._used.get(uuid) or self._seen.get(uuid)

    def _keep(self, among: OrderedDict[str, _Known], uuid: str, most: int) -> _Known:
        """Return what is known of an account, as that which is among these and was asked for last."""
        known = self._used.pop(uuid, None) or self._seen.pop(uuid, None) or _Known()
        among[uuid] = known
        if len(among) > most:
            self._forget(among.popitem(last=False)[1])
        return known

    def _put(self, row: Row) -> None:
        known = self._of(row["uuid"])
        if known is None:
            return
        self._forget(known)
        known.row = row
        self._names[row["name"]] = row["uuid"]

    def _forget(self, known: _Known | None) -> None:
        """Forget the name that an account was found by, unless another one is called so by now."""
        if known is not None and known.row is not None and self._names.get(known.row["name"]) == known.row["uuid"]:
            del self._names[known.row["name"]]


def _owner(slot: str) -> str:
    """Return the account whose narrower token has that slot."""
    return slot.partition("/")[0]
