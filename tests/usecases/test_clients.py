"""The client that Keyfob is at a provider: registered once, or brought along; its secret is kept sealed."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from broker.core.secret import Secret
from broker.errors import InvalidRequest, KeyfobError, LoginFailed, ProviderUnavailable
from broker.practice.clients import Client as Registered
from broker.usecases import accounts, clients, login, providers
from broker.usecases.newlogin import NewLogin
from broker.usecases.providers import NewProvider
from tests.oauth.loopback import Loopback, http
from tests.store import made
from tests.usecases.house import DUE, opened

APPS = "/api/v1/oauth/apps/"


def pod(client_id: str) -> Loopback:
    """Start a server that registers whoever asks under this client id, as a Funkwhale pod does."""
    server = Loopback(answer=http("404 Not Found"))
    server.routes[APPS] = http("201 Created", {"client_id": client_id, "client_secret": f"secret-of-{client_id}"})
    return server


def at(server: Loopback, account: str = "me") -> NewLogin:
    """Describe a login at a pod."""
    return NewLogin("funkwhale", account, server.url)


def test_keyfob_registers_itself_once_an_instance(tmp_path: Path) -> None:
    """Many accounts, at the same time or later, share the client of their instance; another instance has its own."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            with pod("one") as first, pod("two") as second:
                provider = await providers.ensure(house.ctx, NewProvider(preset="funkwhale", base_url=first.url))
                begun = await asyncio.gather(*(login.begin(house.ctx, at(first, f"me{number}")) for number in range(5)))
                begun.append(await login.begin(house.ctx, at(first, "later")))
                assert {one.destination.client_id for one in begun} == {"one"}
                assert len({one.client for one in begun}) == 1
                assert len(first.requests) == 1
                assert json.loads(first.form())["redirect_uris"].split() == [
                    f"http://127.0.0.1/callback/{provider.name}",
                    "urn:ietf:wg:oauth:2.0:oob",
                ]
                other = await login.begin(house.ctx, at(second))
                assert other.destination.client_id == "two"
                assert len(second.requests) == 1

    asyncio.run(story())


def test_the_registered_secret_is_sealed(tmp_path: Path) -> None:
    """The client's secret stands nowhere in the file, and is there again after a restart."""

    async def story() -> None:
        with pod("one") as server:
            async with opened(tmp_path) as house:
                begun = await login.begin(house.ctx, at(server))
                assert b"secret-of-one" not in made.stored_bytes(tmp_path)
            async with opened(tmp_path) as house:
                assert (await login.begin(house.ctx, at(server))).client == begun.client
                kept = await house.store.client(begun.client)
                assert kept is not None
                assert (kept[0].origin, kept[0].auth_method) == ("registered", "client_secret_basic")
                assert kept[1] == Secret("secret-of-one")
                assert len(server.requests) == 1

    asyncio.run(story())


FAILURES: dict[str, tuple[bytes, type[KeyfobError]]] = {
    "503": (http("503 Service Unavailable"), ProviderUnavailable),
    "throttled 500": (http("500 Internal Server Error", X_RateLimit_Remaining="0"), ProviderUnavailable),
    "429": (http("429 Too Many Requests", Retry_After="60"), ProviderUnavailable),
    "refused": (http("400 Bad Request", {"error": "invalid_redirect_uri"}), LoginFailed),
    "no JSON": (http("201 Created", b"<html>"), ProviderUnavailable),
    "no client id": (http("201 Created", {"client_id": 7}), LoginFailed),
    "another redirect URI": (
        http("201 Created", {"client_id": "x", "redirect_uris": "https://evil.example/"}),
        LoginFailed,
    ),
}


def test_a_registration_that_fails_is_told_and_tried_again(tmp_path: Path) -> None:
    """No half-made client stays behind, so the next login registers anew."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            with pod("one") as server:
                good = server.routes[APPS]
                for what, (answer, error) in FAILURES.items():
                    server.routes[APPS] = answer
                    with pytest.raises(KeyfobError) as refused:
                        await login.begin(house.ctx, at(server))
                    assert (type(refused.value), bool(refused.value.hint)) == (error, True), what
                    assert await house.store.logins_pending() == [], what
                    house.clock.forward(61)
                server.routes[APPS] = good
                assert (await login.begin(house.ctx, at(server))).destination.client_id == "one"

    asyncio.run(story())


def test_a_brought_client_is_used_and_kept(tmp_path: Path) -> None:
    """Client id and secret that come with a login serve the next one too; without a secret it is a public client."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            secret = house.practice.client_secret
            machine: dict[str, Any] = {"client_id": "keyfob-machine", "client_secret": secret}
            account = await house.log_in("me", **machine)
            assert account.destination.client_id == "keyfob-machine"
            assert secret.reveal().encode() not in made.stored_bytes(tmp_path)
            again = await house.log_in("other", "grace")
            assert again.destination.client_id == "keyfob-machine"
            client, kept = await house.store.client_of(again)
            assert (client.auth_method, client.origin, kept) == ("client_secret_basic", "given", secret)
            house.clock.forward(1)
            public = await house.log_in("third", "linus", client_id="keyfob")
            assert (await house.store.client_of(public))[0].auth_method == "none"
            assert len(await house.store.clients(public.provider)) == 2

    asyncio.run(story())


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_client_proves_itself_as_it_was_told(tmp_path: Path, method: str) -> None:
    """Either way of sending the secret works, at the login and at a refresh."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            machine: dict[str, Any] = {"client_id": "keyfob-machine", "client_secret": house.practice.client_secret}
            account = await house.log_in("me", auth_method=method, **machine)
            assert (await house.store.client_of(account))[0].auth_method == method
            house.clock.forward(590)
            await house.token("me")
            assert (await house.account()).generation > account.generation

    asyncio.run(story())


def test_a_client_without_a_secret_says_who_it_is_as_the_provider_wants(tmp_path: Path) -> None:
    """Where that takes HTTP Basic with an empty secret, nobody has to name it; and it is kept, for the next login."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            callback = "http://127.0.0.1:8400/callback/mine"
            house.practice.add_client(Registered("app", None, ("client_id_basic",), redirect_uris=(callback,)))
            provider = await house.add_provider("mine", auth_methods=["client_id_basic", "client_secret_basic"])
            account = await house.log_in("me", provider=provider.name, base_url="", client_id="app")
            client, secret = await house.store.client_of(account)
            assert (client.auth_method, client.has_secret, secret) == ("client_id_basic", False, None)
            house.clock.forward(590)
            await house.token("me")
            assert (await house.account()).generation > account.generation
            assert (await accounts.log_out(house.ctx, "me")).revoked
            with pytest.raises(AssertionError, match="invalid_client"):
                await house.log_in("other", provider=provider.name, base_url="", client_id="app", auth_method="none")

    asyncio.run(story())


def test_a_wrong_client_is_forgotten_with_its_login(tmp_path: Path) -> None:
    """A mistyped client id stands in nobody's way: the next login uses the client that works, as it did before."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            good = await house.log_in("me")
            house.clock.forward(1)
            finished = await house.walk(await house.begin("other", client_id="keyfob-machine"), "grace")
            assert finished.account is None
            assert "invalid_client" in finished.reason
            assert [known.client_id for known in await house.store.clients(good.provider)] == ["keyfob"]
            assert (await house.begin("other")).destination.client_id == "keyfob"
            assert (await login.begin(house.ctx, NewLogin("", "me"))).destination.client_id == "keyfob"

    asyncio.run(story())


def test_a_wrong_secret_does_not_take_the_place_of_the_right_one(tmp_path: Path) -> None:
    """A login with a mistyped secret fails alone: accounts of the same client go on refreshing."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            secret = house.practice.client_secret
            await house.log_in("me", client_id="keyfob-machine", client_secret=secret)
            wrong = await house.begin("other", client_id="keyfob-machine", client_secret=Secret("mistyped"))
            assert b"mistyped" not in made.stored_bytes(tmp_path)
            assert "invalid_client" in (await house.walk(wrong)).reason
            house.clock.forward(DUE)
            await house.tick()
            account = await house.account()
            assert account.state.name == "active", account.state.reason
            assert (await house.store.client_of(account))[1] == secret

    asyncio.run(story())


def test_a_new_secret_that_works_is_kept_for_every_account_of_the_client(tmp_path: Path) -> None:
    """When a secret was changed at the provider, one login with the new one mends them all; it needs no client id."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            first = await house.log_in("me", client_id="keyfob-machine", client_secret=house.practice.client_secret)
            second = await house.log_in("other", "grace")
            changed = Secret("changed-at-the-provider")
            house.practice.change_client_secret(changed)
            begun = await login.begin(house.ctx, NewLogin("", "me", client_secret=changed))
            again = (await house.walk(begun)).account
            assert again is not None
            for account in (first, second):
                now = await house.account(account.name)
                assert now.destination.client_id == "keyfob-machine"
                assert (await house.store.client_of(now))[1] == changed
            house.clock.forward(DUE)
            await house.tick()
            assert {(await house.account(name)).state.name for name in ("me", "other")} == {"active"}

    asyncio.run(story())


def test_a_client_is_named_again_without_its_secret(tmp_path: Path) -> None:
    """A client id alone means the client that is kept, not one without a secret."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            secret = house.practice.client_secret
            await house.log_in("me", client_id="keyfob-machine", client_secret=secret)
            house.clock.forward(1)
            await house.log_in("public", "linus", client_id="keyfob")
            named = await house.log_in("other", "grace", client_id="keyfob-machine")
            assert (await house.store.client_of(named))[1] == secret
            # A new login goes by the newest, one of an account by its own.
            assert (await house.begin("new")).destination.client_id == "keyfob"
            assert (await login.begin(house.ctx, NewLogin("", "me"))).destination.client_id == "keyfob-machine"

    asyncio.run(story())


def test_what_is_said_of_a_client_has_to_make_sense(tmp_path: Path) -> None:
    """An unknown client, a secret of nobody, and an unknown way to send it are told before anybody is asked."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            provider = await house.add_provider()
            with pytest.raises(InvalidRequest, match="no client 'nobody'"):
                await clients.kept(house.ctx, provider, "http://127.0.0.1:8400/callback/x", "nobody")
            with pytest.raises(InvalidRequest, match="no client"):
                await house.begin("me", client_secret=Secret("s"))
            with pytest.raises(InvalidRequest, match="tls_client_auth"):
                await house.begin("me", client_id="x", auth_method="tls_client_auth")
            for secret in (None, Secret("too short to sign with")):
                with pytest.raises(InvalidRequest, match="needs 32 bytes"):
                    await house.begin("me", client_id="x", client_secret=secret, auth_method="client_secret_jwt")
            with pytest.raises(InvalidRequest, match="makes the key itself"):
                await house.begin("me", client_id="x", client_secret=Secret("s"), auth_method="private_key_jwt")
            with pytest.raises(InvalidRequest, match="for clients without one"):
                await house.begin("me", client_id="x", client_secret=Secret("s"), auth_method="client_id_basic")
            assert await house.store.clients(provider.name) == []
            assert await house.store.logins_pending() == []

    asyncio.run(story())


def test_a_login_again_may_bring_another_client(tmp_path: Path) -> None:
    """An account whose client the provider refuses is mended by naming the account and the new client alone."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            before = await house.log_in("me")
            new = NewLogin("", "me", client_id="keyfob-machine", client_secret=house.practice.client_secret)
            finished = await house.walk(await login.begin(house.ctx, new))
            assert finished.account is not None
            assert finished.account.uuid == before.uuid
            assert finished.account.destination.client_id == "keyfob-machine"

    asyncio.run(story())
