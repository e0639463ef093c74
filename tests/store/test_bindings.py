"""A row that somebody changed who has no key is not used: no secret of it opens, and no login or new key mends it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from broker.core.account import Account, Active, Identity
from broker.core.secret import Secret
from broker.core.token import Wish
from broker.errors import Conflict, Locked, SecretChanged
from broker.store.store import Store
from tests.store.made import (
    DESTINATION,
    ISSUER,
    ME,
    NOW,
    PROVIDER,
    behind,
    grant,
    key_file,
    opened,
    pending_login,
    reveal,
    with_account,
)

WISH = Wish(("read",), None)
# Where a secret of the account would go, whose it would be, or what an app would be taken to have.
ACCOUNT_CHANGED = {
    "token endpoint": "UPDATE account SET token_endpoint = 'https://evil.example/token'",
    "name": "UPDATE account SET name = 'work' WHERE name = 'me'",
    "provider": "UPDATE account SET provider = 'evil'",
    "person": "UPDATE account SET identity_subject = 'sub-2'",
    "nobody": "UPDATE account SET identity_issuer = NULL, identity_subject = NULL",
    "scope": "UPDATE account SET scope = '[]'",
    "asked scope": """UPDATE account SET asked_scope = '["read", "write"]'""",
    "resource": "UPDATE account SET resource = 'https://api.example.org'",
    "API base": "UPDATE account SET api_base = 'https://evil.example'",
    "token type": "UPDATE account SET token_type = 'DPoP'",
    "renewal": "UPDATE account SET renewal = 'jwt_bearer', renewal_subject = 'somebody'",
    "no MAC": "UPDATE account SET binding = x''",
    "text for a MAC": "UPDATE account SET binding = 'MAC'",
}
CLIENT_CHANGED = {
    "provider": "UPDATE client SET provider = 'evil'",
    "method": "UPDATE client SET auth_method = 'client_secret_post'",
    "origin": "UPDATE client SET origin = 'program'",
    "destination": "UPDATE client SET token_endpoint = 'https://evil.example/token'",
    "no secret": "UPDATE client SET has_secret = 0",
    "redirect": """UPDATE client SET redirect_uris = '["https://evil.example/"]'""",
    "management": "UPDATE client SET registration_uri = 'https://evil.example/'",
}
LOGIN_CHANGED = {
    "account": "UPDATE login SET account = 'other'",
    "replaces": "UPDATE login SET replaces = (SELECT uuid FROM account)",
    "provider": "UPDATE login SET provider = 'evil'",
    "client": "UPDATE login SET client = NULL",
    "flow": "UPDATE login SET flow = 'device'",
    "destination": "UPDATE login SET issuer = 'https://evil.example'",
    "redirect": "UPDATE login SET redirect_uri = 'https://evil.example/'",
    "scope": "UPDATE login SET scope = '[]'",
    "resource": "UPDATE login SET resource = NULL",
    "nonce": "UPDATE login SET nonce = 'known'",
}


def at(place: Path, story: Callable[[Store], Awaitable[None]]) -> None:
    """Open the store for one story."""

    async def telling() -> None:
        async with opened(place) as store:
            await story(store)

    asyncio.run(telling())


def plant_provider(place: Path) -> None:
    """Add another provider, by SQL as somebody would who has no key."""
    columns = "preset, 'https://evil.example', overrides, discovered, private, created_at, binding, discovered_at"
    behind(place, f"INSERT INTO provider SELECT 'evil', {columns} FROM provider")  # noqa: S608 -- our own names


async def only(store: Store) -> Account:
    """Return the only account."""
    (account,) = await store.accounts()
    return account


async def again(store: Store, account: Account, number: str) -> Account | None:
    """Log in once more."""
    return await store.replace_login(
        account,
        client="",
        destination=DESTINATION,
        identity=ME,
        asked_scope=(),
        resource=None,
        state=Active(NOW),
        grant=grant(number),
        now=NOW,
    )


@pytest.mark.parametrize("how", ACCOUNT_CHANGED)
def test_a_changed_account_opens_nothing(tmp_path: Path, how: str) -> None:
    """None of its secrets is used, its client's neither; it is shown, told of once, and can be deleted."""

    async def story(store: Store) -> None:
        account = await with_account(store, secret="client-secret")
        await store.put_derived(account, WISH, grant("narrow"))
        plant_provider(tmp_path)
        behind(tmp_path, ACCOUNT_CHANGED[how])
        changed = await only(store)
        for secret in (
            store.access_token(changed),
            store.id_token(changed),
            store.refresh_token(changed),
            store.derived_token(changed, WISH),
            store.client_of(changed),
            store.rename_account(changed, "new"),
            again(store, changed, "2"),
        ):
            with pytest.raises(SecretChanged, match=f"account '{changed.name}' was changed outside Keyfob"):
                await secret
        departure = await store.departure(changed.uuid)
        assert departure is not None
        for opened_by in (departure.client, departure.refresh_token):
            with pytest.raises(SecretChanged, match=f"account '{changed.name}' was changed outside Keyfob"):
                opened_by()
        with pytest.raises(Conflict, match=f"account '{changed.name}'"):
            await store.rotate(store.key, None)
        assert [whose for whose in await store.changed_outside() if "account" in whose] == [f"account '{changed.name}'"]
        assert store.newly_changed()[0] == f"account '{changed.name}'"
        assert store.newly_changed() == []
        assert behind(tmp_path, "SELECT count(*) FROM secret") == [(5,)]
        await store.delete_account(changed)
        assert [whose for whose in await store.changed_outside() if "account" in whose] == []

    at(tmp_path, story)


def test_a_changed_account_does_not_become_right(tmp_path: Path) -> None:
    """What a refresh in the air writes is kept, and the row stays as wrong as it was."""

    async def story(store: Store) -> None:
        account = await with_account(store)
        begun = await store.begin_refresh(account, NOW)
        assert begun is not None
        behind(tmp_path, ACCOUNT_CHANGED["person"])
        kept = await store.keep_answer(begun, Secret("{}"), Secret("refresh-2"))
        assert kept is not None
        swapped = await store.swap(kept, grant=grant("2", refresh="refresh-2"))
        assert swapped is not None
        assert swapped.proven is False
        with pytest.raises(SecretChanged):
            await store.access_token(await only(store))

    at(tmp_path, story)


def test_what_keyfob_writes_fits(tmp_path: Path) -> None:
    """Refreshes, a new identity, a new name, another login and new keys: the row is proven after each."""

    async def story(store: Store) -> None:
        account: Account | None = await with_account(store)
        assert account is not None
        account = await store.begin_refresh(account, NOW)
        assert account is not None
        account = await store.keep_answer(account, Secret("{}"), Secret("refresh-2"))
        assert account is not None
        account = await store.swap(account, grant=grant("2", refresh="refresh-2"))
        assert account is not None
        who = Identity(ISSUER, "sub-9", "Nine")
        behind(tmp_path, "UPDATE account SET state_reason = 'x', last_used_at = 1, retry_at = 1")  # no decision
        account = await store.swap(account_with(await only(store), who))
        assert account is not None
        await store.move_times(60.0, lambda: None)
        account = await store.rename_account(await only(store), "new")
        assert account.proven
        account = await again(store, account, "3")
        assert account is not None
        await store.rotate(store.key, None)
        assert reveal(await store.access_token(await only(store))) == "access-3"
        assert await store.changed_outside() == []

    at(tmp_path, story)


def account_with(account: Account, identity: Identity) -> Account:
    """Return the account as somebody's."""
    values = {name: getattr(account, name) for name in Account.__slots__}
    return Account(**values | {"identity": identity})


def test_what_was_read_without_the_key(tmp_path: Path) -> None:
    """Nobody could tell then whether it had been changed, so it opens nothing after the unlock either."""

    async def locked(store: Store) -> None:
        account = await only(store)
        assert account.proven is None
        (tmp_path / "away").rename(key_file(tmp_path))
        await store.unlock(None, NOW)
        with pytest.raises(Locked, match="Ask again"):
            await store.access_token(account)
        assert reveal(await store.access_token(await only(store))) == "access-1"

    async def furnish(store: Store) -> None:
        await with_account(store)

    at(tmp_path, furnish)
    key_file(tmp_path).rename(tmp_path / "away")
    at(tmp_path, locked)


@pytest.mark.parametrize("how", CLIENT_CHANGED)
def test_a_changed_client_is_not_used(tmp_path: Path, how: str) -> None:
    """Its secret is sent nowhere, whoever asks for it; brought anew it is right, and nothing of the change is left."""

    async def story(store: Store) -> None:
        account = await with_account(store, secret="client-secret")
        plant_provider(tmp_path)
        behind(tmp_path, CLIENT_CHANGED[how])
        uuid = behind(tmp_path, "SELECT uuid FROM client")[0][0]
        with pytest.raises(SecretChanged, match="client 'client-1'"):
            await store.client(uuid)
        with pytest.raises(SecretChanged, match="client 'client-1'"):
            await store.client_of(account)
        departure = await store.departure(account.uuid)
        assert departure is not None
        with pytest.raises(SecretChanged, match="client 'client-1'"):
            departure.client()
        assert "client 'client-1'" in await store.changed_outside()
        with pytest.raises(Conflict):
            await store.rotate(store.key, None)
        behind(tmp_path, "UPDATE client SET provider = 'example'")
        anew = await store.add_client(
            provider=PROVIDER.name,
            client_id="client-1",
            secret=Secret("new"),
            auth_method="client_secret_basic",
            origin="given",
            destination=DESTINATION,
            now=NOW,
        )
        assert (anew.redirect_uris, anew.registration_uri) == ((), "")
        found = await store.client(uuid)
        assert found is not None
        assert (found[0], reveal(found[1])) == (anew, "new")

    at(tmp_path, story)


@pytest.mark.parametrize("how", LOGIN_CHANGED)
def test_a_changed_login_is_not_finished(tmp_path: Path, how: str) -> None:
    """It is used up by the answer, as any is, and its verifier goes nowhere."""

    async def story(store: Store) -> None:
        account = await with_account(store)
        client = behind(tmp_path, "SELECT uuid FROM client")[0][0]
        assert account.name == "me"
        await store.put_login(pending_login(client=client), state=Secret("s"), verifier=Secret("v"))
        plant_provider(tmp_path)
        behind(tmp_path, LOGIN_CHANGED[how])
        with pytest.raises(SecretChanged, match="a login"):
            await store.login("login-1")
        assert "a login" in await store.changed_outside()
        with pytest.raises(SecretChanged, match="a login"):
            await store.take_login(state=Secret("s"), now=NOW)
        assert await store.take_login(state=Secret("s"), now=NOW) is None
        assert "a login" not in await store.changed_outside()

    at(tmp_path, story)
