"""What is done to an account by hand: refresh it, report its token as refused; and how accounts are listed."""

import asyncio
from pathlib import Path

import pytest

from broker.core.account import Account
from broker.core.policy import App, AppGrant, Denied, Owner
from broker.core.secret import Secret
from broker.core.timing import LEAST_BETWEEN_REFRESHES
from broker.errors import ConfirmNeeded, Conflict, TooManyRequests, UnknownAccount
from broker.usecases import accounts, given, health, login
from broker.usecases.accounts import PendingView, View
from broker.usecases.newlogin import NewLogin
from broker.usecases.outcomes import MustLogin, Ready, Unavailable
from tests.store import made
from tests.usecases.house import PATIENCE, House, opened

OWNER = Owner()


async def refreshed(house: House, *, confirm: bool = False) -> Account:
    """Force a refresh that has to succeed."""
    outcome = await accounts.refresh_now(house.ctx, "me", confirm=confirm)
    assert isinstance(outcome, Account), outcome
    return outcome


async def report(house: House, token: str | None) -> Denied | None:
    """Report a token of account ``me`` as refused, as the owner."""
    return await accounts.rejected(house.ctx, OWNER, "me", Secret(token or ""))


def test_a_forced_refresh_renews_a_token_that_is_still_fresh(tmp_path: Path) -> None:
    """Who asks for a refresh gets one: new tokens at once, and the event says so."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            before = await house.log_in()
            old = await house.secrets_of(before)
            await house.heard()
            after = await refreshed(house)
            assert (after.uuid, after.state.name) == (before.uuid, "active")
            assert after.generation > before.generation
            assert not set(old) & set(await house.secrets_of(after))
            assert [(event.kind, event.generation) for event in await house.heard()] == [
                ("refresh-forced", 0),
                ("refreshed", after.generation),
            ]

    asyncio.run(story())


def test_forced_refreshes_at_the_same_time_are_one(tmp_path: Path) -> None:
    """However many people and programs press the button together, the refresh token is spent once."""

    async def story() -> None:
        async with opened(tmp_path, "refresh:hold", settings={"rotation": "single-use"}) as house:
            await house.log_in()
            buttons = [asyncio.create_task(refreshed(house)) for _ in range(4)]
            await house.until_asked()
            buttons.append(asyncio.create_task(refreshed(house)))
            await asyncio.sleep(0)
            house.practice.set_faults([])
            after = await asyncio.wait_for(asyncio.gather(*buttons), PATIENCE)
            assert {account.generation for account in after} == {after[0].generation}
            assert house.asked() == 1

    asyncio.run(story())


def test_a_forced_refresh_lands_although_its_caller_went_away(tmp_path: Path) -> None:
    """Ctrl-C at ``keyfob refresh`` loses no rotated token."""

    async def story() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            before = await house.log_in()
            caller = asyncio.create_task(accounts.refresh_now(house.ctx, "me"))
            await house.until_asked()
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            house.practice.set_faults([])
            await house.landed()
            after = await house.account()
            assert (after.state.name, after.generation > before.generation) == ("active", True)

    asyncio.run(story())


def test_a_forced_refresh_passes_our_back_off(tmp_path: Path) -> None:
    """After a passing failure a person need not wait for Keyfob's own next try."""

    async def story() -> None:
        async with opened(tmp_path, "refresh:status=503*1") as house:
            await house.log_in()
            failed = await accounts.refresh_now(house.ctx, "me")
            assert isinstance(failed, Unavailable)
            assert "503" in failed.reason
            assert failed.retry_after > 0
            assert (await house.account()).state.name == "refreshing-failed"
            assert isinstance(await house.token(), Ready), "the old token is served while it lives"
            assert (await refreshed(house)).state.name == "active"
            assert house.asked() == 2

    asyncio.run(story())


def test_a_forced_refresh_respects_the_providers_retry_after(tmp_path: Path) -> None:
    """Until the time that the provider named is over nobody asks it, and the answer says how long that is."""

    async def story() -> None:
        async with opened(tmp_path, "refresh:throttle=300*1", settings={"ttl": 3600}) as house:
            await house.log_in()
            for passed, left in ((0, 300), (100, 200), (199, 1)):
                house.clock.forward(passed)
                outcome = await accounts.refresh_now(house.ctx, "me")
                assert isinstance(outcome, Unavailable)
                assert outcome.retry_after == pytest.approx(left, abs=1)
            assert house.asked() == 1
            house.clock.forward(1)
            await refreshed(house)

    asyncio.run(story())


def test_where_only_a_person_can_help_nobody_is_asked(tmp_path: Path) -> None:
    """In ``needs-login`` and ``misconfigured`` a forced refresh says who can help and sends nothing."""

    async def story() -> None:
        async with opened(tmp_path, "refresh:invalid_client*1") as house:
            account = await house.log_in()
            outcomes = [await accounts.refresh_now(house.ctx, "me") for _ in range(2)]
            assert [isinstance(outcome, MustLogin) and outcome.misconfigured for outcome in outcomes] == [True, True]
            assert house.asked() == 1
            kept = await house.account()
            assert (kept.state.name, kept.has_refresh_token) == ("misconfigured", True)
            assert await house.secrets_of(kept) == await house.secrets_of(account)

            await house.log_in()
            house.practice.revoke_grants()
            for _ in range(2):
                outcome = await accounts.refresh_now(house.ctx, "me")
                assert isinstance(outcome, MustLogin)
                assert outcome.login_url.startswith(f"{house.ctx.browser_url}/login/")
            assert (await house.account()).state.name == "needs-login"
            assert house.asked() == 2

    asyncio.run(story())


def test_after_a_lost_answer_a_person_has_to_confirm(tmp_path: Path) -> None:
    """The next request may end the login, so it is sent only by one who says so; it may as well turn out fine."""

    async def story() -> None:
        async with opened(tmp_path, "refresh:drop*1", settings={"grace": 600}) as house:
            await house.log_in()
            lost = await accounts.refresh_now(house.ctx, "me")
            assert isinstance(lost, Unavailable)
            assert (await house.account()).state.name == "uncertain"
            with pytest.raises(ConfirmNeeded, match="--confirm"):
                await accounts.refresh_now(house.ctx, "me")
            assert house.asked() == 1
            assert (await refreshed(house, confirm=True)).state.name == "active"

    asyncio.run(story())


def test_a_suspect_account_has_to_be_confirmed(tmp_path: Path) -> None:
    """After a restored backup nothing is sent before a person accepts the risk."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            made.behind(tmp_path, "UPDATE account SET state = 'suspect', state_reason = 'an older copy'")
            with pytest.raises(ConfirmNeeded, match="an older copy"):
                await accounts.refresh_now(house.ctx, "me")
            assert house.asked() == 0
            assert (await refreshed(house, confirm=True)).state.name == "active"

    asyncio.run(story())


def test_an_answer_that_is_not_usable_is_not_reported_as_success(tmp_path: Path) -> None:
    """A refresh that brought nothing to hand out is told as a failure; the rotated token is kept for the next try."""

    async def story() -> None:
        async with opened(tmp_path, "refresh:token_type=DPoP*1", settings={"rotation": "single-use"}) as house:
            await house.log_in()
            outcome = await accounts.refresh_now(house.ctx, "me")
            assert isinstance(outcome, Unavailable)
            assert "not Bearer" in outcome.reason
            assert (await refreshed(house)).state.name == "active"

    asyncio.run(story())


def test_what_cannot_be_refreshed_says_what_helps(tmp_path: Path) -> None:
    """An unknown account, a pasted token, and a login without a refresh token: refused, and nobody is asked."""

    async def story() -> None:
        async with opened(tmp_path, settings={"rotation": "none"}) as house:
            with pytest.raises(UnknownAccount):
                await accounts.refresh_now(house.ctx, "me")
            access, _ = await house.secrets_of(await house.log_in())
            with pytest.raises(Conflict, match="keyfob login me"):
                await accounts.refresh_now(house.ctx, "me")
            where = NewLogin("practice", "static", house.practice.url)
            await given.bring_token(house.ctx, where, Secret(access or ""), None)
            with pytest.raises(Conflict, match="keyfob login static --flow token"):
                await accounts.refresh_now(house.ctx, "static")
            assert house.asked() == 0

    asyncio.run(story())


def test_a_rejected_token_is_renewed_if_it_is_still_the_stored_one(tmp_path: Path) -> None:
    """Late and invented reports cost nothing; a token is not renewed for rejections twice within 30 s."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            first, _ = await house.secrets_of(await house.log_in())
            for wrong in ("invented", "", first and first[:-1]):
                assert await report(house, wrong) is None
            assert house.asked() == 0
            assert await report(house, first) is None
            second, _ = await house.secrets_of(await house.account())
            assert second != first
            assert await report(house, first) is None
            assert house.asked() == 1
            house.clock.forward(LEAST_BETWEEN_REFRESHES - 1)
            with pytest.raises(TooManyRequests) as refused:
                await report(house, second)
            assert refused.value.extra["retry_after"] == 1
            house.clock.forward(1)
            assert await report(house, second) is None
            assert house.asked() == 2
            assert [event.kind for event in await house.heard()].count("rejected") == 2

    asyncio.run(story())


def test_reports_of_one_token_share_one_refresh(tmp_path: Path) -> None:
    """Programs that were refused together are all heard, the late one too; the refresh token is spent once."""

    async def story() -> None:
        async with opened(tmp_path, "refresh:hold", settings={"rotation": "single-use"}) as house:
            token, _ = await house.secrets_of(await house.log_in())
            reports = [asyncio.create_task(report(house, token)) for _ in range(3)]
            await house.until_asked()
            house.clock.forward(1)
            reports.append(asyncio.create_task(report(house, token)))
            await asyncio.sleep(0)
            house.practice.set_faults([])
            assert await asyncio.wait_for(asyncio.gather(*reports), PATIENCE) == [None] * 4
            await house.landed()
            assert house.asked() == 1

    asyncio.run(story())


def test_a_rejection_respects_what_the_provider_asked_for(tmp_path: Path) -> None:
    """Neither a throttled provider nor one whose answer was lost is asked because an app complains."""

    async def story() -> None:
        for fault, state in (("refresh:throttle=300*1", "refreshing-failed"), ("refresh:drop*1", "uncertain")):
            async with opened(tmp_path / state, fault, settings={"ttl": 3600}) as house:
                token, _ = await house.secrets_of(await house.log_in())
                await accounts.refresh_now(house.ctx, "me")
                assert (await house.account()).state.name == state
                assert await report(house, token) is None
                assert house.asked() == 1, state

    asyncio.run(story())


def test_a_rejection_needs_the_right_to_the_token(tmp_path: Path) -> None:
    """An app without a grant is denied, for unknown accounts alike; the owner is told that there is none."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            token, _ = await house.secrets_of(await house.log_in())
            stranger, proxied = App("a", ()), App("b", (AppGrant("me", mode="proxy"),))
            for caller, name in ((stranger, "me"), (stranger, "nobody"), (proxied, "me")):
                denied = await accounts.rejected(house.ctx, caller, name, Secret(token or ""))
                assert isinstance(denied, Denied)
            with pytest.raises(UnknownAccount):
                await accounts.rejected(house.ctx, OWNER, "nobody", Secret("x"))
            assert house.asked() == 0
            friend = App("c", (AppGrant("me"),))
            assert await accounts.rejected(house.ctx, friend, "me", Secret(token or "")) is None
            assert house.asked() == 1

    asyncio.run(story())


def test_one_app_cannot_talk_a_token_dead_that_nothing_can_renew(tmp_path: Path) -> None:
    """Before a pasted token is given up, the provider itself is asked."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            token, _ = await house.secrets_of(await house.log_in("browser"))
            where = NewLogin("practice", "me", house.practice.url)
            await given.bring_token(house.ctx, where, Secret(token or ""), None)
            assert await report(house, token) is None
            assert (await house.account()).state.name == "static"
            house.practice.revoke_grants()
            house.clock.forward(LEAST_BETWEEN_REFRESHES)
            assert await report(house, token) is None
            assert (await house.account()).state.name == "needs-login"

    asyncio.run(story())


def test_accounts_are_listed_with_those_that_are_to_come(tmp_path: Path) -> None:
    """By name; a first login under way counts as ``pending`` with its URL, a login again does not hide the account."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in("b")
            await house.begin("b")
            pending = await house.begin("a")
            await house.begin("")
            first, second = [one async for one in accounts.listed(house.ctx)]
            url = login.start_url(house.ctx, pending.id)
            assert first == PendingView(pending, url, f"keyfob login a --provider {pending.provider}")
            assert (await health.report(house.ctx)).accounts == {"pending": 1, "active": 1}
            assert first == await accounts.shown(house.ctx, "a")
            assert isinstance(second, View)
            assert (second.account, second.login_url) == (await house.account("b"), "")
            assert second.next_refresh_at is not None
            with pytest.raises(UnknownAccount):
                await accounts.shown(house.ctx, "c")

    asyncio.run(story())


def test_a_first_login_that_ran_out_is_not_shown_any_more(tmp_path: Path) -> None:
    """A start page that answers nothing but "too old" is no help, also before the scheduler has swept it away."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            begun = await house.begin("me")
            house.clock.now = begun.expires_at
            assert [one async for one in accounts.listed(house.ctx)] == []
            with pytest.raises(UnknownAccount):
                await accounts.shown(house.ctx, "me")

    asyncio.run(story())


def test_an_account_that_needs_a_login_shows_where(tmp_path: Path) -> None:
    """Only such an account carries a URL, and following it renews that account."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            before = await house.log_in()
            shown = await accounts.shown(house.ctx, "me")
            assert shown.login_url == ""
            house.practice.revoke_grants()
            await accounts.refresh_now(house.ctx, "me")
            shown = await accounts.shown(house.ctx, "me")
            (offered,) = await house.store.logins_pending()
            assert shown.login_url == login.start_url(house.ctx, offered.id)
            assert isinstance(shown, View)
            assert shown.next_refresh_at is None
            finished = await house.walk(offered)
            assert finished.account is not None
            assert finished.account.uuid == before.uuid

    asyncio.run(story())
