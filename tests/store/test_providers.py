"""Providers and clients are remembered, changed in place, and not deleted under an account."""

import asyncio
from pathlib import Path
from types import MappingProxyType

import pytest

from broker.core.account import Destination
from broker.core.login import Client, Management, Registered
from broker.core.secret import Secret
from broker.errors import Conflict, StoreUnavailable, UnknownProvider
from broker.providers.model import ProviderConfig
from broker.store.store import Store
from tests.store.made import DESTINATION, NOW, PROVIDER, behind, opened, pending_login, reveal, with_account


async def client(store: Store, client_id: str = "client-1", secret: str | None = None, at: float = NOW) -> Client:
    """Add a client."""
    return await store.add_client(
        provider=PROVIDER.name,
        client_id=client_id,
        secret=Secret(secret) if secret else None,
        auth_method="client_secret_post" if secret else "none",
        origin="given",
        destination=DESTINATION,
        now=at,
    )


def test_a_provider_comes_back_as_it_was_put(tmp_path: Path) -> None:
    """Overrides and discovered values keep their shape, read-only mappings included, and providers are sorted."""
    nested = MappingProxyType({"refresh": MappingProxyType({"dead_grant_errors": ["invalid_grant"]})})
    other = ProviderConfig("another", "generic", "https://x.example", nested, {}, private=True, created_at=NOW)

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.put_provider(PROVIDER)
            await store.put_provider(other)
        async with opened(tmp_path) as store:
            assert await store.provider("example") == PROVIDER
            assert await store.providers() == [other, PROVIDER]
            assert await store.provider("nobody") is None

    asyncio.run(story())


def test_putting_again_changes_but_keeps_the_date(tmp_path: Path) -> None:
    """The same name is the same provider: values change, accounts stay, the date of birth too."""
    later = ProviderConfig("example", "generic", "", {}, {"issuer": "https://new"}, private=True, created_at=NOW + 9.0)

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            await store.put_provider(later)
            found = await store.provider("example")
            assert found is not None
            assert (found.discovered, found.private, found.created_at) == ({"issuer": "https://new"}, True, NOW)
            assert await store.accounts() == [made]

    asyncio.run(story())


def test_a_provider_in_use_stays(tmp_path: Path) -> None:
    """Accounts hold their provider, and are named; without them it goes with clients, logins and all secrets."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store, secret="client-secret")
            [known] = await store.clients("example")
            login = pending_login(client=known.uuid)
            await store.put_login(login, state=Secret("s"), verifier=Secret("v"))
            with pytest.raises(Conflict, match="'me'"):
                await store.delete_provider("example")
            assert reveal((await store.client_of(made))[1]) == "client-secret"
            await store.delete_account(made)
            await store.delete_provider("example")
            assert (await store.providers(), await store.clients("example")) == ([], [])
            assert await store.login(login.id) is None
            assert behind(tmp_path, "SELECT * FROM secret") == behind(tmp_path, "SELECT * FROM data_key") == []
            with pytest.raises(UnknownProvider):
                await store.delete_provider("example")

    asyncio.run(story())


def test_clients_are_listed_newest_first(tmp_path: Path) -> None:
    """The newest client comes first, each with what is known of it; another provider has none."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.put_provider(PROVIDER)
            old, new = await client(store, "old", at=NOW), await client(store, "new", "secret", at=NOW + 1.0)
            assert await store.clients("example") == [new, old]
            assert (old.has_secret, new.has_secret, new.auth_method) == (False, True, "client_secret_post")
            assert await store.clients("other") == []
            assert await store.client(old.uuid) == (old, None)
            assert await store.client(new.uuid) == (new, Secret("secret"))
            assert await store.client("nobody") is None

    asyncio.run(story())


def test_a_client_is_changed_in_place(tmp_path: Path) -> None:
    """The same client id is the same client: a new secret replaces the old, none deletes it; accounts keep working."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store, secret="first")
            [known] = await store.clients("example")
            again = await client(store, secret="second", at=NOW + 5.0)
            assert (again.uuid, again.created_at, again.auth_method) == (known.uuid, NOW + 5.0, "client_secret_post")
            assert reveal((await store.client_of(made))[1]) == "second"
            assert behind(tmp_path, "SELECT count(*) FROM secret WHERE kind = 'client_secret'") == [(1,)]
            public = await client(store)
            assert (public.uuid, public.has_secret) == (known.uuid, False)
            assert await store.client_of(made) == (public, None)
            assert behind(tmp_path, "SELECT count(*) FROM secret WHERE kind = 'client_secret'") == [(0,)]

    asyncio.run(story())


def test_a_client_of_no_provider_is_refused(tmp_path: Path) -> None:
    """A client needs a stored provider."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            with pytest.raises(UnknownProvider):
                await client(store)

    asyncio.run(story())


def test_a_moved_token_endpoint_does_not_move_old_accounts(tmp_path: Path) -> None:
    """A client that is given a new endpoint still serves accounts that log in at the old one, at the old one."""
    there = Destination("https://id.example.org", "https://id.example.org/v2/token", "client-1")

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store, secret="first")
            await store.add_client(
                provider="example",
                client_id="client-1",
                secret=Secret("first"),
                auth_method="client_secret_basic",
                origin="given",
                destination=there,
                now=NOW,
            )
            assert reveal((await store.client_of(made))[1]) == "first"
            assert made.destination == DESTINATION

    asyncio.run(story())


@pytest.mark.parametrize(
    "change",
    [
        "discovered = json_set(discovered, '$.endpoints.token', 'https://evil.example/')",
        "overrides = json_set(overrides, '$.endpoints.revocation', 'https://evil.example/')",
        "base_url = 'https://evil.example'",
        "preset = 'practice'",
        "private = NOT private",
        "binding = NULL",
        "binding = x'00'",
    ],
)
def test_a_provider_that_was_moved_behind_keyfobs_back_is_not_used(tmp_path: Path, change: str) -> None:
    """It decides where codes, tokens and client secrets go, so its row is authenticated as a whole."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.put_provider(PROVIDER)
            assert await store.provider(PROVIDER.name) == PROVIDER
            behind(tmp_path, f"UPDATE provider SET {change}")  # noqa: S608 -- ours
            with pytest.raises(StoreUnavailable, match="changed outside Keyfob"):
                await store.provider(PROVIDER.name)
        async with opened(tmp_path) as store:
            with pytest.raises(StoreUnavailable, match="changed outside Keyfob"):
                await store.provider(PROVIDER.name)

    asyncio.run(story())


def test_what_manages_a_registration_is_kept_apart(tmp_path: Path) -> None:
    """A new token replaces it, a secret by hand leaves it, and it goes with the provider."""
    uri = "https://example/register/client-1"

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.put_provider(PROVIDER)

            async def registered(token: str, ends: float | None) -> Client:
                made = Registered(
                    "client-1",
                    Secret("s-1"),
                    "client_secret_post",
                    ("http://127.0.0.1/callback/x",),
                    ("read",),
                    ends,
                    Management(uri, Secret(token), {"client_name": "Keyfob"}),
                )
                return await store.add_client(
                    provider=PROVIDER.name,
                    client_id=made.client_id,
                    secret=made.client_secret,
                    auth_method=made.auth_method,
                    origin="registered",
                    destination=DESTINATION,
                    now=NOW,
                    registered=made,
                )

            first = await registered("token-1", NOW + 9.0)
            assert (first.redirect_uris, first.scope) == (("http://127.0.0.1/callback/x",), ("read",))
            assert (first.secret_expires_at, first.registration_uri) == (NOW + 9.0, uri)
            assert await store.expiring_clients() == [first]
            assert await store.management(first.uuid) == Management(uri, Secret("token-1"), {"client_name": "Keyfob"})
            await registered("token-2", None)
            found = await store.management(first.uuid)
            assert found is not None
            assert found.token == Secret("token-2")
            assert await store.expiring_clients() == []
            given = await client(store, secret="s-2")
            assert (given.uuid, given.registration_uri) == (first.uuid, uri)
            assert await store.management(first.uuid) == found
            opened_client = await store.client(first.uuid)
            assert opened_client is not None
            assert opened_client[1] == Secret("s-2")
            assert await store.management((await client(store, "other")).uuid) is None
            await store.delete_provider(PROVIDER.name)
        assert behind(tmp_path, "SELECT count(*) FROM secret") == [(0,)]
        assert behind(tmp_path, "SELECT count(*) FROM data_key") == [(0,)]

    asyncio.run(story())
