"""What a login's answer may do: make an account, renew one, or change nothing and say why."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from broker.core.account import Account, Identity
from broker.core.policy import AppGrant
from broker.core.secret import Secret
from broker.core.token import Grant, Token
from broker.errors import Conflict, LoginFailed, UnknownLogin
from broker.usecases import accounts, apps, login
from broker.usecases.activate import activate
from broker.usecases.login import start_url
from broker.usecases.newlogin import NewLogin
from tests.store import made
from tests.usecases.callback import MINE, assert_failed, come_back, finish
from tests.usecases.house import PATIENCE, House, opened

# What is spoiled -> what the person is told. The keys first: they are kept once they were read.
SPOILED = {
    "jwks:status=500": "HTTP 500",
    "jwks:html": "not JSON",
    "jwks:garbage": "not UTF-8",
    "code:status=503": "HTTP 503",
    "code:html": "a web page",
    "code:empty": "nothing in it",
    "code:body=null": "not in OAuth's form",
    'code:body={"access_token": ""}': "no token in it",
    "code:error=invalid_grant": "invalid_grant: practice fault",
    "code:invalid_client": "invalid_client: practice fault. Check the id and the secret of the client",
    "code:throttle=30": "throttling",
    "code:redirect=http://127.0.0.1:1/": "a redirect",
    "code:refuse": "did not answer in HTTP",
    "code:drop": "did not answer in HTTP",
    "code:cut": "not to the end",
    "code:garbage": "not JSON",
    "code:form": "not JSON",
    "code:gzip": "compressed",
    "code:big=300": "larger than",
    "code:token_type=DPoP": "token_type",
    "code:expires_in=soon": "expires_in",
    "code:without=access_token": "access_token",
    'code:json={"access_token": "two\\nlines"}': "access_token",
    'code:json={"access_token": 7}': "access_token",
    "code:no_id_token": "gave none",
    "code:wrong_nonce": "another login",
    "code:no_nonce": "another login",
    "code:wrong_iss": "another issuer",
    "code:wrong_aud": "another client",
    "code:alg_none": "a kind that is not accepted",
    "code:bad_signature": "not by a key",
    "code:expired_id_token": "expired",
    "code:wrong_at_hash": "another access token",
    'code:json={"id_token": "not.a.jwt"}': "cannot be read",
    'code:json={"id_token": 7}': "id_token",
}


def test_an_answer_that_is_not_in_order_makes_no_account(tmp_path: Path) -> None:
    """What is wrong with the token reply or its ID token is told; nothing is stored, the code is not sent again."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            for number, (fault, told) in enumerate(SPOILED.items(), 1):
                _, provider, params = await come_back(house)
                house.practice.set_faults([f"{fault}%100"])
                finished = await finish(house, provider, params)
                assert told in finished.reason, fault
                await assert_failed(house, finished)
                house.practice.set_faults([])
                with pytest.raises(LoginFailed):
                    await finish(house, provider, params)
                assert house.asked("code") == number, fault
                house.clock.forward(30)  # an endpoint that throttles is left alone for so long
            assert made.behind(tmp_path, "SELECT kind FROM secret WHERE kind LIKE '%_token'") == []
            assert (await house.log_in("me")).name == "me"

    asyncio.run(story())


def test_a_nameless_id_token_is_helped_out_by_userinfo_about_the_same_person_only(tmp_path: Path) -> None:
    """Without ``profile`` the subject is the label; what UserInfo says of somebody else, or not at all, is ignored."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            subjects = set()
            for number, fault in enumerate(("userinfo:delay=0", "userinfo:wrong_sub", "userinfo:status=500")):
                house.practice.set_faults([fault, 'userinfo:json={"name": "Ada Lovelace"}'])
                account = await house.log_in(f"me{number}", scope=("openid",))
                assert account.identity is not None
                subjects.add(account.identity.subject)
                assert account.identity.label == ("Ada Lovelace" if number == 0 else account.identity.subject)
            assert len(subjects) == 1

    asyncio.run(story())


def test_a_login_without_openid_needs_nobodys_name(tmp_path: Path) -> None:
    """A token that may not ask UserInfo (403) is a good token: the account is made, only nameless."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in("me", scope=("read",))
            assert (account.state.name, account.scope, account.identity) == ("active", ("read",), None)

    asyncio.run(story())


def test_an_id_token_that_nobody_asked_for_is_not_kept_unchecked(tmp_path: Path) -> None:
    """What comes along unasked and is not in order costs no login, and is never handed out (security R27)."""

    async def story() -> None:
        async with opened(tmp_path, 'code:json={"id_token": "e30.e30.e30"}') as house:
            account = await house.log_in("me", scope=("read",))
            assert (account.state.name, await house.store.id_token(account)) == ("active", None)

    asyncio.run(story())


def test_a_login_again_renews_the_account_in_place(tmp_path: Path) -> None:
    """The same person's new login replaces tokens and state, and keeps uuid, name, scopes and the grants of apps."""

    async def story() -> None:
        async with opened(tmp_path, settings={"ttl": 600}) as house:
            before = await house.log_in("me", scope=("openid", "profile", "offline_access", "read"))
            old = await house.secrets_of(before)
            await apps.add(house.ctx, "editor", [AppGrant("me")], None)
            house.practice.revoke_grants()
            house.clock.forward(600)
            await house.token("me")
            assert (await house.account("me")).state.name == "needs-login"

            finished = await house.walk(await login.begin(house.ctx, NewLogin("", "me")))
            after = finished.account
            assert after is not None
            assert (after.uuid, after.name, after.identity) == (before.uuid, "me", before.identity)
            assert (after.state.name, after.generation > before.generation) == ("active", True)
            assert after.scope == before.scope
            assert not set(old) & set(await house.secrets_of(after))
            assert [grant.account for grant in (await apps.shown(house.ctx, "editor")).grants] == ["me"]
            assert await house.store.accounts() == [after]

    asyncio.run(story())


def test_a_login_without_a_name_renews_the_account_that_this_person_has(tmp_path: Path) -> None:
    """Nobody gets a second account for not having named the first."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            first = await house.log_in("mine")
            again = await house.log_in("")
            assert (again.uuid, again.name) == (first.uuid, "mine")
            assert again.generation > first.generation

    asyncio.run(story())


def test_somebody_else_changes_nothing_and_the_grant_is_given_back(tmp_path: Path) -> None:
    """A re-login by another person is refused with both names, the account stays, and the new grant is revoked."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            mine = await house.log_in("me", "ada")
            held = await house.secrets_of(mine)
            finished = await house.walk(await house.begin("me"), "grace")
            assert finished.account is None
            for word in ("'ada'", "'grace'", "'me'", "Nothing was changed"):
                assert word in finished.reason
            assert await house.store.accounts() == [mine]
            assert await house.secrets_of(mine) == held
            codes, revoked = house.practice.log.all("code", "ok"), house.practice.log.all("revoke", "ok")
            assert [event.grant for event in revoked] == [codes[1].grant] * 2, "refresh token and access token"
            house.clock.forward(550)
            await house.token("me")
            assert (await house.account("me")).state.name == "active", "the login that stayed must still refresh"

    asyncio.run(story())


def test_nobody_in_particular_changes_nothing_either(tmp_path: Path) -> None:
    """A re-login of which the provider does not tell the person could be anybody's: refused.

    It could be the account's own person, too, so it is not given back: a revocation might end what that account has.
    """

    async def story() -> None:
        async with opened(tmp_path) as house:
            mine = await house.log_in("me", "ada")
            finished = await house.walk(await house.begin("me", scope=("read",), only_scope=True), "grace")
            assert finished.account is None
            assert "did not say who logged in" in finished.reason
            assert await house.store.accounts() == [mine]
            assert house.asked("revoke") == 0

    asyncio.run(story())


def test_a_grant_that_cannot_be_given_back_does_not_hide_the_refusal(tmp_path: Path) -> None:
    """When the revocation endpoint is down, somebody else is still told why nothing was changed."""

    async def story() -> None:
        async with opened(tmp_path, "revoke:status=500") as house:
            mine = await house.log_in("me", "ada")
            finished = await house.walk(await house.begin("me"), "grace")
            assert "'grace'" in finished.reason
            assert await house.store.accounts() == [mine]

    asyncio.run(story())


def test_many_accounts_at_one_provider_get_sane_names(tmp_path: Path) -> None:
    """Without a name: the provider's, then the person's there, then a number; all live side by side."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            first = await house.log_in("", "ada")
            assert first.name == first.provider
            names = [(await house.log_in("", user)).name for user in ("grace", "Ann Ä. O'Hara", "!!!")]
            assert names == [f"{first.provider}-grace", f"{first.provider}-Ann--.-O-Hara", f"{first.provider}-2"]
            await house.log_in("work", "ada")
            accounts = await house.store.accounts()
            assert len({account.uuid for account in accounts}) == len(accounts) == 5
            assert {account.provider for account in accounts} == {first.provider}

    asyncio.run(story())


def test_logins_that_end_together_get_names_of_their_own(tmp_path: Path) -> None:
    """Two people who finish in the same moment without naming an account both get one."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            provider = await house.add_provider()
            begun = await house.begin("")
            people = [Identity(house.practice.url, f"sub-{number}", f"person{number}") for number in range(6)]
            grants = [
                Grant(Token("Bearer", (), house.clock(), None), Secret(f"access-{person.label}")) for person in people
            ]
            accounts = await asyncio.gather(
                *(
                    activate(house.ctx, begun, provider, grant, person)
                    for grant, person in zip(grants, people, strict=True)
                )
            )
            assert len({account.name for account in accounts}) == len(people)

    asyncio.run(story())


def test_a_login_beats_the_refresh_that_is_in_the_air(tmp_path: Path) -> None:
    """What an older refresh brings back after a new login is of the old grant: it changes nothing."""

    async def story() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            await house.log_in("me")
            flight = asyncio.create_task(accounts.refresh_now(house.ctx, "me"))
            await house.until_asked("refresh")
            after = await house.log_in("me")
            held = await house.secrets_of(after)
            house.practice.set_faults([])
            await asyncio.wait_for(flight, PATIENCE)
            now = await house.account("me")
            assert (now.generation, now.state.name) == (after.generation, "active")
            assert await house.secrets_of(now) == held

    asyncio.run(story())


async def offers(house: House, account: Account, count: int) -> set[str]:
    """Ask for a login URL so often at the same time."""
    return set(await asyncio.gather(*(login.offer(house.ctx, account) for _ in range(count))))


def test_a_refused_caller_is_pointed_to_one_login(tmp_path: Path) -> None:
    """However often an account is asked for, one unopened login is offered; once opened or half over, a new one."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in("me")
            urls = [await login.offer(house.ctx, account) for _ in range(3)]
            (pending,) = await house.store.logins_pending()
            assert set(urls) == {start_url(house.ctx, pending.id)}
            assert (pending.account, pending.replaces) == ("me", account.uuid)
            await login.opened(house.ctx, pending.id, MINE)
            second = await login.offer(house.ctx, account)
            assert second != urls[0], "somebody else may not be able to open that one"
            house.clock.forward(301)
            third = await login.offer(house.ctx, account)
            assert third not in (*urls, second)
            finished = await house.walk(next(p for p in await house.store.logins_pending() if third.endswith(p.id)))
            assert finished.account is not None
            assert finished.account.uuid == account.uuid

    asyncio.run(story())


def test_callers_that_are_refused_together_are_pointed_to_one_login(tmp_path: Path) -> None:
    """A crowd of programs at a dead account does not begin a crowd of logins."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in("me")
            assert len(await offers(house, account, 8)) == 1
            assert len(await house.store.logins_pending()) == 1

    asyncio.run(story())


def test_cancel_ends_a_pending_login_and_no_other(tmp_path: Path) -> None:
    """A cancelled login cannot be finished any more; to cancel what is done changes nothing."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            begun, provider, params = await come_back(house)
            await login.cancel(house.ctx, begun.id)
            with pytest.raises(LoginFailed):
                await finish(house, provider, params)
            assert house.asked("code") == 0
            ended = await house.store.login(begun.id)
            assert ended is not None
            assert (ended.state, ended.reason) == ("failed", "The login was cancelled.")

            done = await house.walk(await house.begin("me"))
            await login.cancel(house.ctx, done.login.id)
            kept = await house.store.login(done.login.id)
            assert kept is not None
            assert kept.state == "done"
            with pytest.raises(UnknownLogin):
                await login.cancel(house.ctx, "no such login")

    asyncio.run(story())


def test_a_login_goes_on_when_its_browser_goes_away(tmp_path: Path) -> None:
    """A code that was sent is spent: the exchange ends at the account although nobody waits for the page any more."""

    async def story() -> None:
        async with opened(tmp_path, "code:hold") as house:
            begun, provider, params = await come_back(house)
            page = asyncio.create_task(finish(house, provider, params))
            await house.until_asked("code")
            page.cancel()
            with pytest.raises(asyncio.CancelledError):
                await page
            stories = list(house.ctx.finishing)
            house.practice.set_faults([])
            await asyncio.wait_for(asyncio.gather(*stories), PATIENCE)
            assert (await house.account("me")).state.name == "active"
            ended = await house.store.login(begun.id)
            assert ended is not None
            assert ended.state == "done"

    asyncio.run(story())


def test_a_login_that_is_cancelled_too_late_ends_as_one_thing(tmp_path: Path) -> None:
    """While the code is being exchanged a cancel either stops the account or comes too late: both say the same."""

    async def story() -> None:
        async with opened(tmp_path, "code:hold") as house:
            begun, provider, params = await come_back(house)
            page = asyncio.create_task(finish(house, provider, params))
            await house.until_asked("code")
            with contextlib.suppress(Conflict):  # an honest "too late"
                await login.cancel(house.ctx, begun.id)
            house.practice.set_faults([])
            finished = await asyncio.wait_for(page, PATIENCE)
            ended = await house.store.login(begun.id)
            made_one = await house.store.account("me") is not None
            assert ended is not None
            assert (ended.state == "done") == made_one == (finished.account is not None)

    asyncio.run(story())


def test_an_unticked_openid_is_told(tmp_path: Path) -> None:
    """What was granted, and both ways out; a name that is known stays although a login asks for less."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            assert (await house.log_in("me")).label == "ada"
            assert (await house.log_in("me", scope=("openid",), only_scope=True)).label == "ada"
            house.practice.set_faults(['code:json={"scope":"profile"}', "code:no_id_token"])
            ended = await house.walk(await house.begin("other"))
            assert "Granted was 'profile', and 'openid', which tells who logs in, was not." in ended.reason
            assert "--scope profile offline_access --only-scope" in ended.reason

    asyncio.run(story())
