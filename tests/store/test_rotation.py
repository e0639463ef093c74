"""New keys for everything: all opens afterwards, nothing of the old ones is left, and no death in between costs it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from broker.core.account import Account
from broker.core.login import Management, Registered
from broker.core.secret import Secret
from broker.core.token import Wish
from broker.errors import Conflict, InvalidRequest, Locked, StoreUnavailable
from broker.store.keys import CommandKey, FileKey, PassphraseKey
from broker.store.passphrase import Derivation
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

PHRASE = Secret("correct horse battery staple")
WISH = Wish(("read",), None)


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make new passphrases cheap to try."""
    monkeypatch.setattr(Derivation, "fresh", lambda: Derivation(bytes(16), memory=64, passes=1, lanes=1))


class Death(RuntimeError):
    """The machine dies here."""


class DeadlyKey(FileKey):
    """A key file whose rotation the machine does not survive: it dies before or after the new file is there."""

    def __init__(self, path: Path, *, staging: bool) -> None:
        super().__init__(path)
        self._staging = staging

    def stage(self) -> bytes:
        """Write the new key, and perhaps die."""
        key = super().stage()
        if self._staging:
            raise Death
        return key

    def settle(self, key: bytes) -> None:
        """Die before it is in its place."""
        del key
        raise Death


async def furnish(store: Store) -> None:
    """Put one of everything that is sealed into the store."""
    account = await with_account(store, secret="client-secret")
    intended = await store.begin_refresh(account, NOW)
    assert intended is not None
    kept = await store.keep_answer(intended, Secret('{"raw": 1}'), Secret("refresh-2"))
    assert kept is not None
    await store.put_derived(kept, WISH, grant("narrow"))
    registered = Registered(
        client_id="registered",
        client_secret=Secret("registered-secret"),
        auth_method="client_secret_basic",
        management=Management("https://id.example.org/register/1", Secret("manages"), {}),
        redirect_uris=(),
        scope=(),
        secret_expires_at=None,
    )
    await store.add_client(
        provider=PROVIDER.name,
        client_id="registered",
        secret=Secret("registered-secret"),
        auth_method="client_secret_basic",
        origin="registered",
        destination=replace(DESTINATION, client_id="registered"),
        now=NOW,
        registered=registered,
    )
    await store.put_login(pending_login(), state=Secret("state-1"), verifier=Secret("verifier-1"))


async def seen(store: Store) -> dict[str, Any]:
    """Open everything that :func:`furnish` put there."""
    account = await store.account("me")
    assert account is not None
    _, secret = await store.client_of(account)
    derived = await store.derived_token(account, WISH)
    (registered,) = [one for one in await store.clients(PROVIDER.name) if one.client_id == "registered"]
    own = await store.client(registered.uuid)
    management = await store.management(registered.uuid)
    login = await store.login("login-1")
    assert derived is not None
    assert own is not None
    assert management is not None
    assert login is not None
    assert await store.provider(PROVIDER.name) is not None
    return {
        "access": reveal(await store.access_token(account)),
        "refresh": reveal(await store.refresh_token(account)),
        "id": reveal(await store.id_token(account)),
        "answer": reveal(await store.kept_answer(account)),
        "derived": reveal(derived[0]),
        "client": reveal(secret),
        "registered": reveal(own[1]),
        "manages": reveal(management.token),
        "login": login.authorization_url,
    }


def at(place: Path, story: Callable[[Store], Awaitable[Any]], **key: Any) -> Any:  # noqa: ANN401 -- whatever it returns
    """Play a story in the store of a place."""

    async def live() -> Any:  # noqa: ANN401 -- the same
        async with opened(place, **key) as store:
            return await story(store)

    return asyncio.run(live())


def columns(place: Path) -> list[Any]:
    """Return everything in the database that depends on a key."""
    tables = ("instance", "data_key", "secret", "provider", "account")
    return [behind(place, f"SELECT * FROM {table} ORDER BY 1") for table in tables]  # noqa: S608 -- our own names


def test_everything_gets_new_keys(tmp_path: Path) -> None:
    """Every secret opens as before, under another key file; of the old sealed rows and keys not one byte is left."""

    async def rotate(store: Store) -> None:
        before = await seen(store)
        done = await store.rotate(store.key, None)
        assert (done.source, done.new_key, done.generation) == ("file", True, 2)
        assert done.secrets == behind(tmp_path, "SELECT count(*) FROM secret")[0][0]
        assert await seen(store) == before

    at(tmp_path, furnish)
    old_key = key_file(tmp_path).read_text()
    old = [sealed for (sealed,) in behind(tmp_path, "SELECT sealed FROM secret UNION SELECT wrapped FROM data_key")]
    old += [master for (master,) in behind(tmp_path, "SELECT master FROM instance")]
    before = at(tmp_path, seen)
    at(tmp_path, rotate)

    assert at(tmp_path, seen) == before
    assert key_file(tmp_path).read_text() != old_key
    assert [path.name for path in key_file(tmp_path).parent.iterdir()] == ["key"]
    left = stored_bytes(tmp_path)
    assert [blob for blob in old if blob in left] == []
    key_file(tmp_path).write_text(old_key)
    at(tmp_path, lambda store: _locked(store, "not the one"))


async def _locked(store: Store, why: str) -> None:
    assert why in store.locked


@pytest.mark.parametrize("staging", [True, False], ids=["before the commit", "after the commit"])
def test_a_death_beside_the_commit(tmp_path: Path, *, staging: bool) -> None:
    """Whether it dies with the new key file ready or with the old one not replaced yet: the next start opens all."""
    at(tmp_path, furnish)
    before, old_key = at(tmp_path, seen), key_file(tmp_path).read_text()

    async def die(store: Store) -> None:
        with pytest.raises(Death):
            await store.rotate(DeadlyKey(key_file(tmp_path), staging=staging), None)

    at(tmp_path, die)
    assert key_file(tmp_path).read_text() == old_key
    assert (key_file(tmp_path).parent / "key.next").exists()

    assert at(tmp_path, seen) == before
    assert (key_file(tmp_path).read_text() == old_key) is staging
    at(tmp_path, lambda store: store.rotate(store.key, None))
    assert at(tmp_path, seen) == before
    assert [path.name for path in key_file(tmp_path).parent.iterdir()] == ["key"]


def test_a_death_at_every_statement(tmp_path: Path) -> None:
    """Whichever statement of it is the last one, nothing has changed, and the next try does it all."""
    at(tmp_path, furnish)
    before, rows = at(tmp_path, seen), columns(tmp_path)

    async def die_at(store: Store, number: int) -> bool:
        count = 0

        def strike(*_: object) -> None:
            nonlocal count
            count += 1
            if count == number:
                raise Death

        engine = store._db._writer.engine  # noqa: SLF001 -- there is no other way to die inside
        event.listen(engine, "before_cursor_execute", strike)
        try:
            await store.rotate(store.key, None)
        except Death:
            return True
        finally:
            event.remove(engine, "before_cursor_execute", strike)
        return False

    died = 1
    while at(tmp_path, partial(die_at, number=died)):
        died += 1
        assert at(tmp_path, seen) == before
        if committed := columns(tmp_path) != rows:
            break  # the rest only tidies up
    assert committed
    assert died > 10


def test_from_source_to_source(tmp_path: Path) -> None:
    """From a file to a passphrase, to a command and back to a file: each time only that opens the database."""
    (tmp_path / "key.txt").write_text("ab" * 32)
    command = CommandKey(f"cat {tmp_path / 'key.txt'}")
    at(tmp_path, furnish)
    before = at(tmp_path, seen)

    at(tmp_path, lambda store: store.rotate(PassphraseKey(), PHRASE))
    at(tmp_path, lambda store: _locked(store, "opened by a passphrase"))

    async def go_on(store: Store) -> None:
        await store.unlock(PHRASE, NOW)
        assert await seen(store) == before
        await store.rotate(command, None)
        assert (store.key_name, store.wants_passphrase) == ("command", False)
        assert await seen(store) == before

    at(tmp_path, go_on, key=PassphraseKey())
    assert at(tmp_path, seen, key=command) == before
    at(tmp_path, lambda store: _locked(store, "comes from elsewhere"), key=PassphraseKey())

    async def same(store: Store) -> None:
        assert (await store.rotate(command, None)).new_key is False
        await store.rotate(FileKey(key_file(tmp_path)), None)

    at(tmp_path, same, key=command)
    assert at(tmp_path, seen) == before


def test_another_passphrase(tmp_path: Path) -> None:
    """The old passphrase opens nothing any more; a short one changes nothing."""
    other = Secret("quite another passphrase")

    async def rotate(store: Store) -> None:
        await store.unlock(PHRASE, NOW)
        await furnish(store)
        with pytest.raises(InvalidRequest, match="12 characters"):
            await store.rotate(store.key, Secret("short"))
        await store.rotate(store.key, other)

    async def unlock(store: Store) -> None:
        with pytest.raises(Locked, match="not the passphrase"):
            await store.unlock(PHRASE, NOW)
        await store.unlock(other, NOW + 1)
        await seen(store)

    at(tmp_path, rotate, key=PassphraseKey())
    at(tmp_path, unlock, key=PassphraseKey())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE account SET token_endpoint = 'https://evil.example/token'",
        "UPDATE account SET renewal_subject = 'somebody'",
        "UPDATE client SET token_endpoint = 'https://evil.example/token'",
        "UPDATE client SET registration_uri = 'https://evil.example/register' WHERE client_id = 'registered'",
        """UPDATE provider SET base_url = 'https://evil.example'""",
        "UPDATE login SET token_endpoint = 'https://evil.example/token'",
    ],
)
def test_what_was_changed_does_not_become_right(tmp_path: Path, statement: str) -> None:
    """A row that somebody changed is not sealed anew with the change in it: that is refused, and nothing happens."""
    at(tmp_path, furnish)
    behind(tmp_path, statement)
    rows = columns(tmp_path)

    async def refused(store: Store) -> None:
        with pytest.raises(Conflict, match="changed outside Keyfob"):
            await store.rotate(store.key, None)

    at(tmp_path, refused)
    assert columns(tmp_path) == rows


def test_not_while_locked_or_in_trouble(tmp_path: Path) -> None:
    """Locked, with answers that wait for the database, or without a new key: the old keys stay."""

    async def story(store: Store) -> None:
        account: Account = await with_account(store)
        with pytest.raises(Locked, match="exit code 1"):
            await store.rotate(CommandKey("false"), None)
        await store.save_answer(account, Secret("{}"), None)
        with pytest.raises(StoreUnavailable, match="wait for the database"):
            await store.rotate(store.key, None)
        await store.recover()
        store.lock("x")
        with pytest.raises(Locked, match="x"):
            await store.rotate(store.key, None)

    at(tmp_path, story)
    assert behind(tmp_path, "SELECT master_generation FROM instance") == [(1,)]


def test_a_planted_key_is_of_no_use(tmp_path: Path) -> None:
    """A file beside the key that is not the one of this database is neither used nor put in its place."""
    at(tmp_path, furnish)
    key = key_file(tmp_path)
    planted = FileKey(key.with_name("key.next"))
    planted.create()
    right = key.read_text()
    key.write_text("ab" * 32)

    at(tmp_path, lambda store: _locked(store, "not the one"))

    assert key.read_text() == "ab" * 32
    key.write_text(right)
    planted.path.chmod(0o644)
    assert at(tmp_path, seen)["access"] == "access-1"


def test_a_read_that_the_commit_overtakes(tmp_path: Path) -> None:
    """Whoever read a row just before the new keys came into force opens it just after them."""

    async def story(store: Store) -> None:
        await furnish(store)
        before = await seen(store)
        stop = asyncio.Event()

        async def reader() -> int:
            count = 0
            while not stop.is_set():
                assert await seen(store) == before
                count += 1
            return count

        readers = [asyncio.create_task(reader()) for _ in range(4)]
        for _ in range(5):
            await store.rotate(store.key, None)
        stop.set()
        assert sum(await asyncio.gather(*readers)) > 4
        assert database(tmp_path).exists()

    at(tmp_path, story)
