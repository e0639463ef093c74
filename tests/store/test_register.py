"""Nobody who has the database and not the key gives an app anything, and what was taken away stays away."""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from broker.core.policy import App, AppGrant
from broker.errors import Locked, SecretChanged, UnknownApp
from broker.store.fence import beside
from broker.store.store import Store
from tests.store.made import NOW, behind, database, key_file, opened, with_account

READ = AppGrant("me", ("read",), "https://api.example.org", "token", NOW + 60.0, rate_share=30)
KEY, OTHER_KEY = b"key".ljust(32, b"."), b"other".ljust(32, b".")
HEX = f"x'{OTHER_KEY.hex()}'"
# Each gives an app more than it was given.
GRANT_CHANGED = {
    "scope": """UPDATE app_grant SET scope = '["read", "write"]'""",
    "every scope": "UPDATE app_grant SET scope = '[]'",
    "resource": "UPDATE app_grant SET resource = NULL",
    "mode": "UPDATE app_grant SET mode = 'proxy'",
    "rules": """UPDATE app_grant SET rules = '["read-only"]'""",
    "expiry": "UPDATE app_grant SET expires_at = NULL",
    "rate share": "UPDATE app_grant SET rate_share = NULL",
    "token file": "UPDATE app_grant SET token_file = 'access_token'",
    "other account": "UPDATE app_grant SET account = (SELECT uuid FROM account WHERE name = 'other')",
    "no JSON of ours": "UPDATE app_grant SET scope = '{}'",
}
APP_CHANGED = {
    "key": f"UPDATE app SET key_hash = {HEX} WHERE name = 'app'",  # noqa: S608 -- our own values
    "name": "UPDATE app SET name = 'app-' WHERE name = 'app'",
    "expiry": "UPDATE app SET expires_at = NULL",
    "list": "UPDATE app SET listed = '{}'",
    "epoch": "UPDATE app SET epoch = epoch + 1",
    "no seal": "UPDATE app SET seal = NULL",
    "text for a seal": "UPDATE app SET seal = 'seal'",
    "register": "UPDATE app_register SET epoch = epoch + 1",
    "register's list": "UPDATE app_register SET apps = '{\"app\": 1}'",
    "no register": "DELETE FROM app_register",
}


def at(place: Path, story: Callable[[Store], Awaitable[None]], now: float = NOW) -> None:
    """Open the store for one story."""

    async def telling() -> None:
        async with opened(place, now) as store:
            await story(store)

    asyncio.run(telling())


async def furnish(store: Store) -> None:
    """Make two accounts, an app that has one of them, and one that has nothing."""
    await with_account(store)
    await with_account(store, "other")
    await store.add_app("app", KEY, [READ], NOW + 600.0, NOW)
    await store.add_app("bare", b"bare".ljust(32, b"."), [], None, NOW)


async def has_nothing(store: Store) -> None:
    """Whoever has the app's key, old or new, gets nothing."""
    for key in (KEY, OTHER_KEY):
        try:
            app = await store.app_by_key(key, NOW)
        except SecretChanged as exc:
            assert "was changed outside Keyfob" in exc.detail  # noqa: PT017 -- one of two right answers
            assert "keyfob app remove app" in exc.hint  # noqa: PT017 -- as above
        else:
            assert app is None or app.grants == ()


@pytest.mark.parametrize("how", GRANT_CHANGED)
def test_a_changed_grant_is_none(tmp_path: Path, how: str) -> None:
    """A grant that is not as it was written is left out; it is told of, nothing is deleted, and a new one mends it."""

    async def story(store: Store) -> None:
        await furnish(store)
        behind(tmp_path, GRANT_CHANGED[how])
        rows = behind(tmp_path, "SELECT * FROM app_grant")
        assert await store.app_by_key(KEY, NOW) == App("app", ())
        [whose] = await store.changed_outside()
        assert whose.startswith("a grant of app 'app' (account ")
        assert store.newly_changed() == [whose]
        assert store.newly_changed() == []
        assert behind(tmp_path, "SELECT * FROM app_grant") == rows
        await store.put_grant("app", READ)
        app = await store.app_by_key(KEY, NOW)
        assert app is not None
        assert app.grants == (READ,)

    at(tmp_path, story)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("how", APP_CHANGED)
def test_a_changed_app_has_nothing(tmp_path: Path, how: str, *, restarted: bool) -> None:
    """An app that is not as it was written is refused, running or started anew; only removing it helps."""

    async def after(store: Store) -> None:
        await has_nothing(store)
        assert "app" in "".join(await store.changed_outside())
        assert store.newly_changed()
        for name in [row.name for row in await store.apps()]:
            await store.delete_app(name)
        assert await store.changed_outside() == []
        await store.add_app("app", KEY, [READ], NOW + 600.0, NOW)
        assert await store.app_by_key(KEY, NOW) == App("app", (READ,), KEY)

    async def story(store: Store) -> None:
        await furnish(store)
        behind(tmp_path, APP_CHANGED[how])
        if not restarted:
            for change in (store.rotate_app("app", OTHER_KEY), store.put_grant("app", READ)):
                with pytest.raises(UnknownApp if how == "name" else SecretChanged, match="'app'"):
                    await change
            await after(store)

    at(tmp_path, story)
    if restarted:
        at(tmp_path, after)


def test_what_somebody_adds_is_nothing(tmp_path: Path) -> None:
    """A grant, an app, or grants for an app that is yet to be made: none of it counts."""

    async def story(store: Store) -> None:
        await furnish(store)
        other = "(SELECT uuid FROM account WHERE name = 'other')"
        for app in ("app", "new"):
            behind(
                tmp_path, f"INSERT INTO app_grant SELECT '{app}', {other}, '[]', NULL, 'token', NULL, NULL, NULL, NULL"
            )
        behind(
            tmp_path,
            "INSERT INTO app SELECT 'mine', ?, created_at, NULL, NULL, epoch, listed, seal FROM app WHERE name = 'app'",
            OTHER_KEY,
        )
        assert await store.app_by_key(KEY, NOW) == App("app", (READ,), KEY)
        with pytest.raises(SecretChanged, match="'mine'"):
            await store.app_by_key(OTHER_KEY, NOW)
        await store.add_app("new", b"new".ljust(32, b"."), [], None, NOW)
        assert await store.app_by_key(b"new".ljust(32, b"."), NOW) == App("new", ())
        assert await store.changed_outside() == [
            "a grant of app 'app' (account 'other')",
            "app 'mine'",
        ]

    at(tmp_path, story)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_revoked_grant_that_is_put_back(tmp_path: Path, *, whole: bool, restarted: bool) -> None:
    """Its row alone is on no list; with the app's row, or the register too, the epoch is one of before."""
    tables = ("app", "app_grant", *(["app_register"] if whole else []))

    async def after(store: Store) -> None:
        await has_nothing(store)
        assert await store.changed_outside()

    async def story(store: Store) -> None:
        await furnish(store)
        before = {table: behind(tmp_path, f"SELECT * FROM {table}") for table in tables}  # noqa: S608 -- our own names
        await store.delete_grant("app", "me")
        rows = before["app_grant"]
        put_back(tmp_path, "app_grant", rows)
        assert await store.app_by_key(KEY, NOW) == App("app", ())
        for table, rows in before.items():
            behind(tmp_path, f"DELETE FROM {table}")  # noqa: S608 -- our own names
            put_back(tmp_path, table, rows)
        if not restarted:
            await after(store)

    at(tmp_path, story)
    if restarted:
        at(tmp_path, after)


def put_back(place: Path, table: str, rows: list[tuple[object, ...]]) -> None:
    """Write rows of before."""
    for row in rows:
        behind(place, f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", *row)  # noqa: S608 -- our own names


@pytest.mark.parametrize("change", ["rotate", "remove"])
def test_an_old_key_that_is_put_back(tmp_path: Path, change: str) -> None:
    """The key of a removed app, or the one before, does not come back with its row."""

    async def story(store: Store) -> None:
        await furnish(store)
        rows, grants = (behind(tmp_path, f"SELECT * FROM {table}") for table in ("app", "app_grant"))  # noqa: S608 -- ours
        if change == "rotate":
            await store.rotate_app("app", OTHER_KEY)
            behind(tmp_path, "DELETE FROM app WHERE name = 'app'")
        else:
            await store.delete_app("app")
        put_back(tmp_path, "app", [row for row in rows if row[0] == "app"])
        if change == "remove":
            put_back(tmp_path, "app_grant", grants)
        with pytest.raises(SecretChanged, match="'app'"):
            await store.app_by_key(KEY, NOW)

    at(tmp_path, story)


def test_the_whole_database_of_before(tmp_path: Path) -> None:
    """Where no refresh token moved, the fence still knows that the apps of an older database are not those of now."""
    at(tmp_path, furnish)
    shutil.copy(database(tmp_path), tmp_path / "before.db")

    async def revoked(store: Store) -> None:
        await store.delete_grant("app", "me")

    async def after(store: Store) -> None:
        assert store.copied == ""
        await has_nothing(store)
        assert await store.changed_outside() == ["app 'app'", "app 'bare'"]

    at(tmp_path, revoked)
    with database(tmp_path).open("r+b") as file:  # the same file, or it would be taken for a copy
        file.write((tmp_path / "before.db").read_bytes())
    at(tmp_path, after)


def test_what_is_missing_only_takes_away(tmp_path: Path) -> None:
    """A deleted grant or app is gone, and nothing else suffers."""

    async def story(store: Store) -> None:
        await furnish(store)
        behind(tmp_path, "DELETE FROM app_grant")
        behind(tmp_path, "DELETE FROM app WHERE name = 'bare'")
        assert await store.app_by_key(KEY, NOW) == App("app", ())
        assert await store.changed_outside() == []

    at(tmp_path, story)


def test_without_the_key_apps_are_taken_away_only(tmp_path: Path) -> None:
    """Locked, nothing is given and no app is known; what is taken away then cannot be put back after the unlock."""
    at(tmp_path, furnish)
    grants = behind(tmp_path, "SELECT * FROM app_grant")
    rows = behind(tmp_path, "SELECT * FROM app WHERE name = 'bare'")
    key_file(tmp_path).rename(tmp_path / "away")

    async def locked(store: Store) -> None:
        for change in (
            store.app_by_key(KEY, NOW),
            store.add_app("new", OTHER_KEY, [], None, NOW),
            store.rotate_app("app", OTHER_KEY),
            store.put_grant("app", READ),
        ):
            with pytest.raises(Locked):
                await change
        assert await store.app_by_key(OTHER_KEY, NOW) is None
        assert await store.changed_outside() == []
        await store.delete_grant("app", "me")
        await store.delete_app("bare")

    async def after(store: Store) -> None:
        put_back(tmp_path, "app_grant", grants)
        put_back(tmp_path, "app", rows)
        assert await store.app_by_key(KEY, NOW) == App("app", ())
        assert await store.changed_outside() == ["a grant of app 'app' (account 'me')", "app 'bare'"]

    at(tmp_path, locked)
    (tmp_path / "away").rename(key_file(tmp_path))
    at(tmp_path, after)


def test_a_deleted_account_takes_its_grants_along(tmp_path: Path) -> None:
    """The app goes on with the others, and one that is called the same later is not meant."""

    async def story(store: Store) -> None:
        await furnish(store)
        await store.put_grant("app", AppGrant("other"))
        account = await store.account("me")
        assert account is not None
        await store.delete_account(account)
        await with_account(store)
        assert await store.app_by_key(KEY, NOW) == App("app", (AppGrant("other"),))
        assert await store.changed_outside() == []

    at(tmp_path, story)


def test_new_keys_and_a_renamed_account(tmp_path: Path) -> None:
    """A rotation seals apps anew, and their grants follow the account's name."""

    async def story(store: Store) -> None:
        await furnish(store)
        account = await store.account("me")
        assert account is not None
        seals = behind(tmp_path, "SELECT seal FROM app")
        await store.rotate(store.key, None)
        assert not set(behind(tmp_path, "SELECT seal FROM app")) & set(seals)
        await store.rename_account(account, "work")
        app = await store.app_by_key(KEY, NOW)
        assert app is not None
        assert [grant.account for grant in app.grants] == ["work"]
        assert await store.changed_outside() == []

    at(tmp_path, story)
    at(tmp_path, still_well)


async def still_well(store: Store) -> None:
    """All fits."""
    assert await store.changed_outside() == []
    assert (await store.app_by_key(KEY, NOW)) is not None


def test_the_fence_tells_how_far_the_register_is(tmp_path: Path) -> None:
    """It follows each change; one that is behind, as after a power cut, means nothing and is brought up to date."""
    at(tmp_path, furnish)
    fence = beside(database(tmp_path))
    assert int(fence.read_text().split()[-1]) == behind(tmp_path, "SELECT epoch FROM app_register")[0][0] == 2
    fence.write_text(fence.read_text().replace(f"{2:020d}\n", f"{0:020d}\n"))
    at(tmp_path, still_well)
    assert int(fence.read_text().split()[-1]) == 2
    assert json.loads(behind(tmp_path, "SELECT apps FROM app_register")[0][0]) == {"app": 1, "bare": 2}


def test_a_look_while_grants_change(tmp_path: Path) -> None:
    """What changes between two looks at the tables is not taken for the work of a stranger."""

    async def story(store: Store) -> None:
        await furnish(store)
        done = asyncio.Event()

        async def look() -> list[str]:
            found = []
            while not done.is_set():
                found += await store.changed_outside()
                assert await store.app_by_key(KEY, NOW) is not None
            return found

        looks = [asyncio.create_task(look()) for _ in range(3)]
        for _ in range(60):
            await store.put_grant("app", AppGrant("me"))
            await store.put_grant("app", READ)
            await store.delete_grant("app", "me")
        done.set()
        assert [whose for found in await asyncio.gather(*looks) for whose in found] == []
        assert store.newly_changed() == []

    at(tmp_path, story)
