"""Who got which token: counted without a write for each, and never lost."""

import asyncio
from pathlib import Path

import pytest

from broker.core.policy import App, AppGrant
from broker.errors import StoreUnavailable
from broker.usecases import handouts
from tests.store import made
from tests.usecases.house import TTL, House, opened

GRANTED = App("backup", (AppGrant("me"),))
STRANGER = App("stranger", (AppGrant("other"),))


async def handed_out(house: House) -> list[tuple[str | None, str | None, int | None, int | None]]:
    """Return account, app, generation and count of every hand-out in the audit, newest first."""
    entries = await house.store.audit()
    return [(entry.account, entry.app, entry.generation, entry.count) for entry in entries if entry.count]


def test_hand_outs_are_counted_per_app_and_generation(tmp_path: Path) -> None:
    """The audit tells who got which generation of which token, when first, when last and how often."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            start = house.clock()
            for _ in range(3):
                await house.token(caller=GRANTED)
                house.clock.forward(1)
            await house.token()
            assert await handed_out(house) == []
            await house.ctx.handouts.flush(house.store)
            house.clock.forward(TTL)
            await house.token(caller=GRANTED)
            await house.token(caller=STRANGER)
            await house.ctx.handouts.flush(house.store)
            assert sorted(await handed_out(house), key=str) == [
                ("me", "backup", 1, 3),
                ("me", "backup", 2, 1),
                ("me", "owner", 1, 1),
            ]
            first = next(entry for entry in await house.store.audit() if entry.count == 3)
            assert (first.first, first.last) == (start, start + 2)
            assert (await house.account()).last_used_at == start + 3 + TTL

    asyncio.run(live())


def test_what_is_not_written_down_yet_is_known_all_the_same(tmp_path: Path) -> None:
    """The owner's page tells who used an account last at once, whichever of two that was."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in()
            for caller in (GRANTED, None, GRANTED):
                house.clock.forward(1)
                await house.token(caller=caller)
            newest = house.ctx.handouts.newest(account.uuid)
            assert newest is not None
            assert (newest.app, newest.last) == ("backup", house.clock())
            await house.ctx.handouts.flush(house.store)
            assert house.ctx.handouts.newest(account.uuid) is None
            assert await house.store.last_uses([account.uuid]) == {account.uuid: "backup"}

    asyncio.run(live())


def test_hand_outs_that_cannot_be_written_now_are_written_later(tmp_path: Path) -> None:
    """A store that stumbles loses no count: what came before and after is in one entry."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            start = house.clock()
            await house.token()
            made.behind(tmp_path, "ALTER TABLE audit RENAME TO gone")
            with pytest.raises(Exception, match="database"):
                await house.ctx.handouts.flush(house.store)
            assert house.ctx.handouts
            assert not house.ctx.handouts.written
            house.clock.forward(2)
            await house.token()
            made.behind(tmp_path, "ALTER TABLE gone RENAME TO audit")
            await house.ctx.handouts.flush(house.store)
            assert not house.ctx.handouts
            assert house.ctx.handouts.written == {"handout": 2}
            assert await handed_out(house) == [("me", "owner", 1, 2)]
            entry = (await house.store.audit())[0]
            assert (entry.first, entry.last) == (start, start + 2)

    asyncio.run(live())


def test_a_hand_out_is_an_event_that_names_the_app(tmp_path: Path) -> None:
    """Who listens learns at once which app got which generation."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            await house.heard()
            await house.token(caller=GRANTED)
            assert [(e.kind, e.account, e.app, e.generation) for e in await house.heard()] == [
                ("handed-out", "me", "backup", 1)
            ]

    asyncio.run(live())


def test_what_is_written_bit_by_bit_is_neither_lost_nor_counted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the database stumbles over one of many, those before it are written and the others are counted on."""
    monkeypatch.setattr(handouts, "AT_ONCE", 2)

    async def live() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in()
            apps = [f"app-{number}" for number in range(7)]
            for app in apps:
                house.ctx.handouts.count(account, app, house.clock())
            when = "BEFORE INSERT ON audit WHEN new.app = 'app-4'"
            made.behind(tmp_path, f"CREATE TRIGGER stumble {when} BEGIN SELECT RAISE(ABORT, ''); END")
            with pytest.raises(StoreUnavailable):
                await house.ctx.handouts.flush(house.store)
            assert house.ctx.handouts.written == {"handout": 4}
            house.ctx.handouts.count(account, "app-5", house.clock())
            newest = house.ctx.handouts.newest(account.uuid)
            assert (newest and newest.app, newest and newest.count) == ("app-5", 2)
            made.behind(tmp_path, "DROP TRIGGER stumble")
            await house.ctx.handouts.flush(house.store)
            assert house.ctx.handouts.newest(account.uuid) is None
            counted = {entry.app: entry.count for entry in await house.store.audit() if entry.count}
            assert counted == dict.fromkeys(apps, 1) | {"app-5": 2}

    asyncio.run(live())
