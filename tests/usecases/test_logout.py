"""Logging out: the grant dies at the provider where it can, and everything here is forgotten either way."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from broker.core.policy import AppGrant
from broker.core.secret import Secret
from broker.errors import Conflict, LoginFailed, UnknownAccount
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases import accounts, apps, given, login, refresh
from broker.usecases.newlogin import NewLogin
from tests.store import made
from tests.usecases.callback import come_back, finish
from tests.usecases.house import DUE, PATIENCE, TTL, Clock, House, opened
from tests.usecases.wishes import BY_REFRESH, ask, settle_in


async def assert_forgotten(house: House, name: str = "me") -> None:
    """Check that nothing of an account is left."""
    assert await house.store.account(name) is None
    with pytest.raises(UnknownAccount):
        await accounts.shown(house.ctx, name)
    assert made.behind(house.place, "SELECT kind FROM secret WHERE kind LIKE '%_token'") == []


def test_log_out_revokes_and_forgets(tmp_path: Path) -> None:
    """Refresh token first, then the access token; the grants of apps go too; the second time there is no account."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in()
            await login.offer(house.ctx, account)
            await apps.add(house.ctx, "editor", [AppGrant("me")], None)
            await house.heard()
            done = await accounts.log_out(house.ctx, "me")
            assert done.revoked
            await assert_forgotten(house)
            assert [event.result for event in house.practice.log.all("revoke")] == ["ok", "ok"]
            assert house.practice.log.all("revoke")[0].refresh_token
            assert house.practice.revoke_grants() == 0, "the provider must know of no living grant"
            assert (await apps.shown(house.ctx, "editor")).grants == ()
            assert [event.kind for event in await house.heard()] == ["login-failed", "logged-out"]
            with pytest.raises(UnknownAccount):
                await accounts.log_out(house.ctx, "me")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("fault", "blamed", "spared"),
    [
        ("revoke:status=500*1", "refresh token: ", "access token"),
        ("revoke:error=unsupported_token_type", "unsupported_token_type", "500"),
        ("revoke:refuse", "access token: ", "nothing"),
        ("revoke:throttle=30", "429", "nothing"),
        ("revoke:html=404", "404", "nothing"),
    ],
)
def test_what_the_provider_did_not_confirm_is_told(tmp_path: Path, fault: str, blamed: str, spared: str) -> None:
    """The detail says which half failed and why; here the account is gone all the same."""

    async def story() -> None:
        async with opened(tmp_path, fault) as house:
            await house.log_in()
            done = await accounts.log_out(house.ctx, "me")
            assert not done.revoked
            assert "did not confirm" in done.detail
            assert blamed in done.detail
            assert spared not in done.detail
            assert "practice_" not in done.detail
            await assert_forgotten(house)

    asyncio.run(story())


def test_local_only_asks_nobody(tmp_path: Path) -> None:
    """The login lives on at the provider, as somebody wants who moves it elsewhere."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            done = await accounts.log_out(house.ctx, "me", local_only=True)
            assert not done.revoked
            await assert_forgotten(house)
            assert house.asked("revoke") == 0
            assert house.practice.revoke_grants() == 1

    asyncio.run(story())


def test_local_only_works_without_the_key(tmp_path: Path) -> None:
    """To forget a login no secret has to be opened: a lost key does not keep anybody's account here."""

    async def story() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await house.log_in()
            made.key_file(tmp_path).unlink()
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                assert house.store.locked
                await accounts.log_out(house.ctx, "me", local_only=True)
                await assert_forgotten(house)

    asyncio.run(story())


def test_a_provider_without_revocation_is_named_as_such(tmp_path: Path) -> None:
    """Where the provider has no way to revoke, the detail says where the person can."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.add_provider(endpoints={"revocation": ""})
            await house.log_in()
            done = await accounts.log_out(house.ctx, "me")
            assert not done.revoked
            assert "no revocation endpoint" in done.detail
            await assert_forgotten(house)

    asyncio.run(story())


def test_where_the_access_token_dies_along_one_request_is_enough(tmp_path: Path) -> None:
    """A provider that ends both together is not asked for the second: some stumble over that."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.add_provider(refresh={"kills_old_access_token": True})
            await house.log_in()
            assert (await accounts.log_out(house.ctx, "me")).revoked
            assert house.asked("revoke") == 1

    asyncio.run(story())


def test_a_pasted_token_is_forgotten_and_stays_the_persons_own(tmp_path: Path) -> None:
    """What a person made by hand is theirs to delete: it is not revoked, and the detail says so."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            token, _ = await house.secrets_of(await house.log_in("browser"))
            await accounts.log_out(house.ctx, "browser", local_only=True)
            where = NewLogin("practice", "me", house.practice.url)
            await given.bring_token(house.ctx, where, Secret(token or ""), None)
            done = await accounts.log_out(house.ctx, "me")
            assert not done.revoked
            assert "by hand" in done.detail
            assert house.asked("revoke") == 0
            await assert_forgotten(house)

    asyncio.run(story())


def test_what_a_refresh_in_the_air_brings_is_revoked_too(tmp_path: Path) -> None:
    """Log-out waits for a refresh under way, so that no token comes to life after it."""

    async def story() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            await house.log_in()
            button = asyncio.create_task(accounts.refresh_now(house.ctx, "me"))
            await house.until_asked()
            leaving = asyncio.create_task(accounts.log_out(house.ctx, "me"))
            done, _ = await asyncio.wait([leaving], timeout=0.1)  # by then it would be over if it did not wait
            assert (done, house.asked("revoke")) == (set(), 0)
            house.practice.set_faults([])
            assert (await asyncio.wait_for(leaving, PATIENCE)).revoked
            with contextlib.suppress(UnknownAccount):  # the button may be told that the account is gone
                await asyncio.wait_for(button, PATIENCE)
            (fresh,) = house.practice.log.all("refresh")
            assert house.practice.log.all("revoke")[0].refresh_token == fresh.issued_refresh_token
            assert house.practice.revoke_grants() == 0
            await assert_forgotten(house)

    asyncio.run(story())


@pytest.mark.parametrize("by", ["the schedule", "an app"])
def test_no_refresh_begins_while_a_log_out_is_on_its_way(tmp_path: Path, by: str) -> None:
    """What it brought would not be revoked: a spent refresh token may be an unknown one there (RFC 7009 2.2)."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            house.practice.set_faults(["revoke:hold"])
            house.clock.forward(DUE)
            leaving = asyncio.create_task(accounts.log_out(house.ctx, "me"))
            await house.until_asked("revoke")
            if by == "an app":
                house.clock.forward(TTL)
                await house.token()
            else:
                assert await house.tick() is None, "the next look would be at once, for as long as that takes"
            assert (house.asked("refresh"), house.ctx.flights.tasks) == (0, {})
            house.practice.set_faults([])
            assert (await leaving).revoked
            await assert_forgotten(house)

    asyncio.run(story())


def test_a_log_out_waits_for_every_token_that_is_on_its_way(tmp_path: Path) -> None:
    """A refresh that stands behind one for a narrower token does not begin any more."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_REFRESH)
            house.practice.set_faults(["refresh:hold"])
            narrow = asyncio.create_task(ask(house, "read"))
            await house.until_asked()
            behind = refresh.join(house.ctx, await house.account())
            leaving = asyncio.create_task(accounts.log_out(house.ctx, "me"))
            done, _ = await asyncio.wait([leaving], timeout=0.1)  # as above
            assert (done, house.asked("revoke")) == (set(), 0)
            house.practice.set_faults([])
            await behind
            assert (await leaving).revoked
            assert house.asked() == 1
            with contextlib.suppress(UnknownAccount):
                await narrow

    asyncio.run(story())


def test_a_login_again_under_way_does_not_bring_the_account_back(tmp_path: Path) -> None:
    """Who logs out while a browser still stands at the consent page stays logged out when that answers."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            _, provider, params = await come_back(house)
            await accounts.log_out(house.ctx, "me")
            with pytest.raises(LoginFailed):
                await finish(house, provider, params)
            assert house.asked("code") == 1
            await assert_forgotten(house)

    asyncio.run(story())


def test_what_a_login_again_in_the_air_brings_is_revoked_too(tmp_path: Path) -> None:
    """A code that is being exchanged cannot be called back: log-out waits for its tokens and ends them as well."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            _, provider, params = await come_back(house)
            house.practice.set_faults(["code:hold"])
            page = asyncio.create_task(finish(house, provider, params))
            await house.until_asked("code", 2)
            leaving = asyncio.create_task(accounts.log_out(house.ctx, "me"))
            done, _ = await asyncio.wait([leaving], timeout=0.1)  # as above
            assert (done, house.asked("revoke")) == (set(), 0)
            house.practice.set_faults([])
            assert (await asyncio.wait_for(leaving, PATIENCE)).revoked
            await asyncio.wait_for(page, PATIENCE)
            fresh = house.practice.log.all("code")[1]
            assert house.practice.log.all("revoke")[0].grant == fresh.grant
            await assert_forgotten(house)

    asyncio.run(story())


def test_a_first_login_under_way_is_given_up(tmp_path: Path) -> None:
    """Logging out of an account that is still to come cancels every login to it; an answer that comes is refused."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            begun = [await house.begin("me"), await house.begin("me"), await house.begin("other")]
            assert not (await accounts.log_out(house.ctx, "me")).revoked
            states = []
            for one in begun:
                stored = await house.store.login(one.id)
                states.append(stored and stored.state)
            assert states == ["failed", "failed", "pending"]
            await assert_forgotten(house)
            assert house.practice.log.all() == []

    asyncio.run(story())


def test_a_first_login_whose_code_is_being_exchanged_is_not_half_given_up(tmp_path: Path) -> None:
    """Either the log-out comes too late and says so, or there is no account in the end."""

    async def story() -> None:
        async with opened(tmp_path, "code:hold") as house:
            _, provider, params = await come_back(house)
            page = asyncio.create_task(finish(house, provider, params))
            await house.until_asked("code")
            leaving = asyncio.create_task(accounts.log_out(house.ctx, "me"))
            await asyncio.sleep(0)
            house.practice.set_faults([])
            await asyncio.wait_for(asyncio.wait([page, leaving]), PATIENCE)
            too_late = isinstance(leaving.exception(), Conflict)
            assert (await house.store.account("me") is not None) == too_late
            assert (page.result().account is not None) == too_late or not too_late

    asyncio.run(story())
