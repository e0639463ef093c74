"""The store is locked and opened again while it is open: nothing is lost, and no try at a passphrase is free."""

import asyncio
from pathlib import Path

import pytest

from broker.core.secret import Secret
from broker.errors import InvalidRequest, Locked, TooManyRequests
from broker.store.keys import CommandKey, PassphraseKey
from broker.store.passphrase import Derivation
from tests.store import made
from tests.store.made import NOW, behind, database, opened, reveal, stored_bytes, with_account

RIGHT, WRONG = Secret("correct horse battery staple"), Secret("incorrect horse battery")


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make new passphrases cheap to try; the price has a test of its own."""
    monkeypatch.setattr(Derivation, "fresh", lambda: Derivation(bytes(16), memory=64, passes=1, lanes=1))


async def with_passphrase(place: Path) -> None:
    """Make a database that a passphrase opens, with one account."""
    async with opened(place, key=PassphraseKey()) as store:
        await store.unlock(RIGHT, NOW)
        await with_account(store)


def test_the_first_passphrase_is_the_one_that_counts(tmp_path: Path) -> None:
    """A new database has no key: it says so, takes a passphrase that is long enough, and works at once."""

    async def story() -> None:
        async with opened(tmp_path, key=PassphraseKey()) as store:
            assert (store.locked, store.is_new, store.wants_passphrase) == (
                "No passphrase has been set yet.",
                True,
                True,
            )
            with pytest.raises(InvalidRequest, match="12 characters"):
                await store.unlock(Secret("short"), NOW)
            assert store.is_new
            await store.unlock(RIGHT, NOW)
            assert (store.locked, store.is_new) == ("", False)
            account = await with_account(store)
            assert reveal(await store.access_token(account)) == "access-1"
        async with opened(tmp_path, key=PassphraseKey()) as store:
            assert store.copied == ""
            assert store.locked == "Keyfob waits for its passphrase."
            assert store.locked_hint == "Unlock it: keyfob unlock"
            again = await store.account("me")
            assert again is not None
            with pytest.raises(Locked):
                await store.access_token(again)
            await store.unlock(RIGHT, NOW)
            with pytest.raises(Locked, match="Ask again"):  # nobody could tell whether it had been changed
                await store.refresh_token(again)
            again = await store.account("me")
            assert again is not None
            assert reveal(await store.refresh_token(again)) == "refresh-1"
        assert b"horse" not in stored_bytes(tmp_path)

    asyncio.run(story())


def test_a_wrong_passphrase_makes_the_next_one_wait(tmp_path: Path) -> None:
    """Each wrong one doubles the wait, also for the right one, and a restart does not shorten it; success ends it."""

    async def story() -> None:
        await with_passphrase(tmp_path)
        now = NOW
        for wait in (1.0, 2.0, 4.0):
            async with opened(tmp_path, key=PassphraseKey()) as store:
                with pytest.raises(Locked, match="not the passphrase") as refused:
                    await store.unlock(WRONG, now)
                assert refused.value.extra == {"retry_after": wait}
                with pytest.raises(TooManyRequests) as early:
                    await store.unlock(RIGHT, now + wait / 2)
                assert early.value.extra == {"retry_after": wait / 2}
                assert store.locked
            now += wait
        async with opened(tmp_path, key=PassphraseKey()) as store:
            await store.unlock(RIGHT, now)
            assert behind(tmp_path, "SELECT unlock_failures FROM instance") == [(0,)]
            store.lock("x")
            with pytest.raises(Locked, match="not the passphrase") as refused:
                await store.unlock(WRONG, now)
            assert refused.value.extra == {"retry_after": 1.0}

    asyncio.run(story())


def test_a_try_counts_before_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever kills the daemon while it works on a passphrase has used up a try all the same."""

    def dies(self: Derivation, passphrase: Secret) -> bytes:
        del self, passphrase
        raise MemoryError

    async def story() -> None:
        await with_passphrase(tmp_path)
        async with opened(tmp_path, key=PassphraseKey()) as store:
            monkeypatch.setattr(Derivation, "key", dies)
            with pytest.raises(MemoryError):
                await store.unlock(RIGHT, NOW)
        assert behind(tmp_path, "SELECT unlock_failures, unlock_failed_at FROM instance") == [(1, NOW)]

    asyncio.run(story())


def test_many_at_once_have_one_try(tmp_path: Path) -> None:
    """Of twenty wrong passphrases at the same moment one is looked at; the others have to wait."""

    async def story() -> None:
        await with_passphrase(tmp_path)
        async with opened(tmp_path, key=PassphraseKey()) as store:
            tries = (store.unlock(Secret(f"{number} wrong horses"), NOW) for number in range(20))
            ends = await asyncio.gather(*tries, return_exceptions=True)
            assert sorted(type(end).__name__ for end in ends) == ["Locked"] + 19 * ["TooManyRequests"]

    asyncio.run(story())


def test_a_passphrase_is_worked_on_beside_everything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop turns on while a passphrase costs what it costs."""
    monkeypatch.undo()

    async def story() -> None:
        await with_passphrase(tmp_path)
        async with opened(tmp_path, key=PassphraseKey()) as store:
            unlocking = asyncio.create_task(store.unlock(RIGHT, NOW))
            turns = 0
            while not unlocking.done():
                turns += 1
                await asyncio.sleep(0.002)
            await unlocking
            assert turns > 10

    asyncio.run(story())


def test_the_key_source_is_asked_again(tmp_path: Path) -> None:
    """A key file that is put back opens what was locked, without a restart, journal and fence included."""
    path = made.key_file(tmp_path)

    async def story() -> None:
        async with opened(tmp_path) as store:
            await with_account(store)
        path.rename(path.with_name("elsewhere"))
        async with opened(tmp_path) as store:
            assert "does not exist" in store.locked
            assert store.locked_hint.endswith("Then: keyfob unlock")
            with pytest.raises(Locked, match="does not exist"):
                await store.unlock(None, NOW)
            path.with_name("elsewhere").rename(path)
            await store.unlock(None, NOW)
            assert store.locked == ""
            account = await store.account("me")
            assert account is not None
            assert reveal(await store.access_token(account)) == "access-1"
            await store.save_answer(account, Secret("{}"), None)

    asyncio.run(story())


def test_a_source_that_comes_late_begins_a_new_database(tmp_path: Path) -> None:
    """A key command that failed at the first start is asked again, and the database gets its record then."""
    command = "cat " + str(tmp_path / "key.txt")

    async def story() -> None:
        async with opened(tmp_path, key=CommandKey(command)) as store:
            assert "exit code 1" in store.locked
            (tmp_path / "key.txt").write_text("ab" * 32)
            await store.unlock(None, NOW)
            account = await with_account(store)
            assert reveal(await store.access_token(account)) == "access-1"
        async with opened(tmp_path, key=CommandKey(command)) as store:
            assert (store.locked, store.copied) == ("", "")

    asyncio.run(story())


def test_the_key_stays_for_what_is_in_the_air(tmp_path: Path) -> None:
    """A lock says so at once, but answers can be sealed until the key is dropped; then nothing opens."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            intended = await store.begin_refresh(account, NOW)
            assert intended is not None
            store.lock("somebody wanted it")
            assert (store.locked, store.holds_key) == ("somebody wanted it", True)
            kept = await store.keep_answer(intended, Secret("{}"), Secret("refresh-2"))
            assert kept is not None
            store.drop_key()
            assert not store.holds_key
            with pytest.raises(Locked, match="somebody wanted it"):
                await store.refresh_token(kept)
            await store.unlock(None, NOW)
            assert reveal(await store.refresh_token(kept)) == "refresh-2"

    asyncio.run(story())


def test_what_waits_in_the_journal_is_not_kept_in_clear(tmp_path: Path) -> None:
    """An answer that the database has not taken is only in the sealed journal while locked, and read again after it."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            await store.save_answer(account, Secret("{}"), Secret("refresh-2"))
            assert store.unwritten == 1
            store.lock("x")
            store.drop_key()
            assert store.unwritten == 0
            await store.unlock(None, NOW)
            assert store.unwritten == 1
            await store.recover()
            known = await store.account("me")
            assert known is not None
            assert reveal(await store.refresh_token(known)) == "refresh-2"
        assert b"refresh-2" not in stored_bytes(tmp_path)

    asyncio.run(story())


def test_another_source_than_before_is_named(tmp_path: Path) -> None:
    """A database of a passphrase under a key file, and the other way round: each says what it wants."""

    async def story() -> None:
        await with_passphrase(tmp_path / "one")
        async with opened(tmp_path / "one") as store:
            assert store.locked == "This database is opened by a passphrase."
            assert "KEYFOB_KEY_SOURCE" in store.locked_hint
        async with opened(tmp_path / "two") as store:
            await with_account(store)
        async with opened(tmp_path / "two", key=PassphraseKey()) as store:
            assert "its key comes from elsewhere" in store.locked
            with pytest.raises(Locked, match="comes from elsewhere"):
                await store.unlock(RIGHT, NOW)

    asyncio.run(story())


def test_no_first_passphrase_over_secrets(tmp_path: Path) -> None:
    """Where the record is gone and secrets are there, no passphrase begins anew."""

    async def story() -> None:
        await with_passphrase(tmp_path)
        behind(tmp_path, "DELETE FROM instance")
        database(tmp_path).with_name("keyfob.db.fence").unlink()
        async with opened(tmp_path, key=PassphraseKey()) as store:
            assert "no record" in store.locked
            with pytest.raises(Locked, match="no record"):
                await store.unlock(RIGHT, NOW)
        assert behind(tmp_path, "SELECT count(*) FROM instance") == [(0,)]

    asyncio.run(story())
