"""Which provider and which account a login is for: what a person need not say, and what Keyfob does not guess."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.core.login import LOGIN_LIFETIME
from broker.errors import InvalidRequest
from broker.usecases import login, providers
from broker.usecases.newlogin import NewLogin
from broker.usecases.providers import NewProvider
from tests.usecases.house import opened


def test_an_accounts_provider_may_be_named_by_its_preset(tmp_path: Path) -> None:
    """``login work --provider funkwhale`` means the pod that the account is at, whatever that provider is called."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in("me")
            begun = await login.begin(house.ctx, NewLogin("practice", "me", scope=("openid",)))
            assert (begun.provider, begun.replaces) == (account.provider, account.uuid)
            with pytest.raises(InvalidRequest, match="--base-url"):
                await login.begin(house.ctx, NewLogin("practice", "somebody-else"))

    asyncio.run(story())


def test_a_login_under_way_is_begun_anew_by_its_name_alone(tmp_path: Path) -> None:
    """The hint for a first login that nobody finished names the account only: that has to be enough."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            first = await house.begin("me")
            again = await login.begin(house.ctx, NewLogin("", "me"))
            assert (again.provider, again.replaces) == (first.provider, None)
            await house.begin("")  # a login that will choose its own name is nobody's
            with pytest.raises(InvalidRequest, match="Which provider"):
                await login.begin(house.ctx, NewLogin("", ""))
            house.clock.forward(LOGIN_LIFETIME)
            with pytest.raises(InvalidRequest, match="Which provider"):
                await login.begin(house.ctx, NewLogin("", "me"))

    asyncio.run(story())


def test_a_person_with_several_accounts_gets_another_one(tmp_path: Path) -> None:
    """A login without a name renews the one account of that person; of several, none is replaced by a guess."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            mail = await house.log_in("mail")
            assert (await house.log_in("")).uuid == mail.uuid
            renewed = await house.account("mail")
            calendar = await house.log_in("calendar")
            third = await house.log_in("")
            assert third.name not in ("mail", "calendar")
            assert [await house.account("mail"), await house.account("calendar")] == [renewed, calendar]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("had", "comes"),
    [
        ({"resource": "https://one.example/"}, {"resource": "https://two.example/"}),
        ({"resource": "https://one.example/"}, {}),
        ({"scope": ("openid", "read", "write")}, {"scope": ("openid", "read")}),
        ({"scope": ("openid", "read")}, {"scope": ("openid", "write")}),
    ],
)
def test_a_login_without_a_name_takes_nothing_away(tmp_path: Path, had: dict[str, Any], comes: dict[str, Any]) -> None:
    """What is for another resource, or for less, gets an account of its own: programs use the first for what it has."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            first = await house.log_in("", **had)
            second = await house.log_in("", **comes)
            assert second.uuid != first.uuid
            assert await house.account(first.name) == first

    asyncio.run(story())


def test_a_login_without_a_name_that_asks_for_more_renews_the_account(tmp_path: Path) -> None:
    """Whoever used it goes on with what it had."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            first = await house.log_in("", scope=("openid", "read"), resource="https://one.example/")
            second = await house.log_in("", scope=("write", "openid", "read"), resource="https://one.example/")
            assert (second.uuid, second.asked_scope) == (first.uuid, ("write", "openid", "read"))

    asyncio.run(story())


def test_what_cannot_be_checked_is_not_asked_for(tmp_path: Path) -> None:
    """An ID token of a provider that shows no keys proves nothing: the login says so before it begins."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            ends = {name: f"{house.practice.url}/{name}" for name in ("token", "userinfo")}
            ends["authorization"] = f"{house.practice.url}/authorize"
            new = NewProvider("plain", overrides={"endpoints": ends}, client_id="keyfob")
            await providers.add(house.ctx, new)
            with pytest.raises(InvalidRequest, match="shows no keys"):
                await login.begin(house.ctx, NewLogin("plain", "me", scope=("openid", "profile")))
            with pytest.raises(InvalidRequest, match="resource"):
                await login.begin(house.ctx, NewLogin("plain", "me", scope=("profile",), resource="not a uri"))
            assert (await login.begin(house.ctx, NewLogin("plain", "me", scope=("profile",)))).nonce == ""

    asyncio.run(story())


def test_no_provider_of_ones_own_is_called_like_a_preset(tmp_path: Path) -> None:
    """A login that names the preset would go to the other one, with everything that is asked for there."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            issuer = house.practice.url
            with pytest.raises(InvalidRequest, match="'funkwhale' is the name of a preset"):
                await providers.add(house.ctx, NewProvider("funkwhale", issuer=issuer))
            assert await providers.listed(house.ctx) == []
            named = await providers.add(house.ctx, NewProvider("practice", "practice", house.practice.url))
            assert named.name == "practice"

    asyncio.run(story())


def test_more_scopes_do_not_cost_those_that_there_are(tmp_path: Path) -> None:
    """An account that asks for more asks for the union; what it has stays until the new login has succeeded."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in(scope=("openid", "read"))
            before = await house.secrets_of(account)
            begun = await house.begin(scope=("write", "read"))
            assert begun.scope == ("openid", "read", "write")
            house.practice.set_faults(["authorize:deny"])
            assert (await house.walk(begun)).account is None
            account = await house.account()
            assert (await house.secrets_of(account), account.asked_scope) == (before, ("openid", "read"))
            house.practice.set_faults([])
            refused = await house.walk(await house.begin(scope=("write",)), user="grace")
            assert refused.account is None
            assert "belongs to 'ada'" in refused.reason or "but account 'me' belongs to" in refused.reason
            assert await house.secrets_of(await house.account()) == before
            account = await house.log_in(scope=("write",))
            assert account.scope == ("openid", "read", "write")
            assert account.missing_scope == ()
            only = await house.begin(scope=("openid", "read"), only_scope=True)
            assert only.scope == ("openid", "read")
            again = await house.begin()
            assert again.scope == ("openid", "read", "write")

    asyncio.run(live())


def test_what_was_asked_and_not_granted_is_told(tmp_path: Path) -> None:
    """A provider may give less (RFC 6749 5.1): the account knows what is missing, by what came and not by its name."""

    async def live() -> None:
        async with opened(tmp_path, 'code:json={"scope": "read"}') as house:
            account = await house.log_in(scope=("openid", "read", "write", "offline_access"))
            assert account.scope == ("read",)
            assert account.missing_scope == ("write",)

    asyncio.run(live())


def test_an_address_means_the_provider_that_nobody_changed(tmp_path: Path) -> None:
    """One with an endpoint of its own is used by its name, and by its address only where there is no other."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            place = NewProvider(preset="practice", base_url=house.practice.url)
            elsewhere = {"token": "http://127.0.0.1:1/token"}
            changed = await house.add_provider("aaa", endpoints=elsewhere)
            assert await providers.foreseen(house.ctx, place) == await providers.ensure(house.ctx, place) == changed
            plain = await house.add_provider("plain")
            assert await providers.foreseen(house.ctx, place) == await providers.ensure(house.ctx, place) == plain
            assert (await house.begin("me")).provider == "plain"
            assert (await login.begin(house.ctx, NewLogin("aaa", "other"))).provider == "aaa"

    asyncio.run(story())


def test_an_issuer_means_the_provider_that_nobody_changed(tmp_path: Path) -> None:
    """Its URL, and a site that leads to it, find the one with the issuer's own endpoints first."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            at_issuer, elsewhere = house.practice.url, {"endpoints": {"token": "http://127.0.0.1:1/token"}}
            await providers.add(house.ctx, NewProvider("aaa", issuer=at_issuer, overrides=elsewhere))
            plain = await providers.add(house.ctx, NewProvider("plain", issuer=at_issuer))
            assert await providers.ensure(house.ctx, NewProvider(issuer=at_issuer)) == plain
            assert await providers.ensure(house.ctx, NewProvider(issuer=f"{at_issuer}/")) == plain

    asyncio.run(story())
