"""Secrets are sealed, bound to their row and destination, and open with the one right key only."""

import asyncio
import secrets
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from broker.core.account import Account, Destination
from broker.core.login import Client
from broker.core.secret import Secret
from broker.errors import Locked, StoreUnavailable
from broker.store import seal
from broker.store.keys import CommandKey
from broker.store.store import Store
from tests.store.made import (
    DESTINATION,
    NOW,
    PROVIDER,
    behind,
    database,
    grant,
    key_file,
    opened,
    pending_login,
    reveal,
    stored_bytes,
    with_account,
)

WHERE = Destination("https://id.example.org", "https://id.example.org/token", "client-1")
BINDING = seal.Binding("owner", "row", "access_token", 1, WHERE, "client")


def test_no_secret_stands_in_the_files(tmp_path: Path) -> None:
    """Every kind of secret goes through every walk, and none is found in database, write-ahead log or shared memory."""
    names = ("access", "id", "refresh", "raw", "next", "client", "state", "verifier")
    marks = {name: f"MARK-{name}-{secrets.token_hex(8)}" for name in names}

    async def story() -> None:
        async with opened(tmp_path) as store:
            first = grant("x", refresh=marks["refresh"], id_token=marks["id"])
            account = await with_account(store, first=first, secret=marks["client"])
            begun = await store.begin_refresh(account, NOW)
            assert begun is not None
            kept = await store.keep_answer(begun, Secret(marks["raw"]), Secret(marks["next"]))
            assert kept is not None
            login = pending_login(authorization_url=f"https://id.example.org/authorize?state={marks['state']}")
            await store.put_login(login, state=Secret(marks["state"]), verifier=Secret(marks["verifier"]))
            await store.claim_login(login.id, Secret(marks["access"]))
            await store.login(login.id)
            first_look = stored_bytes(tmp_path)
            new = await store.swap(kept, grant=grant("y", refresh=marks["next"], id_token=marks["id"]))
            assert new is not None
            assert await store.take_login(state=Secret(marks["state"]), now=NOW)
            for look in (first_look, stored_bytes(tmp_path)):
                assert b"client-1" in look, "the search itself must be able to find something"
                assert not [name for name, mark in marks.items() if mark.encode() in look]
                assert b"access-x" not in look
                assert b"access-y" not in look

    asyncio.run(story())


async def _access(store: Store, account: Account, _client: Client) -> object:
    return await store.access_token(account)


async def _refresh(store: Store, account: Account, _client: Client) -> object:
    return await store.refresh_token(account)


async def _client_of(store: Store, account: Account, _client: Client) -> object:
    return await store.client_of(account)


async def _client(store: Store, _account: Account, client: Client) -> object:
    return await store.client(client.uuid)


async def _login(store: Store, _account: Account, _client: Client) -> object:
    return await store.login("login-1")


async def _take(store: Store, _account: Account, _client: Client) -> object:
    return await store.take_login(id="login-1", now=NOW)


TAMPERED = [
    ("UPDATE account SET token_endpoint = 'https://evil.example/token'", [_access, _refresh, _client_of]),
    ("UPDATE account SET issuer = 'https://evil.example'", [_access, _refresh, _client_of]),
    ("UPDATE account SET client_id = 'other'", [_access, _refresh, _client_of]),
    (
        "UPDATE account SET client = (SELECT uuid FROM client WHERE client_id = 'other')",
        [_access, _refresh, _client_of],
    ),
    ("UPDATE account SET client = NULL", [_access, _refresh, _client_of]),
    ("UPDATE client SET token_endpoint = 'https://evil.example/token'", [_client_of, _client]),
    (
        "UPDATE secret SET generation = 2; UPDATE account SET access_generation = 2, refresh_generation = 2",
        [_access, _refresh],
    ),
    ("UPDATE account SET access_generation = 2", [_access]),
    ("DELETE FROM secret", [_access, _refresh, _client_of, _client, _login]),
    ("UPDATE secret SET sealed = zeroblob(300)", [_access, _refresh, _client_of, _client, _login, _take]),
    ("UPDATE secret SET sealed = x'01'", [_access, _login]),
    ("UPDATE secret SET sealed = 'text'", [_access, _login]),
    ("UPDATE data_key SET wrapped = 7", [_access, _login]),
    ("UPDATE secret SET sealed = CAST(x'02' || substr(sealed, 2) AS BLOB)", [_access, _client_of, _login, _take]),
    ("UPDATE secret SET sealed = CAST(x'03' || substr(sealed, 2) AS BLOB)", [_access]),
    (
        "DELETE FROM secret WHERE kind = 'access_token'; UPDATE secret SET kind='access_token' WHERE kind='id_token'",
        [_access],
    ),
    ("UPDATE secret SET uuid = 'u' || uuid", [_access, _refresh, _client_of, _login]),
    ("UPDATE data_key SET generation = 2", [_access, _refresh, _client_of, _login]),
    (
        "UPDATE data_key SET wrapped = (SELECT wrapped FROM data_key d JOIN account ON account.uuid = d.owner)",
        [_client_of, _login, _take],
    ),
    ("UPDATE login SET token_endpoint = 'https://evil.example/token'", [_login, _take]),
    ("UPDATE login SET client = (SELECT uuid FROM client WHERE client_id = 'other')", [_login, _take]),
]


@pytest.mark.parametrize(("statements", "reads"), TAMPERED, ids=[statement[:70] for statement, _ in TAMPERED])
def test_what_was_changed_from_outside_does_not_open(
    tmp_path: Path, statements: str, reads: list[Callable[[Store, Account, Client], Awaitable[object]]]
) -> None:
    """A changed destination, client, row, kind, generation, key or blob is an error that names whose secret it is."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store, secret="client-secret")
            [client] = await store.clients("example")
            await store.add_client(
                provider=PROVIDER.name,
                client_id="other",
                secret=Secret("other-secret"),
                auth_method="client_secret_basic",
                origin="given",
                destination=Destination("https://evil.example", "https://evil.example/token", "other"),
                now=NOW,
            )
            login = pending_login(client=client.uuid)
            await store.put_login(login, state=Secret("state-1"), verifier=Secret("verifier-1"))
            for read in reads:
                if read is not _take:
                    assert await read(store, made, client)
            for statement in statements.split(";"):
                behind(tmp_path, statement)
            account = await store.account("me")
            assert account is not None
            for read in reads:
                with pytest.raises(StoreUnavailable, match="changed outside Keyfob") as caught:
                    await read(store, account, client)
                assert any(name in str(caught.value) for name in ("account 'me'", "client 'client-1'", "a login"))

    asyncio.run(story())


def test_a_secret_of_one_account_is_none_of_another(tmp_path: Path) -> None:
    """Rows that are exchanged between two accounts, keys included, do not open."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            one, two = await with_account(store), await with_account(store, "other", grant("2", refresh="refresh-2"))
            behind(tmp_path, "PRAGMA foreign_keys = OFF")
            for table in ("data_key", "secret"):
                for old, new in ((one.uuid, "aside"), (two.uuid, one.uuid), ("aside", two.uuid)):
                    behind(tmp_path, f"UPDATE {table} SET owner = ? WHERE owner = ?", new, old)  # noqa: S608 -- our own names
            for account in (one, two):
                with pytest.raises(StoreUnavailable):
                    await store.access_token(account)

    asyncio.run(story())


def test_an_older_row_does_not_come_back(tmp_path: Path) -> None:
    """A refresh token put back from an older copy of the row, under today's generation, does not open."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            [(row, blob)] = behind(tmp_path, "SELECT uuid, sealed FROM secret WHERE kind = 'refresh_token'")
            new = await store.swap(account, grant=grant("2", refresh="refresh-2"))
            assert new is not None
            behind(tmp_path, "DELETE FROM secret WHERE kind = 'refresh_token' AND generation = 1")
            behind(
                tmp_path,
                "UPDATE secret SET uuid = ?, sealed = ? WHERE kind = 'refresh_token' AND generation = 2",
                row,
                blob,
            )
            with pytest.raises(StoreUnavailable):
                await store.refresh_token(new)

    asyncio.run(story())


def test_without_the_key_the_store_is_locked(tmp_path: Path) -> None:
    """A missing key file over existing data locks, is never made anew, and unlocks once it is back."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store, secret="client-secret")
            await store.put_login(pending_login(), state=Secret("s"), verifier=Secret("v"))
        aside = tmp_path / "aside"
        shutil.move(key_file(tmp_path), aside)
        tables = ("account", "secret", "data_key", "instance", "login")
        before = [behind(tmp_path, f"SELECT * FROM {table}") for table in tables]  # noqa: S608 -- our own names
        async with opened(tmp_path) as store:
            assert "does not exist" in store.locked
            assert await store.accounts() == [made]
            login = await store.login("login-1")
            assert login is not None
            assert login.authorization_url == ""
            for secret in (
                store.access_token(made),
                store.refresh_token(made),
                store.client_of(made),
                store.swap(made, grant=grant("2")),
                store.take_login(id="login-1", now=NOW),
                store.put_login(pending_login("login-2"), state=Secret("t"), verifier=Secret("v")),
                with_account(store, "other"),
                with_account(store, "other", secret="new-secret"),
            ):
                with pytest.raises(Locked, match="does not exist"):
                    await secret
        assert before == [behind(tmp_path, f"SELECT * FROM {table}") for table in tables]  # noqa: S608 -- the same
        assert not key_file(tmp_path).exists()
        shutil.move(aside, key_file(tmp_path))
        async with opened(tmp_path) as store:
            assert store.locked == ""
            assert reveal(await store.access_token(made)) == "access-1"
            assert await store.take_login(id="login-1", now=NOW) is not None

    asyncio.run(story())


def test_another_key_locks_and_changes_nothing(tmp_path: Path) -> None:
    """A key that is not the database's own is told from a damaged record, and is not put to use."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            instance = store.instance_id
        right = key_file(tmp_path).read_bytes()
        key_file(tmp_path).write_text(secrets.token_hex(32))
        async with opened(tmp_path) as store:
            assert "not the one" in store.locked
            assert store.instance_id == instance
            with pytest.raises(Locked):
                await store.access_token(made)
        key_file(tmp_path).write_bytes(right)
        behind(tmp_path, "UPDATE instance SET master_generation = 2")
        async with opened(tmp_path) as store:
            assert "master key was changed" in store.locked
        behind(tmp_path, "UPDATE instance SET master_generation = 1")
        async with opened(tmp_path) as store:
            assert reveal(await store.access_token(made)) == "access-1"

    asyncio.run(story())


def test_a_lost_master_key_record_is_not_replaced(tmp_path: Path) -> None:
    """Where secrets stand without an instance record the store locks; it does not begin anew over them."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await with_account(store)
        behind(tmp_path, "DELETE FROM instance")
        key_file(tmp_path).unlink()
        async with opened(tmp_path) as store:
            assert "no record of their master key" in store.locked
        assert behind(tmp_path, "SELECT * FROM instance") == []
        assert not key_file(tmp_path).exists()

    asyncio.run(story())


def test_a_first_start_without_a_key_is_locked_and_can_be_mended(tmp_path: Path) -> None:
    """A key command that fails on the first start locks; nothing is stored in clear, and the next start may succeed."""
    url = f"sqlite:///{database(tmp_path)}"

    async def story() -> None:
        store = await Store.open(url, key=CommandKey("false"), now=NOW)
        try:
            assert (store.instance_id, store.key_name) == ("", "command")
            assert "exit code 1" in store.locked
            with pytest.raises(Locked):
                await with_account(store, secret="client-secret")
        finally:
            await store.close()
        async with opened(tmp_path) as second:
            assert second.locked == ""
            await with_account(second, secret="client-secret")

    asyncio.run(story())


def test_lengths_tell_little(tmp_path: Path) -> None:
    """Secrets of 1 and of 252 characters take the same room; one more takes the next step."""
    sealer, wrapped = _sealer()
    sizes = {length: len(sealer.seal(Secret("x" * length), BINDING, 1, wrapped)) for length in (0, 1, 252, 253)}
    assert sizes[0] == sizes[1] == sizes[252] == sizes[253] - seal.PAD_STEP
    assert not list(tmp_path.iterdir())


def test_fields_do_not_run_into_each_other() -> None:
    """Moving a character from one bound field to its neighbour is noticed."""
    sealer, wrapped = _sealer()
    blob = sealer.seal(Secret("value"), BINDING, 1, wrapped)
    assert sealer.open(blob, BINDING, 1, wrapped).reveal() == "value"
    shifted = seal.Binding("owner", "rowa", "ccess_token", 1, WHERE, "client")
    with pytest.raises(seal.Broken):
        sealer.open(blob, shifted, 1, wrapped)
    assert sealer.mac("ab", "c") != sealer.mac("a", "bc")


def test_equal_secrets_are_sealed_differently() -> None:
    """Two rows with the same secret cannot be told to hold the same."""
    sealer, wrapped = _sealer()
    assert len({sealer.seal(Secret("value"), BINDING, 1, wrapped) for _ in range(8)}) == 8


def test_without_gcm_siv_plain_gcm_is_used_and_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """An OpenSSL without GCM-SIV seals with GCM; it opens its own, and says so where it cannot open the other's."""
    siv, wrapped = _sealer()
    strong = siv.seal(Secret("value"), BINDING, 1, wrapped)

    def missing(_key: bytes) -> None:
        raise UnsupportedAlgorithm("no GCM-SIV")

    monkeypatch.setattr(seal, "AESGCMSIV", missing)
    plain, other = _sealer()
    weak = plain.seal(Secret("value"), BINDING, 1, other)
    assert (strong[0], weak[0]) == (seal.GCM_SIV, seal.GCM)
    assert plain.open(weak, BINDING, 1, other).reveal() == "value"
    with pytest.raises(seal.Broken, match="does not have"):
        siv.open(strong, BINDING, 1, wrapped)


def _sealer() -> tuple[seal.Sealer, bytes]:
    kek = secrets.token_bytes(32)
    sealer = seal.open_record(kek, seal.new_record(kek))
    return sealer, sealer.new_data_key(BINDING.owner, 1)


def test_the_destination_is_part_of_the_seal() -> None:
    """The same row does not open for another issuer, token endpoint, client id or client."""
    sealer, wrapped = _sealer()
    blob = sealer.seal(Secret("value"), BINDING, 1, wrapped)
    for there in (
        Destination("x", WHERE.token_endpoint, WHERE.client_id),
        Destination(WHERE.issuer, "x", WHERE.client_id),
        Destination(WHERE.issuer, WHERE.token_endpoint, "x"),
    ):
        with pytest.raises(seal.Broken):
            sealer.open(blob, seal.Binding("owner", "row", "access_token", 1, there, "client"), 1, wrapped)
    assert WHERE == DESTINATION
