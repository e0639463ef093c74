"""Apps have what they were granted, by a key that only its hash is known of; the record says what they got."""

import asyncio
from pathlib import Path

import pytest

from broker.core.policy import App, AppGrant
from broker.errors import Conflict, UnknownAccount, UnknownApp
from broker.store.store import AppRow, Count
from tests.store.made import NOW, behind, opened, with_account

FULL = AppGrant("me", ("read",), "https://api.example.org", "proxy", NOW + 60.0)


def test_an_app_comes_back_with_its_grants(tmp_path: Path) -> None:
    """What was granted is what is shown, and what the key finds."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await with_account(store)
            await with_account(store, "other")
            await store.add_app("app", b"hash-1", [AppGrant("other"), FULL], NOW + 9.0, NOW)
            await store.add_app("bare", b"hash-2", [], None, NOW)
            grants = (FULL, AppGrant("other"))
            assert await store.apps() == [
                AppRow("app", grants, NOW, None, NOW + 9.0),
                AppRow("bare", (), NOW, None, None),
            ]
            assert await store.app("bare") == AppRow("bare", (), NOW, None, None)
            assert await store.app("nobody") is None
            assert await store.app_by_key(b"hash-1", NOW) == App("app", grants)
            assert await store.app_by_key(b"hash-3", NOW) is None
            assert await store.app_by_key(b"hash-1", NOW + 9.0) is None

    asyncio.run(story())


def test_an_app_that_cannot_be_whole_is_not_made(tmp_path: Path) -> None:
    """A taken name, or a grant of an account that does not exist, leaves no app and no grant."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await with_account(store)
            await store.add_app("app", b"hash-1", [], None, NOW)
            with pytest.raises(Conflict):
                await store.add_app("app", b"hash-2", [FULL], None, NOW)
            with pytest.raises(UnknownAccount):
                await store.add_app("new", b"hash-3", [FULL, AppGrant("nobody")], None, NOW)
            assert [app.name for app in await store.apps()] == ["app"]
            assert await store.app_by_key(b"hash-3", NOW) is None
            assert behind(tmp_path, "SELECT * FROM app_grant") == []

    asyncio.run(story())


def test_a_rotated_key_stops_at_once(tmp_path: Path) -> None:
    """The old key finds nothing, the new one the same grants; a deleted app's key finds nothing either."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await with_account(store)
            await store.add_app("app", b"old", [FULL], None, NOW)
            await store.rotate_app("app", b"new")
            assert await store.app_by_key(b"old", NOW) is None
            assert await store.app_by_key(b"new", NOW) == App("app", (FULL,))
            await store.delete_app("app")
            assert await store.app_by_key(b"new", NOW) is None
            assert behind(tmp_path, "SELECT * FROM app_grant") == []

    asyncio.run(story())


def test_grants_are_changed_one_by_one(tmp_path: Path) -> None:
    """Granting again replaces, revoking takes away, a deleted account takes its grants along."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            await with_account(store, "other")
            await store.add_app("app", b"hash", [AppGrant("me")], None, NOW)
            await store.put_grant("app", FULL)
            await store.put_grant("app", AppGrant("other"))
            assert await store.app_by_key(b"hash", NOW) == App("app", (FULL, AppGrant("other")))
            await store.delete_grant("app", "other")
            await store.delete_grant("app", "other")
            assert await store.app_by_key(b"hash", NOW) == App("app", (FULL,))
            await store.delete_account(made)
            assert await store.app_by_key(b"hash", NOW) == App("app", ())

    asyncio.run(story())


def test_unknown_names_are_named(tmp_path: Path) -> None:
    """Every change of an app or account that does not exist says which one."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await with_account(store)
            for change in (
                store.rotate_app("nobody", b"x"),
                store.delete_app("nobody"),
                store.put_grant("nobody", FULL),
                store.delete_grant("nobody", "me"),
            ):
                with pytest.raises(UnknownApp, match="nobody"):
                    await change
            await store.add_app("app", b"hash", [], None, NOW)
            for change in (store.put_grant("app", AppGrant("nobody")), store.delete_grant("app", "nobody")):
                with pytest.raises(UnknownAccount, match="nobody"):
                    await change

    asyncio.run(story())


def test_hand_outs_of_one_token_are_one_line(tmp_path: Path) -> None:
    """Hand-outs are counted per account, app and generation, whatever their order, and move no version."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            await store.add_app("app", b"hash", [], None, NOW)
            await store.note_counts([])
            await store.note_counts(
                [Count(made.uuid, "app", 1, NOW + 5.0, NOW + 9.0, 3), Count(made.uuid, "owner", 1, NOW, NOW, 1)]
            )
            await store.note_counts([Count(made.uuid, "app", 1, NOW + 1.0, NOW + 2.0, 2)])
            await store.note_counts([Count(made.uuid, "app", 2, NOW + 3.0, NOW + 3.0, 1)])
            seen = [
                (entry.app, entry.generation, entry.first, entry.last, entry.count) for entry in await store.audit()
            ]
            assert seen == [
                ("app", 1, NOW + 1.0, NOW + 9.0, 5),
                ("app", 2, NOW + 3.0, NOW + 3.0, 1),
                ("owner", 1, NOW, NOW, 1),
            ]
            assert {(entry.action, entry.account) for entry in await store.audit()} == {("handout", "me")}
            account, app = await store.account("me"), await store.app("app")
            assert account is not None
            assert app is not None
            assert (account.last_used_at, account.version, app.last_used_at) == (NOW + 9.0, made.version, NOW + 9.0)

    asyncio.run(story())


def test_the_record_is_filtered_and_newest_first(tmp_path: Path) -> None:
    """Account, app, since and limit narrow the record; equal times keep their order."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await with_account(store)
            await store.note(at=NOW, action="login", account="me", app=None, detail="first")
            await store.note(at=NOW, action="grant", account="me", app="app", detail="second")
            await store.note(at=NOW + 1.0, action="start", account=None, app=None, detail="third")

            async def details(**narrow: object) -> list[str]:
                return [entry.detail for entry in await store.audit(**narrow)]  # type: ignore[arg-type]  # by name

            assert await details() == ["third", "second", "first"]
            assert await details(account="me") == ["second", "first"]
            assert await details(app="app") == ["second"]
            assert await details(since=NOW + 1.0) == ["third"]
            assert await details(limit=2) == ["third", "second"]
            assert await details(account="nobody") == []

    asyncio.run(story())


def test_the_record_outlives_the_account(tmp_path: Path) -> None:
    """After a new name the record shows it and is found under both; after a deletion it still stands."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            await store.note_counts([Count(made.uuid, "owner", 1, NOW, NOW, 1)])
            renamed = await store.rename_account(made, "work")
            for name in ("me", "work"):
                assert [entry.account for entry in await store.audit(account=name)] == ["work"]
            await store.delete_account(renamed)
            [entry] = await store.audit()
            assert (entry.account, entry.count) == ("me", 1)

    asyncio.run(story())
