"""An account that is derived from another (RFC 8693): made at once, renewed by exchanging again, and never more."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.core.account import RefreshingFailed, Renewal
from broker.core.policy import Ask, Owner
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, KeyfobError, LoginFailed, LoginNeeded, ProviderUnavailable
from broker.usecases import accounts, derive, due, get_token, machine
from broker.usecases.newlogin import NewLogin
from tests.usecases.house import DUE, TTL, opened, ready
from tests.usecases.kin import KIND, SCOPES, begin, derived_from, worth
from tests.usecases.programs import log_in as program
from tests.usecases.wishes import AUDIENCE, NO_EXCHANGE, RESOURCE

MORE = 'json={"scope": "openid read write offline_access admin"}'
TYPES = ["without=issued_token_type", 'json={"issued_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}']


def test_a_login_is_done_at_once(tmp_path: Path) -> None:
    """One request, no browser: the same person, the same client, what was asked for, and a next refresh."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            me = await begin(house)
            await house.heard()
            bill = await derived_from(house, scope=("read",), audience=AUDIENCE, resource=RESOURCE)
            assert bill.renewal == Renewal("token_exchange", subject=me.uuid, audience=AUDIENCE)
            assert (bill.identity, bill.provider, bill.destination) == (me.identity, me.provider, me.destination)
            assert (bill.scope, bill.resource, bill.audience) == (("read",), RESOURCE, AUDIENCE)
            assert (bill.is_derived, bill.is_machine, bill.renewable, bill.has_refresh_token) == (
                True,
                False,
                True,
                False,
            )
            access = await worth(house)
            assert (access.scopes, access.resource, access.audience) == (("read",), RESOURCE, AUDIENCE)
            assert [event.kind for event in await house.heard()][:1] == ["logged-in"]
            at = await due.next_refresh_at(house.ctx, bill)
            assert at is not None
            assert DUE - 30 <= at - house.clock() <= DUE
            assert (house.asked(KIND), house.asked()) == (1, 0)
            assert await house.store.client_of(bill) == await house.store.client_of(me)

    asyncio.run(story())


def test_it_renews_itself_on_schedule_and_on_demand(tmp_path: Path) -> None:
    """When it is due, after its end, when an app reports it: one exchange each, of a token that lives by then."""

    async def story() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await begin(house)
            seen = [ready(await house.token("bill")) for _ in [await derived_from(house)]]
            house.clock.forward(DUE)
            await house.tick()
            assert (house.asked(KIND), house.asked()) == (2, 1)
            seen.append(ready(await house.token("bill")))
            house.clock.forward(TTL + 1)
            seen.append(ready(await house.token("bill")))
            assert (house.asked(KIND), house.asked()) == (3, 2), "the other account's token had ended, too"
            assert await accounts.rejected(house.ctx, Owner(), "bill", Secret(seen[-1])) is None
            seen.append(ready(await house.token("bill")))
            await accounts.refresh_now(house.ctx, "bill")
            seen.append(ready(await house.token("bill")))
            assert len(set(seen)) == house.asked(KIND) == 5
            assert house.asked() == 2
            assert await house.holds_newest()
            assert await house.store.open_intents() == []
            assert "handed-out" not in [event.kind for event in await house.heard() if event.account == "me"]

    asyncio.run(story())


def test_many_of_them_and_one_refresh(tmp_path: Path) -> None:
    """All are due together with the account that they come from: none holds a place at the gate that it waits for."""

    async def story() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await begin(house)
            names = [f"child-{number}" for number in range(6)]
            for name in names:
                await derived_from(house, account=name)
            house.clock.forward(TTL + 1)
            tokens = await asyncio.gather(*(house.token(name) for name in names))
            assert len({ready(token) for token in tokens}) == len(names)
            assert (house.asked(KIND), house.asked()) == (2 * len(names), 1)

    asyncio.run(story())


def test_the_other_account_is_renewed_first_at_the_login_too(tmp_path: Path) -> None:
    """A stale token is not exchanged."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            house.clock.forward(TTL + 1)
            await derived_from(house)
            assert (house.asked(), house.asked(KIND)) == (1, 1)
            assert [event.result for event in house.practice.log.all(KIND)] == ["ok"]

    asyncio.run(story())


def test_a_program_can_be_derived_from(tmp_path: Path) -> None:
    """Its client exchanges its token, and proves itself with its secret."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.add_provider()
            await program(house, scope=("read", "write"))
            bill = await derived_from(house, "ci", scope=("read",))
            assert (bill.identity, bill.label, bill.scope) == (None, "keyfob-machine", ("read",))
            house.clock.forward(TTL + 1)
            assert (await worth(house)).scopes == ("read",)
            assert (house.asked("client_credentials"), house.asked(KIND)) == (2, 2)

    asyncio.run(story())


def test_what_it_does_not_need_is_not_kept(tmp_path: Path) -> None:
    """A refresh token or an ID token in the answer, at login or later, is left where it is."""
    more = '{"refresh_token":"unasked","refresh_expires_in":60,"id_token":"a.b.c"}'

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            house.practice.set_faults([f"{KIND}:json={more}"])
            await derived_from(house)
            for _ in range(2):
                account = await house.account("bill")
                assert (account.has_refresh_token, account.id_token_generation) == (False, None)
                assert (account.refresh_expires_at, account.state.name) == (None, "active")
                assert await house.secrets_of(account) == (ready(await house.token("bill")), None)
                house.clock.forward(DUE)
                await house.tick()
            assert house.asked(KIND) == 3

    asyncio.run(story())


@pytest.mark.parametrize("asked", [("read",), ()], ids=["asked by name", "asked nothing"])
@pytest.mark.parametrize("fault", [*TYPES, MORE, "token_type=mac"])
def test_a_token_that_is_not_what_was_asked_for_is_not_used(tmp_path: Path, asked: tuple[str, ...], fault: str) -> None:
    """More scope than was asked for, or than the other account has, and other kinds of token (RFC 8693 2.2.1)."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            house.practice.set_faults([f"{KIND}:{fault}"])
            with pytest.raises(LoginFailed, match="not usable") as failed:
                await derived_from(house, scope=asked)
            assert "admin" not in fault or "'" in str(failed.value)
            assert await house.store.account("bill") is None
            house.practice.set_faults([])
            await derived_from(house, scope=asked)
            first = ready(await house.token("bill"))
            house.practice.set_faults([f"{KIND}:{fault}"])
            house.clock.forward(DUE)
            await house.tick()
            account = await house.account("bill")
            assert isinstance(account.state, RefreshingFailed)
            assert "not usable" in account.state.reason
            assert ready(await house.token("bill")) == first
            house.practice.set_faults([])
            house.clock.forward(60)
            await house.tick()
            assert (await house.account("bill")).state.name == "active"
            assert (await house.account("bill")).scope == (asked or SCOPES)

    asyncio.run(story())


@pytest.mark.parametrize("fault", ["drop", "cut", "garbage", "status=503", "html", "throttle=1", "error=invalid_grant"])
def test_an_outage_passes(tmp_path: Path, fault: str) -> None:
    """However it fails, strict rotation or not: never uncertain, served while the token lives, mended by itself."""

    async def story() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await begin(house)
            await derived_from(house)
            first = ready(await house.token("bill"))
            house.practice.set_faults([f"{KIND}:{fault}"])
            house.clock.forward(DUE)
            await house.tick()
            account = await house.account("bill")
            assert isinstance(account.state, RefreshingFailed)
            assert account.state.lost_at == 0
            assert ready(await house.token("bill")) == first
            assert await house.store.open_intents() == []
            house.practice.set_faults([])
            house.clock.forward(60)
            await house.tick()
            assert ready(await house.token("bill")) != first
            assert (await house.account("me")).state.name == "active"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("error=invalid_target", LoginFailed, "does not exchange the token of account 'me'"),
        ("error=unauthorized_client", LoginFailed, "client 'keyfob'"),
        ("status=503", ProviderUnavailable, "no proper answer"),
        ("throttle=30", ProviderUnavailable, "throttling"),
    ],
)
def test_a_login_that_fails_keeps_nothing(tmp_path: Path, fault: str, error: type[KeyfobError], said: str) -> None:
    """No account, and the other one is as well as before."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            house.practice.set_faults([f"{KIND}:{fault}"])
            with pytest.raises(error, match=said):
                await derived_from(house)
            assert [account.name for account in await house.store.accounts()] == ["me"]
            assert (await house.account()).state.name == "active"

    asyncio.run(story())


def test_what_cannot_be_derived(tmp_path: Path) -> None:
    """It is said before anybody is asked, with what would help."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            await derived_from(house)
            wrong: list[tuple[dict[str, Any], type[KeyfobError], str]] = [
                ({"account": ""}, InvalidRequest, "Name the account"),
                ({"account": "a b"}, InvalidRequest, "cannot be an account's name"),
                ({"parent": "", "account": "new"}, InvalidRequest, "From which account"),
                ({"parent": "nobody", "account": "new"}, InvalidRequest, "No account is called 'nobody'"),
                ({"parent": "bill", "account": "new"}, Conflict, "Derive from that one: --from me"),
                ({"account": "me"}, Conflict, "a login of its own"),
                ({"parent": "bill", "account": "bill"}, Conflict, "derived itself"),
                ({"provider": "github", "account": "new"}, Conflict, "leave --provider out"),
                ({"client_id": "other", "account": "new"}, InvalidRequest, "Leave them out"),
                ({"client_secret": Secret("s"), "account": "new"}, InvalidRequest, "Leave them out"),
                ({"subject": "ada", "account": "new"}, InvalidRequest, "Leave them out"),
                ({"resource": "no-uri", "account": "new"}, InvalidRequest, ""),
            ]
            for words, error, said in wrong:
                with pytest.raises(error) as refused:
                    await derived_from(house, **words)
                assert said in str(refused.value), words
            assert house.asked(KIND) == 1

    asyncio.run(story())


def test_a_provider_that_announces_no_exchange(tmp_path: Path) -> None:
    """It is not asked, and the refusal says what would help."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house, **NO_EXCHANGE)
            with pytest.raises(InvalidRequest, match=r"does not announce token exchange .*'grants'"):
                await derived_from(house)
            assert house.asked(KIND) == 0

    asyncio.run(story())


def test_from_an_account_that_needs_a_login(tmp_path: Path) -> None:
    """The refusal names that account, and where to log in to it."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            house.practice.revoke_grants()
            house.clock.forward(TTL + 1)
            with pytest.raises(LoginNeeded, match=r"keyfob login me\b") as refused:
                await derived_from(house)
            assert "/login/" in str(refused.value.extra["login_url"])
            assert house.asked(KIND) == 0

    asyncio.run(story())


def test_a_login_by_name_goes_the_way_it_went(tmp_path: Path) -> None:
    """From the same account, for the same scope and audience; what is named is another, and of one place only."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            first = await derived_from(house, scope=("read",), audience=AUDIENCE)
            assert await machine.former_flow(house.ctx, "bill") == "token-exchange"
            again = (await derive.log_in(house.ctx, NewLogin("", "bill", flow="token-exchange"))).account
            assert again is not None
            assert (again.uuid, again.renewal, again.asked_scope) == (first.uuid, first.renewal, ("read",))
            other = await derived_from(house, resource=RESOURCE)
            assert (other.uuid, other.resource, other.audience) == (first.uuid, RESOURCE, None)
            assert other.asked_scope == ("read",)
            await house.log_in("second", scope=SCOPES)
            moved = await derived_from(house, "second")
            assert (moved.uuid, moved.resource, moved.asked_scope) == (first.uuid, RESOURCE, ("read",)), "no wider"
            await house.add_provider("elsewhere")
            await house.log_in("far", provider="elsewhere", base_url="", scope=SCOPES)
            with pytest.raises(Conflict, match="Choose another name"):
                await derived_from(house, "far")

    asyncio.run(story())


def test_a_nameless_login_means_the_login(tmp_path: Path) -> None:
    """Whoever logs in again without a name is the person of the login, and not of what is derived from it."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            me = await begin(house)
            await derived_from(house)
            assert (await house.log_in("", scope=SCOPES)).uuid == me.uuid
            assert {account.name for account in await house.store.accounts()} == {"me", "bill"}

    asyncio.run(story())


def test_less_of_it_is_still_for_its_audience(tmp_path: Path) -> None:
    """A narrower token of a derived account is exchanged from its own, and is for nobody else."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            await derived_from(house, scope=("read", "write"), audience=AUDIENCE)
            less = await get_token.get_token(house.ctx, Owner(), Ask("bill", ("read",)))
            access = house.practice.worth(ready(less))
            assert access is not None
            assert (access.scopes, access.audience) == (("read",), AUDIENCE)

    asyncio.run(story())


def test_logging_it_out_leaves_the_login(tmp_path: Path) -> None:
    """Nothing is revoked: a provider may end the whole login together with one token of it (RFC 7009 2.1)."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await begin(house)
            await derived_from(house)
            gone = await accounts.log_out(house.ctx, "bill")
            assert (gone.revoked, gone.derived) == (False, ())
            assert "its last token ends by itself" in gone.detail
            assert house.asked("revoke") == 0
            assert [account.name for account in await house.store.accounts()] == ["me"]
            await accounts.refresh_now(house.ctx, "me")

    asyncio.run(story())
