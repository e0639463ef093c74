"""What waits to be written together is one commit, and each is told what came of its own part."""

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from broker.errors import StoreUnavailable
from broker.store.engine import Database
from broker.store.transactions import after_commit
from tests.store.made import NOW, behind, database, opened


def commits(place: Path) -> int:
    """Return how many commits the index of the write-ahead log has counted."""
    header = Path(f"{database(place)}-shm").read_bytes()
    return int.from_bytes(header[8:12], sys.byteorder)


def pulse(at: float) -> Callable[[Connection], float]:
    """Return what writes a row that everybody wants to be the only one."""

    def work(tx: Connection) -> float:
        tx.execute(text("INSERT INTO pulse VALUES (1, :at)"), {"at": at})
        return at

    return work


def grow(tx: Connection) -> float:
    """Make that row a greater one."""
    return float(tx.execute(text("UPDATE pulse SET at = at + 1 RETURNING at")).scalar_one())


async def jointly(db: Database, *works: Callable[[Connection], Any]) -> list[Any]:
    """Have these wait together for their turn, and return what each got."""
    busy = db.write(lambda _: None)
    return (await asyncio.gather(busy, *map(db.write_jointly, works), return_exceptions=True))[1:]


def test_what_is_written_jointly_is_one_commit(tmp_path: Path) -> None:
    """Whatever waits while the disk is busy is durable with one commit more, and each caller has its own answer."""

    def seen(tx: Connection) -> int:
        steps.append("")
        after_commit(tx, partial(steps.append, f"after {len(steps)}"))
        return int(tx.execute(text("UPDATE pulse SET at = at + 1 RETURNING at")).scalar_one())

    steps: list[str] = []

    async def story() -> None:
        async with opened(tmp_path) as store:
            db = store._db  # noqa: SLF001 -- the promise of the layer below
            await db.write(pulse(0.0))
            before = commits(tmp_path)
            assert await jointly(db, *[seen] * 9) == list(range(1, 10))
            assert steps == [*[""] * 9, *(f"after {number}" for number in range(1, 10))]
            assert commits(tmp_path) == before + 1

    asyncio.run(story())


def test_who_goes_away_while_many_wait_stops_none_of_them(tmp_path: Path) -> None:
    """Whoever of those that are written together is cancelled: all of them are written, before the end too."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            db = store._db  # noqa: SLF001 -- as above
            await db.write(pulse(0.0))
            for gone in (0, 1):
                busy = asyncio.create_task(db.write(lambda _: None))
                tasks = [asyncio.create_task(db.write_jointly(grow)) for _ in range(3)]
                await asyncio.sleep(0)
                tasks[gone].cancel()
                told = await asyncio.gather(busy, *tasks, return_exceptions=True)
                assert [type(one) for one in told].count(asyncio.CancelledError) == 1
            last = asyncio.create_task(db.write_jointly(grow))
            await asyncio.sleep(0)
        assert await last == 7.0
        assert behind(tmp_path, "SELECT at FROM pulse") == [(7.0,)]

    asyncio.run(story())


def test_one_of_many_that_fails_undoes_only_its_own(tmp_path: Path) -> None:
    """A joint write that raises, or that SQLite refuses, leaves nothing, follows with nothing, and harms no other."""

    def raising(tx: Connection) -> None:
        pulse(9.0)(tx)
        after_commit(tx, partial(steps.append, "raised"))
        raise LookupError("of our own")

    steps: list[str] = []

    async def story() -> None:
        async with opened(tmp_path) as store:
            works = (raising, pulse(1.0), pulse(2.0), lambda tx: tx.execute(text("UPDATE pulse SET at = at + 5")))
            raised, written, refused, _ = await jointly(store._db, *works)  # noqa: SLF001 -- as above
            assert isinstance(raised, LookupError)
            assert written == 1.0
            assert isinstance(refused, StoreUnavailable)
            assert "UNIQUE" in str(refused)
            assert behind(tmp_path, "SELECT at FROM pulse") == [(6.0,)]
            assert steps == []

    asyncio.run(story())


def test_a_commit_that_fails_fails_for_all(tmp_path: Path) -> None:
    """Where the one commit of many is refused nothing of any stays, and nobody is told that it does."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            db, steps = store._db, list[str]()  # noqa: SLF001 -- as above

            def dangling(tx: Connection) -> None:
                tx.execute(text("PRAGMA defer_foreign_keys = ON"))
                tx.execute(text("INSERT INTO refresh_intent (account, generation, started_at) VALUES ('x', 1, 1)"))

            def well(tx: Connection) -> None:
                pulse(1.0)(tx)
                after_commit(tx, partial(steps.append, "followed"))

            told = await jointly(db, well, dangling)
            assert [type(one) for one in told] == [StoreUnavailable] * 2
            assert behind(tmp_path, "SELECT * FROM pulse") == []
            assert steps == []
            await db.write_jointly(well)
            assert steps == ["followed"]

    asyncio.run(story())


def test_whoever_ends_all_that_runs_ends_no_later_write(tmp_path: Path) -> None:
    """A commit that is cancelled before it has begun is no obstacle to the next one, nor to the end."""

    async def story() -> None:
        async with opened(tmp_path):
            pass
        db = Database(database(tmp_path))
        asking = asyncio.create_task(db.write_jointly(pulse(NOW)))
        await asyncio.sleep(0)  # it has asked, and the commit has not begun
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(5):
            assert await db.write_jointly(pulse(NOW)) == NOW
            await db.close()

    asyncio.run(story())
