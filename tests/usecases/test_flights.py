"""The gates that refreshes pass, and what is remembered of issuers and of wishes that were refused."""

import asyncio
from pathlib import Path

import pytest

from broker.oauth import wire
from broker.usecases import narrower, refresh, setbacks
from broker.usecases.flights import Gate
from broker.usecases.outcomes import Ready
from broker.usecases.providers import find
from tests.usecases.house import DUE, opened
from tests.usecases.wishes import BY_EXCHANGE, BY_REFRESH, SCOPES, WISH, ask, settle_in


def test_one_at_a_time_whoever_came_first(tmp_path: Path) -> None:
    """An exchange may pass beside others; that does not let two refreshes pass whose answers must not be lost."""

    async def story() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await settle_in(house, **BY_EXCHANGE)
            await house.log_in("second", "grace", scope=SCOPES)
            assert isinstance(await ask(house, "read"), Ready)  # the first at this issuer's gate
            house.practice.set_faults(["refresh:hold", "token_exchange:hold"])
            house.clock.forward(DUE)
            await refresh.refresh_due(house.ctx)
            await house.until_asked()
            beside = asyncio.create_task(ask(house, "write"))
            await house.until_asked("token_exchange", 2)
            assert house.asked() == 1
            house.practice.set_faults([])
            await beside
            await house.landed()
            assert house.asked() == 2

    asyncio.run(story())


@pytest.mark.parametrize("waits", [(600.0, 1.0), (1.0, 600.0)])
def test_the_longer_silence_counts(tmp_path: Path, waits: tuple[float, float]) -> None:
    """Two requests in the air are told to wait; whichever answer comes last does not shorten the other's time."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            accounts = [await house.log_in("ada", "ada"), await house.log_in("grace", "grace")]
            provider = await find(house.ctx, accounts[0].provider)
            for account, wait in zip(accounts, waits, strict=True):
                sent = await house.store.begin_refresh(account, house.clock())
                assert sent is not None
                throttled = wire.Throttled("HTTP 429", wait)
                await setbacks.receive(house.ctx, sent, provider, throttled, house.clock())
            assert setbacks.silence(house.ctx, accounts[0]) == 600

    asyncio.run(story())


def test_a_place_is_not_given_to_one_that_was_just_cancelled() -> None:
    """Who is cancelled in the same turn of the loop still stands in the row; the place goes to the next, or is free."""

    async def story() -> None:
        gate = Gate(1, lambda _: (0, 0))
        for others in (0, 1):
            await gate.enter("first")
            gone, *rest = [asyncio.create_task(passed(gate)) for _ in range(1 + others)]
            await asyncio.sleep(0)
            gone.cancel()
            gate.leave()
            assert await asyncio.gather(*rest) == [True] * others
            assert await passed(gate)

    asyncio.run(story())


async def passed(gate: Gate) -> bool:
    """Go through."""
    await gate.enter("other")
    gate.leave()
    return True


def test_refusals_are_forgotten_when_their_time_is_over(tmp_path: Path) -> None:
    """An app that asks for ever new resources does not fill the memory."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_REFRESH)
            for number in range(5):
                house.practice.set_faults(["refresh:error=invalid_target*1"])
                await ask(house, resource=f"https://r{number}.example/")
                house.clock.forward(narrower.DENIED_FOR)
                await house.tick()
            assert len(house.ctx.flights.denied) == 1

    asyncio.run(story())


def test_an_exchange_that_ends_does_not_forget_the_next_one(tmp_path: Path) -> None:
    """Who looks between the end of one and its being cleared away begins another, which is the one that counts then."""

    async def story() -> None:
        async with opened(tmp_path, "token_exchange:error=invalid_scope") as house:
            await settle_in(house, **BY_EXCHANGE)
            account = await house.account()
            provider = await find(house.ctx, account.provider)
            first = narrower._join_exchange(house.ctx, account, provider, WISH)  # noqa: SLF001 -- between two turns
            while not first.done():  # noqa: ASYNC110 -- awake in the very turn in which it ends
                await asyncio.sleep(0)
            second = narrower._join_exchange(house.ctx, account, provider, WISH)  # noqa: SLF001 -- as above
            key = f"{account.uuid} {WISH.slot}"
            await asyncio.sleep(0)
            assert house.ctx.flights.tasks.get(key) is second
            await second
            await asyncio.sleep(0)
            assert house.ctx.flights.tasks == {}

    asyncio.run(story())
