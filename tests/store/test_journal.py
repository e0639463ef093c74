"""The emergency journal: what the database does not take survives the process, and nobody else reads or uses it."""

import asyncio
import contextlib
import errno
import logging
import os
import resource
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.core.account import Account
from broker.core.secret import Secret
from broker.errors import CannotStart, StoreUnavailable
from broker.store.copies import back_up, put_back
from broker.store.journal import MAGIC, SIZE, Journal, beside, is_empty
from broker.store.keys import FileKey
from broker.store.store import Store
from tests.store.made import NOW, behind, database, key_file, opened, reveal, stored_bytes, with_account

RAW = Secret('{"access_token": "access-2", "refresh_token": "refresh-2", "odd": "\\ud800"}')
NEW = Secret("refresh-2")


def left_behind(place: Path, name: str = "me") -> Account:
    """Begin a refresh whose answer reaches only the journal, and let the process end; return the account."""

    async def story() -> Account:
        async with opened(place) as store:
            account = await store.account(name) or await with_account(store, name)
            begun = await store.begin_refresh(account, NOW)
            assert begun is not None
            await store.save_answer(begun, RAW, NEW)
            return begun

    return asyncio.run(story())


def after(place: Path, look: Callable[[Store], Awaitable[None]]) -> None:
    """Start again, recover, and look."""

    async def story() -> None:
        async with opened(place) as store:
            if store.copied:
                await store.adopt()
            await store.recover()
            await look(store)

    asyncio.run(story())


async def is_recovered(store: Store) -> None:
    """Hold that the answer is in the database, as if it had got there at once."""
    account = await store.account("me")
    assert account is not None
    assert account.generation == 2
    assert reveal(await store.refresh_token(account)) == "refresh-2"
    kept = await store.kept_answer(account)
    assert kept is not None
    assert kept.reveal() == RAW.reveal()


async def is_as_before(store: Store) -> None:
    """Hold that nothing of the answer was taken."""
    account = await store.account("me")
    assert account is not None
    assert (account.generation, reveal(await store.refresh_token(account))) == (1, "refresh-1")


def test_what_was_saved_is_recovered_by_the_next_start(tmp_path: Path) -> None:
    """The answer with its new refresh token is in the database then; the journal is empty and as large as before."""
    left_behind(tmp_path)
    assert not is_empty(beside(database(tmp_path)))
    after(tmp_path, is_recovered)
    found = beside(database(tmp_path)).read_bytes()
    assert found == MAGIC + bytes(SIZE - len(MAGIC))


def test_what_another_was_faster_to_take_over_is_not_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two that recover the same answer at the same time: one does it, and one says so."""
    left_behind(tmp_path)

    async def story() -> None:
        async with opened(tmp_path) as store:
            await asyncio.gather(store.recover(), store.recover())
            await is_recovered(store)

    with caplog.at_level(logging.WARNING, "broker.store.refreshes"):
        asyncio.run(story())
    assert [record.message for record in caplog.records] == [
        "the answer for 'me' was recovered from the emergency journal"
    ]


def test_nothing_in_it_can_be_read(tmp_path: Path) -> None:
    """Neither of the tokens stands in any file of the state directory, nor whose they are in the journal."""
    account = left_behind(tmp_path)
    assert not any(word in stored_bytes(tmp_path) for word in (b"refresh-2", b"access-2"))
    assert account.uuid.encode() not in beside(database(tmp_path)).read_bytes()


def test_the_room_is_taken_ahead(tmp_path: Path) -> None:
    """Before anything goes wrong, the journal has its blocks on the disk already."""

    async def story() -> None:
        async with opened(tmp_path):
            found = beside(database(tmp_path)).stat()
            assert found.st_size == SIZE
            assert found.st_blocks * 512 >= SIZE

    asyncio.run(story())


def test_the_database_took_it_after_all(tmp_path: Path) -> None:
    """What got into the database later in the same life is gone from the journal, and of no effect any more."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            begun = await store.begin_refresh(await with_account(store), NOW)
            assert begun is not None
            await store.save_answer(begun, RAW, NEW)
            assert await store.keep_answer(begun, RAW, NEW) is not None
            assert is_empty(beside(database(tmp_path)))

    asyncio.run(story())
    after(tmp_path, is_recovered)


async def two_begun(store: Store) -> tuple[Account, Account]:
    """Begin a refresh of each of two accounts."""
    first = await store.begin_refresh(await with_account(store), NOW)
    assert first is not None
    account = await store.create_account(
        name="other",
        provider="example",
        client="",
        destination=first.destination,
        identity=None,
        asked_scope=(),
        resource=None,
        state=first.state,
        grant=None,
        now=NOW,
    )
    second = await store.begin_refresh(account, NOW)
    assert second is not None
    return first, second


async def other_is_recovered(store: Store) -> None:
    """Hold that the second answer is in the database, and none in the journal."""
    other = await store.account("other")
    assert other is not None
    assert reveal(await store.refresh_token(other)) == "refresh-2"
    assert store.unwritten == 0


def test_two_answers(tmp_path: Path) -> None:
    """Each of several is recovered; the journal is emptied when the last of them is."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            first, second = await two_begun(store)
            await asyncio.gather(store.save_answer(first, RAW, NEW), store.save_answer(second, RAW, NEW))
            assert await store.keep_answer(first, RAW, NEW) is not None
            assert not is_empty(beside(database(tmp_path)))

    asyncio.run(story())
    after(tmp_path, other_is_recovered)
    assert is_empty(beside(database(tmp_path)))


def test_an_answer_that_came_late_to_the_journal_takes_no_other_along(tmp_path: Path) -> None:
    """The database took the first of two while that was still on its way to the journal: the second stays there."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            first, second = await two_begun(store)
            assert store._journal is not None  # noqa: SLF001 -- a slow disk cannot be had otherwise
            with store._journal._turn:  # noqa: SLF001 -- as above
                writing = asyncio.gather(store.save_answer(first, RAW, NEW), store.save_answer(second, RAW, NEW))
                await asyncio.sleep(0)
                assert await store.keep_answer(first, RAW, NEW) is not None
            await writing
            assert store.unwritten == 1

    asyncio.run(story())
    after(tmp_path, other_is_recovered)
    assert is_empty(beside(database(tmp_path)))


@pytest.mark.parametrize("what", ["cut off", "changed"])
def test_an_entry_that_does_not_open(tmp_path: Path, what: str) -> None:
    """It is not taken, the start goes on, and what there is of it is kept in another file."""
    left_behind(tmp_path)
    path = beside(database(tmp_path))
    text = bytearray(path.read_bytes())
    end = len(text.rstrip(b"\0"))
    if what == "cut off":
        text[end - 40 : end] = bytes(40)
    else:
        text[end - 40] ^= 1
    path.write_bytes(text)
    after(tmp_path, is_as_before)
    assert path.with_name(f"{path.name}.unread").read_bytes() == bytes(text[:end])
    assert is_empty(path)


def test_one_bad_entry_does_not_cost_the_others(tmp_path: Path) -> None:
    """What opens is recovered, whatever stands before it."""
    left_behind(tmp_path)
    path = beside(database(tmp_path))
    text = path.read_bytes()
    entry = text[len(MAGIC) :].rstrip(b"\0")
    damaged = entry[:20] + bytes([entry[20] ^ 1]) + entry[21:]
    path.write_bytes((MAGIC + damaged + entry).ljust(SIZE, b"\0"))
    after(tmp_path, is_recovered)


def torn(place: Path) -> tuple[Path, bytes]:
    """Leave a good entry behind, and one of which a power cut left a half; return the journal and what is in it."""
    left_behind(place)
    path = beside(database(place))
    entry = path.read_bytes()[len(MAGIC) :].rstrip(b"\0")
    half = entry[: len(entry) // 2].ljust(len(entry), b"\0")
    text = (MAGIC + entry + half).ljust(SIZE, b"\0")
    path.write_bytes(text)
    return path, MAGIC + half


def test_a_bad_entry_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start goes on and the good answer stays where it is; the bad one is kept aside once there is room for it."""
    path, half = torn(tmp_path)
    text, real = path.read_bytes(), os.pwrite

    def full(handle: int, data: bytes, at: int) -> int:
        if at + len(data) > os.fstat(handle).st_size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data, at)

    async def story() -> None:
        async with opened(tmp_path) as store:
            assert store.unwritten == 1

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)  # a full disk cannot be had otherwise
        asyncio.run(story())
    assert path.read_bytes() == text
    assert not list(tmp_path.glob("**/*.unread*"))
    after(tmp_path, is_recovered)
    assert path.with_name(f"{path.name}.unread").read_bytes() == half
    assert is_empty(path)


class Killed(Exception):
    """The process ended here."""


def test_a_bad_entry_and_a_crash_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever write of the start is the last one, the next start finds the good answer."""
    left = -1

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:  # noqa: ANN401 -- whatever the system call takes
            nonlocal left
            left -= 1
            if left == -1:
                raise Killed
            return real(*given, **named)

        return step

    async def story(place: Path) -> None:
        async with opened(place) as store:
            assert store.unwritten == 1

    for steps in range(50):
        place = tmp_path / str(steps)
        torn(place)
        killed = False
        with monkeypatch.context() as patch:
            for name in ("pwrite", "fsync", "replace"):
                patch.setattr(os, name, counted(getattr(os, name)))
            left = steps
            try:
                asyncio.run(story(place))
            except Killed:
                killed = True
        after(place, is_recovered)
        if not killed:
            break
    assert 3 < steps < 49


def test_the_journal_of_another_database(tmp_path: Path) -> None:
    """An answer that another database waited for is not taken over, even by a copy of that very database."""
    left_behind(tmp_path / "a")
    back_up(database(tmp_path / "a"), tmp_path / "copy.db")
    put_back(tmp_path / "copy.db", database(tmp_path / "a"), FileKey(key_file(tmp_path / "a")), NOW)
    # As somebody would who copies the whole directory together by hand.
    aside = next(database(tmp_path / "a").parent.glob("keyfob.db.replaced-*.answers"))
    aside.replace(beside(database(tmp_path / "a")))
    after(tmp_path / "a", is_as_before)


def test_a_restore_keeps_it_aside(tmp_path: Path) -> None:
    """It belongs to the database of before and goes with that; an empty one is not kept."""
    left_behind(tmp_path)
    back_up(database(tmp_path), tmp_path / "copy.db")
    asides = []
    for seconds in (0.0, 1.0):
        _, aside = put_back(tmp_path / "copy.db", database(tmp_path), FileKey(key_file(tmp_path)), NOW + seconds)
        assert aside is not None
        asides.append(beside(aside))
        after(tmp_path, is_as_before)
    assert [path.exists() for path in asides] == [True, False]
    assert not is_empty(asides[0])


def test_an_account_that_is_gone(tmp_path: Path) -> None:
    """Nothing is left of an answer whose account was removed."""
    left_behind(tmp_path)
    with contextlib.closing(sqlite3.connect(database(tmp_path))) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM account")

    async def look(store: Store) -> None:
        assert await store.accounts() == []
        assert is_empty(beside(database(tmp_path)))

    after(tmp_path, look)


def test_a_journal_that_refuses(tmp_path: Path) -> None:
    """That the answer is nowhere but in memory is said as an error, never passed over."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            begun = await store.begin_refresh(await with_account(store), NOW)
            assert begun is not None
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
            try:
                with pytest.raises(StoreUnavailable, match="emergency journal cannot be written: File too large"):
                    await store.save_answer(begun, RAW, NEW)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)

    asyncio.run(story())


def test_a_link_in_its_place(tmp_path: Path) -> None:
    """A journal that leads elsewhere is refused, as the database would be."""
    left_behind(tmp_path)
    path = beside(database(tmp_path))
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotStart, match=r"keyfob\.db\.answers is a symbolic link"):
        after(tmp_path, is_as_before)


def test_it_grows_where_there_is_room(tmp_path: Path) -> None:
    """More than was taken ahead is no reason to refuse while the disk has room."""
    path = tmp_path / "journal"
    journal = Journal.open(path)
    blob = b"\1" * 300_000
    for _ in range(10):
        journal.append(blob)
    journal.close()
    again = Journal.open(path)
    assert again.entries == [blob] * 10
    again.erase()
    again.close()
    assert is_empty(path)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE account SET asked_scope = '[' WHERE name = 'bad'",
        "UPDATE data_key SET wrapped = zeroblob(60) WHERE owner = (SELECT uuid FROM account WHERE name = 'bad')",
    ],
)
def test_an_account_that_cannot_be_read_keeps_no_answer_of_another_back(tmp_path: Path, damage: str) -> None:
    """Both answers reached only the journal; that of the account that is well is taken over all the same."""
    left_behind(tmp_path, "bad")
    left_behind(tmp_path)
    behind(tmp_path, damage)
    after(tmp_path, is_recovered)
