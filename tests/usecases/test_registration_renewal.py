"""A registration whose secret is renewed: what meets that moment loses neither a login nor the client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.core.account import Active, Misconfigured, RefreshingFailed
from broker.errors import ProviderUnavailable, StoreUnavailable
from broker.usecases import locking, ration, refresh, registrations
from tests.usecases.house import House, opened
from tests.usecases.registered import CONFIDENTIAL, begin, discovered, moved, the_client
from tests.usecases.test_store_faults import read_only

SECRET_LIFE = 40 * 86_400.0
LIVES = {"client_secret_ttl": SECRET_LIFE, "ttl": 3600.0}


@asynccontextmanager
async def due(place: Path) -> AsyncIterator[House]:
    """Open a house with one login, whose client's secret ends in two days: it is due to be renewed."""
    async with opened(place, CONFIDENTIAL, settings=LIVES) as house:
        await discovered(house)
        await house.log_in("me", provider="theirs", base_url="")
        house.clock.forward(SECRET_LIFE - 2 * 86_400)
        yield house


async def renewed(house: House) -> None:
    """Let the registrations be renewed that are due, to the end."""
    await registrations.renew_due(house.ctx)
    await asyncio.gather(*house.ctx.finishing)


async def works(house: House) -> None:
    """Check that the login is well and its client is known at the provider."""
    house.clock.forward(3600)
    await house.tick()
    assert isinstance((await house.account()).state, Active)


@pytest.mark.parametrize("by", ["the scheduler", "a login"])
def test_a_refresh_that_meets_the_change_is_tried_again(tmp_path: Path, by: str) -> None:
    """The server has the new secret before Keyfob has it: that the old one is refused then says nothing."""

    async def story() -> None:
        async with due(tmp_path) as house:
            house.practice.set_faults(["registration:hold"])
            if by == "a login":
                changing = asyncio.create_task(begin(moved(house), "second"))
            else:
                await registrations.renew_due(house.ctx)
                (changing,) = house.ctx.finishing
            await house.until_asked("registration")
            await refresh.refresh_due(house.ctx)
            await house.landed()
            state = (await house.account()).state
            assert isinstance(state, RefreshingFailed)
            assert "has just been changed" in state.reason
            house.practice.set_faults([])
            await changing
            await works(house)

    asyncio.run(story())


def test_a_client_that_the_provider_has_forgotten_is_misconfigured(tmp_path: Path) -> None:
    """Where nothing is being changed, a refused client is one that a person has to look at."""

    async def story() -> None:
        async with due(tmp_path) as house:
            house.practice.set_faults(["refresh:error=invalid_client"])
            await house.tick()
            assert isinstance((await house.account()).state, Misconfigured)

    asyncio.run(story())


def test_nothing_is_changed_that_could_not_be_written_down(tmp_path: Path) -> None:
    """The new secret is told once: while the database takes nothing, the server is not asked."""

    async def story() -> None:
        async with due(tmp_path) as house:
            async with read_only(house):
                await renewed(house)
                with pytest.raises(StoreUnavailable):
                    await begin(moved(house), "second")
            assert house.asked("registration") == 0
            house.clock.forward(ration.PAUSE)
            await renewed(house)
            assert house.asked("registration") == 1
            await works(house)

    asyncio.run(story())


def test_a_changed_registration_waits_for_the_disk(tmp_path: Path) -> None:
    """What the server has answered is written as soon as that is possible; the login that asked may have gone."""

    async def story() -> None:
        async with due(tmp_path) as house:
            before = await the_client(house)
            house.practice.set_faults(["registration:hold"])
            gone = asyncio.create_task(begin(moved(house), "second"))
            await house.until_asked("registration")
            (changing,) = house.ctx.finishing
            gone.cancel()
            async with read_only(house):
                house.practice.set_faults([])
                assert await asyncio.wait([changing], timeout=0.5) == (set(), {changing})
            await changing
            assert (await the_client(house)).secret_expires_at != before.secret_expires_at
            await works(house)

    asyncio.run(story())


def test_a_changed_registration_waits_for_the_key(tmp_path: Path) -> None:
    """Keyfob is locked, and the key forgotten, before the server has answered: it is written when the key is back."""

    async def story() -> None:
        async with due(tmp_path) as house:
            before = await the_client(house)
            house.practice.set_faults(["registration:hold"])
            await registrations.renew_due(house.ctx)
            await house.until_asked("registration")
            (changing, *_) = house.ctx.finishing
            house.store.lock("It took longer than the key stays.")
            house.store.drop_key()
            house.practice.set_faults([])
            assert await asyncio.wait([changing], timeout=0.5) == (set(), {changing})
            await locking.unlock(house.ctx, None)
            await changing
            assert (await the_client(house)).secret_expires_at != before.secret_expires_at
            await works(house)

    asyncio.run(story())


@pytest.mark.parametrize(
    "said",
    [
        '{"redirect_uris": ["http://127.0.0.1:8400/callback/theirs/"]}',
        '{"grant_types": ["refresh_token"]}',
        '{"token_endpoint_auth_method": "private_key_jwt"}',
    ],
)
def test_a_change_that_is_not_what_was_asked_leaves_the_client_alive(tmp_path: Path, said: str) -> None:
    """It counts for nothing but the secret and the registration token: the server has those of before no more."""

    async def story() -> None:
        async with due(tmp_path) as house:
            before = await the_client(house)
            house.practice.set_faults([f"registration:json={said}*1"])
            await renewed(house)
            client = await the_client(house)
            assert (client.redirect_uris, client.auth_method) == (before.redirect_uris, before.auth_method)
            assert client.secret_expires_at == house.clock() + SECRET_LIFE
            await works(house)
            house.clock.forward(SECRET_LIFE - 2 * 86_400)
            await renewed(house)
            assert [event.result for event in house.practice.log.all("registration")] == ["ok", "ok"]
            await works(house)

    asyncio.run(story())


def test_a_registration_that_cannot_be_asked_about_keeps_its_secret(tmp_path: Path) -> None:
    """An answer that cannot be read changes nothing here."""

    async def story() -> None:
        async with due(tmp_path) as house:
            before = await the_client(house)
            house.practice.set_faults(["registration:status=503"])
            with pytest.raises(ProviderUnavailable):
                await begin(moved(house), "second")
            assert await the_client(house) == before
            await works(house)

    asyncio.run(story())
