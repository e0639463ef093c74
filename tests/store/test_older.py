"""A database that the program of schema 0007 made: sealed once, at the first opening with the key, and never again."""

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from broker.core import timing
from broker.core.account import Misconfigured
from broker.core.policy import AppGrant
from broker.core.secret import Secret
from broker.core.timing import Policy
from broker.errors import SecretChanged
from broker.store.fence import COPIED, Fence, beside
from broker.store.store import Store
from tests.store.made import (
    NOW,
    PROVIDER,
    TO_0007,
    TO_0009,
    TO_0012,
    behind,
    database,
    key_file,
    made_older,
    opened,
    pending_login,
    reveal,
    with_account,
)

OLDER = Path(__file__).with_name("older")
KEY = b"hash-1".ljust(32, b".")
GRANTS = (AppGrant("me", ("read",), None, "token", NOW + 99.0), AppGrant("other"))


def made_0007(place: Path) -> None:
    """Put a database in its place that the program of then has made, with its key and its fence."""
    database(place).parent.mkdir(parents=True, mode=0o700)
    key_file(place).parent.mkdir(mode=0o700)
    with contextlib.closing(sqlite3.connect(database(place))) as connection:
        connection.executescript((OLDER / "0007.sql").read_text())
    shutil.copy(OLDER / "0007.key", key_file(place))
    key_file(place).chmod(0o600)
    line, sequence = behind(place, "SELECT line, sequence FROM instance")[0]
    Fence.build(database(place), sequence, line=line, audit=1).close()
    forget_apps(place)


def forget_apps(place: Path) -> None:
    """Make the fence what it was before it told of apps."""
    fence = beside(database(place))
    fence.write_text(f"{' '.join(fence.read_text().split()[:-1])}\n")


def at(place: Path, story: Callable[[Store], Awaitable[None]]) -> None:
    """Open the store for one story."""

    async def telling() -> None:
        async with opened(place) as store:
            await story(store)

    asyncio.run(telling())


async def well(store: Store) -> None:
    """Everything is there and proven."""
    assert store.copied == ""
    assert await store.changed_outside() == []
    app = await store.app_by_key(KEY, NOW)
    assert app is not None
    assert app.grants == GRANTS
    account = await store.account("me")
    assert account is not None
    assert reveal(await store.refresh_token(account)) == "refresh-1"
    assert reveal((await store.client_of(account))[1]) == "client-secret"
    login = await store.login("login-1")
    assert login is not None
    assert login.authorization_url


async def refused(store: Store) -> None:
    """No app has anything, and no account's secret opens."""
    with pytest.raises(SecretChanged):
        await store.app_by_key(KEY, NOW)
    for account in await store.accounts():
        with pytest.raises(SecretChanged):
            await store.refresh_token(account)


def test_it_is_sealed_once(tmp_path: Path) -> None:
    """All of it works at the first start and at the next, and the fence knows that it has been sealed."""
    made_0007(tmp_path)
    at(tmp_path, well)
    assert int(beside(database(tmp_path)).read_text().split()[-1]) == 1
    at(tmp_path, well)

    async def grow(store: Store) -> None:
        await store.put_grant("bare", AppGrant("me"))
        await store.rotate(store.key, None)

    at(tmp_path, grow)
    at(tmp_path, well)


def test_it_is_sealed_when_the_key_comes(tmp_path: Path) -> None:
    """Migrated without the key, it waits for it."""
    made_0007(tmp_path)
    key_file(tmp_path).rename(tmp_path / "away")

    async def locked(store: Store) -> None:
        assert store.locked
        assert behind(tmp_path, "SELECT * FROM app_register") == []
        (tmp_path / "away").rename(key_file(tmp_path))
        await store.unlock(None, NOW)
        await well(store)

    at(tmp_path, locked)


def test_a_destination_that_was_changed_before(tmp_path: Path) -> None:
    """What the program of then would have refused does not become right by the upgrade."""
    made_0007(tmp_path)
    behind(tmp_path, "UPDATE account SET token_endpoint = 'https://evil.example/token' WHERE name = 'me'")

    async def story(store: Store) -> None:
        assert await store.changed_outside() == ["account 'me'"]
        account = await store.account("me")
        assert account is not None
        with pytest.raises(SecretChanged):
            await store.refresh_token(account)

    at(tmp_path, story)


def stripped(place: Path) -> None:
    """Take away every MAC that is new, call the schema 0007, and give an app more."""
    before = dict(behind(place, "SELECT uuid, binding FROM account"))
    for statement in TO_0007:
        behind(place, statement)
    for uuid, binding in before.items():
        behind(place, "UPDATE account SET binding = ? WHERE uuid = ?", binding, uuid)
    behind(place, "UPDATE app_grant SET scope = '[]', expires_at = NULL")


def with_bindings_of_before(place: Path) -> None:
    """Put the accounts' MACs of before the upgrade back, which stand in the copy that it made."""
    (copy,) = database(place).parent.glob("keyfob.db.before-*")
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        rows = connection.execute("SELECT uuid, binding FROM account").fetchall()
    for uuid, binding in rows:
        behind(place, "UPDATE account SET binding = ? WHERE uuid = ?", binding, uuid)
    copy.unlink()


def test_an_upgrade_is_not_played_again(tmp_path: Path) -> None:
    """Calling the database an older one brings no second sealing: the fence knows of the first."""
    made_0007(tmp_path)
    at(tmp_path, well)
    stripped(tmp_path)
    with_bindings_of_before(tmp_path)
    at(tmp_path, refused)


def test_without_the_fence_it_is_a_copy(tmp_path: Path) -> None:
    """Whoever takes the fence away too is told of by that: it is a copy then. A new master key ends even this."""
    made_0007(tmp_path)
    at(tmp_path, well)
    stripped(tmp_path)
    with_bindings_of_before(tmp_path)
    beside(database(tmp_path)).unlink()

    async def copied(store: Store) -> None:
        assert store.copied == COPIED
        assert await store.app_by_key(KEY, NOW) is not None
        await store.adopt()
        await store.rotate(store.key, None)

    async def rotated(store: Store) -> None:
        assert store.copied == COPIED
        with pytest.raises(SecretChanged):
            await store.app_by_key(KEY, NOW)
        await store.adopt()
        with pytest.raises(SecretChanged):
            await store.app_by_key(KEY, NOW)

    at(tmp_path, copied)
    stripped(tmp_path)
    for file in (beside(database(tmp_path)), *database(tmp_path).parent.glob("keyfob.db.before-*")):
        file.unlink()
    at(tmp_path, rotated)


def test_a_new_database_was_never_without(tmp_path: Path) -> None:
    """Where the key was made by this program, no row without a MAC is ever taken, whatever the fence says."""

    async def furnish(store: Store) -> None:
        await with_account(store)
        await store.add_app("app", KEY, [], None, NOW)

    at(tmp_path, furnish)
    stripped(tmp_path)
    beside(database(tmp_path)).unlink()
    behind(tmp_path, "UPDATE instance SET line = NULL, sequence = 0")

    async def planted(store: Store) -> None:
        with pytest.raises(SecretChanged):
            await store.app_by_key(KEY, NOW)
        assert await store.changed_outside() == ["client 'client-1'", "app 'app'"]

    at(tmp_path, planted)


def test_a_crash_before_the_fence_heard_of_it(tmp_path: Path) -> None:
    """Sealed and not told: the next start finds the register, and tells the fence."""
    made_0007(tmp_path)
    at(tmp_path, well)
    forget_apps(tmp_path)
    at(tmp_path, well)
    assert int(beside(database(tmp_path)).read_text().split()[-1]) == 1


def test_the_older_form_is_what_the_older_program_wrote(tmp_path: Path) -> None:
    """What other tests make older is as the older program's: it is sealed just so."""

    async def furnish(store: Store) -> None:
        await with_account(store, secret="client-secret")
        await with_account(store, "other", secret="client-secret")
        await store.add_app("app", KEY, GRANTS, None, NOW)
        await store.put_login(pending_login(), state=Secret("s"), verifier=Secret("v"))

    at(tmp_path, furnish)
    made_older(tmp_path, TO_0007)
    forget_apps(tmp_path)
    at(tmp_path, well)


def test_grants_from_before_there_were_token_files(tmp_path: Path) -> None:
    """The program of schema 0009 sealed them, and they stay granted, without a file; a file is given like any grant."""
    filed = AppGrant("me", token_file="id_token")

    async def furnish(store: Store) -> None:
        await with_account(store, secret="client-secret")
        await with_account(store, "other", secret="client-secret")
        await store.add_app("app", KEY, GRANTS, None, NOW)
        await store.put_login(pending_login(), state=Secret("s"), verifier=Secret("v"))

    async def given(store: Store) -> None:
        await well(store)
        assert await store.apps_with_token_files() == []
        await store.put_grant("app", filed)
        assert [app.grants for app in await store.apps_with_token_files()] == [(filed, GRANTS[1])]
        behind(tmp_path, "UPDATE app_grant SET token_file = 'access_token' WHERE token_file IS NOT NULL")
        assert [app.grants for app in await store.apps_with_token_files()] == [(GRANTS[1],)]

    at(tmp_path, furnish)
    for statement in TO_0009:
        behind(tmp_path, statement)
    at(tmp_path, given)


def test_accounts_whose_client_was_refused_before_that_was_tried_again(tmp_path: Path) -> None:
    """They are due from now on; one with a token only when that is over: whether an answer was lost nobody knows."""

    async def furnish(store: Store) -> None:
        await with_account(store)
        await with_account(store, "other")

    async def due(store: Store) -> None:
        assert (await store.look({PROVIDER.name: Policy()}, NOW + 1)).overdue == {PROVIDER.name: 1}
        (other,) = await store.most_urgent(PROVIDER.name, Policy(), NOW + 1, 9)
        me = await store.account("me")
        assert me is not None
        assert me.token is not None
        assert isinstance(me.state, Misconfigured)
        assert (other.name, me.state.attempts, me.state.reason) == ("other", 1, "refused")
        assert timing.next_refresh_at(me, Policy()) == me.token.expires_at
        assert (await store.look({PROVIDER.name: Policy()}, NOW + 1)).coming == me.token.expires_at

    at(tmp_path, furnish)
    behind(tmp_path, "UPDATE account SET state = 'misconfigured', state_reason = 'refused', attempts = 0, lost_at = 0")
    behind(tmp_path, "UPDATE account SET expires_at = issued_at WHERE name = 'other'")
    for statement in TO_0012:
        behind(tmp_path, statement)
    at(tmp_path, due)
