"""The ID token that comes with a refresh, while the keys that would verify it are not to be had."""

import asyncio
from pathlib import Path

import pytest

from tests.usecases.house import DUE, House, opened

# The provider's keys are asked for again after an hour.
KEYS_OLD = 4000.0


async def refreshed_without_keys(house: House, *faults: str) -> None:
    """Let a refresh become due when the keys are old, and cannot be had."""
    await house.log_in()
    house.practice.set_faults(["jwks:status=503", *faults])
    house.clock.forward(KEYS_OLD)
    await house.tick()


def test_it_costs_neither_the_access_token_nor_a_second_refresh(tmp_path: Path) -> None:
    """The access token is good without it; the ID token of before stays, and the next refresh brings one."""

    async def story() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await refreshed_without_keys(house)
            account = await house.account()
            assert (account.state.name, account.token_generation, account.id_token_generation) == ("active", 2, 1)
            assert account.token is not None
            assert account.token.remaining(house.clock()) == account.token.lifetime
            await house.tick()
            assert house.asked() == 1
            house.practice.set_faults([])
            house.clock.forward(DUE)
            await house.tick()
            account = await house.account()
            assert (account.state.name, account.id_token_generation, house.asked()) == ("active", 3, 2)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("fault", "state", "says"),
    [
        ("wrong_sub", "needs-login", "somebody else"),
        ("wrong_iss", "refreshing-failed", "another issuer"),
        ("wrong_aud", "refreshing-failed", "another client"),
        ('json={"id_token": "not.a.jwt"}', "refreshing-failed", "cannot be read"),
    ],
)
def test_whom_it_names_counts_all_the_same(tmp_path: Path, fault: str, state: str, says: str) -> None:
    """It came straight from the token endpoint: a token of somebody else, or for others, is not used."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await refreshed_without_keys(house, f"refresh:{fault}")
            account = await house.account()
            assert (account.state.name, account.token_generation) == (state, 1)
            assert says in account.state.reason

    asyncio.run(story())
