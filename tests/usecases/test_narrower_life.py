"""How long a narrower token lives: until it is stale, refused, or its login is another one; and across a crash."""

import asyncio
import json
from pathlib import Path

import pytest

from broker.core.policy import Denied, Owner
from broker.core.secret import Secret
from broker.core.token import Wish
from broker.errors import TooManyRequests
from broker.usecases import accounts, refresh
from broker.usecases.outcomes import MustLogin, Ready
from tests.store import made
from tests.usecases.house import DUE, TTL, opened, ready
from tests.usecases.wishes import (
    BY_EXCHANGE,
    BY_REFRESH,
    RESOURCE,
    SCOPES,
    WISH,
    app_with,
    ask,
    carries,
    settle_in,
)
from tests.usecases.world import World, crash


def test_a_narrower_token_is_renewed_when_it_is_stale(tmp_path: Path) -> None:
    """It has an end of its own, and each renewal is one more refresh of the same login."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await settle_in(house, **BY_REFRESH)
            first = await ask(house, "read")
            house.clock.forward(TTL - 30)
            second = await ask(house, "read")
            assert isinstance(first, Ready)
            assert isinstance(second, Ready)
            assert second.access_token != first.access_token
            assert second.facts.expires_at == house.clock() + TTL
            assert made.behind(tmp_path, "SELECT count(*) FROM derived_token") == [(1,)]
            assert await house.holds_newest()

    asyncio.run(live())


def test_a_new_login_and_a_smaller_scope_drop_them(tmp_path: Path) -> None:
    """They hang on the login that they came from, and on what it carries; a log-out forgets them too."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_REFRESH)
            first = await ask(house, "read")
            await house.log_in(scope=SCOPES)
            second = await ask(house, "read")
            assert isinstance(first, Ready)
            assert isinstance(second, Ready)
            assert second.access_token != first.access_token
            house.clock.forward(DUE)
            house.practice.set_faults(['refresh:json={"scope": "read write"}'])
            await house.tick()
            assert made.behind(tmp_path, "SELECT count(*) FROM derived_token") == [(0,)]
            assert made.behind(tmp_path, "SELECT count(*) FROM secret WHERE kind LIKE 'derived%'") == [(0,)]
            house.practice.set_faults([])
            assert isinstance(await ask(house, "read"), Ready)
            await accounts.log_out(house.ctx, "me")
            assert made.behind(tmp_path, "SELECT count(*) FROM derived_token") == [(0,)]

    asyncio.run(live())


def test_a_rejected_narrower_token_is_dropped_once_in_thirty_seconds(tmp_path: Path) -> None:
    """The next request brings another; an app that reports each one at once makes no storm of it."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_REFRESH)
            first = await ask(house, "read")
            assert isinstance(first, Ready)
            with pytest.raises(TooManyRequests):
                await accounts.rejected(house.ctx, Owner(), "me", first.access_token)
            house.clock.forward(31)
            assert await accounts.rejected(house.ctx, Owner(), "me", first.access_token) is None
            second = await ask(house, "read")
            assert isinstance(second, Ready)
            assert second.access_token != first.access_token
            assert await accounts.rejected(house.ctx, Owner(), "me", Secret("a-foreign-token")) is None
            assert house.asked() == 2

    asyncio.run(live())


def test_a_rejection_is_heard_while_a_narrower_token_is_fetched(tmp_path: Path) -> None:
    """That request does not renew the account's own token, so the one that was refused is renewed after it."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_REFRESH)
            refused = ready(await house.token())
            house.practice.set_faults(["refresh:hold"])
            narrow = asyncio.create_task(ask(house, "read"))
            await house.until_asked()
            report = asyncio.create_task(accounts.rejected(house.ctx, Owner(), "me", Secret(refused)))

            async def heard() -> bool:
                return report.done() or (await house.account()).forced_at is not None

            await house.until(heard)
            house.practice.set_faults([])
            assert isinstance(await narrow, Ready)
            assert await report is None
            assert ready(await house.token()) != refused
            assert house.asked() == 2

    asyncio.run(live())


@pytest.mark.parametrize("error", ["invalid_grant", "invalid_client"])
def test_a_refused_wish_is_no_death(tmp_path: Path, error: str) -> None:
    """A provider may say so of a resource that it does not give; the login's own refresh tells whether it lives."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_REFRESH)
            house.clock.forward(TTL / 2)
            house.practice.set_faults([f"refresh:error={error}*1"])
            for _ in range(3):
                outcome = await ask(house, resource=RESOURCE)
                assert isinstance(outcome, Denied)
                assert error in outcome.reason
            assert (house.asked(), (await house.account()).state.name) == (2, "active")
            house.practice.set_faults([f"refresh:error={error}*1"])
            await ask(house, "read")
            assert house.asked() == 3, "a token that has just come shows that the login lives"

    asyncio.run(live())


@pytest.mark.parametrize(("error", "state"), [("invalid_grant", "needs-login"), ("invalid_client", "misconfigured")])
def test_a_death_that_a_wish_meets_is_found(tmp_path: Path, error: str, state: str) -> None:
    """Whoever wished is told that somebody has to log in."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_REFRESH)
            house.clock.forward(TTL / 2)
            house.practice.set_faults([f"refresh:error={error}"])
            assert isinstance(await ask(house, resource=RESOURCE), MustLogin)
            assert (house.asked(), (await house.account()).state.name) == (2, state)
            assert await house.store.open_intents() == []

    asyncio.run(live())


@pytest.mark.parametrize("error", ["invalid_request", "invalid_grant", "invalid_token"])
def test_a_refused_exchange_may_be_about_the_token_that_was_shown(tmp_path: Path, error: str) -> None:
    """It stands while the account has that token; with the next one the provider is asked again (RFC 8693 2.2.2)."""

    async def live() -> None:
        async with opened(tmp_path, f"token_exchange:error={error}*1") as house:
            await settle_in(house, **BY_EXCHANGE)
            app = await app_with(house, scope=("read",))
            for _ in range(3):
                denied = await ask(house, "read", caller=app)
                assert isinstance(denied, Denied)
                assert error in denied.reason
            assert house.asked("token_exchange") == 1
            await accounts.refresh_now(house.ctx, "me")
            assert carries(house, await ask(house, "read", caller=app)) == ({"read"}, "")

    asyncio.run(live())


def test_an_exchange_that_met_a_refresh_is_asked_again(tmp_path: Path) -> None:
    """The token that it showed was not the account's any more when the refusal came, so that says nothing."""

    async def live() -> None:
        faults = ("token_exchange:error=invalid_request*1", "token_exchange:hold")
        async with opened(tmp_path, *faults) as house:
            await settle_in(house, **BY_EXCHANGE)
            app = await app_with(house, scope=("read",))
            asking = asyncio.create_task(ask(house, "read", caller=app))
            await house.until_asked("token_exchange")
            await accounts.refresh_now(house.ctx, "me")
            house.practice.set_faults([])
            assert carries(house, await asking) == ({"read"}, "")
            assert house.asked("token_exchange") == 2

    asyncio.run(live())


def test_an_unusable_narrower_token_is_remembered(tmp_path: Path) -> None:
    """Each try spends a refresh token: an app that asks all the time gets one in ten minutes. The login is well."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await settle_in(house, **BY_REFRESH)
            app = await app_with(house, scope=("read",))
            house.practice.set_faults(["refresh:token_type=N_A"])
            for _ in range(10):
                denied = await ask(house, "read", caller=app)
                assert isinstance(denied, Denied)
                assert "not usable" in denied.reason
                house.clock.forward(5)
                await house.tick()
            assert (house.asked(), (await house.account()).state.name) == (1, "active")
            assert await house.store.open_intents() == []
            assert await house.holds_newest()

    asyncio.run(live())


def test_a_lost_answer_stops_who_stood_behind_it(tmp_path: Path) -> None:
    """A wish and a refresh at once, and the answer to the first is lost: the spent token is not sent for the second."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await settle_in(house, **BY_REFRESH)
            house.clock.forward(TTL / 2)
            house.practice.set_faults(["refresh:hold", "refresh:drop"])
            first = asyncio.create_task(ask(house, "read"))
            await house.until_asked()
            (flying,) = house.ctx.flights.tasks.values()
            second = asyncio.create_task(house.token(min_ttl=0.6 * TTL))

            async def queued() -> bool:
                return flying not in house.ctx.flights.tasks.values()

            await house.until(queued)
            house.practice.set_faults([])
            await asyncio.gather(first, second)
            assert (await house.account()).state.name == "uncertain"
            assert house.asked() == 1

    asyncio.run(live())


def test_an_answer_to_a_wish_that_was_kept_is_not_taken_for_the_accounts_own(world: World) -> None:
    """After a crash between the two commits the rotated token is in force, and the narrower one where it belongs."""

    async def live() -> None:
        async with world.opened() as house:
            await house.add_provider(**BY_REFRESH)
            own, _ = await house.secrets_of(await house.log_in(scope=("openid", *SCOPES)))
            world.clock.forward(4000)  # the provider's keys are an hour old: they are asked for after the answer
            world.practice.set_faults(["jwks:hold"])
            before = house.asked("jwks")
            refresh.join(house.ctx, await house.account(), wish=WISH)
            await house.until_asked("jwks", before + 1)
            await crash(house)
            world.practice.set_faults([])
            assert [answered for _, _, answered in await house.store.open_intents()] == [True]
            kept = json.loads(made.reveal(await house.store.kept_answer(await house.account())) or "")
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            account = await house.account()
            assert await house.store.open_intents() == []
            assert await house.secrets_of(account) == (own, kept["refresh_token"])
            found = await house.store.derived_token(account, WISH)
            assert found is not None
            assert made.reveal(found[0]) == kept["access_token"]
            assert account.state.name == "active"
            assert house.asked() == 1
            assert carries(house, await house.token()) == ({"openid", *SCOPES}, "")

    asyncio.run(live())


def test_an_answer_to_a_wish_that_was_lost_is_asked_for_again(world: World) -> None:
    """It may have spent the account's refresh token: within the grace that is sent again, as after any lost answer."""

    async def live() -> None:
        async with world.opened() as house:
            await settle_in(house, refresh={**BY_REFRESH["refresh"], "reuse_grace_s": 30})
            world.practice.set_faults(["refresh:hold"])
            refresh.join(house.ctx, await house.account(), wish=Wish(("read",), None))
            await house.until_asked()
            await crash(house)
            world.practice.set_faults([])
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            await house.landed()
            assert (await house.account()).state.name == "active"
            assert await house.holds_newest()
            assert [event.result for event in house.practice.log.all("refresh")] == ["ok", "grace"]
            assert carries(house, await house.token()) == (set(SCOPES), "")

    asyncio.run(live())
