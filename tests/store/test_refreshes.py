"""A refresh loses no rotated token: whatever the moment of a crash, and whoever else writes."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core import account as core
from broker.core.account import Account, Active, Destination, NeedsLogin
from broker.core.policy import AppGrant
from broker.core.secret import Secret
from broker.errors import StoreUnavailable
from broker.store import engine
from broker.store.store import Store
from tests.store.made import DESTINATION, ME, NOW, behind, database, grant, key_file, opened, reveal, with_account


def held(place: Path, kind: str) -> list[int]:
    """Return the generations of the stored secrets of one kind."""
    return [row[0] for row in behind(place, "SELECT generation FROM secret WHERE kind = ? ORDER BY 1", kind)]


async def refreshed(store: Store, account: Account, mark: str, refresh: str | None) -> Account:
    """Walk through one good refresh."""
    begun = await store.begin_refresh(account, NOW)
    assert begun is not None
    kept = await store.keep_answer(begun, Secret("{}"), Secret(refresh) if refresh else None)
    assert kept is not None
    done = await store.swap(core.refreshed(kept, NOW), grant=grant(mark, refresh=refresh))
    assert done is not None
    return done


def crashed(place: Path, name: str) -> Path:
    """Copy what is on disk at this moment, as a kill would leave it, into a place of its own."""
    copy = place / name
    shutil.copytree(database(place).parent, database(copy).parent)
    shutil.copytree(key_file(place).parent, key_file(copy).parent)
    return copy


def test_the_intent_is_durable_before_anything_is_sent(tmp_path: Path) -> None:
    """When begin_refresh returns, another process and a restart after a kill see the intent."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            begun = await store.begin_refresh(made, NOW + 7.0)
            assert begun is not None
            assert begun.version == made.version + 1
            copy = crashed(tmp_path, "crash")
        async with opened(copy) as store:
            [(account, started_at, has_answer)] = await store.open_intents()
            assert (account, started_at, has_answer) == (begun, NOW + 7.0, False)
            assert await store.kept_answer(account) is None
            assert reveal(await store.refresh_token(account)) == "refresh-1"

    asyncio.run(story())


def test_no_intent_no_refresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the intent cannot be written the caller is told, and nothing has changed."""
    monkeypatch.setattr(engine, "PRAGMAS", (*engine.PRAGMAS, "PRAGMA busy_timeout = 20"))

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            other = engine.Database(database(tmp_path))
            with other._writer.one() as connection:  # noqa: SLF001 -- another process, in effect
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                with pytest.raises(StoreUnavailable, match="locked"):
                    await store.begin_refresh(made, NOW)
                assert await store.account("me") == made
                connection.exec_driver_sql("ROLLBACK")
            await other.close()
            assert await store.open_intents() == []
            assert await store.begin_refresh(made, NOW) is not None

    asyncio.run(story())


def test_a_rotated_token_is_durable_before_the_reply_is_judged(tmp_path: Path) -> None:
    """After a kill right behind keep_answer the new refresh token is in force and the raw reply is there."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            begun = await store.begin_refresh(made, NOW)
            assert begun is not None
            kept = await store.keep_answer(begun, Secret('{"raw":1}'), Secret("refresh-2"))
            assert kept is not None
            copy = crashed(tmp_path, "crash")
        async with opened(copy) as store:
            [(account, _, has_answer)] = await store.open_intents()
            assert (account, has_answer) == (kept, True)
            assert (account.generation, account.version) == (2, begun.version + 1)
            assert reveal(await store.refresh_token(account)) == "refresh-2"
            assert reveal(await store.kept_answer(account)) == '{"raw":1}'
            assert held(copy, "refresh_token") == [1, 2]

    asyncio.run(story())


def test_the_old_access_token_is_served_until_the_new_one_is_judged(tmp_path: Path) -> None:
    """Between keep_answer and swap the present account still has the access token that lives."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            kept = await store.keep_answer(made, Secret("garbage"), None)
            assert kept is not None
            assert kept.token == made.token
            assert reveal(await store.access_token(kept)) == "access-1"
            failed = await store.swap(core.refresh_failed(kept, NOW, "garbage", NOW + 15.0))
            assert failed is not None
            assert reveal(await store.access_token(failed)) == "access-1"
            assert reveal(await store.refresh_token(failed)) == "refresh-1"
            assert failed.state == core.RefreshingFailed(NOW, "garbage", 1, NOW + 15.0)

    asyncio.run(story())


def test_a_finished_refresh_leaves_one_of_each(tmp_path: Path) -> None:
    """Swap with a grant fills the generation that keep_answer opened, and drops the answer and the intent."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            done = await refreshed(store, made, "2", "refresh-2")
            assert (done.generation, done.last_refresh_at) == (2, NOW)
            assert reveal(await store.access_token(done)) == "access-2"
            assert reveal(await store.refresh_token(done)) == "refresh-2"
            assert await store.open_intents() == []
            assert await store.kept_answer(done) is None
            assert (held(tmp_path, "access_token"), held(tmp_path, "answer")) == ([2], [])

    asyncio.run(story())


def test_the_previous_refresh_token_stays_until_the_new_one_was_used(tmp_path: Path) -> None:
    """One previous token is kept through its successor's first use, never two, and none once that has worked."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            account = await refreshed(store, account, "2", "refresh-2")
            assert held(tmp_path, "refresh_token") == [1, 2]
            account = await refreshed(store, account, "3", "refresh-3")
            assert held(tmp_path, "refresh_token") == [2, 3]
            account = await refreshed(store, account, "4", None)
            assert held(tmp_path, "refresh_token") == [3]
            assert reveal(await store.refresh_token(account)) == "refresh-3"

    asyncio.run(story())


def test_a_reply_without_a_refresh_token_keeps_the_old_one(tmp_path: Path) -> None:
    """Where the reply has no new refresh token the old one stays in force (RFC 6749 6), with its expiry."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            first = replace(grant("1", refresh="refresh-1", id_token="id-1"), refresh_expires_at=NOW + 9.0)
            made = await with_account(store, first=first)
            done = await refreshed(store, made, "2", None)
            assert (done.has_refresh_token, done.refresh_expires_at) == (True, NOW + 9.0)
            assert reveal(await store.refresh_token(done)) == "refresh-1"
            assert reveal(await store.id_token(done)) == "id-1"
            rotated = await refreshed(store, done, "3", "refresh-3")
            assert rotated.refresh_expires_at is None

    asyncio.run(story())


def test_a_grant_without_a_kept_answer_gets_a_generation_of_its_own(tmp_path: Path) -> None:
    """Two tokens never share a generation, so that audit and events can name them."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            second = await store.swap(made, grant=grant("2", refresh="refresh-2"))
            assert second is not None
            third = await store.swap(second, grant=grant("3"))
            assert third is not None
            assert (second.generation, third.generation) == (2, 3)
            assert reveal(await store.refresh_token(third)) == "refresh-2"
            assert held(tmp_path, "refresh_token") == [2]

    asyncio.run(story())


def test_of_two_writers_one_is_refused(tmp_path: Path) -> None:
    """Of many swaps that expect the same version exactly one wins, and the others change nothing."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            wishes = [core.login_needed(made, NOW + count, f"reason {count}") for count in range(8)]
            answers = await asyncio.gather(*(store.swap(wish) for wish in wishes))
            [won] = [answer for answer in answers if answer is not None]
            assert await store.account("me") == won
            assert won.version == made.version + 1
            assert await store.begin_refresh(made, NOW) is None
            assert await store.open_intents() == []

    asyncio.run(story())


def test_a_rotated_token_is_kept_whatever_else_changed(tmp_path: Path) -> None:
    """A forced refresh, a new name or a hand-out meanwhile does not make keep_answer drop the account's only token."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            begun = await store.begin_refresh(made, NOW)
            assert begun is not None
            assert await store.swap(replace(begun, forced_at=NOW + 1.0)) is not None
            await store.rename_account(begun, "work")
            kept = await store.keep_answer(begun, Secret("{}"), Secret("refresh-2"))
            assert kept is not None
            assert (kept.name, kept.forced_at) == ("work", NOW + 1.0)
            assert reveal(await store.refresh_token(kept)) == "refresh-2"

    asyncio.run(story())


def test_an_answer_for_an_older_login_is_refused(tmp_path: Path) -> None:
    """An answer that comes after a new login, another answer or a deletion changes nothing."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            begun = await store.begin_refresh(made, NOW)
            assert begun is not None
            kept = await store.keep_answer(begun, Secret("{}"), Secret("refresh-2"))
            assert kept is not None
            assert await store.keep_answer(begun, Secret("{}"), Secret("late")) is None
            assert reveal(await store.refresh_token(kept)) == "refresh-2"
            await store.delete_account(kept)
            assert await store.keep_answer(kept, Secret("{}"), Secret("late")) is None
            assert await store.swap(kept, grant=grant("late")) is None
            assert behind(tmp_path, "SELECT * FROM secret") == []

    asyncio.run(story())


def test_a_second_attempt_starts_without_an_answer(tmp_path: Path) -> None:
    """After a reply that was no good, a new attempt's intent says that it has no answer; a settled swap closes it."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            begun = await store.begin_refresh(made, NOW)
            assert begun is not None
            kept = await store.keep_answer(begun, Secret("garbage"), None)
            assert kept is not None
            again = await store.begin_refresh(kept, NOW + 20.0)
            assert again is not None
            assert await store.open_intents() == [(again, NOW + 20.0, False)]
            assert await store.kept_answer(again) is None
            assert await store.swap(again) is not None
            assert len(await store.open_intents()) == 1
            now = await store.account("me")
            assert now is not None
            after = await store.swap(replace(now, state=NeedsLogin(NOW, "gone")), settled=True)
            assert await store.open_intents() == []
            assert held(tmp_path, "answer") == []
            assert await store.account("me") == after

    asyncio.run(story())


def test_a_new_login_replaces_everything(tmp_path: Path) -> None:
    """After replace_login the secrets are the new ones, under the new destination; name and grants stay."""
    there = Destination("https://new.example.org", "https://new.example.org/token", "client-1")

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            await store.add_app("app", b"hash", [AppGrant("me")], None, NOW)
            begun = await store.begin_refresh(made, NOW)
            assert begun is not None
            [(old_key,)] = behind(tmp_path, "SELECT wrapped FROM data_key WHERE owner = ?", made.uuid)
            wish = {
                "client": (await store.clients("example"))[0].uuid,
                "destination": there,
                "identity": ME,
                "asked_scope": ("read", "write"),
                "resource": "https://api.example.org",
                "state": Active(NOW + 5.0),
                "grant": grant("2"),
                "now": NOW + 5.0,
            }
            assert await store.replace_login(made, **wish) is None  # type: ignore[arg-type]  # one dict for two calls
            new = await store.replace_login(begun, **wish)  # type: ignore[arg-type]  # the same
            assert new is not None
            assert (new.uuid, new.name, new.created_at) == (made.uuid, "me", NOW)
            assert (new.destination, new.generation, new.has_refresh_token) == (there, 2, False)
            assert (new.asked_scope, new.resource) == (("read", "write"), "https://api.example.org")
            assert reveal(await store.access_token(new)) == "access-2"
            assert (await store.refresh_token(new), await store.id_token(new)) == (None, None)
            assert (await store.client_of(new))[0].client_id == "client-1"
            assert await store.keep_answer(begun, Secret("{}"), Secret("late")) is None
            assert await store.open_intents() == []
            app = await store.app("app")
            assert app is not None
            assert app.grants == (AppGrant("me"),)
            assert behind(tmp_path, "SELECT count(*) FROM data_key WHERE wrapped = ?", old_key) == [(0,)]

    asyncio.run(story())


def test_a_caller_that_goes_away_stops_nothing(tmp_path: Path) -> None:
    """A write whose caller is cancelled is finished, and the next write finds a clean connection."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            begun = await store.begin_refresh(made, NOW)
            assert begun is not None
            task = asyncio.create_task(store.keep_answer(begun, Secret("{}"), Secret("refresh-2")))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await store.ping(NOW)
            now = await store.account("me")
            assert now is not None
            assert now.generation == 2
            assert reveal(await store.refresh_token(now)) == "refresh-2"

    asyncio.run(story())


def test_close_waits_for_writes_under_way(tmp_path: Path) -> None:
    """A refresh that is being written when the daemon stops is written."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = await with_account(store)
            task = asyncio.create_task(store.keep_answer(made, Secret("{}"), Secret("refresh-2")))
            await asyncio.sleep(0)
        assert await task is not None
        async with opened(tmp_path) as store:
            now = await store.account("me")
            assert now is not None
            assert reveal(await store.refresh_token(now)) == "refresh-2"

    asyncio.run(story())


def test_two_stores_on_one_file_see_each_other(tmp_path: Path) -> None:
    """The compare-and-swap holds across connections, as it would across processes."""

    async def story() -> None:
        async with opened(tmp_path) as one, opened(tmp_path) as two:
            made = await with_account(one)
            assert await two.account("me") == made
            first, second = await asyncio.gather(one.begin_refresh(made, NOW), two.begin_refresh(made, NOW))
            assert (first is None) != (second is None)
            assert made.destination == DESTINATION

    asyncio.run(story())


def test_the_newest_time_that_was_written_is_known(tmp_path: Path) -> None:
    """What stands in for a clock without a battery: the last pulse, or the last refresh where nobody felt the pulse."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            assert await store.last_seen() == 0
            await with_account(store)
            assert await store.last_seen() == NOW
            await store.ping(NOW + 5)
            assert await store.last_seen() == NOW + 5

    asyncio.run(story())
