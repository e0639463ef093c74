"""A key in the desktop's keyring: GNOME Keyring, KWallet or KeePassXC, by the freedesktop Secret Service over D-Bus.

One of the sources of ``keys``. Needs the extra ``keyfob[secret-service]`` (secretstorage, which brings jeepney). Any
program of the session may read an unlocked keyring, so this guards a disk, not against programs of the same user.
"""

import contextlib
import functools
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from broker.errors import Locked
from broker.store.seal import KEY_BYTES

if TYPE_CHECKING:
    from secretstorage import Collection, Item

APPLICATION = {"application": "keyfob"}
# Seconds for one call: a keyring answers in milliseconds, and one that hangs must not hold the daemon's start for ever.
PATIENCE = 10.0
IN_USE, NEXT = "in use", "next"
WHERE = "The key of Keyfob in the keyring"
UNLOCK = "Log in to the desktop, or unlock the keyring in its own program."


class SecretServiceKey:
    """A key in the default collection of the Secret Service, in an item that names the database.

    Args:
        database: the file; the keys of several databases stay apart.
    """

    name = "secret-service"

    def __init__(self, database: Path) -> None:
        self._database = str(database.absolute())

    def load(self) -> bytes:
        """Read the item. Nobody is prompted: a daemon has no business on the screen."""
        with _keyring() as collection:
            found = self._item(collection, IN_USE)
            if found is None:
                raise Locked(
                    f"The keyring has no key for the database {self._database}.",
                    "Unlock the keyring that has it, or put the item back: its attributes are application=keyfob "
                    f"and database={self._database}.",
                )
            return _key_in(found)

    def others(self) -> list[bytes]:
        """Return the key that a rotation left beside it, and those of databases elsewhere: this one may have moved."""
        with contextlib.suppress(Locked), _keyring() as collection:
            return [key for item in collection.search_items(APPLICATION) if (key := _key_or_none(item)) is not None]
        return []

    def can_create(self) -> bool:
        """Whether the keyring is open and has no key for this database."""
        with _keyring() as collection:
            return self._item(collection, IN_USE) is None

    def create(self) -> None:
        """Put a fresh key into the keyring."""
        with _keyring() as collection:
            self._put(collection, IN_USE, secrets.token_bytes(KEY_BYTES))

    def stage(self) -> bytes:
        """Put a new key beside the present one, and return it."""
        with _keyring() as collection:
            self._put(collection, NEXT, key := secrets.token_bytes(KEY_BYTES))
            return key

    def settle(self, key: bytes) -> None:
        """Make it the one in use, and remove the one that was beside it."""
        with _keyring() as collection:
            known = self._item(collection, IN_USE)
            if known is None or _key_or_none(known) != key:
                self._put(collection, IN_USE, key)
            if (beside := self._item(collection, NEXT)) is not None:
                beside.delete()

    def _attributes(self, state: str) -> dict[str, str]:
        return {**APPLICATION, "database": self._database, "state": state}

    def _item(self, collection: "Collection", state: str) -> "Item | None":
        return next(iter(collection.search_items(self._attributes(state))), None)

    def _put(self, collection: "Collection", state: str, key: bytes) -> None:
        label = f"Keyfob key for {self._database}" + (" (new)" if state == NEXT else "")
        collection.create_item(label, self._attributes(state), key.hex().encode(), replace=True)


@contextlib.contextmanager
def _keyring() -> Iterator["Collection"]:
    """Open the default collection for one block, and say in our own words what is wrong with it.

    Raises:
        Locked: there is none, it is locked, or it does not answer.
    """
    try:
        import secretstorage  # noqa: PLC0415 -- an optional extra, and only for who configured it
        from jeepney.wrappers import DBusErrorResponse  # noqa: PLC0415 -- comes with it
    except ImportError as exc:
        raise Locked(
            "The key source is the Secret Service, and the package for it is not installed.",
            "Install secretstorage beside Keyfob; with pipx: pipx inject keyfob secretstorage.",
        ) from exc
    try:
        with contextlib.closing(secretstorage.dbus_init()) as connection:
            # Every call of the library goes through here, and none has a deadline of its own.
            patient = functools.partial(connection.send_and_get_reply, timeout=PATIENCE)
            connection.send_and_get_reply = patient
            collection = secretstorage.get_collection_by_alias(connection, "default")
            if collection.is_locked():
                raise Locked("The desktop's keyring is locked.", UNLOCK)
            yield collection
    except secretstorage.ItemNotFoundException as exc:
        raise Locked("The Secret Service has no default keyring.", "Make one in the keyring's own program.") from exc
    except secretstorage.LockedException as exc:
        raise Locked("The desktop's keyring is locked.", UNLOCK) from exc
    except (secretstorage.SecretStorageException, DBusErrorResponse, OSError) as exc:
        raise Locked(
            "No Secret Service answers on the session bus.",
            "Start Keyfob inside the desktop's session, where DBUS_SESSION_BUS_ADDRESS is set and a keyring runs.",
        ) from exc


def _key_in(item: "Item") -> bytes:
    from broker.store.keys import parse_key  # noqa: PLC0415 -- the sources import each other

    return parse_key(item.get_secret(), WHERE)


def _key_or_none(item: "Item") -> bytes | None:
    with contextlib.suppress(Locked):
        return _key_in(item)
    return None
