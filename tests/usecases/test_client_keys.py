"""Keys that Keyfob makes for its clients: made once, sealed, shown in public, and used for every request."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from broker.core.account import Renewal
from broker.core.login import Flow
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, LoginFailed, ProviderUnavailable, StoreUnavailable
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.providers.catalog import provider_name
from broker.usecases import accounts, clients, providers
from broker.usecases.providers import NewProvider
from tests.store import made
from tests.usecases.house import DUE, Clock, House, opened, ready
from tests.usecases.programs import MACHINE, again, by_key, log_in, registered, with_key

KIND = "client_credentials"


async def private_part(house: House) -> str:
    """Return the secret number of the only key that is kept."""
    found = [await house.store.client(client.uuid) for client in await house.store.clients(_provider(house))]
    secrets = [secret.reveal() for _, secret in filter(None, found) if secret is not None]
    waiting = await house.store.waiting_key(_provider(house))
    (key,) = [*secrets, *([waiting.reveal()] if waiting is not None else [])]
    return str(json.loads(key)["d"])


def _provider(house: House) -> str:
    return provider_name("practice", house.practice.url, "")


def test_a_key_waits_for_its_client(tmp_path: Path) -> None:
    """Made with the provider, shown in public, taken over by the first client that names itself; sealed all along."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            provider, client_id = await with_key(house)
            before = await clients.public_keys(house.ctx, provider.name)
            assert await house.store.clients(provider.name) == []
            private = await private_part(house)
            where: dict[str, Any] = {"provider": provider.name, "base_url": "", "client_secret": None}
            account = await log_in(house, client_id=client_id, **where)
            assert account.renewal == Renewal("client_credentials")
            (kept,) = await house.store.clients(provider.name)
            assert (kept.client_id, kept.auth_method, kept.has_secret) == (client_id, "private_key_jwt", True)
            assert await house.store.waiting_key(provider.name) is None
            after = await clients.public_keys(house.ctx, provider.name)
            assert (after[0][0], after[0][1]) == (client_id, before[0][1])
            assert await private_part(house) == private
            assert private.encode() not in made.stored_bytes(tmp_path)
        async with opened(tmp_path) as house:
            assert await clients.public_keys(house.ctx, provider.name) == after

    asyncio.run(story())


def test_every_renewal_signs_anew(tmp_path: Path) -> None:
    """The provider takes each assertion once, so a renewal that repeated one would be refused; so for revocation."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await by_key(house)
            for _ in range(3):
                house.clock.forward(DUE)
                await house.tick()
                assert (await house.account("ci")).state.name == "active"
            assert [event.result for event in house.practice.log.all(KIND)] == ["ok"] * 4
            assert (await accounts.log_out(house.ctx, "ci")).revoked

    asyncio.run(story())


def test_a_person_may_log_in_by_a_client_with_a_key(tmp_path: Path) -> None:
    """Code, refresh and revocation are proven by it as well."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            provider, client_id = await with_key(house)
            account = await house.log_in("me", provider=provider.name, base_url="", client_id=client_id)
            assert account.identity is not None
            house.clock.forward(DUE)
            await house.tick()
            assert [event.result for event in house.practice.log.all("refresh")] == ["ok"]
            assert (await accounts.log_out(house.ctx, "me")).revoked

    asyncio.run(story())


def test_a_login_with_a_key_that_nobody_knows_makes_it(tmp_path: Path) -> None:
    """The first says what to do and asks nobody; the key is kept, so a second one does not make another."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            words: dict[str, Any] = {"client_id": "x", "client_secret": None, "auth_method": "private_key_jwt"}
            with pytest.raises(InvalidRequest, match=r"made a key for client 'x'.*keyfob provider show"):
                await log_in(house, **words)
            private, keys = await private_part(house), await clients.public_keys(house.ctx, _provider(house))
            with pytest.raises(LoginFailed, match="refused client 'x'"):
                await log_in(house, **words)
            assert house.asked(KIND) == 1
            assert await clients.public_keys(house.ctx, _provider(house)) == keys
            client_id = await registered(house, keys[0][1])
            account = await log_in(house, **{**words, "client_id": client_id})
            assert account.destination.client_id == client_id
            assert await private_part(house) == private
            # By name alone, or by the client's id with the method named once more: the key is the one that is kept.
            await again(house)
            await log_in(house, **{**words, "client_id": client_id})
            assert await private_part(house) == private

    asyncio.run(story())


def test_a_client_keeps_its_secret_until_the_key_has_proved_itself(tmp_path: Path) -> None:
    """A client that works is not broken by an attempt to give it a key."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            account = await log_in(house)
            with pytest.raises(InvalidRequest, match="made a key"):
                await again(house, auth_method="private_key_jwt")
            with pytest.raises(LoginFailed):
                await again(house, auth_method="private_key_jwt")
            client, secret = await house.store.client_of(account)
            assert (client.auth_method, secret) == ("client_secret_basic", house.practice.client_secret)
            assert (await again(house)).state.name == "active"

    asyncio.run(story())


def test_the_algorithm_follows_the_provider(tmp_path: Path) -> None:
    """RS256 where only that is announced, and a plain word where none of ours is."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            provider, client_id = await with_key(house, auth_algs=["RS256"])
            ((_, jwks),) = await clients.public_keys(house.ctx, provider.name)
            assert [(key["kty"], key["alg"]) for key in jwks["keys"]] == [("RSA", "RS256")]
            where: dict[str, Any] = {"provider": provider.name, "base_url": "", "client_secret": None}
            assert (await log_in(house, client_id=client_id, **where)).state.name == "active"
            for word in ("EdDSA", "PS512"):
                with pytest.raises(InvalidRequest, match=word):
                    await providers.add(
                        house.ctx,
                        NewProvider(
                            name="other",
                            preset="practice",
                            base_url=house.practice.url,
                            overrides={"auth_algs": [word]},
                            auth_method="private_key_jwt",
                        ),
                    )
            assert [config.name for config in await house.store.providers()] == [provider.name]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("announced", "secret", "method"),
    [
        ((), True, "client_secret_basic"),
        (("private_key_jwt", "client_secret_post", "client_secret_basic"), True, "client_secret_basic"),
        (("client_secret_jwt", "client_secret_post"), True, "client_secret_jwt"),
        (("private_key_jwt", "client_secret_jwt"), True, "client_secret_jwt"),
        ((), False, "none"),
        (("client_secret_basic", "private_key_jwt"), False, "none"),
        (("private_key_jwt", "none"), False, "none"),
        (("private_key_jwt", "tls_client_auth"), False, "private_key_jwt"),
        (("private_key_jwt", "client_secret_jwt"), False, "private_key_jwt"),
    ],
)
def test_the_method_follows_the_provider(
    tmp_path: Path,
    announced: tuple[str, ...],
    secret: bool,  # noqa: FBT001 -- a case
    method: str,
) -> None:
    """What the server announces decides where nobody says it; no secret means a public client, mostly."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            provider = await house.add_provider(auth_methods=list(announced))
            proof = Secret("a secret of thirty-two characters") if secret else None
            if method == "private_key_jwt":
                with pytest.raises(InvalidRequest, match="made a key"):
                    await clients.brought(house.ctx, provider, None, "x", proof, "")
            else:
                found = await clients.brought(house.ctx, provider, None, "x", proof, "")
                assert found is not None
                assert (found[0].auth_method, found[1]) == (method, proof)

    asyncio.run(story())


def test_a_secret_may_sign(tmp_path: Path) -> None:
    """client_secret_jwt proves the client without showing its secret, at every renewal."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await log_in(house, auth_method="client_secret_jwt")
            house.clock.forward(DUE)
            await house.tick()
            assert (await house.account("ci")).state.name == "active"
            assert house.asked(KIND) == 2

    asyncio.run(story())


@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic", "none"])
def test_a_key_is_never_sent_as_a_secret(tmp_path: Path, method: str) -> None:
    """Whoever changes the method behind Keyfob's back gets nothing: the key opens as a key only."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await by_key(house)
            made.behind(tmp_path, "UPDATE client SET auth_method = ?", method)
            house.clock.forward(DUE)
            await house.tick()
            assert house.asked(KIND) == 1
            with pytest.raises(StoreUnavailable):
                await house.store.client_of(await house.account("ci"))

    asyncio.run(story())


# --- the grant --------------------------------------------------------------------------------------------------------


def test_a_service_account_asks_for_somebody(tmp_path: Path) -> None:
    """jwt-bearer: the token is the subject's, and each renewal brings another assertion (RFC 7523 2.1)."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            account = await by_key(house, "bot", flow="jwt-bearer", subject="grace", scope=("openid", "read"))
            assert account.renewal == Renewal("jwt_bearer", subject="grace")
            assert (account.scope, account.identity, account.is_machine) == (("openid", "read"), None, True)
            tokens = [ready(await house.token("bot"))]
            for _ in range(3):
                house.clock.forward(DUE)
                await house.tick()
                tokens.append(ready(await house.token("bot")))
            assert len(set(tokens)) == house.asked("jwt_bearer") == 4
            assert house.asked(KIND) == 0
            back = await again(house, "bot")
            assert (back.renewal, back.asked_scope) == (account.renewal, account.asked_scope)
            assert (await accounts.log_out(house.ctx, "bot")).revoked

    asyncio.run(story())


def test_an_assertion_that_is_not_accepted_is_a_matter_of_the_client(tmp_path: Path) -> None:
    """invalid_grant would end a person's login; here it means that the client or the clock is wrong."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await by_key(house, "bot", flow="jwt-bearer", subject="grace")
            house.practice.set_faults(["jwt_bearer:error=invalid_grant"])
            house.clock.forward(DUE)
            await house.tick()
            account = await house.account("bot")
            assert account.state.name == "misconfigured"
            assert "the clock of this machine" in account.state.reason
            house.practice.set_faults([])
            assert (await again(house, "bot")).state.name == "active"

    asyncio.run(story())


@pytest.mark.parametrize("flow", ["client-credentials", "jwt-bearer"])
@pytest.mark.parametrize("wrong", [-3600.0, 3600.0])
def test_a_wrong_clock_passes(tmp_path: Path, flow: Flow, wrong: float) -> None:
    """A machine whose clock is an hour off signs what nobody believes: told as that, and mended by the clock alone."""
    clock = Clock()

    async def story() -> None:
        async with opened(tmp_path, practice=practice, clock=clock) as house:
            await by_key(house, "bot", flow=flow)
            clock.forward(wrong)
            with pytest.raises(ProviderUnavailable, match=r"3600 s (ahead of|behind) its own"):
                await again(house, "bot")
            await accounts.refresh_now(house.ctx, "bot")
            account = await house.account("bot")
            assert account.state.name == "refreshing-failed"
            assert "clock is 3600 s" in account.state.reason
            clock.forward(-wrong)
            await accounts.refresh_now(house.ctx, "bot")
            assert (await house.account("bot")).state.name == "active"

    with practice_in_thread(PracticeSettings(), clock=Clock()) as practice:
        asyncio.run(story())


def test_an_audience_of_ones_own(tmp_path: Path) -> None:
    """A provider that wants to be called otherwise is; the practice provider does not, and says so."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            with pytest.raises(LoginFailed, match="its audience must be"):
                await by_key(house, "bot", flow="jwt-bearer", audience="https://other.example")
            provider = _provider(house)
            (client_id,) = [event.client for event in house.practice.log.all("register")]
            url = f"{house.practice.url}/token"
            words = {"provider": provider, "base_url": "", "client_id": client_id, "client_secret": None}
            account = await log_in(house, "bot", flow="jwt-bearer", audience=url, **words)
            assert account.renewal == Renewal("jwt_bearer", audience=url)

    asyncio.run(story())


def test_the_grant_needs_a_key(tmp_path: Path) -> None:
    """A client with a secret cannot sign for anybody, and one that is named alone gets a key first."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            with pytest.raises(InvalidRequest, match="no key to sign with"):
                await log_in(house, flow="jwt-bearer")
            with pytest.raises(InvalidRequest, match="made a key for client 'x'"):
                await log_in(house, flow="jwt-bearer", client_id="x", client_secret=None)
            await log_in(house, "ci")
            with pytest.raises(InvalidRequest, match="no key to sign with"):
                await log_in(house, "bot", flow="jwt-bearer", client_id="", client_secret=None)
            assert house.asked("jwt_bearer") == 0

    asyncio.run(story())


def test_a_provider_with_keys_is_forgotten_with_them(tmp_path: Path) -> None:
    """Removing a provider removes the keys, waiting ones too; not while an account uses it."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await by_key(house)
            with pytest.raises(Conflict):
                await providers.remove(house.ctx, _provider(house))
            await accounts.log_out(house.ctx, "ci")
            await providers.remove(house.ctx, _provider(house))
            await with_key(house)
            await providers.remove(house.ctx, _provider(house))
            left = (
                "SELECT (SELECT count(*) FROM client) + (SELECT count(*) FROM secret) + (SELECT count(*) FROM data_key)"
            )
            assert made.behind(tmp_path, left) == [(0,)]

    asyncio.run(story())


def test_a_client_with_a_secret_at_a_provider_with_a_key(tmp_path: Path) -> None:
    """Who brings a secret means that; the waiting key goes on waiting."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            provider, _ = await with_key(house)
            account = await log_in(house, provider=provider.name, base_url="")
            assert account.destination.client_id == MACHINE
            assert await house.store.waiting_key(provider.name) is not None

    asyncio.run(story())
