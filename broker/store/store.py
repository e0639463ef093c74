"""The one door to what Keyfob remembers.

Opened by ``daemon``; called by ``usecases``. Every method is one transaction: durable when it returns, undone when it
raises. What SQLite refuses leaves as ``StoreUnavailable``.
"""

import asyncio
import logging
from functools import partial
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, func, make_url, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import ArgumentError

from broker.errors import CannotStart, StoreUnavailable
from broker.store import journal
from broker.store import tables as t
from broker.store.apps import AppRow, Apps
from broker.store.audit import MOST_ENTRIES, Audit, AuditEntry, Noted
from broker.store.bindings import bind_once
from broker.store.copies import back_up
from broker.store.due import Due
from broker.store.engine import Database
from broker.store.fence import Fence, why_copied
from broker.store.files import private_directory
from broker.store.findings import Findings
from broker.store.journal import Journal
from broker.store.keys import KeySource
from broker.store.locking import begin, open_by, record_of
from broker.store.logins import Logins, TakenLogin
from broker.store.memory import Memory
from broker.store.migrate import prepare
from broker.store.providers import Providers
from broker.store.ranking import Order, Ranking
from broker.store.refreshes import Refreshes
from broker.store.refusals import Refusal, Refusals
from broker.store.rotation import Rotated, Rotation
from broker.store.seal import Broken
from broker.store.shelf import Saved
from broker.store.tally import Count, Place
from broker.store.times import Times
from broker.store.transactions import after_commit
from broker.store.vault import Vault
from broker.store.verify import Break, Verdict

log = logging.getLogger(__name__)

__all__ = [
    "AppRow",
    "AuditEntry",
    "Break",
    "Count",
    "Mark",
    "Noted",
    "Order",
    "Refusal",
    "Rotated",
    "Store",
    "TakenLogin",
    "Verdict",
]


# Equal to another one only while nothing has changed; of no other use.
Mark = tuple[int, int]

# Where copies are that the owner makes on the web page.
BACKUPS = "backups"


def database_path(url: str) -> Path:
    """Return the file that a database URL names.

    Raises:
        CannotStart: it is not the URL of a SQLite file.
    """
    hint = "Set KEYFOB_DATABASE_URL to something like sqlite:////home/me/keyfob.db"
    try:
        parsed = make_url(url)
    except ArgumentError as exc:
        raise CannotStart("The database URL cannot be understood.", hint) from exc
    name = parsed.database or ""
    if parsed.get_backend_name() != "sqlite" or parsed.query or name in ("", ":memory:") or name.startswith("file:"):
        raise CannotStart("The database URL does not name a SQLite file.", hint)
    return Path(name)


class Store(Due, Ranking, Refreshes, Providers, Logins, Apps, Refusals, Audit, Times, Findings, Rotation):
    """Accounts, providers, clients, logins, apps and the record, in one SQLite file.

    Attributes:
        copied: why this is not the database that was last in use here; empty where it is. Then the refresh tokens in
            it may have been spent, so what may be done with them is to be settled before :meth:`adopt`.
    """

    def __init__(self, database: Database, vault: Vault, key: KeySource, instance_id: str) -> None:
        self._db = database
        self._vault = vault
        self._memory = Memory()
        self._dated = {}
        self._proven = {}
        self._place = Place()
        self._saved = []
        self._most_entries = MOST_ENTRIES
        self._at_journal = asyncio.Lock()
        self._turn = asyncio.Lock()
        self._sweeping = asyncio.Lock()
        self.key = key
        self.instance_id = instance_id
        self.copied = ""

    @classmethod
    async def open(cls, url: str, *, key: KeySource, now: float, most_entries: int = MOST_ENTRIES) -> Self:
        """Open the database: make or migrate it, and open its master key.

        A key is made only for a database that has never had one. A missing or wrong key leaves the store locked.

        Args:
            url: ``sqlite:///path``.
            key: where the key comes from.
            now: epoch seconds.
            most_entries: how many entries of the audit are kept; the oldest are pruned.

        Raises:
            CannotStart: the database is no Keyfob database, damaged, newer than this program, or cannot be used.
        """
        path = database_path(url)
        await asyncio.to_thread(prepare, path, now)
        database = Database(path)
        try:
            record = await database.read(record_of)
            if record is None:
                record, vault = await begin(database, key, now)
            else:
                vault = await open_by(key, record)
            store = cls(database, vault, key, record.instance_id if record else "")
            store._most_entries = most_entries
            if record is not None:
                try:
                    await store._look_at_fence()
                except BaseException:
                    store._let_go()
                    raise
        except StoreUnavailable as exc:
            await database.dispose()
            raise CannotStart(exc.detail, exc.hint) from exc
        except BaseException:
            await database.dispose()
            raise
        return store

    async def adopt(self) -> None:
        """Make this database the one in use here: it and its fence get a new line, which no other copy continues.

        The fence comes first. Whatever ends between the two leaves a database that is a copy still.

        Raises:
            CannotStart: the fence cannot be written.
            StoreUnavailable: the database cannot.
        """
        _, sequence, number, epoch = await self._db.read(_position)
        fence = await asyncio.to_thread(partial(Fence.build, self._db.path, sequence, audit=number, apps=epoch))
        try:
            await self._db.write(lambda tx: tx.execute(update(t.instance).values(line=fence.line)))
        except BaseException:
            fence.close()
            raise
        if self._fence is not None:
            self._fence.close()
        self._fence, self.copied, self._register_told = fence, "", epoch
        await asyncio.to_thread(self._take_journal)
        await self._settle_seals()

    async def _awaken(self) -> None:
        if self._fence is None:
            await self._look_at_fence()
        else:
            await asyncio.to_thread(self._take_journal)
            await self._settle_seals()

    async def _look_at_fence(self) -> None:
        line, sequence, *_ = await self._db.read(_position)
        self.copied = await asyncio.to_thread(why_copied, self._db.path, line, sequence)
        if self.copied:
            await self._settle_seals(providers=line is None)
        elif line is None and not self.locked:
            # The first look after the first schema: what that did not authenticate is taken as it stands, once.
            await self._settle_seals(providers=True)
            await self.adopt()
        elif line is None:
            return  # nothing can be sent, so nothing can be spent; whoever unlocks looks again
        else:
            self._fence = await asyncio.to_thread(Fence.take, self._db.path, line, sequence)
            self._told, self._register_told = self._fence.audit, self._fence.apps
            await asyncio.to_thread(self._take_journal)
            await self._settle_seals()

    async def _settle_seals(self, *, providers: bool = False) -> None:
        """Authenticate once what is from before schema 0008, or strike off what went while there was no key.

        Once: not where the fence knows of a register already, nor under a master key that was made since. So to take
        all MACs away, and to call the schema an older one, brings nobody a second time.

        Args:
            providers: the schema was the first one, which did not authenticate providers either.
        """
        if self.locked:
            return  # whoever unlocks comes here
        sealer = self._vault.sealer
        first = sealer.early and (self._fence is None or not self._fence.apps)

        def work(tx: Connection) -> None:
            here = self._register(tx)
            if first and here.missing:
                bind_once(tx, sealer, providers=providers)
                here.seal_all()
                here.save()
            elif here.tidy():
                here.save()
            if here.trusted:
                after_commit(tx, lambda: self._registered(here.epoch))

        try:
            await self._db.write(work)
        except StoreUnavailable as exc:
            if first:
                raise
            log.warning("the register of apps could not be tidied up: %s", exc)

    def _take_journal(self) -> None:
        """Open the emergency journal and read what is left in it. What does not open is kept aside, not lost.

        What opens stays where it is until the database has it (:meth:`recover`), whatever happens meanwhile.
        """
        if self.locked or self._fence is None:
            return
        if self._journal is not None:
            self._journal.close()
        path = journal.beside(self._db.path)
        self._journal = Journal.open(path)
        saved, unread = {}, []
        for blob in self._journal.entries:
            try:
                saved[blob] = Saved.read(self._vault.sealer.open_entry(blob, self._fence.line))
            except Broken as exc:
                log.warning("an entry of the emergency journal cannot be read: %s", exc)
                unread.append(blob)
        self._saved = list(saved.values())
        if not unread:
            return
        try:
            log.warning("what cannot be read of the emergency journal is kept as %s", journal.keep_aside(path, unread))
            if not saved:
                self._journal.erase()
        except OSError as exc:
            # On a full disk, say. The next start tries again; what is there to be recovered does not depend on it.
            log.warning("what cannot be read of the emergency journal stays in it for now: %s", exc.strerror)

    async def close(self) -> None:
        """Finish what is under way, empty the write-ahead log and close the file.

        Raises:
            StoreUnavailable: the log could not be emptied; it is complete, and the next start reads it.
        """
        await self._end_look()
        try:
            await self._db.close()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._fence is not None:
            self._fence.close()
        if self._journal is not None:
            self._journal.close()

    async def back_up(self, name: str) -> Path:
        """Copy the whole database, while it is in use, into the folder for that beside it; return where the copy is.

        Raises:
            InvalidRequest: there is a file of that name.
            CannotStart, StoreUnavailable: the folder or the disk is not well.
        """

        def work() -> Path:
            file = private_directory(self._db.path.parent / BACKUPS) / name
            back_up(self._db.path, file)
            return file

        return await asyncio.to_thread(work)

    def mark(self) -> Mark | None:
        """Return what tells whether anything changed, here or in the database; None where nobody can tell.

        While two marks are equal, whatever was read before the first is as it would be read after the second; but for
        an account that was refreshed, or is about to be: see :meth:`touched`.
        """
        changes = self._db.changes.mark()
        return None if changes is None else (self._vault.turn, changes)

    def new_mark(self) -> Mark | None:
        """Return :meth:`mark`, to be compared with later ones."""
        changes = self._db.changes.new_mark()
        return None if changes is None else (self._vault.turn, changes)

    @property
    def moment(self) -> int:
        """A number that grows with each change of a single account here, which leaves the mark as it is."""
        return self._db.changes.moment

    def touched(self, account: str) -> int:
        """Return what :attr:`moment` became by the last such change of an account, by its uuid."""
        return self._db.changes.touched(account)

    async def last_seen(self) -> float:
        """Return when the daemon last ran, as far as it wrote that down; epoch seconds, 0 where it never did."""

        def work(tx: Connection) -> float:
            pulse = tx.execute(select(func.max(t.pulse.c.at))).scalar_one() or 0.0
            # The pulse is written when somebody asks how the daemon is; a refresh is proof of life as well.
            return max(pulse, tx.execute(select(func.max(t.account.c.last_refresh_at))).scalar_one() or 0.0)

        return await self._db.read(work)

    async def ping(self, now: float) -> None:
        """Write and read back, as anything else would have to.

        Raises:
            StoreUnavailable: that does not work now.
        """
        statement = upsert(t.pulse).values(id=1, at=now).on_conflict_do_update(index_elements=["id"], set_={"at": now})
        await self._db.write(lambda tx: tx.execute(statement), harmless=True)
        seen = await self._db.read(lambda tx: tx.execute(select(t.pulse.c.at)).scalar_one())
        if seen != now:
            raise StoreUnavailable("The database does not keep what is written to it.", "Look at its disk.")
        if self._db.truncate_due:
            await self._db.truncate()


def _position(tx: Connection) -> tuple[str | None, int, int, int]:
    """Return the database's line, how far it has come, how far its audit, and how far its register of apps."""
    row = tx.execute(select(t.instance.c.line, t.instance.c.sequence)).one()
    number = tx.execute(select(t.audit_head.c.last)).scalar_one_or_none() or 0
    epoch = tx.execute(select(t.app_register.c.epoch)).scalar_one_or_none() or 0
    return row.line, row.sequence, number, epoch
