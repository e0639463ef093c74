"""Rows of accounts of which one may hold what cannot be read: that one is left out and told of, the others go on.

Used by ``listing``, ``due`` and ``refreshes``, where one damaged row must not hold up everybody.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, LargeBinary, Row, Select, cast, literal_column, select

from broker.core.account import Account
from broker.errors import StoreUnavailable
from broker.store import memory
from broker.store import tables as t
from broker.store.engine import REFUSALS, is_refusal
from broker.store.prepared import NOTHING
from broker.store.vault import Vault

# So many rows are read and looked at in one go, in which nobody else's turn comes: a few milliseconds.
PAGE = 200
# What still tells one row from another where no value can be trusted to be text.
_rowid: ColumnElement[int] = literal_column("account.rowid", Integer)


def rows(tx: Connection, query: Select[Any], vault: Vault, values: Mapping[str, Any] = NOTHING) -> Sequence[Row[Any]]:
    """Return what a query on accounts finds, without the rows that hold what is no text or no JSON.

    Raises:
        SQLAlchemyError: SQLite itself refused.
    """
    try:
        return tx.execute(query, values).all()
    except REFUSALS as exc:
        if is_refusal(exc):
            raise
    found: list[Row[Any]] = []
    # One such value ends the whole answer, so each row is asked for by itself.
    for row in tx.execute(query.with_only_columns(_rowid, maintain_column_froms=True), values).scalars().all():
        try:
            found += tx.execute(query.where(_rowid == row), values).all()
        except REFUSALS as exc:
            if is_refusal(exc):
                raise
            _tell(tx, row, vault)
    return found


def _tell(tx: Connection, row: int, vault: Vault) -> None:
    """Report an account, unless the trouble is in what the query joined to it: that is told of when its turn comes."""
    try:
        tx.execute(select(t.account).where(_rowid == row)).all()
    except REFUSALS as exc:
        if is_refusal(exc):
            raise
        name = tx.execute(select(cast(t.account.c.name, LargeBinary)).where(_rowid == row)).scalar_one()
        vault.suspect(_called(bytes(name).decode(errors="backslashreplace")))


async def accounts(
    found: Sequence[Row[Any]], read: Callable[[memory.Row], Account], vault: Vault
) -> AsyncIterator[tuple[Account, memory.Row]]:
    """Yield the accounts of rows, each with its row, without those that make none; nobody else is held up for long."""
    for place, row in enumerate(found, start=1):
        account = one(row._mapping, read, vault)  # noqa: SLF001 -- SQLAlchemy's public name for it
        if account is not None:
            yield account, row._mapping  # noqa: SLF001 -- as above
        if place % PAGE == 0:
            await asyncio.sleep(0)


def one(row: memory.Row, read: Callable[[memory.Row], Account], vault: Vault) -> Account | None:
    """Return the account of a row; None where its values make none, such as a state that there is not."""
    try:
        return read(row)
    except (StoreUnavailable, TypeError):
        vault.suspect(_called(row["name"]))
        return None


def _called(name: str) -> str:
    return f"account '{name}'"
