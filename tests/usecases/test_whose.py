"""Whose token it is, where the token reply itself says so."""

import asyncio
from pathlib import Path

from broker.usecases import accounts, providers
from broker.usecases.providers import NewProvider
from tests.usecases.house import House, opened


def test_a_login_of_somebody_else_is_told_by_the_reply_itself(tmp_path: Path) -> None:
    """Where the token reply says whose it is, a refresh that brings another person's token is not used."""

    async def story() -> None:
        async with opened(tmp_path, 'code:json={"user_id": "ada"}') as house:
            await at_home(house)
            account = await house.log_in(provider="other", base_url="", scope=("read",))
            assert account.identity is not None
            assert (account.identity.issuer, account.identity.subject) == ("other", "ada")
            house.practice.set_faults(['refresh:json={"user_id": "ada"}'])
            house.clock.forward(550)
            await accounts.refresh_now(house.ctx, "me")
            assert (await house.account()).state.name == "active"
            house.practice.set_faults(['refresh:json={"user_id": "grace"}'])
            house.clock.forward(550)
            before = await house.secrets_of(await house.account())
            await accounts.refresh_now(house.ctx, "me")
            after = await house.account()
            assert after.state.name == "needs-login"
            assert "somebody else ('grace')" in str(getattr(after.state, "reason", ""))
            assert (await house.secrets_of(after))[0] == before[0]

    asyncio.run(story())


async def at_home(house: House) -> None:
    """Configure the practice provider as one that has no issuer and says in its replies whose they are."""
    await providers.add(
        house.ctx,
        NewProvider(
            name="other",
            preset="generic",
            overrides={
                "endpoints": {
                    "authorization": house.practice.url + "/authorize",
                    "token": house.practice.url + "/token",
                },
                "identity": {"reply_subject": "user_id"},
                "client_id": "keyfob",
            },
        ),
    )
