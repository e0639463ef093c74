"""How a provider comes to be known: by issuer, preset, address or endpoints; and what is not believed."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, KeyfobError, ProviderUnavailable, UnknownProvider
from broker.providers import catalog
from broker.providers.model import ProviderConfig
from broker.usecases import accounts, login, providers
from broker.usecases.newlogin import NewLogin
from broker.usecases.providers import NewProvider
from tests.oauth.loopback import Loopback, http
from tests.usecases.house import PATIENCE, House, opened


def by_issuer(house: House) -> NewProvider:
    """Describe the practice provider by its issuer, with a client that it knows."""
    return NewProvider(issuer=house.practice.url, client_id="keyfob")


def document(issuer: str, **more: object) -> bytes:
    """Write a discovery document."""
    endpoints = {"authorization_endpoint": f"{issuer}authorize", "token_endpoint": f"{issuer}token"}
    return http("200 OK", {"issuer": issuer, **endpoints, **more})


async def names(house: House) -> list[str]:
    """Return the names of all configured providers."""
    return [provider.name for provider in await providers.listed(house.ctx)]


def test_an_issuer_is_asked_once_and_then_known(tmp_path: Path) -> None:
    """Discovery fills in the endpoints and promises; a login walks by them, and nobody asks again."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            found = await providers.add(house.ctx, by_issuer(house))
            url = house.practice.url
            assert found.name == f"127-0-0-1-{house.practice.port}"
            assert (found.issuer, found.endpoints.authorization) == (url, f"{url}/authorize")
            assert (found.endpoints.token, found.endpoints.revocation) == (f"{url}/token", f"{url}/revoke")
            assert (found.iss_parameter, found.id_token_algs) == (True, ("ES256",))
            assert await providers.find(house.ctx, found.name) == found
            account = await house.log_in(provider=url, base_url="")
            assert (account.provider, account.state.name) == (found.name, "active")
            assert account.has_refresh_token
            assert house.asked("openid_configuration") == house.asked("oauth_metadata") == 1

    asyncio.run(story())


def test_a_login_may_name_an_issuer_that_is_not_known_yet(tmp_path: Path) -> None:
    """The provider is then kept under a name made from its host, and found again by the next login."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            accounts_made = [
                await house.log_in(name, provider=house.practice.url, base_url="", client_id="keyfob")
                for name in ("one", "two")
            ]
            assert await names(house) == [f"127-0-0-1-{house.practice.port}"]
            assert {account.provider for account in accounts_made} == set(await names(house))
            assert house.asked("openid_configuration") == 1

    asyncio.run(story())


def test_one_of_the_two_documents_is_enough(tmp_path: Path) -> None:
    """A server that speaks only RFC 8414 is understood as well."""

    async def story() -> None:
        async with opened(tmp_path, "openid_configuration:status=404") as house:
            found = await providers.add(house.ctx, by_issuer(house))
            assert found.endpoints.token == f"{house.practice.url}/token"

    asyncio.run(story())


def test_an_issuer_with_a_final_slash_keeps_it(tmp_path: Path) -> None:
    """Issuers are compared to the letter (RFC 8414 3.3), and many end with a slash."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            with Loopback() as server:
                issuer = f"{server.url}/"
                server.routes["/.well-known/openid-configuration"] = document(issuer)
                server.default = http("404 Not Found")
                found = await providers.add(house.ctx, NewProvider("theirs", issuer=issuer))
                assert (found.issuer, found.endpoints.token) == (issuer, f"{issuer}token")
                assert await providers.ensure(house.ctx, NewProvider(issuer=issuer)) == found

    asyncio.run(story())


def test_a_preset_needs_its_address_and_no_discovery(tmp_path: Path) -> None:
    """An instance is named by its base URL; without one the next step is told; nobody is asked anything."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            found = await providers.add(house.ctx, NewProvider(preset="practice", base_url=f"{house.practice.url}/"))
            assert found.name == f"practice-127-0-0-1-{house.practice.port}"
            assert found.endpoints.token == f"{house.practice.url}/token"
            with pytest.raises(InvalidRequest, match="--base-url"):
                await providers.add(house.ctx, NewProvider(preset="practice"))
            with pytest.raises(UnknownProvider, match="practice"):
                await providers.add(house.ctx, NewProvider(preset="practise", base_url=house.practice.url))
            assert house.practice.log.all() == []

    asyncio.run(story())


def test_a_preset_of_ones_own_may_have_its_issuer_come_of_the_base_url(tmp_path: Path) -> None:
    """Base URL and parameters are filled in before the issuer is asked; what is missing is told first."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            directory = tmp_path / "presets"
            directory.mkdir(mode=0o700)
            for name, issuer in (("plain", "{base_url}"), ("realm", "{base_url}/realms/{realm}")):
                (directory / f"{name}.toml").write_text(
                    f'needs_base_url = true\ndiscovery = true\nissuer = "{issuer}"\nclient_id = "keyfob"\n'
                    '[parameters.realm]\nwhat = "the realm"\ndefault = "master"\n'
                )
                (directory / f"{name}.toml").chmod(0o600)
            house.ctx = replace(house.ctx, presets_dir=directory)
            account = await house.log_in("me", provider="plain", base_url=house.practice.url)
            found = await providers.find(house.ctx, account.provider)
            assert (found.issuer, found.endpoints.jwks) == (house.practice.url, f"{house.practice.url}/jwks")
            other = catalog.needs_discovery(
                ProviderConfig("x", "realm", house.practice.url, {}, {}, private=False, created_at=0.0), directory
            )
            assert other == f"{house.practice.url}/realms/master"
            with pytest.raises(InvalidRequest, match="runs at many addresses"):
                await providers.add(house.ctx, NewProvider(preset="plain"))
            odd = NewProvider(preset="plain", base_url=house.practice.url, parameters={"tenant": "x"})
            with pytest.raises(InvalidRequest, match="no parameter 'tenant'"):
                await providers.add(house.ctx, odd)

    asyncio.run(story())


def test_endpoints_alone_are_enough(tmp_path: Path) -> None:
    """A server that publishes nothing is used by the endpoints that a person gives, without any discovery."""

    async def story() -> None:
        async with opened(tmp_path, "discovery:status=404") as house:
            url = house.practice.url
            endpoints = {"authorization": f"{url}/authorize", "token": f"{url}/token"}
            new = NewProvider("plain", overrides={"endpoints": endpoints, "scopes": ["read"]}, client_id="keyfob")
            found = await providers.add(house.ctx, new)
            assert (found.issuer, found.identity_issuer) == ("", "plain")
            account = await house.log_in(provider="plain", base_url="")
            assert (account.scope, account.identity) == (("read",), None)
            assert house.asked("openid_configuration") == 0

    asyncio.run(story())


def test_what_speaks_for_another_issuer_is_not_believed(tmp_path: Path) -> None:
    """A mismatch names both issuers and what to do; nothing is kept (RFC 8414 3.3)."""

    async def story() -> None:
        async with opened(tmp_path, "discovery:wrong_iss") as house:
            with pytest.raises(InvalidRequest) as refused:
                await providers.add(house.ctx, by_issuer(house))
            assert f"at {house.practice.url} " in str(refused.value)
            assert f"'{house.practice.url}/somebody-else'" in str(refused.value)
            assert refused.value.hint
            assert await names(house) == []

    asyncio.run(story())


NO_ISSUERS = {
    "http://id.example.org": "not encrypted",
    "http://127.0.0.1.example.org": "not encrypted",
    "http://10.0.0.1": "not encrypted",
    "https://id.example.org/?tenant=1": "no query",
    "https://id.example.org/#top": "fragment",
    "https://me:secret@id.example.org": "user name",
    "ftp://id.example.org": "https://",
    "https://": "no host",
    "https://id.example.org\n.evil.example": "not a URL",
}


async def assert_refused(house: House, issuer: str, says: str) -> None:
    """Check that an issuer is refused with the next step, without being asked, whoever names it."""
    for ask in (providers.add, providers.ensure):
        with pytest.raises(InvalidRequest, match=says) as refused:
            await ask(house.ctx, NewProvider(issuer=issuer))
        assert refused.value.hint
        assert "secret" not in str(refused.value)
    assert await names(house) == []


def test_an_issuer_that_must_not_be_asked_is_refused(tmp_path: Path) -> None:
    """Plain http off loopback and what is no issuer at all is refused with the next step."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            for issuer, says in NO_ISSUERS.items():
                await assert_refused(house, issuer, says)

    asyncio.run(story())


def test_an_issuer_at_a_special_address_needs_private(tmp_path: Path) -> None:
    """An address that is not for the public Internet is refused before it is asked, and the flag is named."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            for issuer in ("https://10.0.0.1", "https://[::ffff:169.254.169.254]", "https://[fd00::1]:8443/x"):
                await assert_refused(house, issuer, "--private")

    asyncio.run(story())


UNUSABLE: dict[str, tuple[type[KeyfobError], str]] = {
    "discovery:status=503": (ProviderUnavailable, "HTTP 503"),
    "discovery:refuse": (ProviderUnavailable, "could not be asked"),
    "discovery:status=404": (InvalidRequest, "does not say where its endpoints are"),
    "discovery:html": (InvalidRequest, "does not say where its endpoints are"),
    "discovery:without=token_endpoint": (InvalidRequest, "does not say where its endpoints are"),
    'discovery:json={"token_endpoint": "http://id.example.org/token"}': (InvalidRequest, "not encrypted"),
    'discovery:json={"token_endpoint": 7}': (InvalidRequest, "not a URL"),
}


def test_an_issuer_that_says_nothing_usable_leaves_nothing_behind(tmp_path: Path) -> None:
    """Unreachable, silent or strange: told apart, with the next step; the same name can be used afterwards."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            for fault, (error, says) in UNUSABLE.items():
                house.practice.set_faults([f"{fault}%100"])
                with pytest.raises(KeyfobError, match=says) as refused:
                    await providers.add(house.ctx, by_issuer(house))
                assert (type(refused.value), bool(refused.value.hint)) == (error, True), fault
                assert await names(house) == [], fault
            house.practice.set_faults([])
            await providers.add(house.ctx, by_issuer(house))

    asyncio.run(story())


def test_an_issuer_where_nobody_listens_is_unavailable(tmp_path: Path) -> None:
    """A closed port is told as such, and to try again later."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            with Loopback() as server:
                gone = server.url
            with pytest.raises(ProviderUnavailable, match="could not be asked") as refused:
                await providers.add(house.ctx, NewProvider(issuer=gone))
            assert refused.value.hint

    asyncio.run(story())


def test_a_name_is_given_once(tmp_path: Path) -> None:
    """To add under a taken or impossible name is refused; a login chooses a free name by itself."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            slug = f"127-0-0-1-{house.practice.port}"
            await providers.add(house.ctx, NewProvider(slug, "funkwhale", "https://pod.example.org"))
            before = await providers.find(house.ctx, slug)
            with pytest.raises(Conflict, match=slug):
                await providers.add(house.ctx, by_issuer(house))
            assert await providers.find(house.ctx, slug) == before
            for name in ("A", "a b", "-a", "x" * 64, "ä", "a/b", "a\n"):
                with pytest.raises(InvalidRequest, match="cannot be a provider's name"):
                    await providers.add(house.ctx, NewProvider(name, "practice", house.practice.url))
            assert (await providers.ensure(house.ctx, by_issuer(house))).name == f"{slug}-2"

    asyncio.run(story())


def test_of_many_that_add_one_name_at_once_one_does(tmp_path: Path) -> None:
    """The others are refused, and the provider is that one's from its address to its client."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            pods = [NewProvider("pod", "funkwhale", f"https://{n}.example.org", client_id=f"c{n}") for n in range(6)]
            added = await asyncio.gather(*(providers.add(house.ctx, pod) for pod in pods), return_exceptions=True)
            made = [(number, one) for number, one in enumerate(added) if not isinstance(one, Conflict)]
            assert made == [(made[0][0], await providers.find(house.ctx, "pod"))]
            assert [one.client_id for one in await house.store.clients("pod")] == [f"c{made[0][0]}"]

    asyncio.run(story())


@pytest.mark.parametrize("written", ["{}", "{}/", "HTTP{}"])
def test_one_instance_is_one_provider_however_it_is_written(tmp_path: Path, written: str) -> None:
    """Another spelling of the base URL finds the provider that is there, and so its client and its accounts."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            first = await house.add_provider()
            url = house.practice.url
            spelt = written.format(url.removeprefix("http") if written.startswith("HTTP") else url)
            assert await providers.ensure(house.ctx, NewProvider(preset="practice", base_url=spelt)) == first
            assert await providers.ensure(house.ctx, NewProvider(preset=first.name)) == first
            assert await names(house) == [first.name]

    asyncio.run(story())


def test_logins_that_begin_together_at_a_new_issuer_make_one_provider(tmp_path: Path) -> None:
    """A slow discovery does not end in two providers for one issuer."""

    async def story() -> None:
        async with opened(tmp_path, "openid_configuration:hold*1") as house:
            slow = asyncio.create_task(providers.ensure(house.ctx, by_issuer(house)))
            await house.until_asked("openid_configuration")
            quick = asyncio.create_task(providers.ensure(house.ctx, by_issuer(house)))
            await asyncio.wait([quick], timeout=0.1)  # it may as well wait for the slow one
            house.practice.set_faults([])
            found = await asyncio.wait_for(asyncio.gather(slow, quick), PATIENCE)
            assert found[0] == found[1]
            assert await names(house) == [found[0].name]

    asyncio.run(story())


def test_a_provider_is_removed_when_nobody_uses_it(tmp_path: Path) -> None:
    """An account holds it; after the log-out it goes, with its clients and the logins under way."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            provider = await house.add_provider()
            await house.log_in()
            with pytest.raises(Conflict, match="me"):
                await providers.remove(house.ctx, provider.name)
            await accounts.log_out(house.ctx, "me")
            begun = await house.begin("later")
            await providers.remove(house.ctx, provider.name)
            assert await names(house) == []
            assert await house.store.clients(provider.name) == []
            assert await house.store.login(begun.id) is None
            for missing in (providers.remove, providers.find):
                with pytest.raises(UnknownProvider):
                    await missing(house.ctx, provider.name)

    asyncio.run(story())


def test_a_login_at_a_provider_that_does_not_know_us_says_how_to_register(tmp_path: Path) -> None:
    """Without a client the refusal names the redirect URI to register, and the options that take the result."""

    async def story() -> None:
        async with opened(tmp_path, "discovery:without=registration_endpoint") as house:
            await providers.add(house.ctx, NewProvider("theirs", issuer=house.practice.url))
            with pytest.raises(InvalidRequest) as refused:
                await login.begin(house.ctx, NewLogin("theirs", "me"))
            assert refused.value.hint == (
                "Register a client there, with exactly this redirect URI: http://127.0.0.1:8400/callback/theirs - "
                "then run: keyfob login --provider theirs --client-id ID "
                "(and --client-secret-file FILE, if it has a secret)"
            )
            with pytest.raises(InvalidRequest, match="Leave"):
                await providers.add(
                    house.ctx,
                    NewProvider("mine", "practice", house.practice.url, overrides={"authorize_params": {"state": "1"}}),
                )
            with pytest.raises(InvalidRequest, match="authentication method"):
                await providers.add(
                    house.ctx,
                    NewProvider(
                        "mine",
                        "practice",
                        house.practice.url,
                        client_id="a",
                        client_secret=Secret("b"),
                        auth_method="jwt",
                    ),
                )
            assert await names(house) == ["theirs"]

    asyncio.run(story())


def test_a_provider_that_is_set_up_is_where_it_is(tmp_path: Path) -> None:
    """Its name with an address is told what it is, and a near name is looked for among those that are set up too."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.add_provider("at-work")
            for more in ({"base_url": "https://other.example"}, {"parameters": {"tenant": "x"}}):
                with pytest.raises(InvalidRequest, match=r"'at-work' is set up already, at http://127\..*Leave --"):
                    await login.begin(house.ctx, NewLogin("at-work", "me", **more))
            with pytest.raises(UnknownProvider, match="Did you mean at-work"):
                await login.begin(house.ctx, NewLogin("atwork", "me"))

    asyncio.run(story())
