"""Accounts are remembered as they were given, and forgotten without a trace."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from broker.core import account as core
from broker.core.account import Destination, State
from broker.core.policy import AppGrant
from broker.core.secret import Secret
from broker.errors import Conflict, Misconfigured, StoreUnavailable, UnknownAccount, UnknownProvider
from tests.store.made import (
    DESTINATION,
    ME,
    NOW,
    PROVIDER,
    behind,
    database,
    grant,
    opened,
    reveal,
    stored_bytes,
    with_account,
)

STATES = [
    core.Pending(NOW),
    core.Active(NOW),
    core.RefreshingFailed(NOW, "no route", 3, NOW + 60.0, NOW + 90.0),
    core.NeedsLogin(NOW, "invalid_grant"),
    core.Misconfigured(NOW, "invalid_client", NOW + 900, 2, NOW - 5),
    core.Uncertain(NOW, "an answer was lost", NOW + 60.0, 2),
    core.Suspect(NOW, "an older copy"),
    core.Static(NOW),
]


def test_an_account_comes_back_as_it_was_made(tmp_path: Path) -> None:
    """What create_account is given is what account, account_by_uuid and accounts show, after a restart too."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
        async with opened(tmp_path) as store:
            assert await store.account("me") == await store.account_by_uuid(made.uuid) == made
            assert await store.accounts() == [made]
            assert await store.account_names() == ("me",)
        assert (made.name, made.provider, made.destination) == ("me", "example", DESTINATION)
        assert (made.identity, made.asked_scope, made.resource) == (ME, ("read",), None)
        assert (made.version, made.generation, made.has_refresh_token) == (1, 1, True)
        assert made.token == grant("1").token
        assert (made.created_at, made.last_refresh_at, made.last_used_at) == (NOW, NOW, None)

    asyncio.run(story())


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_every_state_is_kept_whole(tmp_path: Path, state: State) -> None:
    """A state comes back with its reason, its attempts and its times."""

    async def story() -> State:
        async with opened(tmp_path) as store:
            await store.put_provider(PROVIDER)
            made = await store.create_account(
                name="me",
                provider=PROVIDER.name,
                client="",
                destination=DESTINATION,
                identity=None,
                asked_scope=(),
                resource=None,
                state=state,
                grant=None,
                now=NOW,
            )
            assert (made.token, made.identity, made.generation) == (None, None, 0)
            assert await store.access_token(made) is None
            return made.state

    assert asyncio.run(story()) == state


def test_the_secrets_of_an_account_open(tmp_path: Path) -> None:
    """Access, refresh and ID token and the client's secret come back as they were given, after a restart too."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store, secret="client-secret")
        async with opened(tmp_path) as store:
            assert reveal(await store.access_token(made)) == "access-1"
            assert reveal(await store.refresh_token(made)) == "refresh-1"
            assert reveal(await store.id_token(made)) == "id-1"
            client, secret = await store.client_of(made)
            assert (client.client_id, client.has_secret, reveal(secret)) == ("client-1", True, "client-secret")

    asyncio.run(story())


def test_a_taken_name_and_an_unknown_provider_are_refused(tmp_path: Path) -> None:
    """A second account of a name, or one of a provider that is not stored, is refused and leaves nothing."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            with pytest.raises(Conflict):
                await with_account(store)
            with pytest.raises(UnknownProvider):
                await store.create_account(
                    name="other",
                    provider="nobody",
                    client="",
                    destination=DESTINATION,
                    identity=None,
                    asked_scope=(),
                    resource=None,
                    state=core.Active(NOW),
                    grant=grant("2"),
                    now=NOW,
                )
            assert await store.accounts() == [made]

    asyncio.run(story())


def test_an_outdated_account_gets_no_token(tmp_path: Path) -> None:
    """Who holds an account of an older generation gets None, never the newer account's token."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            old = await with_account(store)
            new = await store.swap(old, grant=grant("2"))
            assert new is not None
            assert await store.access_token(old) is None
            assert reveal(await store.access_token(new)) == "access-2"

    asyncio.run(story())


def test_accounts_without_a_client_say_so(tmp_path: Path) -> None:
    """A pasted token has no client, and client_of says that instead of failing on a missing row."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.put_provider(PROVIDER)
            made = await store.create_account(
                name="me",
                provider=PROVIDER.name,
                client="",
                destination=Destination("", "", ""),
                identity=None,
                asked_scope=(),
                resource=None,
                state=core.Static(NOW),
                grant=grant("1"),
                now=NOW,
            )
            assert reveal(await store.access_token(made)) == "access-1"
            with pytest.raises(Misconfigured):
                await store.client_of(made)

    asyncio.run(story())


def test_a_renamed_account_keeps_version_and_grants(tmp_path: Path) -> None:
    """A new name supersedes no refresh under way, and apps keep what they were granted."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            await store.add_app("app", b"hash", [AppGrant("me")], None, NOW)
            renamed = await store.rename_account(made, "work")
            assert (renamed.name, renamed.version) == ("work", made.version)
            app = await store.app("app")
            assert app is not None
            assert app.grants == (AppGrant("work"),)
            assert await store.begin_refresh(made, NOW) is not None

    asyncio.run(story())


def test_a_name_is_not_taken_from_another_account(tmp_path: Path) -> None:
    """Renaming onto another account's name is refused; onto the own name it is not; a deleted account has none."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made, other = await with_account(store), await with_account(store, "other")
            with pytest.raises(Conflict):
                await store.rename_account(made, "other")
            assert (await store.rename_account(made, "me")).name == "me"
            await store.delete_account(other)
            with pytest.raises(UnknownAccount):
                await store.rename_account(other, "third")

    asyncio.run(story())


def test_a_deleted_account_leaves_no_byte(tmp_path: Path) -> None:
    """After delete_account neither the sealed secrets nor their key stand in the database or its write-ahead log."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            kept = await with_account(store, "other")
            await store.begin_refresh(made, NOW)
            sealed = [row[0] for row in behind(tmp_path, "SELECT sealed FROM secret WHERE owner = ?", made.uuid)]
            keys = [row[0] for row in behind(tmp_path, "SELECT wrapped FROM data_key WHERE owner = ?", made.uuid)]
            before = stored_bytes(tmp_path)
            assert len(sealed) == 3
            assert all(blob in before for blob in [*sealed, *keys])
            await store.delete_account(made)
            after = stored_bytes(tmp_path)
            assert not any(blob in after for blob in [*sealed, *keys])
            assert made.uuid.encode() not in after
            assert database(tmp_path).with_name("keyfob.db-wal").stat().st_size == 0
            assert await store.accounts() == [kept]
            assert await store.open_intents() == []
            assert reveal(await store.access_token(kept)) == "access-1"

    asyncio.run(story())


def test_a_busy_log_is_emptied_later(tmp_path: Path) -> None:
    """Where a foreign reader holds the write-ahead log at a deletion, a later ping empties it."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            log = database(tmp_path).with_name("keyfob.db-wal")
            with contextlib.closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT * FROM account").fetchall()
                await store.delete_account(made)
                assert log.stat().st_size > 0
            await store.ping(NOW)
            assert log.stat().st_size == 0

    asyncio.run(story())


def test_ping_is_a_real_round_trip(tmp_path: Path) -> None:
    """A ping writes what can be read, and a closed store says that it is closed."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.ping(NOW + 5.0)
            assert behind(tmp_path, "SELECT at FROM pulse") == [(NOW + 5.0,)]
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.ping(NOW)
        await store.close()

    asyncio.run(story())


def test_secrets_may_be_long_and_odd(tmp_path: Path) -> None:
    """64 KiB, empty text and lone surrogates come back as they were given."""
    odd = ["x" * 65536, "", "\ud800 \x00 ü", "y" * 252, "y" * 253]

    async def story() -> list[str | None]:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            seen = []
            for text in odd:
                kept = await store.keep_answer(account, Secret(text), None)
                assert kept is not None
                begun = await store.begin_refresh(kept, NOW)
                assert begun is not None
                again = await store.keep_answer(begun, Secret(text), Secret("refresh" + text))
                assert again is not None
                account = again
                seen.append(reveal(await store.kept_answer(account)))
            return seen

    assert asyncio.run(story()) == odd
