"""What a person is shown first: SQLite ranks and finds what ``core.advice`` and a search in Python would."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from broker.core import advice
from broker.core.account import Account
from broker.core.timing import DAY
from broker.store import tables as t
from broker.store.accounts import find
from broker.store.store import Order, Store
from tests.store.made import NOW, behind, gone_through, opened, statements, with_account
from tests.store.test_due import any_row

ROWS = 300
STATES = ("active", "static", "needs-login", "misconfigured", "suspect", "uncertain", "refreshing-failed")
LABELS = (
    "",
    "Ada",
    "M\u00fcLLER",
    "Stra\u00dfe 5",
    "\u212aelvin",
    "\ufb01n",
    "50%",
    "a_b",
    "wow!",
    "nul\0Inside",
    "\u0416anna",
)
WORDS = (
    "ada",
    "m\u00fcller",
    "strasse",
    "kelvin",
    "fi",
    "%",
    "_",
    "!",
    "inside",
    "\u0436AN",
    "exam",
    "client-1",
    "0",
    "7",
)


async def filled(store: Store) -> list[Account]:
    """Put many accounts of any state into a store, and return them."""
    made = await with_account(store)

    def work(tx: Connection) -> None:
        like = {name: value for name, value in (find(tx, made.uuid) or {}).items() if not t.account.c[name].computed}
        rng = random.Random(2)  # noqa: S311 -- the same rows in every run
        rows = []
        for _ in range(ROWS):
            row: dict[str, Any] = any_row(like, rng) | {"state": rng.choice(STATES)}
            ends = rng.choice((None, -1.0, 0.0, DAY / 2, DAY, 3 * DAY, 7 * DAY, 8 * DAY))
            row["expires_at"] = None if ends is None else NOW + ends
            row["refresh_generation"] = rng.choice((1, None))
            row |= {"identity_subject": rng.choice(("s", None)), "identity_label": rng.choice(LABELS)}
            rows.append(row)
        tx.execute(insert(t.account), rows)

    await store._db.write(work)  # noqa: SLF001 -- rows that no story makes by the hundred
    return await store.accounts()


def ranks(accounts: list[Account], order: Order) -> dict[int, list[str]]:
    """Return the names of each rank, as Python finds them."""
    found: dict[int, list[str]] = {rank: [] for rank in advice.RANKS}
    for one in accounts:
        texts = [text.casefold() for text in (one.name, one.provider, one.label)]
        if all(any(word in text for text in texts) for word in order.words):
            rank = advice.rank(one, order.now)
            found[min(rank, advice.ENDING) if one.uuid in order.lacking else rank].append(one.name)
    return found


async def everything(store: Store, order: Order) -> dict[int, list[str]]:
    """Return the same as the store finds them, three at a time."""
    counts = await store.ranked(order)
    found: dict[int, list[str]] = {}
    for rank, count in counts.items():
        found[rank] = []
        for begin in range(0, count, 3):
            some = (await store.of_ranks(order, {rank: slice(begin, min(begin + 3, count))})).get(rank, [])
            found[rank] += [one.name for one in some]
    return found


@pytest.mark.parametrize("now", [NOW - DAY, NOW, NOW + DAY / 2, NOW + 30 * DAY])
def test_sqlite_ranks_as_python_does(tmp_path: Path, now: float) -> None:
    """Whatever the state and the life of the token, and whose scope is too little: the same order, each once."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            accounts = await filled(store)
            for lacking in ((), tuple(one.uuid for one in accounts[::7])):
                order = Order(now, lacking)
                expected = ranks(accounts, order)
                assert now == NOW + 30 * DAY or all(expected[rank] for rank in set(advice.RANKS) - {advice.BEGUN})
                assert await everything(store, order) == expected
                assert sum((await store.ranked(order)).values()) == ROWS + 1

    asyncio.run(story())


@pytest.mark.parametrize("word", WORDS)
def test_sqlite_finds_what_python_finds(tmp_path: Path, word: str) -> None:
    """In capital letters or small ones of any script; and what stands for others in SQLite stands for itself."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            accounts = await filled(store)
            for words in ((word.casefold(),), (word.casefold(), "e")):
                order = Order(NOW, (accounts[0].uuid,), words)
                expected = ranks(accounts, order)
                assert await everything(store, order) == expected
            assert sum(map(len, ranks(accounts, Order(NOW, (), (word.casefold(),))).values())) > 0

    asyncio.run(story())


def test_more_words_than_anybody_types(tmp_path: Path) -> None:
    """Neither their number nor their length is too much for SQLite."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await with_account(store)
            assert sum((await store.ranked(Order(NOW, (), ("m",) * 5000))).values()) == 1
            assert sum((await store.ranked(Order(NOW, (), ("m" * 60_000,)))).values()) == 0

    asyncio.run(story())


def test_no_account_is_read_that_is_not_shown(tmp_path: Path) -> None:
    """The first page and the numbers of the states are answered by indexes, never by going through all accounts."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await with_account(store)
            with statements() as asked:
                order = Order(NOW, ("some",))
                await store.ranked(order)
                await store.of_ranks(order, {rank: slice(5, 50) for rank in advice.RANKS})
                await store.states()
                await store.needing(NOW)
                await store.lost_answers()
        assert [step for step in gone_through(tmp_path, asked) if "COVERING INDEX" not in step[0]] == []

    asyncio.run(story())


def test_what_is_shown_was_proven(tmp_path: Path) -> None:
    """A row that was changed is found out, also when it was proven before; one that cannot be read is left out."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            for name in ("a", "b", "c"):
                await with_account(store, name)
            order, which = Order(NOW), {advice.WELL: slice(0, 50)}
            first = (await store.of_ranks(order, which))[advice.WELL]
            assert [(one.name, one.proven) for one in first] == [("a", True), ("b", True), ("c", True)]
            assert (await store.of_ranks(order, which))[advice.WELL] == first
            behind(tmp_path, "UPDATE account SET provider = 'example', identity_subject = 'other' WHERE name = 'b'")
            behind(tmp_path, "UPDATE account SET scope = '[' WHERE name = 'c'")
            found = (await store.of_ranks(order, which))[advice.WELL]
            assert [(one.name, one.proven) for one in found] == [("a", True), ("b", False)]
            assert set(store.newly_changed()) == {"account 'b'", "account 'c'"}

    asyncio.run(story())
