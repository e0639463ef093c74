"""A client that the provider refuses, by mistake or until it is mended: no login is lost, no provider vexed."""

import asyncio
import math
from collections import Counter
from pathlib import Path

import pytest

from broker.core import timing
from broker.core.account import Account, Misconfigured, Uncertain
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases import accounts, due, refresh
from broker.usecases.outcomes import MustLogin
from tests.usecases.house import DUE, TTL, Clock, House, opened, ready
from tests.usecases.kin import SCOPES, begin, derived_from

REFUSED = "refresh:invalid_client"
DAY = 86_400.0
NAMES = ("me", "second", "third")


def refusal(account: Account) -> Misconfigured:
    """Return the state of an account whose client is refused."""
    assert isinstance(account.state, Misconfigured), account.state
    return account.state


async def pass_time(house: House, seconds: float) -> None:
    """Let time pass, with a look whenever one is due; it ends when it is over, and without a look."""
    until = house.clock() + seconds
    while (coming := await looked(house)) <= until:
        house.clock.now = max(coming, house.clock())
    house.clock.now = until


async def looked(house: House) -> float:
    """Begin what is due, and return when there will be something again."""
    await house.tick()
    coming = await house.tick()
    return math.inf if coming is None else coming


@pytest.mark.parametrize("fault", ["invalid_client", "error=unauthorized_client"])
def test_an_outage_that_looks_like_a_wrong_client_logs_nobody_out(tmp_path: Path, fault: str) -> None:
    """Once the provider knows the client again the account is active, with the same login, and nobody did a thing."""

    async def story() -> None:
        async with opened(tmp_path, f"refresh:{fault}") as house:
            await house.log_in()
            house.clock.forward(DUE)
            await house.tick()
            refusal(await house.account())
            house.practice.set_faults([])
            await pass_time(house, timing.REFUSED_FIRST + 1)
            assert (await house.account()).state.name == "active"
            assert await house.holds_newest()
            ready(await house.token())
            assert house.asked() == 2

    asyncio.run(story())


def test_a_client_that_stays_refused_is_asked_for_less_and_less_often(tmp_path: Path) -> None:
    """A day costs a dozen requests, a person is told once, and it is always said when the next try will be."""

    async def story() -> None:
        async with opened(tmp_path, REFUSED) as house:
            _, refresh_token = await house.secrets_of(await house.log_in())
            house.clock.forward(DUE)
            began = house.clock()
            await house.tick()
            await house.heard()
            waits = []
            while house.clock() < began + DAY:
                account = await house.account()
                coming = await due.next_refresh_at(house.ctx, account)
                assert coming == refusal(account).retry_at
                assert await house.tick() == coming
                waits.append(coming - house.clock())
                house.clock.now = coming
                await house.tick()
            assert timing.REFUSED_FIRST / 2 <= waits[0] <= timing.REFUSED_FIRST
            assert timing.REFUSED_CAP / 2 <= waits[-1] <= timing.REFUSED_CAP
            assert 9 <= house.asked() <= 20
            state = refusal(await house.account())
            assert (state.since, state.attempts) == (began, house.asked())
            assert await house.heard() == []
            assert (await house.secrets_of(await house.account()))[1] == refresh_token

    asyncio.run(story())


def test_programs_and_persons_do_not_make_it_ask_sooner(tmp_path: Path) -> None:
    """Who asks for a token, or forces a refresh, is told at once that the client is refused; nobody is asked."""

    async def story() -> None:
        async with opened(tmp_path, REFUSED) as house:
            await house.log_in()
            house.clock.forward(DUE)
            await house.tick()
            house.clock.forward(timing.REFUSED_FIRST)
            for outcome in (await house.token(), await accounts.refresh_now(house.ctx, "me", confirm=True)):
                assert isinstance(outcome, MustLogin)
                assert outcome.misconfigured
            assert house.asked() == 1

    asyncio.run(story())


def test_one_account_finds_out_for_all_of_its_client(tmp_path: Path) -> None:
    """While it is refused one of them asks now and then, by turns; once it is known again the others follow at once."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            for name in NAMES:
                await house.log_in(name, name)
            house.clock.forward(TTL)
            house.practice.set_faults([REFUSED])
            await house.tick()
            assert house.asked() == 3  # each found out at first: nobody knows yet that it is the client
            await pass_time(house, DAY)
            alone = house.asked()
            assert 9 <= alone - 3 <= 30
            tries = Counter(event.refresh_token for event in house.practice.log.all("refresh"))
            assert min(tries.values()) >= 2
            house.practice.set_faults([])
            assert [(await house.account(name)).state.name for name in NAMES] == ["misconfigured"] * 3
            while house.asked() == alone:
                house.clock.now = max(await looked(house), house.clock())
                await house.tick()
            await house.tick()
            assert [(await house.account(name)).state.name for name in NAMES] == ["active"] * 3
            assert house.asked() == alone + 3

    asyncio.run(story())


def test_it_goes_on_where_it_was_after_a_restart(tmp_path: Path) -> None:
    """What is known of it stands in the rows: a start asks no sooner, and the pace stays as slow as it was."""

    async def story() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True, faults=(REFUSED,)), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await house.log_in()
                house.clock.forward(DUE)
                await pass_time(house, DAY)
                before = refusal(await house.account())
                asked = house.asked()
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await refresh.settle(house.ctx)
                assert await looked(house) == before.retry_at
                house.clock.now = before.retry_at
                await house.tick()
                assert house.asked() == asked + 1
                after = refusal(await house.account())
                assert (after.since, after.attempts) == (before.since, before.attempts + 1)

    asyncio.run(story())


def test_a_person_who_gives_the_client_anew_has_all_its_accounts_asked_for(tmp_path: Path) -> None:
    """The secret was changed at the provider: one login that brings the new one mends every account at once."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            machine = {"client_id": "keyfob-machine", "client_secret": house.practice.client_secret}
            for name in NAMES:
                await house.log_in(name, name, **machine)
            house.clock.forward(TTL)
            house.practice.set_faults([REFUSED])
            await house.tick()
            for name in NAMES:
                refusal(await house.account(name))
            house.practice.set_faults([])
            house.ctx.wake.clear()
            await house.log_in("me", "me", **machine)
            assert house.ctx.wake.is_set()
            await house.tick()
            assert [(await house.account(name)).state.name for name in NAMES] == ["active"] * 3

    asyncio.run(story())


@pytest.mark.parametrize("fault", ["refresh:status=503", "refresh:throttle=3600", "refresh:html"])
def test_another_failure_in_between_changes_nothing_of_what_is_said(tmp_path: Path, fault: str) -> None:
    """What a person has to mend stays the reason, and no event says it again; the provider's own wait is kept."""

    async def story() -> None:
        async with opened(tmp_path, REFUSED) as house:
            await house.log_in()
            house.clock.forward(DUE)
            await house.tick()
            before = refusal(await house.account())
            await house.heard()
            house.practice.set_faults([fault])
            house.clock.now = before.retry_at
            await house.tick()
            after = refusal(await house.account())
            assert (after.since, after.reason, after.attempts) == (before.since, before.reason, before.attempts)
            least = timing.RETRY_AFTER_CAP if "throttle" in fault else timing.REFUSED_FIRST / 2
            assert after.retry_at >= house.clock() + least
            house.practice.set_faults([REFUSED])
            await pass_time(house, DAY)
            assert await house.heard() == []

    asyncio.run(story())


def test_a_dead_grant_shows_that_the_client_is_known(tmp_path: Path) -> None:
    """One login ended meanwhile: that account says so, and the others of the client do not wait for their turn."""

    async def story() -> None:
        async with opened(tmp_path, REFUSED) as house:
            await house.log_in("me", "ada")
            await house.log_in("second", "grace")
            house.clock.forward(TTL)
            await house.tick()
            first, second = sorted(
                [await house.account("me"), await house.account("second")], key=lambda one: refusal(one).retry_at
            )
            house.practice.set_faults(["refresh:error=invalid_grant*1"])
            house.clock.now = refusal(first).retry_at
            house.ctx.flights.refused.clear()  # as long after the last refusal
            await house.tick()
            await house.tick()
            assert (await house.account(first.name)).state.name == "needs-login"
            assert (await house.account(second.name)).state.name == "active"

    asyncio.run(story())


def test_an_answer_that_is_lost_while_it_is_tried_again_is_a_lost_one(tmp_path: Path) -> None:
    """The refresh token may be spent then, so the rules for that hold, and not those for a client that is refused."""

    async def story() -> None:
        async with opened(tmp_path, REFUSED) as house:
            await house.log_in()
            house.clock.forward(DUE)
            await house.tick()
            house.practice.set_faults(["refresh:refuse"])
            house.clock.now = refusal(await house.account()).retry_at
            await house.tick()
            assert isinstance((await house.account()).state, Uncertain)

    asyncio.run(story())


def test_a_refusal_does_not_end_the_doubt_about_a_lost_answer(tmp_path: Path) -> None:
    """A token that may be spent is not sent again while another one lives that could be lost with it."""

    async def story() -> None:
        async with opened(tmp_path, "refresh:drop", settings={"ttl": 7200}) as house:
            await house.log_in()
            account = await house.account()
            assert account.token is not None
            assert account.token.expires_at is not None
            house.clock.now = account.token.expires_at - 1400
            await house.tick()
            doubted = (await house.account()).state
            assert isinstance(doubted, Uncertain)
            house.practice.set_faults([REFUSED])
            await accounts.refresh_now(house.ctx, "me", confirm=True)
            state = refusal(await house.account())
            assert state.lost_at == doubted.since
            assert state.retry_at < account.token.expires_at
            assert await looked(house) == account.token.expires_at
            house.clock.now = account.token.expires_at - 1
            await house.tick()
            assert house.asked() == 2
            house.clock.forward(1)
            house.practice.set_faults(["refresh:error=invalid_grant"])
            await house.tick()
            assert "was lost" in (await house.account()).state.reason
            assert house.asked() == 3

    asyncio.run(story())


def test_within_the_grace_a_refused_client_does_not_cost_the_lost_answer(tmp_path: Path) -> None:
    """What was lost can be had again for a while: it is asked for within it, and not in a quarter of an hour."""

    async def story() -> None:
        async with opened(tmp_path, settings={"grace": 60}) as house:
            await house.add_provider(refresh={"rotation": "always", "reuse_grace_s": 60})
            await house.log_in()
            house.clock.forward(DUE)
            house.practice.set_faults(["refresh:drop"])
            await house.tick()
            house.practice.set_faults(["refresh:invalid_client*1"])
            await house.tick()
            state = (await house.account()).state
            assert state.name == "refreshing-failed"
            assert "invalid_client" in state.reason
            await pass_time(house, 30)
            assert (await house.account()).state.name == "active"
            assert await house.holds_newest()

    asyncio.run(story())


def test_a_derived_account_follows_its_client_too(tmp_path: Path) -> None:
    """It is begun once at a look, by its own row, and its place among those that are due is free again each time."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            await derived_from(house)
            house.practice.set_faults(["token_exchange:error=unauthorized_client"])
            house.clock.forward(DUE)
            await house.tick()
            began = refusal(await house.account("bill")).since
            await pass_time(house, DAY)
            state = refusal(await house.account("bill"))
            assert (state.since, state.attempts) == (began, house.asked("token_exchange") - 1)
            assert (await house.account("me")).state.name == "active"
            house.practice.set_faults([])
            await house.log_in(scope=SCOPES)
            await house.tick()
            assert (await house.account("bill")).state.name == "active"

    asyncio.run(story())
