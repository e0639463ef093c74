"""Service accounts at a server that wants the client to authenticate beside its assertion, as Keycloak does."""

import asyncio
from pathlib import Path

import pytest

from broker.errors import LoginFailed
from broker.usecases import clients, machine, providers
from broker.usecases.newlogin import NewLogin
from broker.usecases.providers import NewProvider
from tests.usecases.house import DUE, House, opened, ready
from tests.usecases.programs import by_key, registered, with_key

INSISTS = {"insists_on_client": True}


async def discovered(house: House) -> NewLogin:
    """Add the provider by its issuer, with a key; make that known there, and describe a login by it."""
    provider = await providers.add(
        house.ctx, NewProvider(name="corp", issuer=house.practice.url, auth_method="private_key_jwt")
    )
    ((_, jwks),) = await clients.public_keys(house.ctx, provider.name)
    return NewLogin("corp", "bot", flow="jwt-bearer", client_id=await registered(house, jwks), subject="grace")


def test_what_the_server_announces_is_enough(tmp_path: Path) -> None:
    """At the login and at each renewal; nobody has to configure anything."""

    async def story() -> None:
        async with opened(tmp_path, settings=INSISTS) as house:
            assert (await machine.log_in(house.ctx, await discovered(house))).account is not None
            tokens = [ready(await house.token("bot"))]
            for _ in range(2):
                house.clock.forward(DUE)
                await house.tick()
                tokens.append(ready(await house.token("bot")))
            assert len(set(tokens)) == house.asked("jwt_bearer") == 3
            assert {event.result for event in house.practice.log.all("jwt_bearer")} == {"ok"}

    asyncio.run(story())


def test_a_server_that_does_not_say_so_is_told_by_hand(tmp_path: Path) -> None:
    """The assertion alone is refused there; ``auth_methods`` of a preset file brings what is missing."""

    async def story() -> None:
        async with opened(tmp_path, settings=INSISTS) as house:
            with pytest.raises(LoginFailed, match="authenticate beside its assertion"):
                await by_key(house, "bot", flow="jwt-bearer")
        async with opened(tmp_path / "other", settings=INSISTS) as house:
            provider, client_id = await with_key(house, auth_methods=["private_key_jwt"])
            new = NewLogin(provider.name, "bot", flow="jwt-bearer", client_id=client_id)
            assert (await machine.log_in(house.ctx, new)).account is not None

    asyncio.run(story())
