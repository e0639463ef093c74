"""Which client a login goes out with: a program's own never becomes everybody's."""

import asyncio
from pathlib import Path

import pytest

from broker.core.secret import Secret
from broker.errors import InvalidRequest
from broker.usecases import clients, login, providers
from broker.usecases.newlogin import NewLogin
from tests.usecases.house import opened
from tests.usecases.programs import MACHINE, again, log_in


def test_a_programs_client_is_not_that_of_a_persons_login(tmp_path: Path) -> None:
    """It has proven that it can be a program, and nothing else: a new login goes out with the preset's own client."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            before = await house.log_in("me")
            await log_in(house)
            house.clock.forward(1)
            await again(house, client_secret=house.practice.client_secret)
            fresh = await house.begin("fresh")
            assert fresh.destination.client_id == before.destination.client_id != MACHINE
            # Logging the program out does not change what its client is.
            await house.store.delete_account(await house.account("ci"))
            assert (await house.begin("fresher")).destination.client_id != MACHINE

    asyncio.run(story())


def test_a_persons_client_stays_one_although_a_program_uses_it(tmp_path: Path) -> None:
    """Whoever is known for a person's login, or named for one that then succeeds, is taken for the next one too."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            proof = house.practice.client_secret
            await house.log_in("me", client_id=MACHINE, client_secret=proof)
            await log_in(house)
            assert (await house.begin("fresh")).destination.client_id == MACHINE

        async with opened(tmp_path / "other") as house:
            await log_in(house)
            await house.log_in("me", client_id=MACHINE)
            assert (await house.begin("fresh")).destination.client_id == MACHINE

    (tmp_path / "other").mkdir()
    asyncio.run(story())


def test_where_only_a_program_has_a_client_a_person_is_asked_for_one(tmp_path: Path) -> None:
    """No client of the preset's, none that registers itself: the refusal says what to do, and names the address."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.add_provider("strict", client_id="")
            await log_in(house, provider="strict", base_url="")
            with pytest.raises(InvalidRequest, match="a client id is needed"):
                await login.begin(house.ctx, NewLogin("strict", "fresh"))

    asyncio.run(story())


def test_a_program_takes_a_programs_client_first(tmp_path: Path) -> None:
    """The other way round it is the same: a client with which a person logged in later is not the next program's."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await log_in(house)
            house.clock.forward(1)
            provider = await providers.find(house.ctx, (await house.account("ci")).provider)
            made = await clients.described(provider, "person", Secret("s" * 40), auth_method="", now=house.clock())
            assert made is not None
            await clients.keep(house.ctx, provider, *made)
            assert (await log_in(house, "nightly", client_id="", client_secret=None)).label == MACHINE

    asyncio.run(story())
