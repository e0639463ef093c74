"""The machine's clock is set: lives and waits stay as long as they were, and no token is served past its end."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from broker.core import timing
from broker.core.account import Account, RefreshingFailed, Uncertain
from broker.core.login import LOGIN_LIFETIME
from broker.core.secret import Secret
from broker.errors import StoreUnavailable
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases import given, refresh, setbacks, steps
from broker.usecases.newlogin import NewLogin
from tests.usecases.house import DUE, TTL, Clock, House, opened, ready
from tests.usecases.test_store_faults import read_only


async def set_clock(house: House, seconds: float) -> None:
    """Set the wall clock of the machine, and let Keyfob notice it."""
    object.__setattr__(house.ctx, "ahead", lambda: seconds)
    object.__setattr__(house.ctx, "shift", house.clock.forward)
    await steps.follow(house.ctx)


def test_a_token_lives_as_long_as_before(tmp_path: Path) -> None:
    """A day forward or back: neither is a living token renewed for it, nor a dead one served."""

    async def live() -> None:
        for number, step in enumerate((86_400.0, -86_400.0, 3600.0, -5.0)):
            (tmp_path / str(number)).mkdir()
            async with opened(tmp_path / str(number)) as house:
                token, _ = await house.secrets_of(await house.log_in())
                house.clock.forward(100)
                await set_clock(house, step)
                assert ready(await house.token()) == token
                account = await house.account()
                assert account.token is not None
                assert account.token.remaining(house.clock()) == TTL - 100
                assert (account.token.lifetime, house.asked()) == (TTL, 0)
                house.clock.forward(TTL - 100)
                assert ready(await house.token()) != token
                assert (house.asked(), step) == (1, step)
                assert [event.kind for event in await house.heard()].count("clock-set") == 1

    asyncio.run(live())


def test_a_clock_that_is_set_again_and_again(tmp_path: Path) -> None:
    """Set back before the very start, and set again: the second time moves what the first one moved."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            token, _ = await house.secrets_of(await house.log_in())
            for step in (-3600.0, -100.0, 5000.0, -1300.0):
                await set_clock(house, step)
            account = await house.account()
            assert account.token is not None
            assert account.token.remaining(house.clock()) == TTL
            assert ready(await house.token()) == token

    asyncio.run(live())


def test_waits_and_logins_last_as_long_as_before(tmp_path: Path) -> None:
    """A back-off is not over because the clock was set forward, nor endless because it was set back."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:throttle=100*1") as house:
            await house.log_in()
            pending = await house.begin("other")
            house.clock.forward(DUE)
            await house.tick()
            for step in (7 * 86_400.0, -14 * 86_400.0):
                await set_clock(house, step)
                account = await house.account()
                assert isinstance(account.state, RefreshingFailed)
                assert account.state.throttled_until - house.clock() == 100
                assert setbacks.silence(house.ctx, account) == 100
                await house.tick()
                assert house.asked() == 1
            found = await house.store.login(pending.id)
            assert found is not None
            assert found.expires_at - house.clock() == LOGIN_LIFETIME - DUE
            house.clock.forward(101)
            await house.tick()
            assert (await house.account()).state.name == "active"

    asyncio.run(live())


def test_a_flight_in_the_air_lands_by_the_new_clock(tmp_path: Path) -> None:
    """Its token's life is counted from when the request was sent, whatever the clock showed then."""

    async def live() -> None:
        clock, set_by = Clock(), [0.0]
        settings = PracticeSettings(auto_approve=True, faults=("refresh:hold",))
        # Only this machine's clock is set: the provider's was right.
        with practice_in_thread(settings, clock=lambda: clock() - set_by[0]) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await house.log_in()
                clock.forward(TTL)
                waiting = asyncio.create_task(house.token())
                await house.until_asked()
                set_by[0] = -300.0
                await set_clock(house, set_by[0])
                practice.set_faults([])
                ready(await waiting)
                account = await house.account()
                assert account.token is not None
                assert account.token.remaining(clock()) == TTL
                assert await house.store.open_intents() == []

    asyncio.run(live())


@pytest.mark.parametrize("step", [300.0, -300.0])
def test_a_grace_is_as_long_as_before(tmp_path: Path, step: float) -> None:
    """A second try that fails while the clock is set is judged by when the first was sent: within the grace still."""

    async def live() -> None:
        clock, set_by = Clock(), [0.0]
        settings = PracticeSettings(auto_approve=True, rotation="single-use", grace=60.0, faults=("refresh:drop*1",))
        with practice_in_thread(settings, clock=lambda: clock() - set_by[0]) as practice:
            async with opened(tmp_path, practice=practice, clock=clock, deadline=1.0) as house:
                await house.add_provider(refresh={"reuse_grace_s": 60})
                await house.log_in()
                clock.forward(DUE)
                await house.tick()
                practice.set_faults(["refresh:hold"])
                again = asyncio.create_task(house.tick())
                await house.until_asked(count=2)
                set_by[0] = step
                await set_clock(house, step)
                await again
                practice.set_faults([])
                state = (await house.account()).state
                assert isinstance(state, RefreshingFailed)
                clock.now = state.retry_at
                await house.tick()
                assert (await house.account()).state.name == "active"

    asyncio.run(live())


def test_a_store_that_refuses_holds_the_clock(tmp_path: Path) -> None:
    """Set back by a day while the disk is full: until the times have moved, a dead token is not taken for a living."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            token, _ = await house.secrets_of(await house.log_in())
            async with read_only(house):
                with pytest.raises(StoreUnavailable):
                    await set_clock(house, -86_400.0)
                house.clock.forward(TTL - 1)
                assert ready(await house.token()) == token
                house.clock.forward(2)
                with pytest.raises(StoreUnavailable):
                    await house.token()
            await set_clock(house, -86_400.0)
            assert ready(await house.token()) != token

    asyncio.run(live())


def two_starts(tmp_path: Path, sets: tuple[float, ...]) -> list[Account]:
    """Log in, stop; start again, set the clock; return the account after each of the two."""

    async def live() -> list[Account]:
        clock, found = Clock(), []
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            for number in range(2):
                async with opened(tmp_path, practice=practice, clock=clock) as house:
                    if number == 0:
                        await house.log_in()
                    house.clock.forward(10)
                    for seconds in sets if number else ():
                        await set_clock(house, seconds)
                    found.append(await house.account())
        return found

    return asyncio.run(live())


@pytest.mark.parametrize(("sets", "moved"), [((50.0,), 0.0), ((-50.0,), -50.0), ((3600.0, -3600.0, 20.0), -3600.0)])
def test_what_an_earlier_start_wrote_is_taken_for_the_older(
    tmp_path: Path, sets: tuple[float, ...], moved: float
) -> None:
    """It may be by either clock: it moves back and never forward, so that no dead token is taken for a living one."""
    before, after = two_starts(tmp_path, sets)
    assert before.token is not None
    assert before.token.expires_at is not None
    assert before.last_refresh_at is not None
    assert after.token is not None
    assert after.token.expires_at == before.token.expires_at + moved
    assert after.token.lifetime == before.token.lifetime
    assert (after.last_refresh_at, after.state.since) == (before.last_refresh_at + moved, before.state.since + moved)


def test_a_clock_that_was_wrong_over_a_start_and_is_set_right(tmp_path: Path) -> None:
    """What moved along with the wrong clock before the start moves back with it, and dies when it does."""

    async def live() -> None:
        clock, wrong = Clock(), [0.0]
        settings = PracticeSettings(auto_approve=True)
        with practice_in_thread(settings, clock=lambda: clock() - wrong[0]) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                token, _ = await house.secrets_of(await house.log_in())
                wrong[0] = 6 * 3600.0
                await set_clock(house, wrong[0])
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                assert ready(await house.token()) == token
                wrong[0] = 0.0
                await set_clock(house, -6 * 3600.0)
                assert ready(await house.token()) == token
                clock.forward(TTL)
                assert ready(await house.token()) != token

    asyncio.run(live())


def test_the_end_of_a_pasted_token_is_a_date(tmp_path: Path) -> None:
    """A person read it off the provider's page: it is what the right clock says."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            until = house.clock() + 500.0
            token, _ = await house.secrets_of(await house.log_in())
            assert token is not None
            pasted = NewLogin("practice", "pasted", house.practice.url)
            await given.bring_token(house.ctx, pasted, Secret(token), until)
            await set_clock(house, -300.0)
            account = await house.account("pasted")
            assert account.token is not None
            assert account.token.expires_at == until

    asyncio.run(live())


def test_a_login_from_an_earlier_start_is_not_cut_short(tmp_path: Path) -> None:
    """A person is in the middle of it: a clock that is set back takes none of their time."""

    async def live() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                begun = await house.begin("other")
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await set_clock(house, -3600.0)
                found = await house.store.login(begun.id)
                assert found is not None
                assert found.expires_at == begun.expires_at

    asyncio.run(live())


def test_a_start_whose_clock_is_behind_moves_what_it_wrote(tmp_path: Path) -> None:
    """What was refreshed since this start moves, however much later an earlier start believed it to be."""

    async def live() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await house.log_in()
            clock.forward(-190_000)
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await refresh.join(house.ctx, await house.account())
                clock.forward(100)
                for seconds in (-44_000.0, 234_000.0):
                    await set_clock(house, seconds)
                    account = await house.account()
                    assert account.token is not None
                    assert account.token.remaining(clock()) == TTL - 100

    asyncio.run(live())


def test_a_time_that_is_only_handed_on_stays(tmp_path: Path) -> None:
    """A refresh token's end as an earlier start wrote it is not moved because something else of its row is new."""

    async def live() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await house.log_in()
                before = await house.account()
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                practice.set_faults(["refresh:status=503*1"])
                clock.forward(DUE)
                await house.tick()
                failed = await house.account()
                assert isinstance(failed.state, RefreshingFailed)
                await set_clock(house, 50.0)
                after = await house.account()
                assert after.state.since == failed.state.since + 50.0
                assert after.token == before.token

    asyncio.run(live())


BEHIND = -33 * 86_400.0


def after_a_start_under_a_clock_behind(
    tmp_path: Path, refresh_rules: dict[str, object], fault: str, story: Callable[[House], Awaitable[None]]
) -> None:
    """Log in, let a refresh meet a fault, stop; start with the clock far behind, and tell the story from there."""

    async def live() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await house.add_provider(refresh=refresh_rules)
                await house.log_in()
                practice.set_faults([fault] if fault else [])
                clock.forward(DUE)
                await house.tick()
            practice.set_faults([])
            clock.forward(BEHIND)
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await refresh.settle(house.ctx)
                await story(house)

    asyncio.run(live())


def test_no_wait_is_longer_than_any_because_of_another_clock(tmp_path: Path) -> None:
    """Written before the clock went back by a month: the next try is not a month away, nor later when it is right."""

    async def story(house: House) -> None:
        account = await house.account()
        assert isinstance(account.state, RefreshingFailed)
        assert account.state.retry_at - house.clock() <= timing.RETRY_AFTER_CAP
        assert account.state.throttled_until - house.clock() <= timing.RETRY_AFTER_CAP
        await set_clock(house, -BEHIND)
        house.clock.forward(timing.RETRY_AFTER_CAP)
        await house.tick()
        assert (await house.account()).state.name == "active"

    after_a_start_under_a_clock_behind(tmp_path, {}, "refresh:throttle=100*1", story)


def test_a_token_from_the_future_of_the_clock_lives_for_one_life(tmp_path: Path) -> None:
    """Nobody knows how old it is: it is renewed when a token of now would be, and not a month later."""

    async def story(house: House) -> None:
        account = await house.account()
        assert account.token is not None
        assert account.token.issued_at <= house.clock()
        assert account.token.remaining(house.clock()) == TTL
        asked = house.asked()
        house.clock.forward(TTL)
        await house.tick()
        assert house.asked() == asked + 1

    after_a_start_under_a_clock_behind(tmp_path, {}, "", story)


def test_a_lost_answer_from_the_future_is_not_asked_for_again(tmp_path: Path) -> None:
    """Whether its grace is over cannot be told from a clock that is behind, and after it the login would end."""

    async def story(house: House) -> None:
        asked = house.asked()
        await house.tick()
        assert isinstance((await house.account()).state, Uncertain)
        assert house.asked() == asked

    after_a_start_under_a_clock_behind(tmp_path, {"reuse_grace_s": 30}, "refresh:drop", story)


def test_a_pasted_token_from_the_future_keeps_its_date(tmp_path: Path) -> None:
    """Its end was read off a page."""

    async def live() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                until = clock() + 500.0
                token, _ = await house.secrets_of(await house.log_in())
                assert token is not None
                pasted = NewLogin("practice", "pasted", house.practice.url)
                await given.bring_token(house.ctx, pasted, Secret(token), until)
            clock.forward(BEHIND)
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await refresh.settle(house.ctx)
                account = await house.account("pasted")
                assert account.token is not None
                assert account.token.expires_at == until
                assert account.token.issued_at <= clock()

    asyncio.run(live())
