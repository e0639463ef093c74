"""The record over time: without a key, beyond its limit, and as what is counted comes to an end."""

import asyncio
from pathlib import Path

import pytest

from broker.errors import Locked
from broker.store import chain
from broker.store.fence import beside
from broker.store.store import Count, Verdict
from tests.store.made import NOW, behind, database, grant, key_file, opened, with_account
from tests.store.record import checked, counted, found, old_fence, recorded, summary, write


def test_a_key_is_needed(tmp_path: Path) -> None:
    """Without the key nothing can be checked; what is written then is sealed when it is back, and told apart."""
    recorded(tmp_path)
    key = key_file(tmp_path)
    key.rename(key.with_suffix(".away"))

    async def locked() -> None:
        async with opened(tmp_path) as store:
            with pytest.raises(Locked):
                await store.verify_audit()
            await write(store, 10, 11)
            refusal = Count(None, None, None, NOW, NOW, 2, "unauthorized", None, "no key")
            for _ in range(3):
                await store.note_counts([refusal])
            unsealed = [(entry.action, entry.count) for entry in await store.audit() if entry.number is None]
            assert sorted(unsealed, key=str) == [
                ("granted", None),
                ("granted", None),
                ("handout", 3),
                ("handout", 3),
                ("unauthorized", 6),
            ]

    asyncio.run(locked())
    key.with_suffix(".away").rename(key)
    assert summary(checked(tmp_path)) == Verdict(checked=11, first=1, last=9, begins_at=NOW + 1, unsealed=3)

    async def back() -> None:
        async with opened(tmp_path) as store:
            await write(store, 12, 12)
            assert summary(await store.verify_audit()) == Verdict(
                checked=15, first=1, last=13, begins_at=NOW + 1, late=3
            )
            behind(tmp_path, "INSERT INTO audit (at, action, detail) VALUES (1, 'granted', 'forged')")
            assert found(await store.verify_audit()) == ("added", None)

    asyncio.run(back())


def test_the_oldest_are_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is kept than the limit says, and what is kept can be checked from where it begins."""
    recorded(tmp_path, 30)

    async def lived(most: int, first: int, last: int) -> Verdict:
        async with opened(tmp_path, most_entries=most) as store:
            await write(store, first, last)
            return summary(await store.verify_audit())

    assert asyncio.run(lived(20, 31, 35)) == Verdict(checked=22, first=16, last=35, begins_at=NOW + 16)
    monkeypatch.setattr(chain, "PRUNED_AT_ONCE", 4)
    assert asyncio.run(lived(10, 36, 36)) == Verdict(checked=19, first=20, last=36, begins_at=NOW + 20)
    assert asyncio.run(lived(10, 37, 39)) == Verdict(checked=12, first=30, last=39, begins_at=NOW + 30)
    assert behind(tmp_path, "SELECT count(*) FROM audit WHERE link IS NOT NULL") == [(10,)]


def test_a_pruned_beginning_cannot_be_moved(tmp_path: Path) -> None:
    """Who deletes the oldest entries is found, also where older ones were pruned."""

    async def lived() -> None:
        async with opened(tmp_path, most_entries=5) as store:
            await write(store, 1, 9)

    asyncio.run(lived())
    assert found(checked(tmp_path)) is None
    behind(tmp_path, "DELETE FROM audit WHERE link = 5")
    assert found(checked(tmp_path)) == ("missing", 5)


def test_pruning_goes_past_a_gap(tmp_path: Path) -> None:
    """A gap is found as long as it is there, and forgotten with the entries around it."""
    recorded(tmp_path)
    behind(tmp_path, "DELETE FROM audit WHERE link BETWEEN 4 AND 6")

    async def lived(first: int, last: int) -> tuple[str, int | None] | None:
        async with opened(tmp_path, most_entries=8) as store:
            await write(store, first, last)
            return found(await store.verify_audit())

    assert asyncio.run(lived(10, 12)) == ("missing", 5)
    assert asyncio.run(lived(13, 13)) == ("missing", 6)
    assert asyncio.run(lived(14, 14)) == ("changed", 7), "the seal before it is gone for ever"
    assert asyncio.run(lived(15, 15)) is None


def test_a_count_that_can_grow_no_more_becomes_an_entry(tmp_path: Path) -> None:
    """A replaced token's hand-outs join the chain a minute later; one that comes still later is a row of its own."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            await store.note_counts([counted(account.uuid)])
            assert await store.swap(account, grant=grant("2")) is not None
            await store.note_counts([counted(account.uuid, generation=2, at=NOW + 30)])
            assert [entry.number for entry in await store.audit()] == [None, None]
            await store.note_counts([counted(account.uuid, generation=2, at=NOW + 90)])
            await store.note_counts([counted(account.uuid, generation=1, at=NOW + 95)])
            seen = [(entry.number, entry.generation, entry.count) for entry in await store.audit()]
            assert seen == [(None, 1, 3), (None, 2, 6), (1, 1, 3)]
            assert found(await store.verify_audit()) is None

    asyncio.run(story())


def test_refusals_are_counted_by_the_hour(tmp_path: Path) -> None:
    """However often somebody is refused, one entry an hour tells of it, with the newest reason on one short line."""

    def refused(at: float, account: str, detail: str = "no") -> Count:
        return Count(None, "app", None, at, at, 1, "refused", account, detail)

    async def story() -> None:
        async with opened(tmp_path) as store:
            await with_account(store)
            for minute in range(90):
                await store.note_counts([refused(NOW + minute * 60.0, "me", f"{minute}\n\x1b[2J{'x' * 900}")])
                await store.note_counts([refused(NOW + minute * 60.0, f"nobody-{minute}")])
            entries = await store.audit()
            assert [(entry.account, entry.count, entry.number) for entry in entries] == [
                (None, 30, None),
                ("me", 30, None),
                (None, 60, 2),
                ("me", 60, 1),
            ]
            assert entries[1].detail.startswith("89  [2Jxxx")
            assert len(entries[1].detail) < 510
            assert found(await store.verify_audit()) is None

    asyncio.run(story())


def test_a_fence_of_before(tmp_path: Path) -> None:
    """A fence that tells nothing of the audit, as it was before, is no copy's; from then on it tells."""
    recorded(tmp_path)
    old_fence(tmp_path)

    async def story() -> None:
        async with opened(tmp_path) as store:
            assert store.copied == ""
            await write(store, 10, 10)

    asyncio.run(story())
    assert beside(database(tmp_path)).read_text().split()[-2] == f"{10:020d}"
