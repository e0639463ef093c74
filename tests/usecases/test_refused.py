"""An app asks for a token and gets none: what it is told, at once, and what is not done for it."""

import asyncio
from pathlib import Path

import pytest

from broker.core import timing
from broker.core.policy import App, AppGrant, Ask, Denied, Owner
from broker.errors import Locked, UnknownAccount
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases.get_token import get_token
from broker.usecases.outcomes import MustLogin, Unavailable
from tests.store import made
from tests.usecases.house import TTL, Clock, opened, ready
from tests.usecases.wishes import NO_EXCHANGE

GRANTED = App("backup", (AppGrant("me"),))
STRANGER = App("stranger", (AppGrant("other"),))


def test_with_no_living_token_and_no_provider_the_caller_learns_when_to_come_back(tmp_path: Path) -> None:
    """The provider cannot be reached: at once "unavailable", with the seconds after which Keyfob itself will try."""

    async def live() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await house.log_in()
        async with opened(tmp_path, practice=practice, clock=clock) as house:
            clock.forward(TTL + 1)
            outcome = await house.token()
            assert isinstance(outcome, Unavailable)
            assert "cannot be reached" in outcome.reason
            account = await house.account()
            assert account.state.name == "refreshing-failed"
            assert account.has_refresh_token
            due = await house.tick()
            assert due is not None
            assert outcome.retry_after == pytest.approx(due - clock())
            assert outcome.retry_after > 1

    asyncio.run(live())


def test_the_retry_after_of_a_throttling_provider_is_passed_on(tmp_path: Path) -> None:
    """Who asks too early would only be refused again, so the provider's own number is what the caller gets."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:throttle=300") as house:
            await house.log_in()
            house.clock.forward(TTL + 1)
            outcome = await house.token()
            assert isinstance(outcome, Unavailable)
            assert outcome.retry_after == pytest.approx(300)
            house.clock.forward(100)
            later = await house.token()
            assert isinstance(later, Unavailable)
            assert later.retry_after == pytest.approx(200)
            assert house.asked() == 1

    asyncio.run(live())


def test_a_dead_grant_is_answered_at_once_with_the_page_where_a_person_can_help(tmp_path: Path) -> None:
    """The provider says invalid_grant: every caller is told to log in, with a URL that does, and nobody asks again."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in()
            house.practice.revoke_grants()
            house.clock.forward(TTL + 1)
            outcomes = [await house.token() for _ in range(3)]
            urls = set()
            for outcome in outcomes:
                assert isinstance(outcome, MustLogin)
                assert "invalid_grant" in outcome.reason
                urls.add(outcome.login_url)
            assert house.asked() == 1
            assert len(urls) == 1, "one unopened login is enough"
            again = await house.store.login(urls.pop().rpartition("/")[2])
            assert again is not None
            finished = await house.walk(again)
            assert finished.account is not None
            assert finished.account.uuid == account.uuid
            ready(await house.token())

    asyncio.run(live())


def test_the_old_token_of_a_dead_grant_is_served_while_it_lives(tmp_path: Path) -> None:
    """A dead grant does not take the rest of the token's life away, nor promise more than is left of it."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            token, _ = await house.secrets_of(await house.log_in())
            house.practice.revoke_grants()
            house.clock.forward(TTL - 120)  # due for the scheduler
            await house.tick()
            assert (await house.account()).state.name == "needs-login"
            assert ready(await house.token()) == token
            assert isinstance(await house.token(min_ttl=121), MustLogin)
            house.clock.forward(90)
            assert isinstance(await house.token(), MustLogin), "30 s are less than callers want by default"
            assert ready(await house.token(min_ttl=20)) == token
            house.clock.forward(31)
            assert isinstance(await house.token(min_ttl=0), MustLogin)
            assert house.asked() == 1

    asyncio.run(live())


def test_a_refused_client_keeps_the_login(tmp_path: Path) -> None:
    """invalid_client is a matter of configuration: the refresh token stays, and nobody asks for a while."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:invalid_client") as house:
            token, refresh_token = await house.secrets_of(await house.log_in())
            house.clock.forward(TTL - 30)
            assert ready(await house.token()) == token
            house.clock.forward(31)
            for _ in range(3):
                outcome = await house.token()
                assert isinstance(outcome, MustLogin)
                assert outcome.misconfigured
                assert "invalid_client" in outcome.reason
            account = await house.account()
            assert account.state.name == "misconfigured"
            assert (await house.secrets_of(account))[1] == refresh_token
            assert house.asked() == 1
            coming = await house.tick()
            assert coming is not None
            assert coming - house.clock() > timing.REFUSED_FIRST / 2 - 31

    asyncio.run(live())


def test_an_app_is_not_led_to_a_login_that_anybody_could_finish(tmp_path: Path) -> None:
    """Where nobody knows whose account it is, whoever opens the address puts a login of their own into it."""

    async def live() -> None:
        async with opened(tmp_path, "userinfo:status=403") as house:
            await house.log_in("anon", scope=("profile", "offline_access"))
            await house.log_in("known", "grace")
            assert [a.identity is None for a in await house.store.accounts()] == [True, False]
            house.practice.revoke_grants()
            house.clock.forward(TTL + 1)
            app = App("backup", (AppGrant("anon"), AppGrant("known")))
            for name, asking, led in (("anon", app, False), ("anon", Owner(), True), ("known", app, True)):
                outcome = await house.token(name, caller=asking)
                assert isinstance(outcome, MustLogin)
                assert bool(outcome.login_url) is led, (name, asking)

    asyncio.run(live())


def test_an_app_without_a_grant_is_denied_before_anything_is_done_for_it(tmp_path: Path) -> None:
    """An app that was not granted the account gets no token and causes no refresh."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.add_provider(**NO_EXCHANGE)
            await house.log_in()
            house.clock.forward(TTL + 1)
            denied = await house.token(caller=STRANGER)
            assert denied == Denied("app 'stranger' was not granted account 'me'", "stranger", "me")
            wider = await get_token(house.ctx, GRANTED, Ask("me", ("write",)))
            assert isinstance(wider, Denied)
            other = await get_token(house.ctx, Owner(), Ask("me", resource="https://api.example.org"))
            assert isinstance(other, Denied)
            assert house.asked() == 0
            assert not house.ctx.handouts
            ready(await house.token(caller=GRANTED))

    asyncio.run(live())


def test_an_unknown_account_is_named_to_the_owner_and_to_nobody_else(tmp_path: Path) -> None:
    """The owner learns that there is no such account; an app cannot find out which names exist."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            with pytest.raises(UnknownAccount, match="No account is called 'nobody'"):
                await house.token("nobody")
            missing = await house.token("nobody", caller=STRANGER)
            existing = await house.token("me", caller=STRANGER)
            assert isinstance(missing, Denied)
            assert isinstance(existing, Denied)
            assert missing.reason.replace("nobody", "me") == existing.reason

    asyncio.run(live())


def test_an_account_whose_first_login_is_under_way_points_to_it(tmp_path: Path) -> None:
    """Nobody waits for the person at the browser: the caller gets the page where the login goes on."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            begun = await house.begin()
            outcome = await house.token()
            assert isinstance(outcome, MustLogin)
            assert outcome.login_url.endswith(f"/login/{begun.id}")

    asyncio.run(live())


def test_an_expired_token_that_nothing_can_refresh_asks_for_a_login(tmp_path: Path) -> None:
    """Where the provider gave no refresh token, the end of the token is the end of the login."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "none"}) as house:
            token, refresh_token = await house.secrets_of(await house.log_in())
            assert refresh_token is None
            house.clock.forward(TTL - 5)
            assert ready(await house.token()) == token
            house.clock.forward(5)
            outcome = await house.token()
            assert isinstance(outcome, MustLogin)
            assert "no refresh token" in outcome.reason
            assert outcome.login_url
            assert house.asked() == 0

    asyncio.run(live())


def test_who_wants_an_id_token_that_never_came_is_told_why(tmp_path: Path) -> None:
    """Without the scope ``openid`` there is none, and the reason says so; the access token is served as ever."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in(scope=("read", "offline_access"))
            outcome = await house.token(id_token=True)
            assert isinstance(outcome, MustLogin)
            assert "openid" in outcome.reason
            ready(await house.token())

    asyncio.run(live())


@pytest.mark.parametrize("age", [0.0, TTL - 30, TTL + 1])
def test_a_locked_store_hands_out_nothing_and_spends_nothing(tmp_path: Path, age: float) -> None:
    """Without the key every request says "locked", whatever the token's age, and no refresh token leaves."""

    async def live() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await house.log_in()
            key = made.key_file(tmp_path)
            key.rename(key.with_name("elsewhere"))
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                clock.forward(age)
                with pytest.raises(Locked):
                    await house.token()
                assert house.asked() == 0
                assert await house.store.open_intents() == []
            key.with_name("elsewhere").rename(key)
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                ready(await house.token())

    asyncio.run(live())
