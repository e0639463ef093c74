"""What is stored and is not as Keyfob wrote it: found by looking at every row that has a MAC.

Part of ``Store``; asked at the start, after an unlock, and by whoever wants to know how the daemon is.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Select, Table, select

from broker.errors import StoreUnavailable
from broker.store import readable, register
from broker.store import tables as t
from broker.store.bindings import CALLED, MACS, NAMED, living
from broker.store.memory import Row
from broker.store.shelf import Shelf

# So many rows are looked at in one go: a few milliseconds, in which who asks for a token waits.
PAGE = 200


@dataclass(frozen=True, slots=True)
class Loose:
    """A row whose MAC does not fit, or that nobody can read: where it is, and what people call it."""

    table: Table
    rowid: int
    called: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """What was found when all rows were looked at.

    Attributes:
        version: tells whether somebody else has written to the database since; see :meth:`Findings._version`.
        loose: the rows that did not fit.
    """

    version: object
    loose: tuple[Loose, ...]


class Findings(Shelf):
    """The part of ``Store`` that looks for what was changed outside Keyfob."""

    _swept: Sweep | None = None
    _looking: asyncio.Task[list[str]] | None = None

    async def changed_outside(self, pause: float = 0.0) -> list[str]:
        """Return what was changed, as people call it; nothing while there is no key to tell with.

        All rows are looked at once, and again when another program has written to the database. What Keyfob itself
        writes fits; and whatever is used is looked at when it is.

        Args:
            pause: seconds to leave to others after each few rows.

        Raises:
            StoreUnavailable: that cannot be read.
        """
        if not self._vault.holds_key:
            return []
        async with self._sweeping:
            swept = await self._sweep(pause)
        told = self._register_told
        found = [one.called for one in swept.loose]
        found += await self._db.read(lambda tx: [*self._listed_apps(tx, told)])
        for whose in found:
            self._vault.suspect(whose)
        return found

    async def changed_so_far(self, patience: float) -> list[str]:
        """Return the same, as far as it is known in time: to look at very many rows takes seconds, and goes on then.

        Args:
            patience: how many seconds to wait at the most.

        Raises:
            StoreUnavailable: that cannot be read.
        """
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self.changed_outside())
        looking = self._looking
        await asyncio.wait([looking], timeout=patience)
        if looking.done() and not looking.cancelled():
            return looking.result()
        return [one.called for one in self._swept.loose] if self._swept is not None else []

    async def _end_look(self) -> None:
        """Wait for no look any more."""
        if self._looking is not None and not self._looking.done():
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _sweep(self, pause: float) -> Sweep:
        """Look at what has to be looked at."""
        version, before = await self._version(), self._swept
        if before is not None and version is not None and before.version == version:
            loose = await self._db.read(lambda tx: [*self._still_loose(tx, before.loose)])
        else:
            loose = []
            for table in MACS:
                last: int | None = 0
                while last is not None:
                    found, last = await self._db.read(partial(self._look_at, table=table, after=last))
                    loose += found
                    await asyncio.sleep(pause)
        self._swept = Sweep(version, tuple(loose))
        return self._swept

    async def _version(self) -> object:
        """Return what is another one after each commit of another connection than our writer's, and with another key.

        None where nobody can tell now.
        """

        def work(tx: Connection) -> object:
            return tx.connection.driver_connection, tx.exec_driver_sql("PRAGMA data_version").scalar_one()

        try:
            return self._vault.turn, await self._db.write(work, harmless=True)
        except StoreUnavailable:
            return None

    def newly_changed(self) -> list[str]:
        """Return what was found changed since the last call, whoever came upon it."""
        return self._vault.newly_suspect()

    def _look_at(self, tx: Connection, *, table: Table, after: int) -> tuple[list[Loose], int | None]:
        """Return which of the next rows do not fit, and the rowid of the last one; None where there are no more."""
        rowid = readable.rowid_of(table)
        query = self._rows_of(table).where(rowid > after).order_by(rowid).limit(PAGE)
        ids, loose = self._judged(tx, table, query)
        return loose, ids[-1] if len(ids) == PAGE else None

    def _still_loose(self, tx: Connection, before: Sequence[Loose]) -> Iterator[Loose]:
        for one in before:
            query = self._rows_of(one.table).where(readable.rowid_of(one.table) == one.rowid)
            yield from self._judged(tx, one.table, query)[1]

    @staticmethod
    def _rows_of(table: Table) -> Select[Any]:
        return select(readable.rowid_of(table).label("rowid"), table).where(living(table))

    def _judged(self, tx: Connection, table: Table, query: Select[Any]) -> tuple[list[int], list[Loose]]:
        """Return the rowids that a query finds, and what of it does not fit or cannot be read."""
        ids, loose = list[int](), list[Loose]()
        for entry in readable.entries(tx, query, table):
            if isinstance(entry, int):
                ids.append(entry)
                values = {column: readable.named(tx, table, entry, column) for column in NAMED[table]}
                loose.append(Loose(table, entry, CALLED[table](values)))
                continue
            row = {**entry._mapping}  # noqa: SLF001 -- SQLAlchemy's public name for it
            ids.append(row.pop("rowid"))
            if not self._is_bound(table, row):
                loose.append(Loose(table, ids[-1], CALLED[table](row)))
        return ids, loose

    def _is_bound(self, table: Table, row: Row) -> bool:
        whole = table is not t.account or readable.is_whole(row)
        return whole and self._vault.proves(row["binding"], lambda sealer: MACS[table](sealer, row))

    def _listed_apps(self, tx: Connection, told: int) -> Iterator[str]:
        """Yield the apps that do not fit, and of the others the grants that nobody granted."""
        found = readable.entries(tx, register.WITH_GRANTS, t.app)
        bad = [entry for entry in found if isinstance(entry, int)]
        yield from sorted({f"app '{readable.named(tx, t.app, rowid, 'name')}'" for rowid in bad})
        rows = [entry._mapping for entry in found if not isinstance(entry, int)]  # noqa: SLF001 -- as above
        for name, grants in groupby(rows, key=itemgetter("name")):
            first, *more = grants
            if not self._vault.fits(partial(register.fits, first, told=told)):
                yield f"app '{name}'"
                continue
            for grant in (first, *more):
                if grant["account_name"] is not None and not register.is_listed(grant):
                    yield register.called(name, grant["account_name"])
