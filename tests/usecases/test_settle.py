"""After a crash: what was left open is settled at the next start, and no login is lost by it."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.core import timing
from broker.core.account import RefreshingFailed, Uncertain
from broker.core.secret import Secret
from broker.practice.grants import fingerprint
from broker.store import tables
from broker.usecases import refresh
from broker.usecases.outcomes import Ready
from tests.store import made
from tests.usecases.house import DUE, TTL
from tests.usecases.world import World, crash


async def crash_while_the_request_is_out(world: World, **policy: Any) -> tuple[str | None, str | None]:  # noqa: ANN401 -- a preset's values
    """Log in, refresh, and die before the answer has come; the provider has carried it out."""
    async with world.opened() as house:
        if policy:
            await house.add_provider(refresh=policy)
        account = await house.log_in()
        tokens: tuple[str | None, str | None] = await house.secrets_of(account)
        world.clock.forward(DUE)
        world.practice.set_faults(["refresh:hold"])
        refresh.join(house.ctx, account)
        await house.until_asked()
        await crash(house)
        world.practice.set_faults([])
        assert [answered for _, _, answered in await house.store.open_intents()] == [False]
    return tokens


async def crash_while_the_answer_is_judged(world: World) -> str:
    """Log in, refresh, and die when the answer is written down and not put to use; return the answer."""
    async with world.opened() as house:
        await house.log_in()
        world.clock.forward(4000)  # the provider's keys are old as well, so that they are asked for
        world.practice.set_faults(["jwks:hold"])
        before = house.asked("jwks")
        refresh.join(house.ctx, await house.account())
        await house.until_asked("jwks", before + 1)
        await crash(house)
        world.practice.set_faults([])
        assert [answered for _, _, answered in await house.store.open_intents()] == [True]
        return made.reveal(await house.store.kept_answer(await house.account())) or ""


def test_an_answer_that_was_kept_is_put_to_use_without_a_request(world: World) -> None:
    """The reply is on disk: the next start reads it, and the provider is not asked for tokens again."""

    async def live() -> None:
        answer = json.loads(await crash_while_the_answer_is_judged(world))
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            account = await house.account()
            assert (account.state.name, account.generation) == ("active", 2)
            assert await house.secrets_of(account) == (answer["access_token"], answer["refresh_token"])
            assert account.token is not None
            assert account.token.expires_at == world.clock() + TTL
            assert await house.store.open_intents() == []
            assert [event.kind for event in await house.heard()] == ["refreshed"]
            assert house.asked() == 1

    asyncio.run(live())


def test_the_life_of_a_kept_answer_is_counted_from_its_request(world: World) -> None:
    """A daemon that comes back much later does not take an old token for a new one."""

    async def live() -> None:
        await crash_while_the_answer_is_judged(world)
        sent_at = world.clock()
        world.clock.forward(200)
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            account = await house.account()
            assert account.token is not None
            assert account.token.expires_at == sent_at + TTL
            assert house.asked() == 1

    asyncio.run(live())


def test_a_kept_answer_whose_id_token_cannot_be_verified_now_is_put_to_use(world: World) -> None:
    """The keys are not to be had at the next start: the access token counts, the ID token does not."""

    async def live() -> None:
        await crash_while_the_answer_is_judged(world)
        world.practice.set_faults(["jwks:status=503"])
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            account = await house.account()
            assert (account.state.name, account.token_generation, account.id_token_generation) == ("active", 2, 1)
            _, kept = await house.secrets_of(account)
            assert fingerprint(kept or "") == world.practice.log.all("refresh")[-1].issued_refresh_token
            assert await house.store.open_intents() == []
            assert house.asked() == 1

    asyncio.run(live())


def test_within_the_grace_a_request_without_an_answer_is_sent_again_at_once(world: World) -> None:
    """A crash in the worst moment costs nothing at a provider with a grace, if the restart is quick enough."""

    async def live() -> None:
        await crash_while_the_request_is_out(world, reuse_grace_s=30)
        world.clock.forward(2)
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            state = (await house.account()).state
            assert isinstance(state, RefreshingFailed)
            assert "lost" in state.reason
            assert state.retry_at == world.clock()
            await house.tick()
            account = await house.account()
            assert (account.state.name, account.generation) == ("active", 2)
            assert [event.result for event in world.practice.log.all("refresh")] == ["ok", "grace"]
            assert await house.store.open_intents() == []

    asyncio.run(live())


def test_crash_after_crash_within_the_grace_still_saves_the_login(world: World) -> None:
    """The grace is counted from the first request, however often the daemon dies in between."""

    async def live() -> None:
        await crash_while_the_request_is_out(world, reuse_grace_s=30)
        for _ in range(2):
            world.clock.forward(9)
            world.practice.set_faults(["refresh:hold"])
            async with world.opened() as house:
                await refresh.settle(house.ctx)
                before = house.asked()
                refresh.join(house.ctx, await house.account())
                await house.until_asked(count=before + 1)
                await crash(house)
                world.practice.set_faults([])
        world.clock.forward(9)
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            await house.tick()
            assert (await house.account()).state.name == "active"
            assert [event.result for event in world.practice.log.all("refresh")] == ["ok", "grace", "grace", "grace"]

    asyncio.run(live())


def test_crashes_in_a_row_are_no_long_outage(world: World) -> None:
    """Four kills within two seconds, then a useless token: the next try comes as soon as after a first failure."""

    async def live() -> None:
        await crash_while_the_request_is_out(world, reuse_grace_s=30)
        for _ in range(3):
            world.clock.forward(0.5)
            world.practice.set_faults(["refresh:hold"])
            async with world.opened() as house:
                before = house.asked()
                await refresh.settle(house.ctx)
                await house.until_asked(count=before + 1)
                await crash(house)
        world.practice.set_faults(["refresh:token_type=DPoP*1"])
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            await house.landed()
            state = (await house.account()).state
            assert isinstance(state, RefreshingFailed)
            assert "not usable" in state.reason
            assert state.retry_at <= house.clock() + timing.BACKOFF_FIRST

    asyncio.run(live())


def test_after_the_grace_nothing_is_sent_while_the_token_lives(world: World) -> None:
    """Sending the same token again could end the login, so the account says what happened and serves what it has."""

    async def live() -> None:
        token, refresh_token = await crash_while_the_request_is_out(world, reuse_grace_s=30)
        world.clock.forward(31)
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            account = await house.account()
            assert isinstance(account.state, Uncertain)
            assert "lost" in account.state.reason
            assert "revoked" not in account.state.reason
            assert account.token is not None
            assert account.quiet_until == account.token.expires_at
            assert await house.secrets_of(account) == (token, refresh_token)
            await house.tick()
            outcome = await house.token()
            assert isinstance(outcome, Ready)
            assert outcome.access_token.reveal() == token
            assert house.asked() == 1
            assert await house.store.open_intents() == []

    asyncio.run(live())


def test_an_unknown_grace_is_no_grace(world: World) -> None:
    """Where the preset promises nothing, a crash makes the account uncertain, however quick the restart."""

    async def live() -> None:
        await crash_while_the_request_is_out(world)
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            assert (await house.account()).state.name == "uncertain"
            assert house.asked() == 1

    asyncio.run(live())


def test_at_a_provider_that_never_rotates_a_crash_is_a_passing_failure(world: World) -> None:
    """Nothing was spent, so it is simply tried again after the back-off."""

    async def live() -> None:
        await crash_while_the_request_is_out(world, rotation="never")
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            assert (await house.account()).state.name == "refreshing-failed"
            assert await house.store.open_intents() == []

    asyncio.run(live())


def test_an_intent_whose_request_was_never_sent_is_settled_too(world: World) -> None:
    """The crash came between the intent and the request: nobody can tell, the second try succeeds."""

    async def live() -> None:
        async with world.opened() as house:
            await house.add_provider(refresh={"reuse_grace_s": 30})
            account = await house.log_in()
            world.clock.forward(DUE)
            assert await house.store.begin_refresh(account, world.clock()) is not None
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            await house.tick()
            assert (await house.account()).state.name == "active"
            assert [event.result for event in world.practice.log.all("refresh")] == ["ok"]

    asyncio.run(live())


def test_settling_an_orderly_house_changes_nothing(world: World) -> None:
    """Without anything open, and a second time after something was, a start touches no account and asks nobody."""

    async def live() -> None:
        await crash_while_the_request_is_out(world)
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            before = await house.account()
            await house.heard()
            await refresh.settle(house.ctx)
            assert await house.account() == before
            assert await house.heard() == []

    asyncio.run(live())


def test_a_new_login_settles_what_was_open(world: World) -> None:
    """Who logged in again after the crash has a new life: the old intent and the old answer mean nothing to it."""

    async def live() -> None:
        await crash_while_the_answer_is_judged(world)
        async with world.opened() as house:
            account = await house.log_in()
            tokens = await house.secrets_of(account)
            await refresh.settle(house.ctx)
            assert await house.account() == account
            assert await house.secrets_of(account) == tokens
            assert await house.store.open_intents() == []

    asyncio.run(live())


def test_a_kept_answer_that_does_not_open_is_one_accounts_trouble(world: World, tmp_path: Path) -> None:
    """It counts as lost; the others go on, and so does this one, with the refresh token that was kept beside it."""

    async def live() -> None:
        async with world.opened() as house:
            broken, _ = await house.log_in("broken"), await house.log_in("other", "grace")
            begun = await house.store.begin_refresh(broken, world.clock())
            assert begun is not None
            assert await house.store.keep_answer(begun, Secret('{"access_token": "x"}'), None) is not None
        made.behind(tmp_path, "UPDATE secret SET sealed = zeroblob(64) WHERE kind = 'answer'")
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            await house.landed()
            assert (await house.account("broken")).state.name == "uncertain"
            assert await house.store.open_intents() == []
            world.clock.forward(TTL + 1)
            await house.tick()
            for name in ("broken", "other"):
                assert (await house.account(name)).state.name == "active"

    asyncio.run(live())


def test_one_account_that_cannot_be_settled_does_not_keep_the_others(world: World, tmp_path: Path) -> None:
    """A provider that is not configured any more is that account's trouble alone; the daemon starts."""

    async def live() -> None:
        async with world.opened() as house:
            await house.add_provider(refresh={"reuse_grace_s": 30})
            first, second = await house.log_in("first"), await house.log_in("second")
            for account in (first, second):
                assert await house.store.begin_refresh(account, world.clock()) is not None
            config = await house.store.provider(first.provider)
            assert config is not None
            await house.store.put_provider(replace(config, name="second"))
            await house.store.put_provider(replace(config, preset="gone"))
        made.as_keyfob(tmp_path, tables.account, "UPDATE account SET provider = 'second' WHERE name = 'second'")
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            assert (await house.account("second")).state.name == "refreshing-failed"
            await house.tick()
            assert (await house.account("second")).state.name == "active"

    asyncio.run(live())


@pytest.mark.parametrize("who", ["the schedule", "somebody who asks"])
def test_what_could_not_be_settled_for_a_moment_is_settled_later(world: World, tmp_path: Path, who: str) -> None:
    """The provider cannot be read at the start: once it can be, the lost answer is told before anything is sent."""

    async def live() -> None:
        await crash_while_the_request_is_out(world)
        async with world.opened() as house:
            [(overrides,)] = made.behind(tmp_path, "SELECT overrides FROM provider")
            made.behind(tmp_path, "UPDATE provider SET overrides = '['")
            await refresh.settle(house.ctx)
            await house.tick()
            assert len(await house.store.open_intents()) == 1
            made.behind(tmp_path, "UPDATE provider SET overrides = ?", overrides)
            if who == "the schedule":
                await house.tick()
            else:
                await refresh.join(house.ctx, await house.account())
            assert (await house.account()).state.name == "uncertain"
            assert await house.store.open_intents() == []
            assert house.asked() == 1

    asyncio.run(live())


def test_what_cannot_be_settled_keeps_nobody_elses_pace(world: World, tmp_path: Path) -> None:
    """One account stays unsettled for long, and each look tries again: another's back-off is not cut short by that."""

    async def live() -> None:
        async with world.opened() as house:
            await house.add_provider(refresh={"reuse_grace_s": 3000})
            for name in ("first", "second"):
                account = await house.log_in(name)
                assert await house.store.begin_refresh(account, world.clock()) is not None
            config = await house.store.provider(account.provider)
            assert config is not None
            await house.store.put_provider(replace(config, name="second"))
        made.as_keyfob(tmp_path, tables.account, "UPDATE account SET provider = 'second' WHERE name = 'second'")
        made.behind(tmp_path, "UPDATE provider SET overrides = '[' WHERE name = 'second'")
        world.practice.set_faults(["refresh:drop"])
        async with world.opened() as house:
            await refresh.settle(house.ctx)
            for _ in range(4):
                await house.tick()
            before = house.asked()
            assert (await house.account("first")).quiet_until > world.clock()
            for _ in range(3):
                await house.tick()
            assert house.asked() == before
            assert [account.name for account, _, _ in await house.store.open_intents()] == ["second"]

    asyncio.run(live())
