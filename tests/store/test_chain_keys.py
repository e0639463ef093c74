"""The record under new keys: it can be checked from its beginning on, and what was changed is found as before."""

import asyncio
from pathlib import Path

import pytest

from broker.errors import Locked
from broker.store.chain import FIELDS, GENESIS, seal_of
from broker.store.keys import FileKey
from broker.store.seal import Record, Sealer, open_record
from broker.store.store import Verdict
from tests.store.made import NOW, behind, key_file, opened
from tests.store.record import checked, counted, found, recorded, store_account, summary, write


def rotated(place: Path, *, entry: int | None = None) -> None:
    """Make new keys, and perhaps write one entry more."""

    async def story() -> None:
        async with opened(place) as store:
            await store.rotate(store.key, None)
            if entry is not None:
                await write(store, entry, entry)

    asyncio.run(story())


def seals(place: Path) -> list[bytes]:
    """Return the seals of all entries."""
    return [seal for (seal,) in behind(place, "SELECT hash FROM audit WHERE link IS NOT NULL ORDER BY link")]


def test_the_record_outlives_its_keys(tmp_path: Path) -> None:
    """Entries from before a rotation, and from before two, are checked; no seal of theirs is another one."""
    recorded(tmp_path)
    before = seals(tmp_path)

    async def story() -> None:
        async with opened(tmp_path) as store:
            for _ in range(2):  # the second time there is nothing between the two
                await store.rotate(store.key, None)
                assert summary(await store.verify_audit()) == Verdict(11, 1, 9, begins_at=NOW + 1)
            await write(store, 10, 12)
            await store.note_counts([counted(store_account(tmp_path))])
            await store.rotate(store.key, None)
            await write(store, 13, 13)
            assert summary(await store.verify_audit()) == Verdict(15, 1, 13, begins_at=NOW + 1)
            assert [entry.count for entry in await store.audit() if entry.count] == [3, 6]

    asyncio.run(story())
    assert behind(tmp_path, "SELECT until FROM audit_key") == [(9,), (12,)]
    assert summary(checked(tmp_path)) == Verdict(15, 1, 13, begins_at=NOW + 1)
    assert seals(tmp_path)[:9] == before


def test_a_record_that_is_empty(tmp_path: Path) -> None:
    """Nothing has been written yet, or only what is counted."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.rotate(store.key, None)
            assert (await store.verify_audit()).broken is None
            await store.note_counts([counted("nobody's")])
            await store.rotate(store.key, None)
            assert (await store.verify_audit()).broken is None
            await write(store, 1, 1)
            assert found(await store.verify_audit()) is None

    asyncio.run(story())
    assert behind(tmp_path, "SELECT until FROM audit_key") == []


@pytest.mark.parametrize(
    ("statements", "what"),
    [
        (["UPDATE audit SET detail = 'other' WHERE link = 4"], ("changed", 4)),
        (["DELETE FROM audit WHERE link = 4"], ("missing", 4)),
        (["UPDATE audit SET count = 1 WHERE link IS NULL AND app = 'app'"], ("changed", None)),
        (["DELETE FROM audit WHERE link IS NULL AND app = 'app'"], ("missing", None)),
        (["DELETE FROM audit WHERE link = 9"], ("cut", 9)),
        (["UPDATE audit_head SET last = 8"], ("head", None)),
        (["DELETE FROM audit_head"], ("head", None)),
    ],
)
def test_what_was_changed_does_not_become_right(
    tmp_path: Path, statements: list[str], what: tuple[str, int | None]
) -> None:
    """A rotation goes on over a record that was changed, and the break is the same as before."""
    recorded(tmp_path)
    for statement in statements:
        behind(tmp_path, statement)
    assert found(checked(tmp_path)) == what
    rotated(tmp_path)
    assert found(checked(tmp_path)) == what
    rotated(tmp_path)
    assert found(checked(tmp_path)) == what


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET detail = 'other' WHERE link = 4",
        "UPDATE audit SET count = 1 WHERE link IS NULL AND app = 'app'",
        "DELETE FROM audit_key",
        "UPDATE audit_key SET until = 12",
        "UPDATE audit_key SET wrapped = x'02'",
        "UPDATE audit_key SET wrapped = 'text'",
    ],
)
def test_what_is_changed_afterwards_is_found(tmp_path: Path, statement: str) -> None:
    """Also in what an older key sealed, and in the row that keeps that key; another rotation mends nothing."""
    recorded(tmp_path)
    rotated(tmp_path, entry=10)
    assert found(checked(tmp_path)) is None
    behind(tmp_path, statement)
    assert found(checked(tmp_path)) is not None
    rotated(tmp_path, entry=11)
    assert found(checked(tmp_path)) is not None


def _sealer(place: Path) -> Sealer:
    (row,) = behind(place, "SELECT instance_id, key_id, master_generation, master FROM instance")
    return open_record(FileKey(key_file(place)).load(), Record(*row))


def test_the_old_key_alone_changes_nothing(tmp_path: Path) -> None:
    """Whoever has it seals another record to the last entry: the new key holds the one that there was."""
    recorded(tmp_path)
    old = _sealer(tmp_path)
    rotated(tmp_path)
    rows = behind(tmp_path, "SELECT link, id FROM audit WHERE link IS NOT NULL ORDER BY link")
    _forge(tmp_path, old, rows)
    assert found(checked(tmp_path)) == ("head", 9)
    rotated(tmp_path, entry=10)
    assert found(checked(tmp_path)) is not None


def _forge(place: Path, old: Sealer, rows: list[tuple[int, int]]) -> None:
    behind(place, "UPDATE audit SET detail = 'forged' WHERE link = 4")
    before = GENESIS
    for link, row in rows:
        (values,) = behind(place, f"SELECT {', '.join(FIELDS)} FROM audit WHERE id = {row}")  # noqa: S608 -- our own names
        before = seal_of(old, before, link, values)
        behind(place, f"UPDATE audit SET hash = x'{before.hex()}' WHERE id = {row}")  # noqa: S608 -- the same


def test_keys_of_what_was_pruned_go(tmp_path: Path) -> None:
    """A key is kept for as long as an entry that it sealed."""
    recorded(tmp_path)

    async def story() -> None:
        async with opened(tmp_path, most_entries=5) as store:
            await store.rotate(store.key, None)
            await write(store, 10, 16)
            assert summary(await store.verify_audit()) == Verdict(7, 12, 16, begins_at=NOW + 12)
            await store.rotate(store.key, None)
            assert summary(await store.verify_audit()) == Verdict(7, 12, 16, begins_at=NOW + 12)

    asyncio.run(story())
    assert behind(tmp_path, "SELECT until FROM audit_key") == [(16,)]


def test_locked_with_the_key_still_there(tmp_path: Path) -> None:
    """What is written between a lock and the end of the key is sealed; what comes later is sealed late."""
    recorded(tmp_path)

    async def story() -> None:
        async with opened(tmp_path) as store:
            store.lock("for a while")
            await write(store, 10, 10)
            store.drop_key()
            await write(store, 11, 12)
            with pytest.raises(Locked):
                await store.verify_audit()
            await store.unlock(None, NOW)
            assert summary(await store.verify_audit()) == Verdict(12, 1, 10, begins_at=NOW + 1, unsealed=2)
            await store.rotate(store.key, None)
            assert summary(await store.verify_audit()) == Verdict(12, 1, 10, begins_at=NOW + 1, unsealed=2)
            await write(store, 13, 13)
            assert summary(await store.verify_audit()) == Verdict(15, 1, 13, begins_at=NOW + 1, late=2)

    asyncio.run(story())


def test_a_check_while_keys_are_made(tmp_path: Path) -> None:
    """Neither sees half of the other."""
    recorded(tmp_path)

    async def story() -> None:
        async with opened(tmp_path) as store:
            for _ in range(5):
                verdict, done, other = await asyncio.gather(
                    store.verify_audit(), store.rotate(store.key, None), store.verify_audit()
                )
                assert (found(verdict), found(other), done.source) == (None, None, "file")

    asyncio.run(story())
