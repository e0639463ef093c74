"""What a provider says about itself: asked again once a day, moved by a person's word only; and any URL leads there."""

import asyncio
from pathlib import Path

import pytest

from broker.errors import ConfirmNeeded, InvalidRequest, ProviderUnavailable
from broker.providers import catalog
from broker.providers.model import Provider
from broker.usecases import login, providers, ration, rediscovery
from broker.usecases.newlogin import NewLogin
from broker.usecases.providers import NewProvider
from broker.usecases.rediscovery import METADATA_LIFETIME
from tests.oauth.loopback import Loopback, http
from tests.usecases.house import House, opened

MOVED = 'discovery:json={"token_endpoint": "http://localhost:9/token"}'


async def discovered(house: House) -> Provider:
    """Add the practice provider by its issuer."""
    return await providers.add(house.ctx, NewProvider("theirs", issuer=house.practice.url, client_id="keyfob"))


async def endpoint(house: House) -> str:
    """Return the token endpoint as it is kept."""
    return (await providers.find(house.ctx, "theirs")).endpoints.token


def test_an_issuer_is_asked_again_once_a_day(tmp_path: Path) -> None:
    """By the first login after a day, and by no other (R25)."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await discovered(house)
            for wait, asked in ((METADATA_LIFETIME - 1, 1), (1, 2), (0, 2), (METADATA_LIFETIME, 3)):
                house.clock.forward(wait)
                await login.begin(house.ctx, NewLogin("theirs", "me"))
                assert house.asked("openid_configuration") == asked
            house.practice.set_faults(["discovery:without=revocation_endpoint"])
            house.clock.forward(METADATA_LIFETIME)
            await login.begin(house.ctx, NewLogin("theirs", "me"))
            assert (await providers.find(house.ctx, "theirs")).endpoints.revocation == ""

    asyncio.run(story())


@pytest.mark.parametrize("fault", ["discovery:status=503", "discovery:status=404", "discovery:wrong_iss"])
def test_while_it_cannot_be_asked_the_old_word_counts(tmp_path: Path, fault: str) -> None:
    """A server that is down, silent or strange stops no login, and is left alone for an hour."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            before = await discovered(house)
            house.clock.forward(METADATA_LIFETIME)
            house.practice.set_faults([fault])
            for wait, asked in ((0.0, 2), (60.0, 2), (ration.PAUSE, 3)):
                house.clock.forward(wait)
                await login.begin(house.ctx, NewLogin("theirs", "me"))
                assert house.asked("openid_configuration") == asked
            assert await providers.find(house.ctx, "theirs") == before
            with pytest.raises((InvalidRequest, ProviderUnavailable)):
                await rediscovery.again(house.ctx, "theirs", confirm=False)

    asyncio.run(story())


def test_a_token_endpoint_that_moves_waits_for_a_persons_word(tmp_path: Path) -> None:
    """No login begins there and nothing is sent to the new host, until it is confirmed; accounts go on (R23)."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await discovered(house)
            account = await house.log_in("me", provider="theirs", base_url="")
            old = await endpoint(house)
            house.practice.set_faults([MOVED])
            house.clock.forward(METADATA_LIFETIME)
            for _ in range(2):
                with pytest.raises(ConfirmNeeded, match="localhost:9") as refused:
                    await login.begin(house.ctx, NewLogin("theirs", "me"))
                assert "keyfob provider discover theirs --confirm" in refused.value.hint
            assert await endpoint(house) == old
            assert (await house.token("me")) is not None
            assert (await house.account()).generation > account.generation
            with pytest.raises(ConfirmNeeded):
                await rediscovery.again(house.ctx, "theirs", confirm=False)
            found = await rediscovery.again(house.ctx, "theirs", confirm=True)
            assert found.endpoints.token == "http://localhost:9/token"
            begun = await login.begin(house.ctx, NewLogin("theirs", "me"))
            assert begun.destination.token_endpoint == "http://localhost:9/token"

    asyncio.run(story())


def test_a_caller_who_is_pointed_to_a_login_does_not_wait_for_that(tmp_path: Path) -> None:
    """The address of a login is offered by what is known; whoever starts one asks."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await discovered(house)
            account = await house.log_in("me", provider="theirs", base_url="")
            house.clock.forward(METADATA_LIFETIME)
            assert await login.offer(house.ctx, account)
            assert house.asked("openid_configuration") == 1

    asyncio.run(story())


def test_a_clock_that_was_wrong_does_not_make_metadata_last(tmp_path: Path) -> None:
    """What was written down in the future is asked again, and waits are as long as they were."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await discovered(house)
            house.clock.forward(-1000)
            house.ctx.schedule.moved = -1000
            house.practice.set_faults(["discovery:status=503"])
            await login.begin(house.ctx, NewLogin("theirs", "me"))
            house.clock.forward(-(10**6))
            house.ctx.schedule.moved -= 10**6
            house.clock.forward(ration.PAUSE)
            await login.begin(house.ctx, NewLogin("theirs", "me"))
            assert house.asked("openid_configuration") == 3

    asyncio.run(story())


def test_who_was_not_discovered_is_not_asked(tmp_path: Path) -> None:
    """A provider by preset or endpoints has nobody who speaks for it."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            provider = await house.add_provider()
            with pytest.raises(InvalidRequest, match="was not discovered"):
                await rediscovery.again(house.ctx, provider.name, confirm=True)
            house.clock.forward(10 * METADATA_LIFETIME)
            await house.begin()
            assert house.asked("openid_configuration") == 0

    asyncio.run(story())


# --- from any URL -----------------------------------------------------------------------------------------------------


def test_any_url_of_a_site_leads_to_its_issuer_and_to_one_provider(tmp_path: Path) -> None:
    """However it is named, there is one provider for one issuer, called by that."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            url = house.practice.url
            first = await providers.ensure(house.ctx, NewProvider(issuer=f"{url}/about"))
            assert (first.issuer, first.name) == (url, f"127-0-0-1-{house.practice.port}")
            for other in (f"{url}/", f"{url}/elsewhere", url, f"{url}/api"):
                assert await providers.ensure(house.ctx, NewProvider(issuer=other)) == first

    asyncio.run(story())


def test_a_resource_alone_tells_where_to_log_in(tmp_path: Path) -> None:
    """Its authorization server is found, Keyfob registers there, and the resource is named twice (RFC 8707)."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            resource = f"{house.practice.url}/api"
            account = await house.log_in("mcp", provider="", base_url="", resource=resource)
            assert account.resource == resource
            for kind in ("authorize", "code"):
                assert [event.resource for event in house.practice.log.all(kind)] == [resource]
            provider = await providers.find(house.ctx, account.provider)
            assert provider.issuer == house.practice.url
            for named in ("", house.practice.url):
                await house.log_in("mcp", provider=named, base_url="")
            assert [event.resource for event in house.practice.log.all("code")] == [resource] * 3
            with Loopback(answer=http("404 Not Found")) as elsewhere:
                there = f"{elsewhere.url}/mcp"
                described = {
                    "resource": there,
                    "authorization_servers": [house.practice.url],
                    "scopes_supported": ["email"],
                }
                elsewhere.routes["/.well-known/oauth-protected-resource/mcp"] = http("200 OK", described)
                other = await house.log_in("other", "grace", provider=there, base_url="")
            assert (other.provider, other.resource) == (account.provider, there)
            # What the resource wants, and what is asked for everywhere.
            assert other.scope == ("email", "openid", "profile", "offline_access")
            assert house.asked("register") == 1

    asyncio.run(story())


@pytest.mark.parametrize("faults", [(), ("register:error=invalid_client_metadata*1",)])
def test_a_client_is_registered_for_what_a_resource_may_want_later(tmp_path: Path, faults: tuple[str, ...]) -> None:
    """Asked for is what its refusal names; a server that registers no more than that is asked once more, for that."""

    async def story() -> None:
        async with opened(tmp_path, *faults) as house:
            with Loopback(answer=http("401 Unauthorized", WWW_Authenticate='Bearer scope="profile"')) as resource:
                described = {
                    "resource": resource.url,
                    "authorization_servers": [house.practice.url],
                    "scopes_supported": ["profile", "email"],
                }
                resource.routes["/.well-known/oauth-protected-resource"] = http("200 OK", described)
                account = await house.log_in("mcp", provider="", base_url="", resource=resource.url)
            assert account.asked_scope == ("profile", "openid", "offline_access")
            (client,) = await house.store.clients(account.provider)
            assert ("email" in client.scope, house.asked("register")) == (not faults, 1 + len(faults))

    asyncio.run(story())


def test_a_resource_beside_a_provider_is_only_named(tmp_path: Path) -> None:
    """Whoever says both means both: the resource is not asked."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            account = await house.log_in("me", resource="https://api.example/v1")
            assert account.resource == "https://api.example/v1"
            assert house.asked("resource_metadata") == house.asked("resource") == 0

    asyncio.run(story())


def test_a_resource_that_belongs_nowhere_leaves_nothing_behind(tmp_path: Path) -> None:
    """What is published for another resource is not believed, and no provider comes of it."""

    async def story() -> None:
        async with opened(tmp_path, "resource_metadata:without=authorization_servers") as house:
            with pytest.raises(InvalidRequest, match="does not say which") as refused:
                await login.begin(house.ctx, NewLogin("", "mcp", resource=f"{house.practice.url}/api"))
            assert refused.value.hint
            house.practice.set_faults(['resource_metadata:json={"resource": "https://evil.example"}'])
            with pytest.raises(InvalidRequest, match="another one"):
                await login.begin(house.ctx, NewLogin("", "mcp", resource=f"{house.practice.url}/api"))
            assert await providers.listed(house.ctx) == []

    asyncio.run(story())


def test_endpoints_given_by_hand_may_register_too(tmp_path: Path) -> None:
    """An endpoint for registration without further rules is RFC 7591's."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            url = house.practice.url
            given = {name: f"{url}/{path}" for name, path in (("authorization", "authorize"), ("token", "token"))}
            overrides = {"endpoints": given | {"registration": f"{url}/register"}, "scopes": ["read"]}
            await providers.add(house.ctx, NewProvider("plain", overrides=overrides))
            account = await house.log_in("me", provider="plain", base_url="")
            assert (await house.store.client_of(account))[0].origin == "registered"
            config = await house.store.provider("plain")
            assert config is not None
            assert catalog.resolve(config).registration is not None

    asyncio.run(story())
