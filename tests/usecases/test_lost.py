"""A refresh was sent and its answer never came: what Keyfob does, so that nobody is logged out by it."""

import asyncio
from pathlib import Path

import pytest

from broker.core import timing
from broker.core.account import RefreshingFailed, Uncertain
from broker.usecases.outcomes import MustLogin, Ready, Unavailable
from tests.usecases.house import DUE, TTL, House, opened

# In which way an answer can fail to come.
LOSSES = ["drop", "cut", "refuse", "status=502"]
# Tokens that came, and that nobody can take out of what brought them.
UNTAKEABLE = [
    "garbage",
    "form",
    "gzip",
    'answer={"access_token":"a","access_token":"b","refresh_token":"r","refresh_token":"s"}',
    'answer={"ok":true,"data":{"access_token":"a","refresh_token":"r"}}',
]


async def live_on(house: House, seconds: float) -> None:
    """Tick as the scheduler does, for so long."""
    end = house.clock() + seconds
    while house.clock() < end:
        due = await house.tick()
        house.clock.forward(min(timing.next_wake(due, house.clock()) + 0.01, end - house.clock()))


def results(house: House) -> list[str]:
    """Return what became of each refresh at the provider."""
    return [event.result for event in house.practice.log.all("refresh")]


@pytest.mark.parametrize("fault", [*LOSSES, *UNTAKEABLE])
def test_within_the_grace_the_same_token_is_sent_again_at_once(tmp_path: Path, fault: str) -> None:
    """A provider that answers a spent token for a while is asked again while it does, and the login goes on."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use", "grace": 5.0}) as house:
            await house.add_provider(refresh={"reuse_grace_s": 5})
            await house.log_in()
            house.clock.forward(DUE)
            house.practice.set_faults([f"refresh:{fault}*1"])
            await house.tick()
            state = (await house.account()).state
            assert isinstance(state, RefreshingFailed)
            assert "lost" in state.reason
            assert state.retry_at == house.clock()
            await house.tick()
            account = await house.account()
            assert account.state.name == "active"
            assert results(house)[-1] == ("ok" if fault in ("refuse", "status=502") else "grace")
            house.clock.forward(TTL)
            await house.tick()
            assert results(house)[-1] == "ok"

    asyncio.run(live())


def test_a_caller_within_the_grace_gets_the_token_that_was_on_its_way(tmp_path: Path) -> None:
    """The next program that asks makes the second try itself; it need not wait for the scheduler."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use", "grace": 5.0}) as house:
            await house.add_provider(refresh={"reuse_grace_s": 5})
            await house.log_in()
            house.clock.forward(TTL + 1)
            house.practice.set_faults(["refresh:drop*1"])
            first = await house.token()
            assert isinstance(first, Unavailable)
            assert isinstance(await house.token(), Ready)
            assert results(house) == ["ok", "grace"]

    asyncio.run(live())


@pytest.mark.parametrize("depth", [None, 1, 3])
def test_a_grace_that_covers_one_more_try(tmp_path: Path, depth: int | None) -> None:
    """Where only the newest spent token is answered, a second loss means: not again while a token lives."""

    async def live() -> None:
        settings = {"rotation": "single-use", "grace": 60.0, "grace_rotates": depth is not None}
        async with opened(tmp_path, settings=settings) as house:
            await house.add_provider(refresh={"reuse_grace_s": 60} | ({"grace_depth": depth} if depth else {}))
            await house.log_in()
            house.clock.forward(DUE)
            house.practice.set_faults(["refresh:drop*2"])
            await house.tick()
            await house.tick()
            account = await house.account()
            if depth == 1:
                assert isinstance(account.state, Uncertain)
                assert account.token is not None
                assert account.quiet_until >= (account.token.expires_at or 0.0)
                await live_on(house, 60)
                assert results(house) == ["ok", "grace"]
            else:
                assert isinstance(account.state, RefreshingFailed)
                await live_on(house, 60)
                # A provider that is stricter than its preset says takes the third for theft.
                assert results(house) == ["ok", "grace", "grace" if depth is None else "reuse"]

    asyncio.run(live())


def test_an_answer_lost_at_the_end_of_an_outage_is_asked_for_at_once(tmp_path: Path) -> None:
    """What failed before says nothing about the grace: that begins with the request whose answer was lost."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:status=503", settings={"rotation": "single-use", "grace": 5.0}) as house:
            await house.add_provider(refresh={"reuse_grace_s": 5})
            await house.log_in()
            house.clock.forward(DUE)
            await live_on(house, 60)
            state = (await house.account()).state
            assert isinstance(state, RefreshingFailed)
            assert state.attempts >= 2
            house.practice.set_faults(["refresh:drop*1"])
            house.clock.now = state.retry_at
            await house.tick()
            await house.tick()
            assert results(house)[-2:] == ["ok", "grace"]
            assert (await house.account()).state.name == "active"

    asyncio.run(live())


def test_a_grace_that_ends_during_an_outage_does_not_cost_the_living_token(tmp_path: Path) -> None:
    """Lost, then 503 until the grace is over: the spent token is not sent again while the access token lives."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use", "grace": 10.0}) as house:
            await house.add_provider(refresh={"reuse_grace_s": 10})
            token, _ = await house.secrets_of(await house.log_in())
            house.clock.forward(DUE)
            house.practice.set_faults(["refresh:drop*1"])
            await house.tick()
            house.practice.set_faults(["refresh:status=503*2"])
            await live_on(house, TTL - DUE - 1)
            assert "reuse" not in results(house)
            outcome = await house.token(min_ttl=0)
            assert isinstance(outcome, Ready)
            assert outcome.access_token.reveal() == token
            assert (await house.account()).state.name == "uncertain"

    asyncio.run(live())


@pytest.mark.parametrize("fault", [*LOSSES, *UNTAKEABLE, "big=300"])
def test_without_a_grace_a_living_token_is_not_put_at_risk(tmp_path: Path, fault: str) -> None:
    """The account is uncertain, serves what lives, and asks again only once nothing can be lost by it."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            token, refresh_token = await house.secrets_of(await house.log_in())
            house.clock.forward(DUE)
            house.practice.set_faults([f"refresh:{fault}*1"])
            await house.tick()
            account = await house.account()
            assert isinstance(account.state, Uncertain)
            assert account.token is not None
            assert account.quiet_until == account.token.expires_at
            assert (await house.secrets_of(account))[1] == refresh_token
            await live_on(house, TTL - DUE - 1)
            outcome = await house.token(min_ttl=0)
            assert isinstance(outcome, Ready)
            assert outcome.access_token.reveal() == token
            assert house.asked() == 1

    asyncio.run(live())


@pytest.mark.parametrize("between", [[], ["refresh:status=503*1"], ["refresh:throttle=20*1"]])
def test_the_reason_says_that_an_answer_was_lost_and_never_revoked(tmp_path: Path, between: list[str]) -> None:
    """Nobody knows that anything was revoked; what happened is that an answer did not arrive."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:drop*1", settings={"rotation": "single-use"}) as house:
            await house.log_in()
            house.clock.forward(DUE)
            await house.tick()
            reasons = [(await house.account()).state.reason]
            house.practice.set_faults(between)
            house.clock.forward(TTL - DUE)
            await house.tick()
            reasons.append((await house.account()).state.reason)
            await live_on(house, 200)
            outcome = await house.token()
            assert isinstance(outcome, MustLogin)
            reasons.append(outcome.reason)
            for reason in reasons:
                assert "lost" in reason
                assert "revoked" not in reason
            assert (await house.account()).state.name == "needs-login"
            assert outcome.login_url

    asyncio.run(live())


def test_a_grace_that_the_provider_does_not_keep_is_told_as_a_lost_answer(tmp_path: Path) -> None:
    """The preset promises a grace, the provider refuses the second try: the reason is still the lost answer."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:drop*1", settings={"rotation": "single-use"}) as house:
            await house.add_provider(refresh={"reuse_grace_s": 30})
            await house.log_in()
            house.clock.forward(DUE)
            await house.tick()
            await house.tick()
            account = await house.account()
            assert account.state.name == "needs-login"
            assert "lost" in account.state.reason
            assert "revoked" not in account.state.reason

    asyncio.run(live())


def test_a_new_refresh_token_ends_the_doubt(tmp_path: Path) -> None:
    """The second try brought a refresh token beside a useless access token: nothing is uncertain any more."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:drop*1", settings={"rotation": "single-use", "grace": 10.0}) as house:
            await house.add_provider(refresh={"reuse_grace_s": 10})
            await house.log_in()
            house.clock.forward(DUE)
            await house.tick()
            house.practice.set_faults(["refresh:token_type=DPoP*1"])
            await house.tick()
            state = (await house.account()).state
            assert isinstance(state, RefreshingFailed)
            assert "lost" not in state.reason
            house.clock.now = state.retry_at
            await house.tick()
            assert (await house.account()).state.name == "active"
            assert house.asked() == 3

    asyncio.run(live())


def test_a_request_that_never_arrived_costs_nothing(tmp_path: Path) -> None:
    """Uncertain is not dead: where the provider did not see the request, the token still works after the wait."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:refuse*1", settings={"rotation": "single-use"}) as house:
            await house.log_in()
            house.clock.forward(DUE)
            await house.tick()
            assert (await house.account()).state.name == "uncertain"
            house.clock.forward(TTL - DUE)
            assert isinstance(await house.token(), Ready)
            assert (await house.account()).state.name == "active"
            assert results(house) == ["not processed", "ok"]

    asyncio.run(live())


def test_who_asks_an_uncertain_account_with_no_token_left_learns_when(tmp_path: Path) -> None:
    """No caller spends the token early; each is told how long to wait."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:drop", settings={"rotation": "keep"}) as house:
            await house.log_in()
            house.clock.forward(TTL + 1)
            outcomes = [await house.token() for _ in range(3)]
            state = (await house.account()).state
            assert isinstance(state, Uncertain)
            for outcome in outcomes:
                assert isinstance(outcome, Unavailable)
                assert "lost" in outcome.reason
                assert outcome.retry_after == pytest.approx(state.retry_at - house.clock())
            assert house.asked() == 1

    asyncio.run(live())


def test_losses_in_a_row_are_spaced_out(tmp_path: Path) -> None:
    """A provider that loses every answer is not asked more than a dozen times an hour either."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:drop", settings={"rotation": "keep"}) as house:
            await house.log_in()
            house.clock.forward(TTL + 1)
            began = house.clock()
            await live_on(house, 3600)
            state = (await house.account()).state
            assert isinstance(state, Uncertain)
            assert (state.since, state.attempts) == (began, house.asked())
            assert 4 <= house.asked() <= 12

    asyncio.run(live())


@pytest.mark.parametrize("fault", LOSSES)
def test_a_provider_that_never_rotates_loses_nothing(tmp_path: Path, fault: str) -> None:
    """Where the refresh token cannot be spent, a lost answer is a failure like any other."""

    async def live() -> None:
        async with opened(tmp_path, f"refresh:{fault}*1", settings={"rotation": "keep"}) as house:
            await house.add_provider(refresh={"rotation": "never"})
            await house.log_in()
            house.clock.forward(DUE)
            await house.tick()
            assert (await house.account()).state.name == "refreshing-failed"
            house.clock.forward(16)
            await house.tick()
            assert (await house.account()).state.name == "active"

    asyncio.run(live())


def test_an_answer_that_comes_too_late_is_a_lost_one(tmp_path: Path) -> None:
    """After Keyfob's deadline nobody waits any more; the refresh ends and the account says what happened."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold", deadline=0.1) as house:
            await house.log_in()
            house.clock.forward(DUE)
            await house.tick()
            account = await house.account()
            assert account.state.name == "uncertain"
            assert "lost" in account.state.reason
            assert await house.store.open_intents() == []

    asyncio.run(live())
