"""A refresh: on schedule, once, and durable before anything is handed out."""

import asyncio
import math
from pathlib import Path

import pytest

from broker.core import timing
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases import keeping, refresh
from broker.usecases.context import Kept
from broker.usecases.flights import IN_ALL, PER_ISSUER, READY
from broker.usecases.outcomes import Ready
from tests.store import made
from tests.usecases.house import DUE, PATIENCE, TTL, Clock, opened, ready

# Where a spent token is accepted for a while, an answer that is lost can be asked for again.
GRACE = {"reuse_grace_s": 30}


def test_the_scheduler_refreshes_when_due_and_not_before(tmp_path: Path) -> None:
    """Nobody has to ask for a token to keep it fresh, and an early look costs the provider nothing."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            start = house.clock()
            due = await house.tick()
            assert due is not None
            assert DUE - 30 <= due - start <= DUE
            house.clock.now = due - 0.001
            assert await house.tick() == due
            assert house.asked() == 0
            house.clock.now = due
            await house.tick()
            assert house.asked() == 1
            account = await house.account()
            assert account.token is not None
            assert account.token.expires_at == due + TTL
            assert account.last_refresh_at == due
            assert await house.holds_newest()

    asyncio.run(live())


def test_a_refresh_ends_only_what_was_kept_of_its_account(tmp_path: Path) -> None:
    """While a herd is refreshed and written down, what is kept of other accounts stands, and what is of none."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            whose = {name: (await house.log_in(name)).uuid for name in ("me", "other")} | {"none": ""}
            since, memory = house.ctx.since(), dict[str, Kept[str]]()
            for name, uuid in whose.items():
                house.ctx.keep(memory, name, name, since, math.inf, uuid)
            assert [house.ctx.recall(memory, name) is not None for name in whose] == [True, True, True]
            house.clock.now += 0.5 * TTL
            ready(await house.token("other", min_ttl=0.6 * TTL))
            assert house.asked() == 1
            assert [house.ctx.recall(memory, name) is not None for name in whose] == [True, False, True]

    asyncio.run(live())


def test_a_login_is_kept_fresh_for_hours_of_ticks(tmp_path: Path) -> None:
    """Strictly rotating tokens, looked at every 37 s: no refresh too many, none too late, none refused."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use", "ttl": 3600.0}) as house:
            await house.log_in()
            end = house.clock() + 6 * 3600
            while house.clock() < end:
                due = await house.tick()
                account = await house.account()
                assert account.token is not None
                assert not timing.is_expired(account.token, house.clock())
                house.clock.forward(timing.next_wake(due, house.clock()) + 0.5)
            # One every 3600 - 720 - (0 to 60) seconds.
            assert [event.result for event in house.practice.log.all("refresh")] == ["ok"] * 7

    asyncio.run(live())


def test_after_a_long_sleep_every_account_is_refreshed_once(tmp_path: Path) -> None:
    """A machine that wakes up finds everything expired: one tick, one request for each account, all well."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            names = [f"a{number}" for number in range(5)]
            for name in names:
                await house.log_in(name)
            house.clock.forward(8 * 3600)
            await house.tick()
            await house.tick()
            assert house.asked() == 5
            for name in names:
                assert (await house.account(name)).generation == 2

    asyncio.run(live())


def test_a_provider_sees_few_refreshes_at_a_time(tmp_path: Path) -> None:
    """However many accounts are due at one issuer, few requests are under way there at once, and few others ready."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            await house.add_provider(refresh=GRACE)
            for number in range(5):
                await house.log_in(f"a{number}")
            house.clock.forward(TTL)
            await refresh.refresh_due(house.ctx)
            await house.until_asked(count=PER_ISSUER)
            assert len(house.ctx.flights.tasks) == PER_ISSUER * READY
            assert len(await house.store.open_intents()) == PER_ISSUER
            house.practice.set_faults([])
            await house.landed()
            assert house.asked() == 5

    asyncio.run(live())


def test_a_crowd_at_a_hanging_provider_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """More accounts than there are places wait at one issuer; an account elsewhere is refreshed as if they were not."""

    async def live() -> None:
        clock = Clock()
        well = practice_in_thread(PracticeSettings(auto_approve=True), clock=clock)
        async with opened(tmp_path, "refresh:hold", clock=clock) as house:
            with well as other:
                await house.add_provider(refresh=GRACE)
                for number in range(IN_ALL + 1):
                    await house.log_in(f"a{number}")
                await house.log_in("elsewhere", base_url=other.url)
                clock.forward(TTL)
                for number in range(IN_ALL + 1):
                    refresh.join(house.ctx, await house.account(f"a{number}"))
                await house.until_asked(count=PER_ISSUER)
                ready(await house.token("elsewhere"))
                assert house.asked() == PER_ISSUER

    asyncio.run(live())


def test_the_scheduler_does_not_start_what_is_in_the_air(tmp_path: Path) -> None:
    """Ticks while a request hangs join nothing and send nothing."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            await house.log_in()
            house.clock.forward(TTL)
            await refresh.refresh_due(house.ctx)
            await house.until_asked()
            for _ in range(3):
                house.clock.forward(37)
                await refresh.refresh_due(house.ctx)
            house.practice.set_faults([])
            await house.landed()
            assert house.asked() == 1

    asyncio.run(live())


def test_who_still_looks_at_the_old_row_does_not_refresh_the_new_token(tmp_path: Path) -> None:
    """A refresh is for the token that its caller saw: where a newer one is in place, nothing is sent."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            seen = await house.log_in()
            house.clock.forward(TTL)
            await refresh.join(house.ctx, seen)
            await refresh.join(house.ctx, seen)
            assert house.asked() == 1
            await refresh.join(house.ctx, await house.account())
            assert house.asked() == 2

    asyncio.run(live())


def test_a_stopping_daemon_lets_flights_land_and_starts_none(tmp_path: Path) -> None:
    """``drain`` waits for what is in the air and says what did not land in time; nothing new begins."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            await house.add_provider(refresh=GRACE)
            await house.log_in("one")
            await house.log_in("two")
            house.clock.forward(TTL)
            flight = refresh.join(house.ctx, await house.account("one"))
            await house.until_asked()
            assert await house.ctx.flights.drain(0.01) == 1
            await refresh.refresh_due(house.ctx)
            await refresh.join(house.ctx, await house.account("two"))
            house.practice.set_faults([])
            assert await house.ctx.flights.drain(PATIENCE) == 0
            await flight
            assert house.asked() == 1
            assert (await house.account("one")).generation == 2

    asyncio.run(live())


def test_a_landing_wakes_the_scheduler(tmp_path: Path) -> None:
    """When a refresh has ended, the next due time is another one, so the scheduler looks again."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in()
            house.ctx.wake.clear()
            await refresh.join(house.ctx, account)
            await asyncio.wait_for(house.ctx.wake.wait(), PATIENCE)

    asyncio.run(live())


def test_the_rotated_token_is_durable_before_the_new_token_is_handed_out(tmp_path: Path) -> None:
    """While the reply is still being judged, it and the new refresh token are in the store, and nobody has it."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            old, spent = await house.secrets_of(await house.log_in())
            house.clock.forward(4000)  # the provider's keys are an hour old as well: they are asked for after the reply
            house.practice.set_faults(["jwks:hold"])
            before = house.asked("jwks")
            caller = asyncio.create_task(house.token())
            await house.until_asked("jwks", before + 1)
            account = await house.account()
            access_token, refresh_token = await house.secrets_of(account)
            assert refresh_token not in (None, spent)
            assert await house.holds_newest()
            assert access_token == old
            assert not caller.done()
            assert [answered for _, _, answered in await house.store.open_intents()] == [True]
            house.practice.set_faults([])
            outcome = await caller
            assert isinstance(outcome, Ready)
            assert await house.secrets_of(await house.account()) == (outcome.access_token.reveal(), refresh_token)
            assert await house.store.open_intents() == []

    asyncio.run(live())


def test_the_life_of_a_token_is_counted_from_its_request(tmp_path: Path) -> None:
    """An answer that takes its time does not make the token live longer (security model, R53)."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            house.clock.forward(DUE)
            sent_at = house.clock()
            house.practice.set_faults(["refresh:hold"])
            flight = refresh.join(house.ctx, await house.account())
            await house.until_asked()
            house.clock.forward(50)
            house.practice.set_faults([])
            await flight
            token = (await house.account()).token
            assert token is not None
            assert (token.issued_at, token.expires_at) == (sent_at, sent_at + TTL)

    asyncio.run(live())


def test_a_store_that_stumbles_does_not_lose_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The reply is here and the disk is full: it is tried until it is written, and the login lives on."""
    monkeypatch.setattr(keeping, "KEEP_PAUSE", 0.01)  # real seconds

    async def tried_twice() -> bool:
        return caplog.text.count("could not be written yet") >= 2

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            await house.log_in()
            house.clock.forward(TTL)
            caller = asyncio.create_task(house.token())
            await house.until_asked()
            made.behind(tmp_path, "ALTER TABLE secret RENAME TO gone")
            house.practice.set_faults([])
            await house.until(tried_twice)
            made.behind(tmp_path, "ALTER TABLE gone RENAME TO secret")
            assert isinstance(await caller, Ready)
            assert await house.holds_newest()
            assert house.asked() == 1

    asyncio.run(live())


def test_the_previous_refresh_token_stays_until_the_new_one_has_been_used(tmp_path: Path) -> None:
    """After each refresh the store holds the new token and the one before, and nothing older."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in()
            held = "SELECT generation FROM secret WHERE owner = ? AND kind = 'refresh_token' ORDER BY generation"
            for generations in ([(1,), (2,)], [(2,), (3,)], [(3,), (4,)]):
                house.clock.forward(TTL)
                await house.tick()
                assert made.behind(tmp_path, held, account.uuid) == generations

    asyncio.run(live())
