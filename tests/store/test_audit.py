"""The record as it is read: narrowed, searched, cut into pages; and who used an account last."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from broker.store.store import Store
from tests.store.made import NOW, behind, opened, with_account
from tests.store.record import counted, store_account


def told(place: Path, story: Callable[[Store], Awaitable[list[str]]]) -> list[str]:
    """Write a few entries and return what the story reads of them."""

    async def live() -> list[str]:
        async with opened(place) as store:
            await with_account(store)
            noted = [
                ("granted", "me", "backup", "scope files.read"),
                ("app-added", None, "backup", "100% new"),
                ("granted", "gone", "printer", "every scope"),
                ("refreshed", "me", None, "good for 3600 s"),
            ]
            for number, (action, account, app, detail) in enumerate(noted):
                await store.note(at=NOW + number, action=action, account=account, app=app, detail=detail)
            return await story(store)

    return asyncio.run(live())


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["FILES"], ["scope files.read"]),
        (["backup"], ["100% new", "scope files.read"]),
        (["granted", "scope"], ["every scope", "scope files.read"]),
        (["me", "good"], ["good for 3600 s"]),
        (["gone"], ["every scope"]),
        (["%"], ["100% new"]),
        (["_"], []),
        (["backup", "printer"], []),
    ],
)
def test_words_find_entries(tmp_path: Path, words: list[str], found: list[str]) -> None:
    """Each in action, detail, account or app, however it is written; signs of a pattern are signs like others."""

    async def story(store: Store) -> list[str]:
        return [entry.detail for entry in await store.audit(words=words)]

    assert told(tmp_path, story) == found


def test_actions_narrow(tmp_path: Path) -> None:
    """Only those that are named, together with every other filter."""

    async def story(store: Store) -> list[str]:
        several = await store.audit(actions=["app-added", "refreshed"])
        one = await store.audit(actions=["granted", "app-added"], app="backup", account="me")
        return [entry.action for entry in (*several, *one)]

    assert told(tmp_path, story) == ["refreshed", "app-added", "granted"]


def test_an_account_is_found_by_what_it_is(tmp_path: Path) -> None:
    """By its uuid there is no other account of the same name, and none of nobody's."""

    async def story(store: Store) -> list[str]:
        account = await store.account("me")
        assert account is not None
        entries = await store.audit(account_uuid=account.uuid)
        return [entry.action for entry in (*entries, *await store.audit(account_uuid="other"))]

    assert told(tmp_path, story) == ["refreshed", "granted"]


def test_pages_follow_each_other(tmp_path: Path) -> None:
    """What is left out and what is taken fit without a gap; beyond the end there is nothing."""

    async def story(store: Store) -> list[str]:
        read = [await store.audit(limit=3, skip=skip) for skip in (0, 3, 6)]
        assert [len(entries) for entries in read] == [3, 1, 0]
        return [entry.action for entries in read for entry in entries]

    assert told(tmp_path, story) == ["refreshed", "granted", "app-added", "granted"]


def test_entries_are_told_apart(tmp_path: Path) -> None:
    """Also a count that still grows and has no number yet."""

    async def live() -> None:
        async with opened(tmp_path) as store:
            await with_account(store)
            await store.note_counts([counted(store_account(tmp_path), app) for app in ("a", "b")])
            before = {entry.app: (entry.id, entry.number) for entry in await store.audit()}
            await store.note_counts([counted(store_account(tmp_path), at=NOW + 9.0, app="a")])
            assert {entry.app: (entry.id, entry.number) for entry in await store.audit()} == before
            assert len({row for row, _ in before.values()}) == 2
            assert {number for _, number in before.values()} == {None}

    asyncio.run(live())


def test_who_used_an_account_last(tmp_path: Path) -> None:
    """By the time of the last hand-out, although an older row grew; an account that nobody used is left out."""

    async def live() -> None:
        async with opened(tmp_path) as store:
            await with_account(store)
            unused = await with_account_called(store, tmp_path)
            account = store_account(tmp_path)
            await store.note_counts([counted(account, "first")])
            await store.note_counts([counted(account, "second", at=NOW + 5.0)])
            assert await store.last_uses([account, unused, "none"]) == {account: "second"}
            await store.note_counts([counted(account, "first", at=NOW + 10.0)])
            await store.note(at=NOW + 20.0, action="granted", account="me", app="third", detail="")
            assert await store.last_uses([account, unused]) == {account: "first"}
            assert await store.last_uses([]) == {}

    asyncio.run(live())


async def with_account_called(store: Store, place: Path) -> str:
    """Return the uuid of a second account."""
    first = await store.account("me")
    assert first is not None
    clients = behind(place, "SELECT uuid FROM client")
    second = await store.create_account(
        name="unused",
        provider=first.provider,
        client=str(clients[0][0]),
        destination=first.destination,
        identity=None,
        asked_scope=(),
        resource=None,
        state=first.state,
        grant=None,
        now=NOW,
    )
    return second.uuid
