"""The record shows what was changed behind Keyfob's back: every kind of change, on the entry where it was made."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from broker.store.store import Verdict
from tests.store.made import NOW, behind, database, opened
from tests.store.record import checked, counted, found, recorded, store_account, summary, write

Tamper = Callable[[Path], object]
COLUMNS = "at, action, account_uuid, account, app, detail, generation, first, count"


def forge(place: Path, number: int) -> None:
    """Put an entry in whose seal nobody without the key can make."""
    select = f"SELECT {COLUMNS}, ?, randomblob(32) FROM audit WHERE link = 3"  # noqa: S608 -- our own names
    behind(place, f"INSERT INTO audit ({COLUMNS}, link, hash) {select}", number)


def swap(place: Path, one: int, other: int) -> None:
    """Let two entries change places."""
    for before, after in ((one, -1), (other, one), (-1, other)):
        behind(place, "UPDATE audit SET link = ? WHERE link = ?", after, before)


def shift(place: Path, first: int, by: int) -> None:
    """Give every entry from one on another number, with nothing in the way."""
    behind(place, "UPDATE audit SET link = -link WHERE link >= ?", first)
    behind(place, "UPDATE audit SET link = -link + ? WHERE link < 0", by)


def insert_at(place: Path, number: int) -> None:
    """Put an entry in before another, and count all others on."""
    shift(place, number, 1)
    forge(place, number)


def close_gap(place: Path, number: int) -> None:
    """Take an entry out, and count all others back."""
    behind(place, "DELETE FROM audit WHERE link = ?", number)
    shift(place, number + 1, -1)


def test_a_record_that_nobody_touched(tmp_path: Path) -> None:
    """Everything fits, before and after a restart, and it is told how much was looked at."""
    recorded(tmp_path)
    for _ in range(2):
        assert summary(checked(tmp_path)) == Verdict(checked=11, first=1, last=9, begins_at=NOW + 1)
    ((newest,),) = behind(tmp_path, "SELECT hash FROM audit WHERE link = 9")
    assert checked(tmp_path).seal == newest
    with closing(sqlite3.connect(database(tmp_path))) as connection:
        assert len(connection.execute("SELECT DISTINCT hash FROM audit").fetchall()) == 11


def test_an_empty_record(tmp_path: Path) -> None:
    """Where nothing was written there is nothing to find."""
    assert checked(tmp_path) == Verdict()


def change(place: Path, column: str, value: str) -> None:
    """Change one column of an entry."""
    behind(place, f"UPDATE audit SET {column} = {value} WHERE link = 6")  # noqa: S608 -- the table below


def empty(place: Path) -> None:
    """Leave nothing of the record."""
    behind(place, "DELETE FROM audit")
    behind(place, "DELETE FROM audit_head")


TAMPERED: dict[str, tuple[Tamper, tuple[str, int | None]]] = {
    "deleted": (lambda p: behind(p, "DELETE FROM audit WHERE link = 4"), ("missing", 4)),
    "deleted and counted back": (lambda p: close_gap(p, 4), ("changed", 4)),
    "the first deleted": (lambda p: behind(p, "DELETE FROM audit WHERE link = 1"), ("missing", 1)),
    "all deleted": (lambda p: behind(p, "DELETE FROM audit"), ("cut", 1)),
    "the last deleted": (lambda p: behind(p, "DELETE FROM audit WHERE link >= 8"), ("cut", 8)),
    "two change places": (lambda p: swap(p, 4, 7), ("moved", 4)),
    "one put in": (lambda p: insert_at(p, 5), ("moved", 5)),
    "one put in at the end": (lambda p: forge(p, 10), ("added", 10)),
    "one put in before the beginning": (lambda p: forge(p, 0), ("added", 0)),
    "no number": (lambda p: behind(p, "UPDATE audit SET link = 'x' WHERE link = 9"), ("added", None)),
    "a count deleted": (lambda p: behind(p, "DELETE FROM audit WHERE app = 'other'"), ("missing", None)),
    "a count changed": (lambda p: behind(p, "UPDATE audit SET count = 1 WHERE app = 'other'"), ("changed", None)),
    "the end moved": (lambda p: behind(p, "UPDATE audit_head SET last = 8"), ("head", None)),
    "no head": (lambda p: behind(p, "DELETE FROM audit_head"), ("head", None)),
    "nothing left": (empty, ("head", None)),
}
COLUMN_CHANGES = [
    ("id", "1000"),
    ("at", "at + 0.001"),
    ("action", "'other'"),
    ("account_uuid", "NULL"),
    ("account", "'other'"),
    ("app", "NULL"),
    ("detail", "detail || ' '"),
    ("detail", "x'00'"),
    ("generation", "0"),
    ("first", "at"),
    ("count", "1"),
    ("late", "1"),
    ("hash", "randomblob(32)"),
    ("hash", "'text'"),
]


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_done_to_the_chain_is_found(tmp_path: Path, what: str) -> None:
    """Deletion, another order, an entry of somebody else's, an end that was cut off."""
    recorded(tmp_path)
    tamper, expected = TAMPERED[what]
    tamper(tmp_path)
    assert found(checked(tmp_path)) == expected


@pytest.mark.parametrize(("column", "value"), COLUMN_CHANGES)
def test_what_was_done_to_an_entry_is_found(tmp_path: Path, column: str, value: str) -> None:
    """No column of an entry can be changed."""
    recorded(tmp_path)
    change(tmp_path, column, value)
    assert found(checked(tmp_path)) == ("changed", 6)


def test_what_is_found_can_be_looked_at(tmp_path: Path) -> None:
    """The break says what stands there now."""
    recorded(tmp_path)
    behind(tmp_path, "UPDATE audit SET app = 'innocent' WHERE link = 6")
    broken = checked(tmp_path).broken
    assert broken is not None
    assert (broken.at, broken.action, broken.account, broken.app) == (NOW + 6, "granted", "me", "innocent")
    assert broken.detail == "Entry 6 was changed."


def put_back(place: Path, saved: Path, tables: tuple[str, ...] = ("audit", "audit_head")) -> None:
    """Put the record of an earlier copy in the place of the present one, head and all; the rest stays."""
    with closing(sqlite3.connect(database(place), isolation_level=None)) as connection:
        connection.execute("ATTACH ? AS saved", (str(saved),))
        for table in tables:
            connection.execute(f"DELETE FROM main.{table}")  # noqa: S608 -- our own names
            connection.execute(f"INSERT INTO main.{table} SELECT * FROM saved.{table}")  # noqa: S608 -- the same


def copied(place: Path) -> Path:
    """Return a copy of the database as it is now."""
    saved = place / "saved.db"
    behind(place, "VACUUM INTO ?", str(saved))
    return saved


def test_an_older_record_is_behind_the_fence(tmp_path: Path) -> None:
    """A whole older record with its proper head is found at the next start, and for as long as its gap is there."""
    recorded(tmp_path)
    saved = copied(tmp_path)

    async def more(first: int) -> None:
        async with opened(tmp_path) as store:
            await write(store, first, first + 2)

    asyncio.run(more(10))
    put_back(tmp_path, saved)
    assert found(checked(tmp_path)) == ("cut", 10)
    asyncio.run(more(13))
    assert found(checked(tmp_path)) == ("missing", 10)
    assert "Entries 10 to 12 are missing" in str(checked(tmp_path).broken)


def test_an_older_record_is_behind_a_running_daemon(tmp_path: Path) -> None:
    """While the daemon runs, its memory knows how far the record was, even where the fence is written over."""
    recorded(tmp_path)
    saved = copied(tmp_path)

    async def story() -> None:
        async with opened(tmp_path) as store:
            await write(store, 10, 12)
            put_back(tmp_path, saved)
            assert found(await store.verify_audit()) == ("cut", 10)
            await write(store, 13, 13)
            assert found(await store.verify_audit()) == ("missing", 10)

    asyncio.run(story())


def test_an_older_count_is_found(tmp_path: Path) -> None:
    """Counts that were right once do not come back: the digest in the head knows the newest ones."""
    recorded(tmp_path)
    saved = copied(tmp_path)

    async def more() -> None:
        async with opened(tmp_path) as store:
            await store.note_counts([counted(store_account(tmp_path))])

    asyncio.run(more())
    put_back(tmp_path, saved, ("audit",))
    assert found(checked(tmp_path)) == ("missing", None)
    asyncio.run(more())
    verdict = checked(tmp_path)
    assert found(verdict) == ("damaged", 10)
    assert "removed or put back" in str(verdict.broken)


def test_a_count_is_not_made_right_by_going_on(tmp_path: Path) -> None:
    """Keyfob adds to a count only if it is as it was written; else it writes that down first."""
    recorded(tmp_path)
    behind(tmp_path, "UPDATE audit SET count = 1 WHERE app = 'app' AND link IS NULL")

    async def more() -> None:
        async with opened(tmp_path) as store:
            await store.note_counts([counted(store_account(tmp_path))])

    asyncio.run(more())
    verdict = checked(tmp_path)
    assert found(verdict) == ("damaged", 10)
    assert verdict.broken is not None
    assert "account 'me', app 'app', token 1" in verdict.broken.detail


@pytest.mark.parametrize("statement", ["DELETE FROM audit_head", "UPDATE audit_head SET last = 3"])
@pytest.mark.parametrize("rest", ["", "DELETE FROM audit"])
def test_a_lost_head_is_not_made_anew_in_silence(tmp_path: Path, statement: str, rest: str) -> None:
    """The record goes on, and says that nobody knows what was before."""
    recorded(tmp_path)
    behind(tmp_path, statement)
    if rest:
        behind(tmp_path, rest)

    async def more() -> None:
        async with opened(tmp_path) as store:
            await write(store, 10, 12)

    asyncio.run(more())
    asyncio.run(more())
    assert found(checked(tmp_path)) == ("head", 10)
