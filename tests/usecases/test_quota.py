"""A provider rations its access tokens: no refresh ends a token that somebody uses."""

import asyncio
from pathlib import Path

import pytest

from broker.core.policy import Owner
from broker.core.secret import Secret
from broker.errors import TooManyRequests
from broker.usecases import accounts
from broker.usecases.outcomes import Unavailable
from tests.usecases.house import TTL, House, opened, ready

# Ten in ten minutes.
BETWEEN = 60.0


async def rationed(house: House) -> str:
    """Log in at a provider that rations, and return the token."""
    await house.add_provider(refresh={"refreshes_per_10_min": 10})
    token, _ = await house.secrets_of(await house.log_in())
    assert token is not None
    return token


def test_who_asks_for_more_waits_for_the_quota(tmp_path: Path) -> None:
    """A wish for a longer life, a reported rejection and a person's own refresh wait; the living token is served."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            token = await rationed(house)
            house.clock.forward(31)
            assert ready(await house.token(min_ttl=TTL)) == token
            with pytest.raises(TooManyRequests, match="rations") as caught:
                await accounts.rejected(house.ctx, Owner(), "me", Secret(token))
            assert caught.value.extra["retry_after"] == BETWEEN - 31
            outcome = await accounts.refresh_now(house.ctx, "me")
            assert isinstance(outcome, Unavailable)
            assert outcome.retry_after == BETWEEN - 31
            assert house.asked() == 0
            house.clock.forward(BETWEEN - 31)
            assert await accounts.rejected(house.ctx, Owner(), "me", Secret(token)) is None
            assert ready(await house.token()) != token
            assert house.asked() == 1

    asyncio.run(live())


def test_a_token_that_has_ended_is_renewed_all_the_same(tmp_path: Path) -> None:
    """Short-lived tokens at a provider that rations: what is over cannot be ended by one more."""

    async def live() -> None:
        async with opened(tmp_path, settings={"ttl": 20.0}) as house:
            token = await rationed(house)
            house.clock.forward(15)
            assert ready(await house.token()) == token
            assert await house.tick() == house.clock() + BETWEEN - 15
            house.clock.forward(5)
            assert ready(await house.token()) != token
            assert house.asked() == 1

    asyncio.run(live())
