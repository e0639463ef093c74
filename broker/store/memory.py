"""What was read last of the rows that a token is handed out by, for when the database cannot be read any more.

Used by ``accounts``, ``derived`` and ``apps``. As sealed as in the database. A change forgets what it touches before
anybody can ask again, so nothing is served from here that was revoked.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.engine import RowMapping

from broker.core.policy import App

# As SQLAlchemy brings it, or as it was put together to be written.
Row = Mapping[str, Any] | RowMapping


class Memory:
    """The newest rows, as far as somebody asked for them.

    Attributes:
        epoch: grows with each change. Whoever reads takes it before, and hands it in with what was read: what was
            overtaken by a change meanwhile is not remembered.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._accounts: dict[str, Row] = {}
        self._names: dict[str, str] = {}
        self._secrets: dict[tuple[str, str], Row] = {}
        self._derived: dict[str, Row] = {}
        self._apps: dict[bytes, App] = {}

    def account(self, uuid: str) -> Row | None:
        """Return an account's row."""
        return self._accounts.get(uuid)

    def account_named(self, name: str) -> Row | None:
        """Return the row of the account called so."""
        return self._accounts.get(self._names.get(name, ""))

    def secret(self, uuid: str, kind: str, generation: int) -> Row | None:
        """Return the secret of an account that was sealed under that generation."""
        row = self._secrets.get((uuid, kind))
        return row if row is not None and row["held"] == generation else None

    def derived(self, slot: str) -> Row | None:
        """Return the narrower token of a slot, with what opens it."""
        return self._derived.get(slot)

    def app(self, key_hash: bytes, now: float) -> App | None:
        """Return the app whose key has that hash and has not expired."""
        app = self._apps.get(key_hash)
        return app if app is None or app.expires_at is None or app.expires_at > now else None

    def key_hashes(self) -> list[bytes]:
        """Return the hash of each key that was seen."""
        return list(self._apps)

    def saw_account(self, row: Row, epoch: int) -> None:
        """Remember an account's row."""
        if epoch == self.epoch:
            self._put(row)

    def saw_secret(self, uuid: str, kind: str, row: Row, epoch: int) -> None:
        """Remember a sealed secret."""
        if epoch == self.epoch:
            self._secrets[uuid, kind] = row

    def saw_derived(self, row: Row, epoch: int) -> None:
        """Remember a narrower token."""
        if epoch == self.epoch:
            self._derived[row["slot"]] = row

    def saw_app(self, app: App, epoch: int) -> None:
        """Remember an app; its key is known by its hash."""
        if epoch == self.epoch:
            self._apps[app.key_hash] = app

    def account_changed(self, row: Row) -> None:
        """An account's row is this one from now on."""
        self.epoch += 1
        before = self._accounts.get(row["uuid"])
        if before is not None and before["name"] != row["name"]:
            del self._names[before["name"]]
        self._put(row)

    def secret_changed(self, uuid: str, kind: str, row: Row) -> None:
        """An account's secret is this one from now on."""
        self.epoch += 1
        self._secrets[uuid, kind] = row

    def derived_changed(self, row: Row) -> None:
        """The narrower token of a slot is this one from now on."""
        self.epoch += 1
        self._derived[row["slot"]] = row

    def derived_gone(self, slots: Sequence[str]) -> None:
        """These narrower tokens were dropped."""
        self.epoch += 1
        for slot in slots:
            self._derived.pop(slot, None)

    def account_gone(self, uuid: str) -> None:
        """An account was deleted, and with it the grants of it."""
        self.epoch += 1
        row = self._accounts.pop(uuid, None)
        if row is not None:
            self._names.pop(row["name"], None)
        for key in [key for key in self._secrets if key[0] == uuid]:
            del self._secrets[key]
        for slot in [slot for slot, kept in self._derived.items() if kept["account"] == uuid]:
            del self._derived[slot]
        self._apps.clear()

    def accounts_changed(self) -> None:
        """Any account may have changed, and the lives of its narrower tokens."""
        self.epoch += 1
        self._accounts.clear()
        self._names.clear()
        self._derived.clear()

    def forget(self) -> None:
        """Everything was sealed anew."""
        self.accounts_changed()
        self._secrets.clear()

    def apps_changed(self) -> None:
        """Any app or grant may have changed."""
        self.epoch += 1
        self._apps.clear()

    def _put(self, row: Row) -> None:
        self._accounts[row["uuid"]] = row
        self._names[row["name"]] = row["uuid"]
