"""Many accounts at one provider: who goes first, how many at a time, and one refusal that counts for all."""

import asyncio
from pathlib import Path

from broker.core import timing
from broker.usecases import refresh, setbacks
from broker.usecases.outcomes import Unavailable
from tests.store import made
from tests.usecases.house import DUE, TTL, House, opened, ready


async def crowd(house: House, *names: str) -> None:
    """Log accounts in, and let all of them become due together."""
    for name in names:
        await house.log_in(name)
    house.clock.forward(TTL)


async def landed_in_order(house: House) -> list[str]:
    """Let everything land, and tell in which order the accounts were refreshed."""
    house.practice.set_faults([])
    await house.landed()
    return [event.account for event in await house.heard() if event.kind == "refreshed"]


def test_a_look_in_the_middle_of_a_landing_asks_nobody_twice(tmp_path: Path) -> None:
    """An account that is seen when its answer is kept and not yet in force is not refreshed again for that."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await crowd(house, "me")
            house.clock.forward(4000)  # the provider's keys are old as well, so that they are asked for
            house.practice.set_faults(["jwks:hold"])
            before = house.asked("jwks")
            refresh.join(house.ctx, await house.account())
            await house.until_asked("jwks", before + 1)
            seen = await house.account()
            assert seen.generation == 2
            assert seen.token is not None
            assert timing.is_expired(seen.token, house.clock())
            house.practice.set_faults([])
            await house.landed()
            await refresh.join(house.ctx, seen)
            assert house.asked() == 1

    asyncio.run(live())


def test_without_the_key_what_is_overdue_does_not_call_for_another_look_at_once(tmp_path: Path) -> None:
    """Nothing can be done about it, so it must not keep the machine busy."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await crowd(house, "me")
        made.key_file(tmp_path).rename(tmp_path / "away")
        async with opened(tmp_path, practice=house.practice, clock=house.clock) as shut:
            assert shut.store.locked
            assert await shut.tick() is None
            assert shut.asked() == 0

    asyncio.run(live())


async def until_awaited(house: House) -> None:
    """Let the app come as far as its wait."""
    while not house.ctx.flights.awaited:  # noqa: ASYNC110 -- the product has no event for what only a test looks for
        await asyncio.sleep(0)


def test_one_at_a_time_where_a_lost_answer_costs_the_login(tmp_path: Path) -> None:
    """Without a grace whatever is in the air when the machine stops is lost: so it is one at the most."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold", settings={"rotation": "single-use"}) as house:
            await crowd(house, "a", "b", "c")
            await refresh.refresh_due(house.ctx)
            await house.until_asked()
            assert len(await house.store.open_intents()) == 1
            assert len(await landed_in_order(house)) == 3

    asyncio.run(live())


def test_who_is_waited_for_goes_first(tmp_path: Path) -> None:
    """An app that asks for an account in a long queue does not wait for the accounts that nobody wants now."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            await crowd(house, "a", "b", "c", "wanted")
            await refresh.refresh_due(house.ctx)
            await house.until_asked()
            app = asyncio.create_task(house.token("wanted"))
            await until_awaited(house)
            order = await landed_in_order(house)
            ready(await app)
            assert order.index("wanted") <= 1  # of those that are due at once, any may be in the air by then
            assert len(order) == 4
            assert house.ctx.flights.awaited == set()

    asyncio.run(live())


def test_who_dies_first_goes_first(tmp_path: Path) -> None:
    """After a long time without the machine, refresh tokens near their end are used before the others."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.add_provider(refresh={"idle_days": 30})
            await house.log_in("z-old")
            house.clock.forward(3600)
            await crowd(house, "a-new", "b-new")
            await house.heard()
            await house.tick()
            # Two go at a time, and of two that go together either may land first.
            assert "z-old" in (await landed_in_order(house))[:2]

    asyncio.run(live())


def test_a_refresh_token_is_used_before_it_dies_of_idleness(tmp_path: Path) -> None:
    """An account that nobody uses, whose token has no known end, keeps its login all the same: every two thirds."""

    async def live() -> None:
        async with opened(tmp_path, "code:without=expires_in", "refresh:without=expires_in") as house:
            await house.add_provider(refresh={"idle_days": 15})
            await house.log_in()
            house.clock.forward(10 * 86_400 - 60)
            coming = await house.tick()
            assert coming is not None
            assert abs(coming - house.clock() - 60) < 1
            house.clock.forward(61)
            await house.tick()
            assert house.asked() == 1
            assert (await house.account()).generation == 2

    asyncio.run(live())


def test_a_throttle_counts_for_every_account_of_the_issuer(tmp_path: Path) -> None:
    """Told once to wait, Keyfob asks for none of the accounts there before that is over, and says why."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:throttle=300*1") as house:
            for name in ("a", "b"):
                await house.log_in(name)
            house.clock.forward(DUE)
            await refresh.join(house.ctx, await house.account("a"))
            assert house.asked() == 1
            house.clock.forward(TTL - DUE)
            outcome = await house.token("b")
            assert isinstance(outcome, Unavailable)
            assert "throttling" in outcome.reason
            assert 100 < outcome.retry_after <= 300
            assert house.asked() == 1
            await house.tick()
            assert house.asked() == 1
            house.clock.forward(300)
            await house.tick()
            ready(await house.token("a"))
            ready(await house.token("b"))
            assert house.asked() == 3

    asyncio.run(live())


async def lose_an_answer(house: House, name: str) -> None:
    """Let one answer get lost that the provider would give again within its grace."""
    house.practice.set_faults(["refresh:drop*1"])
    await refresh.join(house.ctx, await house.account(name), awaited=False)
    house.practice.set_faults([])
    assert setbacks.lost_at(await house.account(name)) > 0


def test_a_lost_answer_is_asked_for_before_everything_else(tmp_path: Path) -> None:
    """It can be had again for a few seconds only: neither a crowd nor an app that waits stands in its way."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use", "grace": 10}) as house:
            await house.add_provider(refresh={"reuse_grace_s": 10})
            await crowd(house, "a", "b", "c", "d", "e", "lost")
            await lose_an_answer(house, "lost")
            await house.heard()
            house.practice.set_faults(["refresh:hold"])
            for name in ("a", "b"):  # as many as there are places
                refresh.join(house.ctx, await house.account(name), awaited=False)
            await house.until_asked(count=3)
            for name, awaited in (("c", True), ("d", False), ("e", True), ("lost", False)):
                refresh.join(house.ctx, await house.account(name), awaited=awaited)
            order = await landed_in_order(house)
            # Two go at a time, and of two that go together either may land first.
            assert (set(order[:2]), set(order[2:4])) == ({"a", "b"}, {"lost", "c"})

    asyncio.run(live())


def test_a_spent_token_is_not_sent_when_its_turn_comes_too_late(tmp_path: Path) -> None:
    """Whatever it waited for: after the grace it would end the login, so it is kept until nothing can be lost by it."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use", "grace": 10}) as house:
            await house.add_provider(refresh={"reuse_grace_s": 10})
            await house.log_in()
            house.clock.forward(DUE)
            await lose_an_answer(house, "me")
            house.clock.forward(9.5)  # not over yet, but it would be when the request arrives
            await refresh.join(house.ctx, await house.account())
            assert house.asked() == 1
            account = await house.account()
            assert account.state.name == "uncertain"
            assert "was lost" in account.state.reason
            ready(await house.token(min_ttl=0))
            assert house.asked() == 1

    asyncio.run(live())


def test_a_start_asks_at_once_for_every_answer_that_can_still_be_had(tmp_path: Path) -> None:
    """Also where the retry itself was killed before it came to an intent: the grace does not wait for its turn."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use", "grace": 10}) as house:
            await house.add_provider(refresh={"reuse_grace_s": 10})
            await crowd(house, "a", "lost")
            await lose_an_answer(house, "lost")
            assert await house.store.open_intents() == []
            await refresh.settle(house.ctx)
            await house.landed()
            assert (await house.account("lost")).state.name == "active"
            assert house.asked() == 2

    asyncio.run(live())
