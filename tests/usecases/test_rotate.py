"""New keys while Keyfob is in use: tokens are handed out all the time, and no refresh meets them."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, Locked, StoreUnavailable
from broker.store.keys import FileKey
from broker.usecases import locking, refresh, rotate
from broker.usecases.context import Context
from broker.usecases.outcomes import Ready
from tests.store import made
from tests.usecases.house import TTL, House, opened, ready


def with_sources(house: House) -> Context:
    """Return the context with a key file as the one other source."""
    return replace(house.ctx, source=lambda _: FileKey(house.place / "elsewhere"))


def test_tokens_are_handed_out_meanwhile(tmp_path: Path) -> None:
    """Whoever asks while the keys change gets the token that lives; afterwards it can be renewed."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            token = ready(await house.token())
            rotating = asyncio.create_task(rotate.rotate(house.ctx, "", None))
            while not rotating.done():
                assert ready(await house.token()) == token
            assert (await rotating).new_key
            house.clock.forward(TTL)
            assert isinstance(await house.token(), Ready)
            assert await house.holds_newest()
            assert "keys-rotated" in [event.kind for event in await house.heard()]

    asyncio.run(live())


def test_a_refresh_in_the_air_lands_first(tmp_path: Path) -> None:
    """The keys change when its answer is stored; one that comes due meanwhile begins afterwards."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold", settings={"rotation": "single-use"}) as house:
            for name in ("one", "two"):
                await house.log_in(name)
            house.clock.forward(TTL)
            refresh.join(house.ctx, await house.account("one"))
            await house.until_asked()
            rotating = asyncio.create_task(rotate.rotate(house.ctx, "", None))
            await asyncio.sleep(0)
            with pytest.raises(Conflict, match="right now"):
                await rotate.rotate(house.ctx, "", None)
            await refresh.refresh_due(house.ctx)
            assert made.behind(tmp_path, "SELECT master_generation FROM instance") == [(1,)]
            house.practice.set_faults([])
            assert (await rotating).generation == 2
            assert house.asked() == 1
            await house.tick()
            assert house.asked() == 2
            assert await house.holds_newest("two")

    asyncio.run(live())


def test_what_does_not_land_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh that hangs makes the rotation give up, with nothing changed and nothing held."""
    monkeypatch.setattr(locking, "LONGEST_LANDING", 0.05)

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            await house.log_in()
            house.clock.forward(TTL)
            refresh.join(house.ctx, await house.account())
            await house.until_asked()
            with pytest.raises(StoreUnavailable, match="under way"):
                await rotate.rotate(house.ctx, "", None)
            assert not house.ctx.flights.held
            assert made.behind(tmp_path, "SELECT master_generation FROM instance") == [(1,)]

    asyncio.run(live())


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    """A passphrase for a file, none for a passphrase, an unknown source, a file that is there, and a locked store."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            with pytest.raises(InvalidRequest, match="No passphrase"):
                await rotate.rotate(house.ctx, "", Secret("correct horse battery"))
            with pytest.raises(InvalidRequest, match="no key source 'magic'"):
                await rotate.rotate(house.ctx, "magic", None)
            ctx = with_sources(house)
            (house.place / "elsewhere").touch()
            with pytest.raises(Conflict, match="another database"):
                await rotate.rotate(ctx, "systemd", None)
            (house.place / "elsewhere").unlink()
            await rotate.rotate(ctx, "systemd", None)
            assert (house.place / "elsewhere").exists()
            locking.lock(house.ctx)
            with pytest.raises(Locked):
                await rotate.rotate(house.ctx, "", None)

    asyncio.run(live())
