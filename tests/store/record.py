"""A record to look at, and what a check says of it.

Imported by the tests of the audit beside it.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

from broker.store.fence import beside
from broker.store.store import Count, Store, Verdict
from tests.store.made import NOW, behind, database, opened, with_account


def old_fence(place: Path) -> None:
    """Make the fence what it was before it told how far the audit is, and the register of apps."""
    fence = beside(database(place))
    fence.write_text(f"{' '.join(fence.read_text().split()[:-2])}\n")


async def write(store: Store, first: int, last: int) -> None:
    """Write entries that tell their number."""
    for number in range(first, last + 1):
        await store.note(at=NOW + number, action="granted", account="me", app="app", detail=f"entry {number}")


def recorded(place: Path, count: int = 9) -> None:
    """Make a record of some entries and two counts that still grow; the daemon is stopped then."""

    async def story() -> None:
        async with opened(place) as store:
            await with_account(store)
            await write(store, 1, count)
            await store.note_counts([counted(store_account(place), app) for app in ("app", "other")])

    asyncio.run(story())


def store_account(place: Path) -> str:
    """Return the uuid of the only account."""
    return str(behind(place, "SELECT uuid FROM account")[0][0])


def counted(account: str, app: str = "app", generation: int = 1, at: float = NOW, count: int = 3) -> Count:
    """Make a number of hand-outs."""
    return Count(account, app, generation, at, at + 1.0, count)


def checked(place: Path) -> Verdict:
    """Start again and check the record."""

    async def story() -> Verdict:
        async with opened(place) as store:
            return await store.verify_audit()

    return asyncio.run(story())


def summary(verdict: Verdict) -> Verdict:
    """Return a verdict without the seal, which is another one each time."""
    return replace(verdict, seal=b"")


def found(verdict: Verdict) -> tuple[str, int | None] | None:
    """Return kind and number of what does not fit."""
    return None if verdict.broken is None else (verdict.broken.kind, verdict.broken.number)
