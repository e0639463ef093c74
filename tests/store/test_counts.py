"""Counts that still grow, however many there are: what a new one costs, and what is found out about the others."""

import asyncio
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from broker.store import chain, counts, tally
from broker.store.counts import Sum, fits
from broker.store.seal import Stamp
from broker.store.store import Count, Store
from broker.store.transactions import driver
from tests.store.made import NOW, TO_0013, _sealer, behind, database, grant, made_older, opened, with_account
from tests.store.record import checked, counted, found, recorded, store_account

KEY = Stamp("instance", bytes(range(32)))
SOME = {row: bytes([row]) * 32 for row in range(1, 40)}


def test_a_sum_does_not_depend_on_the_way() -> None:
    """Whatever was put in and taken out, and in which order: the same counts fit, and no others."""
    one = Sum.of(KEY, [*SOME.items()][::-1])
    one.take(7, SOME[7])
    one.add(7, b"newer" * 5)
    now = SOME | {7: b"newer" * 5}
    written = one.written()

    assert fits(KEY, written, now.items())
    assert not fits(KEY, written, SOME.items())
    assert not fits(KEY, written, [*now.items()][1:])
    assert not fits(KEY, written, (now | {40: b"more"}).items())
    assert not fits(Stamp("instance", bytes(32)), written, now.items())
    assert written != one.written(), "who sees two of them learns nothing of what is between"
    assert fits(KEY, Sum(KEY).written(), [])


async def steps(store: Store, items: list[Count]) -> int:
    """Return how many hundred steps SQLite takes to note some counts."""
    taken: list[int] = []

    def listen(*, on: bool) -> asyncio.Future[None]:
        handler = (lambda: taken.append(1)) if on else None
        return asyncio.ensure_future(store._db.write(lambda tx: driver(tx).set_progress_handler(handler, 100)))  # noqa: SLF001 -- what it costs cannot be seen from outside

    await listen(on=True)
    await store.note_counts(items)
    await listen(on=False)
    return len(taken)


def test_a_count_costs_the_same_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the others of the same account are gone through nor those of all."""
    monkeypatch.setattr(tally, "LOOKED_AT", 5)

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            few, many = ([counted(account.uuid, f"app-{number}") for number in range(most)] for most in (20, 2000))
            costs = []
            for all_of_them in (few, many):
                await store.note_counts(all_of_them)
                costs.append(await steps(store, [all_of_them[7]]))
            assert costs[1] <= costs[0] + 2
            assert found(await store.verify_audit()) is None

    asyncio.run(story())


def test_an_older_count_is_found_while_keyfob_runs(tmp_path: Path) -> None:
    """What another program has written is looked at before anything is added, although nobody counts that one."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            columns = ("at", "first", "count", "hash")
            for _ in range(2):
                rows = [(row[0], *row[1:]) for row in behind(tmp_path, f"SELECT {', '.join(columns)} FROM audit")]  # noqa: S608 -- our own names
                await store.note_counts([counted(account.uuid, app) for app in ("app", "other")])
            values = ", ".join(f"{column} = ?" for column in columns)
            behind(tmp_path, f"UPDATE audit SET {values} WHERE app = 'other'", *rows[1])  # noqa: S608 -- the same
            await store.note_counts([counted(account.uuid, "app")])
            verdict = await store.verify_audit()
            assert found(verdict) == ("damaged", 1)
            assert "removed or put back" in str(verdict.broken)

    asyncio.run(story())


def test_all_counts_have_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than are looked at in one go, those that can grow no more become entries, too, a few at a time."""
    monkeypatch.setattr(tally, "LOOKED_AT", 2)

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            await store.note_counts([counted(account.uuid, f"app-{number}") for number in range(7)])
            assert await store.swap(account, grant=grant("2")) is not None
            ended = []
            for turn in range(6):
                await store.note_counts([counted(account.uuid, "app", generation=2, at=NOW + 100 + turn)])
                ended.append(sum(entry.number is not None for entry in await store.audit()))
                assert found(await store.verify_audit()) is None
            assert ended[-1] == 7
            assert all(later - sooner <= 2 for sooner, later in pairwise(ended))

    asyncio.run(story())


@pytest.mark.parametrize("taken", [False, True])
def test_a_record_from_before_there_was_a_sum(tmp_path: Path, *, taken: bool) -> None:
    """What the head said of the counts then is checked as it was meant then, and is a sum from the next count on."""
    recorded(tmp_path)
    with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as connection:
        sealer, _, _ = _sealer(tmp_path, connection)
        names = list(chain.Head.__slots__)
        said = connection.execute(f"SELECT {', '.join(names)} FROM audit_head").fetchone()  # noqa: S608 -- our own names
        head = dict(zip(names, said, strict=True))
        growing = connection.execute("SELECT id, hash FROM audit WHERE link IS NULL").fetchall()
        head["counts"] = counts._digest(growing)  # noqa: SLF001 -- as it was written then
        mac = chain.seal_of_head(sealer, chain.Head(**head))
        connection.execute("UPDATE audit_head SET counts = ?, mac = ?", (head["counts"], mac))
    made_older(tmp_path, TO_0013)
    assert found(checked(tmp_path)) is None
    if taken:
        behind(tmp_path, "DELETE FROM audit WHERE link IS NULL AND app = 'other'")
        assert found(checked(tmp_path)) == ("missing", None)

    async def more() -> None:
        async with opened(tmp_path) as store:
            await store.note_counts([counted(store_account(tmp_path))])

    asyncio.run(more())
    assert found(checked(tmp_path)) == (("damaged", 10) if taken else None)
    assert behind(tmp_path, "SELECT length(counts) FROM audit_head") == [(48,)]
