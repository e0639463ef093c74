"""A statement that goes past SQLAlchemy's own way of running it means the same."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Table, insert, select

from broker.core import account as core
from broker.core.account import Account
from broker.core.secret import Secret
from broker.errors import StoreUnavailable
from broker.store import tables as t
from broker.store.prepared import Prepared
from broker.store.store import Store
from tests.store.made import NOW, grant, opened, with_account

TABLES = (t.account, t.client, t.provider, t.secret, t.data_key)


def both_ways(tx: Connection, table: Table) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Read a table as SQLAlchemy does, and past it."""
    query = select(table)
    return [dict(row) for row in tx.execute(query).mappings()], Prepared(query).rows(tx)


def test_a_row_is_the_same_whichever_way_it_is_read(tmp_path: Path) -> None:
    """Lists, truth values, bytes and nothing at all come out as they do there."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await with_account(store, secret="client-secret")
            for table in TABLES:
                usual, short = await store._db.read(partial(both_ways, table=table))  # noqa: SLF001 -- the layer below
                assert usual
                assert short == usual
                assert [*map(type, short[0].values())] == [*map(type, usual[0].values())]

    asyncio.run(story())


def test_a_row_is_the_same_whichever_way_it_is_written(tmp_path: Path) -> None:
    """What goes in is converted as there; a column without a value gets what the schema says."""
    usual: dict[str, Any] = {
        "name": "a",
        "preset": "x",
        "base_url": "",
        "overrides": {"scopes": ["read"]},
        "discovered": {},
    }
    usual |= {"private": True, "created_at": 1, "binding": b"\x00"}

    def work(tx: Connection) -> list[tuple[Any, ...]]:
        tx.execute(insert(t.provider), usual)
        Prepared(insert(t.provider)).run_each(tx, [usual | {"name": "b"}])
        driver = tx.connection.driver_connection
        assert driver is not None
        columns = "preset, base_url, overrides, discovered, private, created_at, binding, discovered_at"
        found: list[tuple[Any, ...]] = driver.execute(f"SELECT {columns} FROM provider").fetchall()  # noqa: S608 -- ours
        return found

    async def story() -> None:
        async with opened(tmp_path) as store:
            first, second = await store._db.write(work)  # noqa: SLF001 -- the layer below
            assert first == second
            assert first[-1] == 0.0

    asyncio.run(story())


def test_what_cannot_be_run_is_a_refusal(tmp_path: Path) -> None:
    """SQLite's refusal is told in its words; several rows where there can be one are none that Keyfob wrote."""

    def twice(tx: Connection) -> None:
        values = {"owner": "x", "generation": 1, "wrapped": b""}
        Prepared(insert(t.data_key)).run_each(tx, [values, values])

    async def story() -> None:
        async with opened(tmp_path) as store:
            await with_account(store, secret="client-secret")
            with pytest.raises(StoreUnavailable, match="UNIQUE"):
                await store._db.write(twice)  # noqa: SLF001 -- the layer below
            with pytest.raises(StoreUnavailable, match="cannot be read"):
                await store._db.read(Prepared(select(t.secret)).row)  # noqa: SLF001 -- as above

    asyncio.run(story())


def test_what_a_write_leaves_is_what_is_read_afterwards(tmp_path: Path) -> None:
    """Each step of a refresh returns the account as it stands in the database then."""

    async def same(store: Store, told: Account | None) -> Account:
        assert told is not None
        assert told == await store.account_by_uuid(told.uuid)
        return told

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await same(store, await with_account(store))
            begun = await same(store, await store.begin_refresh(account, NOW + 5))
            kept = await same(store, await store.keep_answer(begun, Secret("{}"), Secret("refresh-2")))
            brought = grant("2", refresh="refresh-2", id_token="id-2", at=NOW + 5)
            await same(store, await store.swap(core.refreshed(kept, NOW + 6), grant=brought))

    asyncio.run(story())
