"""Private keys are kept as client secrets are, and may wait for their client."""

import asyncio
from pathlib import Path

import pytest

from broker.core.account import BY_REFRESH_TOKEN, Active, Renewal
from broker.core.login import Client
from broker.core.secret import Secret
from broker.errors import Locked, StoreUnavailable
from broker.store.store import Store
from tests.store.made import DESTINATION, NOW, PROVIDER, behind, grant, key_file, opened, reveal, with_account

KEY = Secret('{"kty":"EC","d":"the private part"}')


async def keep(store: Store, client_id: str, secret: Secret | None = KEY, method: str = "private_key_jwt") -> Client:
    """Keep a client of the example provider."""
    return await store.add_client(
        provider=PROVIDER.name,
        client_id=client_id,
        secret=secret,
        auth_method=method,
        origin="given",
        destination=DESTINATION,
        now=NOW,
    )


def test_a_key_waits_and_is_taken_over(tmp_path: Path) -> None:
    """It is no client, survives a restart, and is gone once a client has a key; one with a secret leaves it alone."""

    async def before() -> None:
        async with opened(tmp_path) as store:
            await store.put_provider(PROVIDER)
            assert await store.waiting_key(PROVIDER.name) is None
            await keep(store, "")
            await keep(store, "other", Secret("s"), "client_secret_basic")
            assert [client.client_id for client in await store.clients(PROVIDER.name)] == ["other"]

    async def after() -> None:
        async with opened(tmp_path) as store:
            waiting = await store.waiting_key(PROVIDER.name)
            assert reveal(waiting) == reveal(KEY)
            client = await keep(store, "mine", waiting)
            assert await store.waiting_key(PROVIDER.name) is None
            assert await store.client(client.uuid) == (client, KEY)
            assert {client.client_id for client in await store.clients(PROVIDER.name)} == {"mine", "other"}
            assert behind(tmp_path, "SELECT kind, count(*) FROM secret GROUP BY kind") == [
                ("client_key", 1),
                ("client_secret", 1),
            ]
            assert await store.waiting_key("nowhere") is None

    asyncio.run(before())
    asyncio.run(after())


def test_locked_no_key_is_told(tmp_path: Path) -> None:
    """Without the master key a waiting key is as closed as any secret."""

    async def story(*, locked: bool) -> None:
        async with opened(tmp_path) as store:
            if locked:
                with pytest.raises(Locked):
                    await store.waiting_key(PROVIDER.name)
            else:
                await store.put_provider(PROVIDER)
                await keep(store, "")

    asyncio.run(story(locked=False))
    key_file(tmp_path).unlink()
    asyncio.run(story(locked=True))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE client SET auth_method = 'client_secret_post'",
        "UPDATE client SET client_id = 'mine'",
        "UPDATE client SET token_endpoint = 'https://evil.example/token'",
        "UPDATE client SET issuer = 'https://evil.example'",
    ],
)
def test_a_key_opens_for_its_own_purpose_only(tmp_path: Path, change: str) -> None:
    """Method, client and destination are bound to it: it neither leaves as a secret nor signs for a stranger."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.put_provider(PROVIDER)
            client = await keep(store, "")
            behind(tmp_path, change)
            with pytest.raises(StoreUnavailable):
                await store.client(client.uuid)

    asyncio.run(story())


def test_how_an_account_renews_itself_is_remembered_and_authenticated(tmp_path: Path) -> None:
    """It comes back as it was put, and changes with a new login only."""
    renewal = Renewal("jwt_bearer", subject="ada", audience="https://as.example")

    async def before() -> None:
        async with opened(tmp_path) as store:
            assert (await with_account(store)).renewal == BY_REFRESH_TOKEN
            client = await keep(store, DESTINATION.client_id)
            bot = await store.create_account(
                name="bot",
                provider=PROVIDER.name,
                client=client.uuid,
                destination=DESTINATION,
                identity=None,
                asked_scope=(),
                resource=None,
                state=Active(NOW),
                grant=grant("1"),
                now=NOW,
                renewal=renewal,
            )
            assert (bot.renewal, bot.renewable, bot.has_refresh_token) == (renewal, True, False)

    async def after() -> None:
        async with opened(tmp_path) as store:
            bot = await store.account("bot")
            assert bot is not None
            assert bot.renewal == renewal
            assert (await store.client_of(bot))[1] == KEY
            person = await store.replace_login(
                bot,
                client=(await store.clients(PROVIDER.name))[0].uuid,
                destination=DESTINATION,
                identity=None,
                asked_scope=(),
                resource=None,
                state=Active(NOW),
                grant=grant("2", refresh="refresh-2"),
                now=NOW,
            )
            assert person is not None
            assert (person.renewal, person.is_machine) == (BY_REFRESH_TOKEN, False)
            assert (await store.client_of(person))[1] == KEY
            behind(tmp_path, "UPDATE account SET renewal = 'client_credentials' WHERE name = 'bot'")
            turned = await store.account_by_uuid(bot.uuid)
            assert turned is not None
            with pytest.raises(StoreUnavailable):
                await store.client_of(turned)

    asyncio.run(before())
    asyncio.run(after())
