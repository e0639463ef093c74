"""How the master key is opened, closed, and opened again while the daemon runs.

Part of ``Store``. Exactly the configured source is asked, and a key is made for a new database only.
"""

import asyncio
import logging
from abc import abstractmethod

from sqlalchemy import Connection, insert, select, update

from broker.core.secret import Secret
from broker.errors import Locked, TooManyRequests
from broker.store import passphrase as phrases
from broker.store import tables as t
from broker.store.engine import Database
from broker.store.keys import KeySource, PassphraseKey
from broker.store.migrate import RESTORE
from broker.store.passphrase import Derivation
from broker.store.seal import Broken, Record, Sealer, is_key_of, new_record, open_record
from broker.store.shelf import Shelf
from broker.store.vault import Vault

log = logging.getLogger(__name__)

OTHER_KEY = "The key is not the one that this database was sealed with."
OTHER_KEY_HINT = "Put back the key that belongs to it; a new key cannot open old secrets."
NO_RECORD = "The database has secrets, but no record of their master key."
CHANGED = "The record of the master key was changed outside Keyfob."
ASK_PERSON = "Set KEYFOB_KEY_SOURCE to passphrase and restart the daemon."


class Locking(Shelf):
    """The part of ``Store`` for the key.

    Attributes:
        key: where the key comes from.
        instance_id: tells this database from any other; empty while the first key is missing.
    """

    key: KeySource
    instance_id: str

    @property
    def key_name(self) -> str:
        """The kind of the key source."""
        return self.key.name

    @property
    def locked(self) -> str:
        """Why nothing is handed out; empty while all is open."""
        return self._vault.locked

    @property
    def locked_hint(self) -> str:
        """What to do about it; empty while it is not locked."""
        hint = self._vault.hint
        return hint if not hint or "keyfob " in hint else f"{hint} Then: keyfob unlock"

    @property
    def holds_key(self) -> bool:
        """Whether secrets can be opened: also for a while after :meth:`lock`, for what is in the air."""
        return self._vault.holds_key

    @property
    def wants_passphrase(self) -> bool:
        """Whether it takes a person's passphrase to unlock."""
        return isinstance(self.key, PassphraseKey)

    @property
    def is_new(self) -> bool:
        """Whether no key has been made yet: then the first passphrase is the one that counts from then on."""
        return not self.instance_id

    def lock(self, why: str) -> None:
        """Hand out nothing from now on. The key is kept until :meth:`drop_key`, so that answers can still be sealed."""
        self._vault.lock(why, phrases.UNLOCK)

    def drop_key(self) -> None:
        """Forget the key and everything that was kept in clear. Answers that wait stay in the emergency journal."""
        self._vault.drop_key()
        self._saved = []
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    async def unlock(self, passphrase: Secret | None, now: float) -> None:
        """Ask the key source again, or make the key of a passphrase; on a new database that sets the passphrase.

        Args:
            passphrase: for the source that is one; None for all others.
            now: epoch seconds.

        Raises:
            Locked: the key is not at hand, or is another; a wrong passphrase is counted first.
            TooManyRequests: wrong passphrases came before, and their wait is not over.
            InvalidRequest: a first passphrase is too short.
            StoreUnavailable: that cannot be looked at, or a try not be counted.
        """
        async with self._turn:
            if not self.locked:
                return
            if self.wants_passphrase:
                sealer = await self._by_passphrase(passphrase or Secret(""), now)
            else:
                sealer = await self._by_source(now)
            kept = self._vault.holds_key
            self._vault.unlock(sealer)
            if not kept:
                await self._awaken()

    async def _by_source(self, now: float) -> Sealer:
        record = await self._db.read(record_of)
        if record is None:
            record, vault = await begin(self._db, self.key, now)
            self.instance_id = record.instance_id if record is not None else ""
        else:
            vault = await open_by(self.key, record)
        return vault.sealer

    async def _by_passphrase(self, passphrase: Secret, now: float) -> Sealer:
        record = await self._db.read(record_of)
        if record is None:
            phrases.check_new(passphrase)
            await refuse_orphans(self._db)
            derivation = Derivation.fresh()
            kek = await asyncio.to_thread(derivation.key, passphrase)
            record = new_record(kek, derivation.written())
            await write_first(self._db, record, now)
            self.instance_id = record.instance_id
            return open_record(kek, record)
        if record.kdf is None:
            raise Locked(*_of_another_source())
        derivation = Derivation.read(record.kdf)
        # Counted before it is tried: whoever kills the daemon in between gains no try.
        failures = await self._count_try(now)
        kek = await asyncio.to_thread(derivation.key, passphrase)
        try:
            sealer = open_record(kek, record) if is_key_of(kek, record) else None
        except Broken as exc:
            raise Locked(CHANGED, RESTORE) from exc
        if sealer is None:
            wait = phrases.delay(failures, now, now)
            hint = "Look at the keyboard's layout and at Caps Lock."
            raise Locked("That is not the passphrase.", hint, retry_after=wait)
        await self._db.write(lambda tx: tx.execute(update(t.instance).values(unlock_failures=0, unlock_failed_at=0.0)))
        return sealer

    async def _count_try(self, now: float) -> int:
        """Count a try as a wrong one until it has proved right; return how many there are in a row now."""

        def work(tx: Connection) -> int:
            row = tx.execute(select(t.instance.c.unlock_failures, t.instance.c.unlock_failed_at)).one()
            wait = phrases.delay(row.unlock_failures, row.unlock_failed_at, now)
            if wait > 0:
                raise TooManyRequests(
                    "Wrong passphrases came before, so this one was not looked at.",
                    "Wait that long; a restart of the daemon does not shorten it.",
                    retry_after=wait,
                )
            failures: int = row.unlock_failures + 1
            tx.execute(update(t.instance).values(unlock_failures=failures, unlock_failed_at=now))
            return failures

        return await self._db.write(work)

    @abstractmethod
    async def _awaken(self) -> None:
        """Do what a start does as soon as it has the key."""


def record_of(tx: Connection) -> Record | None:
    """Return the instance record, or None where there has never been a key."""
    row = tx.execute(select(t.instance)).one_or_none()
    return None if row is None else Record(row.instance_id, row.key_id, row.master_generation, row.master, row.kdf)


async def refuse_orphans(database: Database) -> None:
    """Refuse a new key where there are secrets under an old one.

    Raises:
        Locked: there are.
    """
    if await database.read(lambda tx: tx.execute(select(t.data_key.c.owner).limit(1)).first()):
        raise Locked(NO_RECORD, RESTORE)


async def write_first(database: Database, record: Record, now: float) -> None:
    """Give a new database its instance record."""
    await database.write(
        lambda tx: tx.execute(
            insert(t.instance).values(
                id=1,
                instance_id=record.instance_id,
                key_id=record.key_id,
                master_generation=record.generation,
                master=record.master,
                created_at=now,
                kdf=record.kdf,
            )
        )
    )


async def begin(database: Database, key: KeySource, now: float) -> tuple[Record | None, Vault]:
    """Give a new database its first key, making it if the source can and has none."""
    try:
        await refuse_orphans(database)
        record = new_record(kek := await asyncio.to_thread(_first, key))
    except Locked as exc:
        return None, Vault(None, exc.detail, exc.hint)
    await write_first(database, record, now)
    return record, Vault(open_record(kek, record))


async def open_by(key: KeySource, record: Record) -> Vault:
    """Open the master key, or say why it stays closed. Never makes a key: there is data under another one."""
    if isinstance(key, PassphraseKey):
        return Vault(None, *((phrases.WAITS, phrases.UNLOCK) if record.kdf is not None else _of_another_source()))
    if record.kdf is not None:
        return Vault(None, "This database is opened by a passphrase.", ASK_PERSON)
    try:
        kek = await asyncio.to_thread(_fitting, key, record)
    except Broken:
        return Vault(None, CHANGED, RESTORE)
    except Locked as exc:
        return Vault(None, exc.detail, exc.hint)
    if kek is None:
        return Vault(None, OTHER_KEY, OTHER_KEY_HINT)
    try:
        return Vault(open_record(kek, record))
    except Broken:
        return Vault(None, CHANGED, RESTORE)


def _first(key: KeySource) -> bytes:
    if isinstance(key, PassphraseKey):
        raise Locked(phrases.UNSET, phrases.SET)
    if key.can_create():
        key.create()
    return key.load()


def _fitting(key: KeySource, record: Record) -> bytes | None:
    """Return the source's key for this record; also one that a rotation left behind when it was cut short.

    Raises:
        Locked: the source has none at all.
    """
    missing: Locked | None = None
    try:
        if is_key_of(found := key.load(), record):
            return found
    except Locked as exc:
        missing = exc
    for other in key.others():
        if is_key_of(other, record):
            try:
                key.settle(other)
            except Locked as exc:
                log.warning("the new key is in use, but is not where it belongs yet: %s", exc)
            return other
    if missing is not None:
        raise missing
    return None


def _of_another_source() -> tuple[str, str]:
    return (
        "This database is not opened by a passphrase: its key comes from elsewhere.",
        "Set KEYFOB_KEY_SOURCE back and restart the daemon; then, if you like: keyfob key rotate --to passphrase",
    )
