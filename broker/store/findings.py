"""What is stored and is not as Keyfob wrote it: found by looking at every row that has a MAC.

Part of ``Store``; asked at the start, after an unlock, and by whoever wants to know how the daemon is.
"""

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from operator import itemgetter

from sqlalchemy import Connection, Table, select
from sqlalchemy.engine import RowMapping

from broker.store import register
from broker.store.bindings import CALLED, MACS, living
from broker.store.shelf import Shelf


class Findings(Shelf):
    """The part of ``Store`` that looks for what was changed outside Keyfob."""

    async def changed_outside(self) -> list[str]:
        """Return what was changed, as people call it; nothing while there is no key to tell with.

        Raises:
            StoreUnavailable: that cannot be read.
        """
        if not self._vault.holds_key:
            return []
        told = self._register_told
        found = await self._db.read(lambda tx: [*self._bound(tx), *self._listed_apps(tx, told)])
        for whose in found:
            self._vault.suspect(whose)
        return found

    def newly_changed(self) -> list[str]:
        """Return what was found changed since the last call, whoever came upon it."""
        return self._vault.newly_suspect()

    def _bound(self, tx: Connection) -> Iterator[str]:
        """Yield the accounts, clients, providers and living logins whose MAC does not fit."""
        for table in MACS:
            rows = tx.execute(select(table).where(living(table))).mappings()
            yield from sorted(CALLED[table](row) for row in rows if not self._is_bound(table, row))

    def _is_bound(self, table: Table, row: RowMapping) -> bool:
        return self._vault.proves(row["binding"], lambda sealer: MACS[table](sealer, row))

    def _listed_apps(self, tx: Connection, told: int) -> Iterator[str]:
        """Yield the apps that do not fit, and of the others the grants that nobody granted."""
        rows = tx.execute(register.WITH_GRANTS).mappings().all()
        for name, grants in groupby(rows, key=itemgetter("name")):
            first, *more = grants
            if not self._vault.fits(partial(register.fits, first, told=told)):
                yield f"app '{name}'"
                continue
            for grant in (first, *more):
                if grant["account_name"] is not None and not register.is_listed(grant):
                    yield register.called(name, grant["account_name"])
