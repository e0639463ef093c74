"""What may have changed while a caller waited for a refresh: it is judged by what is true when the token is there."""

import asyncio
from pathlib import Path

from broker.core.policy import App, AppGrant, Ask, Denied
from broker.usecases import apps, get_token
from broker.usecases.outcomes import MustLogin, Outcome, Ready
from tests.usecases.house import DUE, TTL, House, opened, ready
from tests.usecases.wishes import NO_EXCHANGE

SCOPE = ("openid", "profile", "offline_access")


async def app_with(house: House, *grants: AppGrant) -> App:
    """Make an app and let it show its key."""
    key = await apps.add(house.ctx, "job", grants, None)
    app = await apps.identify(house.ctx, key.reveal())
    assert app is not None
    return app


async def waiting(house: House, app: App) -> asyncio.Task[Outcome]:
    """Let the app ask for a token that has expired; return its wait once the provider has been asked."""
    house.clock.forward(TTL + 1)
    task = asyncio.create_task(get_token.get_token(house.ctx, app, Ask("me")))
    await house.until_asked()
    return task


def test_a_refresh_that_brings_more_than_was_granted_is_not_handed_out(tmp_path: Path) -> None:
    """The token that came is what the app would hold: its scope counts, not that of the one before."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.add_provider(**NO_EXCHANGE)
            await house.log_in()
            app = await app_with(house, AppGrant("me", SCOPE))
            assert ready(await house.token(caller=app))
            house.practice.set_faults([f'refresh:json={{"scope":"{" ".join(SCOPE)} admin"}}*1'])
            house.clock.forward(TTL + 1)
            for _ in range(2):
                outcome = await house.token(caller=app)
                assert isinstance(outcome, Denied)
                assert "admin" in outcome.reason
            assert house.asked() == 1
            assert isinstance(await house.token(), Ready)

    asyncio.run(story())


def test_a_key_that_ends_during_the_wait_gets_nothing(tmp_path: Path) -> None:
    """An app that was removed, or whose grant was taken away, while it waited is refused at once."""

    async def story() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            await house.log_in()
            app = await app_with(house, AppGrant("me"))
            without_grant = await waiting(house, app)
            await apps.revoke(house.ctx, "job", "me")
            house.practice.set_faults([])
            assert await without_grant == Denied("app 'job' was not granted account 'me'", "job", "me")
            await apps.grant(house.ctx, "job", AppGrant("me"))
            house.practice.set_faults(["refresh:hold"])
            removed = await waiting(house, app)
            await apps.remove(house.ctx, "job")
            house.practice.set_faults([])
            outcome = await removed
            assert isinstance(outcome, Denied)
            assert "removed" in outcome.reason

    asyncio.run(story())


def test_a_token_of_somebody_else_ends_the_login(tmp_path: Path) -> None:
    """A refresh whose ID token names another person: never handed out, never refreshed from; a person has to look."""

    async def story() -> None:
        async with opened(tmp_path, "refresh:wrong_sub*1") as house:
            mine, _ = await house.secrets_of(await house.log_in())
            house.clock.forward(DUE)
            await house.tick()
            account = await house.account()
            assert account.state.name == "needs-login"
            assert "somebody else" in account.state.reason
            assert ready(await house.token(min_ttl=0)) == mine
            assert await house.tick() is None
            house.clock.forward(TTL)
            assert isinstance(await house.token(), MustLogin)
            assert house.asked() == 1
            await house.walk(await house.begin("me"))
            assert (await house.account()).state.name == "active"

    asyncio.run(story())
