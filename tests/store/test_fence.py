"""A database that is older than the one in use, or a copy of it, is recognised; the one in use is not."""

import asyncio
import logging
import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.account import Active, NeedsLogin
from broker.core.secret import Secret
from broker.errors import CannotStart, Conflict, StoreUnavailable
from broker.store.fence import COPIED, OLDER, Fence, beside
from broker.store.store import Store
from tests.store.made import DESTINATION, NOW, behind, database, grant, opened, with_account


def sequences(place: Path) -> tuple[int, int]:
    """Return how far the database says that it is, and how far the fence says."""
    written = beside(database(place)).read_text().split()
    return behind(place, "SELECT sequence FROM instance")[0][0], int(written[3])


async def rotated(store: Store, mark: str) -> None:
    """Refresh the account once, and get a new refresh token."""
    account = await store.account("me")
    assert account is not None
    intended = await store.begin_refresh(account, NOW)
    assert intended is not None
    fresh = grant(mark, refresh=f"refresh-{mark}")
    kept = await store.keep_answer(intended, Secret("{}"), fresh.refresh_token)
    assert kept is not None
    assert await store.swap(kept, grant=fresh) is not None


def at(place: Path, work: Callable[[Store], Awaitable[object]] | None = None) -> str:
    """Start and stop at ``place``, do some work in between, and return why it was a copy at the start."""

    async def story() -> str:
        async with opened(place) as store:
            why = store.copied
            if work is not None:
                await work(store)
            return why

    return asyncio.run(story())


def lived(place: Path, rotations: int = 2) -> Path:
    """Make a database with an account that was refreshed a few times; return the place."""

    async def life(store: Store) -> None:
        await with_account(store)
        for number in range(rotations):
            await rotated(store, f"lived-{number}")

    assert at(place, life) == ""
    return place


def test_the_database_in_use_is_none_of_those(tmp_path: Path) -> None:
    """A new database, its restarts, and its state directory moved as a whole are what they were."""
    lived(tmp_path / "a")
    assert at(tmp_path / "a") == ""
    (tmp_path / "a").rename(tmp_path / "b")
    assert at(tmp_path / "b", lambda store: rotated(store, "b")) == ""
    assert at(tmp_path / "b") == ""


def test_the_fence_is_private(tmp_path: Path) -> None:
    """It is 0600, also where somebody opened it, and nothing of it is left under another name."""
    fence = beside(database(lived(tmp_path)))
    fence.chmod(0o644)
    at(tmp_path)
    assert fence.stat().st_mode & 0o7777 == 0o600
    assert sorted(path.name for path in fence.parent.iterdir()) == ["keyfob.db", "keyfob.db.answers", "keyfob.db.fence"]


def test_every_change_of_a_refresh_token_counts(tmp_path: Path) -> None:
    """Each step that an older copy must not miss counts, no other does, and the fence is never behind."""
    steps: list[tuple[str, int, int]] = []

    async def story() -> None:
        async with opened(tmp_path) as store:

            def seen(what: str) -> None:
                steps.append((what, *sequences(tmp_path)))

            seen("new")
            account = await with_account(store)
            seen("created")
            account = await store.begin_refresh(account, NOW) or account
            seen("intended")
            account = await store.keep_answer(account, Secret("{}"), Secret("refresh-2")) or account
            seen("kept")
            account = await store.swap(account, grant=grant("2", refresh="refresh-2")) or account
            seen("swapped, the kept one")
            account = await store.swap(account, grant=grant("3", refresh="refresh-3")) or account
            seen("swapped, another one")
            account = await store.begin_refresh(account, NOW) or account
            account = await store.keep_answer(account, Secret("{}"), None) or account
            account = await store.swap(account, grant=grant("4")) or account
            seen("intended, and no new one came")
            account = await store.swap(replace(account, state=NeedsLogin(NOW, "dead"))) or account
            account = await store.rename_account(account, "other")
            seen("nothing about tokens")
            await store.replace_login(
                account,
                client="",
                destination=DESTINATION,
                identity=None,
                asked_scope=(),
                resource=None,
                state=Active(NOW),
                grant=grant("5", refresh="refresh-5"),
                now=NOW,
            )
            seen("logged in again")

    asyncio.run(story())
    assert steps == [
        ("new", 0, 0),
        ("created", 1, 1),
        ("intended", 2, 2),
        ("kept", 3, 3),
        ("swapped, the kept one", 3, 3),
        ("swapped, another one", 4, 4),
        ("intended, and no new one came", 5, 5),
        ("nothing about tokens", 5, 5),
        ("logged in again", 6, 6),
    ]


def test_what_is_undone_is_not_counted(tmp_path: Path) -> None:
    """A transaction that fails after it counted leaves the fence where the database is, and the next one right."""
    lived(tmp_path)
    behind(tmp_path, "CREATE TRIGGER no BEFORE INSERT ON refresh_intent BEGIN SELECT RAISE(ABORT, 'no'); END")
    before = sequences(tmp_path)

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await store.account("me")
            assert account is not None
            with pytest.raises(StoreUnavailable):
                await store.begin_refresh(account, NOW)
            with pytest.raises(Conflict):
                await with_account_again(store)
            await store.ping(NOW)  # the next commit: nothing of the one that was undone follows it
            assert sequences(tmp_path) == before

    asyncio.run(story())
    assert at(tmp_path) == ""


async def with_account_again(store: Store) -> None:
    """Try to make an account whose name is taken."""
    await store.create_account(
        name="me",
        provider="example",
        client="",
        destination=DESTINATION,
        identity=None,
        asked_scope=(),
        resource=None,
        state=Active(NOW),
        grant=grant("1", refresh="x"),
        now=NOW,
    )


def test_an_older_database_in_its_place(tmp_path: Path) -> None:
    """A database file from before a refresh is recognised, whoever put it there."""
    old = shutil.copy(database(lived(tmp_path)), tmp_path / "old.db")
    at(tmp_path, lambda store: rotated(store, "since"))
    shutil.copy(old, database(tmp_path))
    assert at(tmp_path) == OLDER


def test_a_database_from_before_a_refresh_that_nobody_finished(tmp_path: Path) -> None:
    """A copy from before the request was sent is older, though no answer was ever kept."""
    old = shutil.copy(database(lived(tmp_path)), tmp_path / "old.db")

    async def sent(store: Store) -> None:
        account = await store.account("me")
        assert account is not None
        await store.begin_refresh(account, NOW)

    at(tmp_path, sent)
    shutil.copy(old, database(tmp_path))
    assert at(tmp_path) == OLDER


def test_a_copy_of_the_state_directory(tmp_path: Path) -> None:
    """A complete copy is recognised beside its original, which stays what it is."""
    original = lived(tmp_path / "original")
    shutil.copytree(original, tmp_path / "copy")
    assert at(tmp_path / "copy") == COPIED
    assert at(original) == ""


def test_a_state_directory_that_is_put_back(tmp_path: Path) -> None:
    """A complete copy in the original's own place is recognised, even where the file system reuses file numbers."""
    place = lived(tmp_path / "place")
    shutil.copytree(place, tmp_path / "saved")
    for _ in range(3):  # a disk that hands out the numbers just freed hands out these
        shutil.rmtree(place)
        shutil.copytree(tmp_path / "saved", place)
        assert at(place) == COPIED


@pytest.mark.parametrize("damage", ["removed", "emptied", "cut", "garbled", "longer"])
def test_a_database_whose_fence_is_gone(tmp_path: Path, damage: str) -> None:
    """Without a fence that can be read, nobody knows: it counts as a copy, again at every start, until adopted."""
    fence = beside(database(lived(tmp_path)))
    text = fence.read_bytes()
    fence.write_bytes(
        {"cut": text[:-5], "garbled": text[:30] + b"\xff" + text[31:], "longer": text * 2}.get(damage, b"")
    )
    if damage == "removed":
        fence.unlink()
    assert at(tmp_path) == COPIED
    assert at(tmp_path, Store.adopt) == COPIED
    assert at(tmp_path) == ""


def test_a_fence_that_is_behind(tmp_path: Path) -> None:
    """What a power cut took from the fence means nothing, and the fence is brought up to date."""
    fence = beside(database(lived(tmp_path)))
    old = fence.read_bytes()
    at(tmp_path, lambda store: rotated(store, "since"))
    with fence.open("r+b") as file:
        file.write(old)
    assert sequences(tmp_path)[0] > sequences(tmp_path)[1]
    assert at(tmp_path) == ""
    assert sequences(tmp_path)[0] == sequences(tmp_path)[1]


def test_two_lives_that_came_as_far(tmp_path: Path) -> None:
    """A copy that lived on and is put back is another life, although both refreshed equally often."""
    original = lived(tmp_path / "original")
    shutil.copytree(original, tmp_path / "copy")
    at(tmp_path / "copy", Store.adopt)
    at(tmp_path / "copy", lambda store: rotated(store, "there"))
    at(original, lambda store: rotated(store, "here"))
    assert sequences(original) == sequences(tmp_path / "copy")
    shutil.copy(database(tmp_path / "copy"), database(original))
    assert at(original) == COPIED


def test_a_crash_in_the_middle_of_an_adoption(tmp_path: Path) -> None:
    """Where the new fence is there and the database has not learned of it, the database is a copy still."""
    fence = beside(database(lived(tmp_path)))
    fence.unlink()
    Fence.build(database(tmp_path), 7).close()
    assert at(tmp_path) == COPIED


def test_a_fence_that_cannot_be_written(caplog: pytest.LogCaptureFixture) -> None:
    """A disk that refuses is told once and stops nobody; the database alone decides."""
    handle = os.open("/dev/full", os.O_RDWR)
    fence = Fence(handle, "ab" * 16, 1)
    with caplog.at_level(logging.WARNING):
        fence.follow(2)
        fence.follow(3)
    fence.close()
    assert [record.message for record in caplog.records if "fence" in record.message] == [caplog.records[0].message]
    assert "older copy" in caplog.records[0].message


def test_a_fence_that_is_no_file(tmp_path: Path) -> None:
    """A link in the fence's place is not followed, and the start says which file it is."""
    fence = beside(database(lived(tmp_path)))
    fence.rename(tmp_path / "elsewhere")
    fence.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotStart, match=r"keyfob\.db\.fence is a symbolic link"):
        at(tmp_path)


@pytest.mark.parametrize("loss", ["gone", "empty", "emptied"])
def test_a_lost_database_is_not_made_anew(tmp_path: Path, loss: str) -> None:
    """Where there was a database, a missing or empty one is refused, and the message names the way back."""
    file = database(lived(tmp_path))
    if loss == "gone":
        file.unlink()
    elif loss == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("VACUUM")
    before = {path.name: path.read_bytes() for path in file.parent.iterdir() if path.is_file()}
    with pytest.raises(CannotStart, match=r"gone or empty.*keyfob restore FILE.*begin anew.*keyfob\.db\.fence"):
        at(tmp_path)
    assert {path.name: path.read_bytes() for path in file.parent.iterdir() if path.is_file()} == before
    beside(file).unlink()
    assert at(tmp_path) == ""
