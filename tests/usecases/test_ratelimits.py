"""Requests wait for their turn: apps one after the other, none past the limit, and nobody for ever."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from broker.core.account import Account
from broker.core.policy import App, AppGrant, Caller, Owner
from broker.core.window import FIRST_PATIENCE, ROUNDING, SOON
from broker.errors import NotGranted, ProviderUnavailable, TooManyRequests, UnknownAccount
from broker.practice.grants import fingerprint
from broker.usecases import accounts, ratelimits, ration, steps
from broker.usecases.book import MOST_LINES, MOST_OF_APP, MOST_ROUTES, MOST_WINDOWS, route
from broker.usecases.outcomes import Unavailable
from broker.usecases.ratelimits import Standing, Turn
from tests.usecases.house import DUE, TTL, House, opened, ready

Story = Callable[[House, Account], Awaitable[None]]


def told(tmp_path: Path, story: Story, *faults: str) -> None:
    """Tell a story about one account."""

    async def whole() -> None:
        async with opened(tmp_path, *faults) as house:
            await story(house, await house.log_in())

    asyncio.run(whole())


def app(account: Account, name: str = "job", share: int | None = None, mode: str = "token") -> App:
    """Return an app with a grant."""
    return App(name, (AppGrant(account.name, mode=mode, uuid=account.uuid, rate_share=share),))


def left(remaining: int, limit: int = 10, reset: int = 60, scope: str = "core") -> dict[str, str]:
    """Return the headers of an answer."""
    numbers = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"x-ratelimit-{name}": str(number) for name, number in numbers.items()} | {"x-ratelimit-resource": scope}


async def go(house: House, account: Account, caller: Caller | None = None, path: str = "/items", **more: float) -> Turn:
    """Ask for a turn."""
    return await ratelimits.turn(house.ctx, account, caller or app(account), method="GET", path=path, **more)


async def ask(
    house: House, account: Account, headers: Mapping[str, str], status: int = 200, path: str = "/items"
) -> None:
    """Send a request and take its answer."""
    (await go(house, account, path=path)).answered(status, headers)


async def begun(*requests: Awaitable[Turn]) -> list[asyncio.Task[Turn]]:
    """Let requests come one after the other; return them where they stand."""
    tasks = []
    for request in requests:
        tasks.append(asyncio.ensure_future(request))
        await asyncio.sleep(0)
    return tasks


def pass_time(house: House, account: Account, seconds: float) -> None:
    """Let time pass, and the timer ring."""
    house.clock.forward(seconds)
    ratelimits.look(house.ctx, house.ctx.rates.of_account(account.uuid))


def test_an_empty_window_refuses_before_anything_is_sent(tmp_path: Path) -> None:
    """The caller learns which limit it is and until when; afterwards it may go."""

    async def story(house: House, account: Account) -> None:
        await ask(house, account, left(0))
        with pytest.raises(TooManyRequests, match="'core' of account 'me'") as refused:
            await go(house, account)
        assert refused.value.extra["retry_after"] == 60 + ROUNDING
        assert "X-Keyfob-Wait" in refused.value.hint
        await go(house, account, path="/other")  # of which nobody knows that it falls under that limit
        house.clock.forward(60 + ROUNDING)
        await go(house, account)

    told(tmp_path, story)


def test_a_route_is_known_by_its_shape(tmp_path: Path) -> None:
    """Numbers and long ids are one of many; an answer without a name for its limit counts for every route."""

    async def story(house: House, account: Account) -> None:
        await ask(house, account, left(0, scope="list"), path="/v1/tracks/17/?page=2")
        with pytest.raises(TooManyRequests):
            await go(house, account, path="/v1/tracks/4")
        await ask(house, account, {"retry-after": "9"}, 429, path="/v1/albums")
        with pytest.raises(TooManyRequests, match="'default'"):
            await go(house, account, path="/v1/never-seen")

    told(tmp_path, story)
    assert route("GET", "/v1/a/0b6f1c1e-4d3a-4f0e-9d2e/") == route("GET", "/v1/a/*")
    assert route("GET", "/v1/a") != route("POST", "/v1/a")
    assert route("GET", "/" + "a" * 600) == ""


def test_apps_go_in_turns_and_each_in_order(tmp_path: Path) -> None:
    """Eight requests of one app do not stand before the first of another."""

    async def story(house: House, account: Account) -> None:
        await ask(house, account, left(0))
        went: list[str] = []

        async def one(name: str, number: int) -> Turn:
            turn = await go(house, account, app(account, name), hold=120)
            went.append(f"{name}{number}")
            return turn

        waiting = await begun(*(one("a", n) for n in range(4)), *(one("b", n) for n in range(2)), one("c", 0))
        assert went == []
        pass_time(house, account, 60 + ROUNDING)
        (await waiting[0]).answered(200, left(5))  # one goes first, and its answer lets five more go
        await asyncio.sleep(0)
        assert went == ["a0", "b0", "c0", "a1", "b1", "a2"]
        waiting[3].cancel()

    told(tmp_path, story)


def test_whoever_comes_later_does_not_overtake(tmp_path: Path) -> None:
    """A request that is not to be held takes no turn that another one waits for."""

    async def story(house: House, account: Account) -> None:
        await ask(house, account, left(0))
        (first,) = await begun(go(house, account, app(account, "patient"), hold=120))
        house.clock.forward(60 + ROUNDING)
        (hasty,) = await begun(go(house, account, app(account, "hasty")))
        await asyncio.sleep(0)
        assert (first.done(), hasty.done()) == (True, False)
        (await first).answered(200, left(0))
        with pytest.raises(TooManyRequests):
            await hasty

    told(tmp_path, story)


def test_a_wait_ends_with_its_time(tmp_path: Path) -> None:
    """Too short a wait is refused at once; one that ends meanwhile is told so, and its place is free."""

    async def story(house: House, account: Account) -> None:
        await ask(house, account, left(0))
        with pytest.raises(TooManyRequests):
            await go(house, account, hold=30)
        waiting = await begun(*(go(house, account, hold=62) for _ in range(2)))
        pass_time(house, account, 61)
        first = await waiting[0]
        pass_time(house, account, 1)  # nobody has answered the first one
        with pytest.raises(TooManyRequests) as refused:
            await waiting[1]
        assert refused.value.extra["retry_after"] == FIRST_PATIENCE - 1
        first.lost()
        assert house.ctx.rates.of_account(account.uuid).waiting == {}

    told(tmp_path, story)


@pytest.mark.parametrize("together", [False, True])
def test_who_goes_away_leaves_its_place(tmp_path: Path, *, together: bool) -> None:
    """Before its turn or together with it: the next one goes."""

    async def story(house: House, account: Account) -> None:
        await ask(house, account, left(0))
        gone, other = await begun(*(go(house, account, hold=120) for _ in range(2)))
        if not together:
            gone.cancel()
            await asyncio.sleep(0)
        pass_time(house, account, 60 + ROUNDING)
        if together:
            gone.cancel()
        await other
        assert gone.cancelled()

    told(tmp_path, story)


def test_a_request_that_was_never_sent_uses_nothing_up(tmp_path: Path) -> None:
    """Its place is given to the next one; of one whose answer was lost, nobody knows."""

    async def story(house: House, account: Account) -> None:
        await ask(house, account, left(1))
        first = await go(house, account)
        with pytest.raises(TooManyRequests):
            await go(house, account)
        first.unsent()
        first.lost()  # the first word counts
        (await go(house, account)).lost()
        with pytest.raises(TooManyRequests):
            await go(house, account)

    told(tmp_path, story)


def test_a_stop_ends_every_wait(tmp_path: Path) -> None:
    """Who is held is told, and nobody is held from then on."""

    async def story(house: House, account: Account) -> None:
        await ask(house, account, left(0))
        waiting = await begun(*(go(house, account, hold=120) for _ in range(3)))
        house.ctx.rates.close()
        for request in (*waiting, go(house, account, hold=120)):
            with pytest.raises(ProviderUnavailable, match="stopping"):
                await request

    told(tmp_path, story)


def test_a_share_leaves_the_rest_to_others(tmp_path: Path) -> None:
    """An app with 30 percent of ten has three; another one goes on."""

    async def story(house: House, account: Account) -> None:
        greedy = app(account, "greedy", share=30)
        await ask(house, account, left(9))
        for number in range(3):
            (await go(house, account, greedy)).answered(200, left(8 - number))
        with pytest.raises(TooManyRequests, match="30 % that app 'greedy' may use"):
            await go(house, account, greedy)
        held, other = await begun(go(house, account, greedy, hold=200), go(house, account, app(account, "other")))
        (await other).answered(200, left(5))
        assert not held.done()
        pass_time(house, account, 60 + ROUNDING)
        await held

    told(tmp_path, story)


def test_one_app_cannot_take_every_place(tmp_path: Path) -> None:
    """More than so many requests of one app do not wait; another app's still do, and what need not wait goes."""

    async def story(house: House, account: Account) -> None:
        await ask(house, account, left(0))
        mine = await begun(*(go(house, account, hold=120) for _ in range(MOST_OF_APP)))
        with pytest.raises(TooManyRequests, match="no place for one more of 'job'") as refused:
            await go(house, account, hold=120)
        assert refused.value.extra["retry_after"] == SOON
        others = await begun(go(house, account, app(account, "other"), hold=120))
        await go(house, account, path="/other")  # it falls under another limit, and waits for nobody
        for request in (*mine, *others):
            assert not request.done()
            request.cancel()

    told(tmp_path, story)


def test_the_clock_of_the_machine_moves_no_limit(tmp_path: Path) -> None:
    """Set forward it opens nothing, set back it keeps nothing shut; what is shown goes by the clock as it is."""

    async def story(house: House, account: Account) -> None:
        await ask(house, account, left(0))
        object.__setattr__(house.ctx, "shift", house.clock.forward)
        for step in (86_400.0, -86_400.0):
            object.__setattr__(house.ctx, "ahead", lambda step=step: step)
            await steps.follow(house.ctx)
            with pytest.raises(TooManyRequests):
                await go(house, account)
            (shown,) = await ratelimits.standing(house.ctx, Owner(), "me")
            assert (shown.reset_at, shown.told_at) == (house.clock() + 60, house.clock())
        house.clock.forward(60 + ROUNDING)
        await go(house, account)

    told(tmp_path, story)


def test_what_direct_programs_see_counts_as_well(tmp_path: Path) -> None:
    """A report closes the window for the proxy; who may report or look is who has a grant."""

    async def story(house: House, account: Account) -> None:
        async def report(caller: Caller) -> list[Standing]:
            return await ratelimits.report(
                house.ctx, caller, "me", status=200, headers=left(0), method="GET", path="/items"
            )

        (shown,) = await report(app(account))
        assert (shown.scope, shown.limit, shown.remaining, shown.retry_after) == ("core", 10, 0, 60 + ROUNDING)
        with pytest.raises(TooManyRequests):
            await go(house, account)
        by_proxy = app(account, mode="proxy")
        assert await ratelimits.standing(house.ctx, by_proxy, "me") == [shown]
        strangers = (App("none", ()), App("job", (AppGrant("me", expires_at=house.clock(), uuid=account.uuid),)))
        for caller in (by_proxy, *strangers):
            with pytest.raises(NotGranted):
                await report(caller)
        for caller in strangers:
            with pytest.raises(NotGranted):
                await ratelimits.standing(house.ctx, caller, "me")
            with pytest.raises(NotGranted):
                await ratelimits.standing(house.ctx, caller, "nobody")
        with pytest.raises(UnknownAccount):
            await ratelimits.standing(house.ctx, Owner(), "nobody")

    told(tmp_path, story)


def test_a_used_up_token_endpoint_is_waited_for(tmp_path: Path) -> None:
    """The success that used the last request up is good; no account there asks before the time, and none is lost."""

    async def story(house: House, _: Account) -> None:
        other = await house.log_in("other", "grace")
        house.practice.set_faults(["refresh:used_up=900"])
        house.clock.forward(DUE)
        await house.token("me", min_ttl=TTL / 2)
        assert (await house.account()).state.name == "active"
        assert house.asked() == 1
        house.practice.set_faults([])
        house.clock.forward(TTL - DUE)
        outcome = await house.token(other.name)
        assert isinstance(outcome, Unavailable)
        assert "throttling" in outcome.reason
        assert house.asked() == 1
        (shown,) = [one for one in await ratelimits.standing(house.ctx, Owner(), "me") if one.use == "token"]
        assert (shown.remaining, shown.retry_after) == (0, outcome.retry_after)
        house.clock.forward(outcome.retry_after)
        await house.tick()
        ready(await house.token(other.name))
        issued = [event.issued_refresh_token for event in house.practice.log.all("refresh")]
        for name in ("me", other.name):  # both are due now, and either may have come first
            _access, stored = await house.secrets_of(await house.account(name))
            assert fingerprint(stored or "") in issued[-2:]

    told(tmp_path, story)


def test_the_scheduler_does_not_begin_what_would_have_to_wait(tmp_path: Path) -> None:
    """An account that is due meanwhile stays as well as it was, and is looked at when the endpoint opens."""

    async def story(house: House, account: Account) -> None:
        await house.log_in("other", "grace")
        house.practice.set_faults(["refresh:used_up=600*1"])
        house.clock.forward(DUE)
        first = await house.account("other")
        await renew(house, account)
        opens = house.clock() + 600
        assert await house.tick() == opens
        assert (await house.account("other")) == first
        house.clock.now = opens
        await house.tick()
        assert (await house.account("other")).generation == first.generation + 1

    told(tmp_path, story)


async def renew(house: House, account: Account) -> None:
    """Refresh one account alone."""
    assert isinstance(await accounts.refresh_now(house.ctx, account.name), Account)


def test_a_login_at_a_used_up_endpoint_names_the_time(tmp_path: Path) -> None:
    """Its code is not sent, and the person reads when to log in again."""

    async def story() -> None:
        async with opened(tmp_path, "code:used_up=300*1") as house:
            await house.log_in("one", user="one")
            finished = await house.walk(await house.begin("two"), "two")
            assert finished.account is None
            assert f"Log in again after {ration.moment(house.clock() + 300)}" in finished.reason
            assert house.asked("code") == 1
            house.clock.forward(300)
            await house.log_in("two", user="two")

    asyncio.run(story())


def test_a_logout_at_a_used_up_endpoint_goes_on(tmp_path: Path) -> None:
    """The provider is not asked, which is told with the time, and the account is forgotten here."""

    async def story(house: House, account: Account) -> None:
        await house.log_in("other", "grace")
        await accounts.log_out(house.ctx, "other")
        asked = house.asked("revoke")
        done = await accounts.log_out(house.ctx, account.name)
        assert not done.revoked
        assert "takes no request for another 300 s" in done.detail
        assert house.asked("revoke") == asked
        assert await house.ctx.store.account(account.name) is None

    told(tmp_path, story, "revoke:used_up=300*1")


def test_the_book_is_bounded(tmp_path: Path) -> None:
    """A server that names a new limit at each answer, and paths without end, take no more memory than a large API."""

    async def story(house: House, account: Account) -> None:
        line = house.ctx.rates.of_account(account.uuid)
        for number in range(MOST_ROUTES + MOST_WINDOWS):
            await ask(house, account, left(5, scope=f"scope{number}"), path=f"/a{number}")
        assert (len(line.windows), len(line.routes)) == (MOST_WINDOWS, MOST_ROUTES)
        for number in range(MOST_LINES):
            house.ctx.rates.of_account(f"account{number}")
        assert len(house.ctx.rates.accounts) == MOST_LINES
        assert account.uuid not in house.ctx.rates.accounts

    told(tmp_path, story)
