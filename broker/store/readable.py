"""Rows of which one may hold what cannot be read: that one is left out and told of, the others go on.

Used by whoever reads many rows at once, where one damaged row must not hold up everybody.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import NoneType
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Row,
    RowMapping,
    Select,
    String,
    Table,
    cast,
    literal_column,
    select,
)

from broker.core.account import Account
from broker.errors import StoreUnavailable
from broker.store import memory
from broker.store import tables as t
from broker.store.account_rows import STATES
from broker.store.engine import REFUSALS, is_refusal
from broker.store.prepared import NOTHING
from broker.store.vault import Vault

# So many rows are read and looked at in one go, in which nobody else's turn comes: a few milliseconds.
PAGE = 200
# The last second that a calendar has, and so many before the first one of 1970 as it has them too: no time is beyond.
LAST, FIRST = 253_402_300_799.0, -6e10
# What Python makes of what a column may hold. SQLite takes anything in any column, and a program that is not Keyfob may
# have written it.
_MADE: dict[type[Any], tuple[type[Any], ...]] = {
    Float: (float, int, NoneType),
    Integer: (int, NoneType),
    String: (str, NoneType),
    JSON: (list, NoneType),
}
# What SQLite computes is as good as what it is computed from, and what is no MAC fits nothing.
_OF_ACCOUNT = [
    (column.name, _MADE[type(column.type)])
    for column in t.account.c
    if column.computed is None and column is not t.account.c.binding
]


def rowid_of(table: Table) -> ColumnElement[int]:
    """Return what still tells one row from another where no value can be trusted to be text."""
    return literal_column(f"{table.name}.rowid", Integer)


def entries(
    tx: Connection, query: Select[Any], table: Table, values: Mapping[str, Any] = NOTHING
) -> Sequence[Row[Any] | int]:
    """Return what a query on a table finds, in its order; the rowid in the place of what is no text or no JSON.

    Raises:
        SQLAlchemyError: SQLite itself refused.
    """
    try:
        return tx.execute(query, values).all()
    except REFUSALS as exc:
        if is_refusal(exc):
            raise
    found: list[Row[Any] | int] = []
    rowid = rowid_of(table)
    each = query.limit(None).offset(None)
    # One such value ends the whole answer, so each row is asked for by itself.
    for row in tx.execute(query.with_only_columns(rowid, maintain_column_froms=True), values).scalars().all():
        try:
            found += tx.execute(each.where(rowid == row), values).all()
        except REFUSALS as exc:
            if is_refusal(exc):
                raise
            found.append(row)
    return found


def mappings(tx: Connection, query: Select[Any], table: Table) -> list[RowMapping]:
    """Return what a query on a table finds, without what is no text or no JSON: the look at all rows tells of that.

    Raises:
        SQLAlchemyError: SQLite itself refused.
    """
    return [entry._mapping for entry in entries(tx, query, table) if not isinstance(entry, int)]  # noqa: SLF001 -- SQLAlchemy's public name for it


def named(tx: Connection, table: Table, rowid: int, column: str) -> str:
    """Return what stands in a column that is there for its name, as far as that can be read."""
    name = select(cast(table.c[column], LargeBinary)).where(rowid_of(table) == rowid)
    return as_text(tx.execute(name).scalar_one())


def as_text(name: object) -> str:
    """Return a name as people can read it, whatever it is."""
    return bytes(name).decode(errors="backslashreplace") if isinstance(name, bytes | memoryview) else str(name)


def rows(tx: Connection, query: Select[Any], vault: Vault, values: Mapping[str, Any] = NOTHING) -> list[Row[Any]]:
    """Return what a query on accounts finds, without the rows that hold what is no text or no JSON.

    Raises:
        SQLAlchemyError: SQLite itself refused.
    """
    return [row for row in or_none(tx, query, vault, values) if row is not None]


def or_none(
    tx: Connection, query: Select[Any], vault: Vault, values: Mapping[str, Any] = NOTHING
) -> list[Row[Any] | None]:
    """Return the same with None in the place of what was left out.

    Raises:
        SQLAlchemyError: as :func:`rows`.
    """
    found: list[Row[Any] | None] = []
    for entry in entries(tx, query, t.account, values):
        if isinstance(entry, int):
            _tell(tx, entry, vault)
        found.append(None if isinstance(entry, int) else entry)
    return found


def _tell(tx: Connection, row: int, vault: Vault) -> None:
    """Report an account, unless the trouble is in what the query joined to it: that is told of when its turn comes."""
    try:
        tx.execute(select(t.account).where(rowid_of(t.account) == row)).all()
    except REFUSALS as exc:
        if is_refusal(exc):
            raise
        vault.suspect(_called(named(tx, t.account, row, "name")))


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
        if is_whole(row):
            return read(row)
    except (StoreUnavailable, TypeError):
        pass
    vault.suspect(_called(as_text(row["name"])))
    return None


def is_whole(row: memory.Row) -> bool:
    """Whether every value of an account's row is of a kind that can be reckoned with and shown."""
    for name, kinds in _OF_ACCOUNT:
        value = row[name]
        if not isinstance(value, kinds):
            return False
        if isinstance(value, float) and not FIRST <= value <= LAST:
            return False
        if isinstance(value, list) and not all(isinstance(word, str) for word in value):
            return False
    return row["state"] in STATES


def _called(name: str) -> str:
    return f"account '{name}'"
