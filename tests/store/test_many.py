"""What a store with many accounts does not do: read all of them in one go, look at all again, remember all."""

import asyncio
from pathlib import Path

import pytest

from broker.store import listing, memory
from broker.store.memory import Memory
from tests.store.made import behind, opened, statements, with_account

PATIENCE = 30.0
EVIL = "UPDATE account SET token_endpoint = 'https://evil.example/token' WHERE name = 'b'"


def test_accounts_are_read_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them come, in order, and of more than are kept as they were read none is."""
    monkeypatch.setattr(listing, "PAGE", 2)

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = [await with_account(store, name) for name in ("e", "b", "d", "a", "c")]
            pages = [[one.name for one in page] async for page in store.account_pages()]
            assert pages == [["a", "b"], ["c", "d"], ["e"]]
            assert sorted(made, key=lambda one: one.name) == await store.accounts()
            monkeypatch.setattr(listing, "MOST_PROVEN", 3)
            assert len(await store.accounts()) == 5
            assert store._proven == {}  # noqa: SLF001 -- what it would weigh cannot be seen from outside

    asyncio.run(story())


def test_rows_are_looked_at_again_when_another_program_has_written(tmp_path: Path) -> None:
    """What Keyfob itself writes calls for no look at every row; what somebody else has written does."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store, "a")
            await with_account(store, "b")
            with statements() as asked:
                assert await store.changed_outside() == []
                looks = sum("FROM account \nWHERE" in statement for statement, _ in asked)
                await store.rename_account(account, "c")
                asked.clear()
                assert await store.changed_outside() == []
                again = sum("FROM account \nWHERE" in statement for statement, _ in asked)
            assert (looks, again) == (1, 0)
            behind(tmp_path, EVIL)
            for _ in range(2):
                assert await store.changed_outside() == ["account 'b'"]
            changed = await store.account("b")
            assert changed is not None
            await store.delete_account(changed)
            assert await store.changed_outside() == []

    asyncio.run(story())


def test_nobody_waits_until_all_rows_were_looked_at(tmp_path: Path) -> None:
    """Who asks how Keyfob is hears what is known by then; the look goes on, and is not begun anew by the next one."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            for name in ("a", "b"):
                await with_account(store, name)
            behind(tmp_path, EVIL)
            async with store._sweeping:  # noqa: SLF001 -- as a look at very many rows does
                for _ in range(2):
                    assert await store.changed_so_far(0.0) == []
            assert await store.changed_so_far(PATIENCE) == ["account 'b'"]
            behind(tmp_path, "UPDATE account SET token_endpoint = 'https://evil.example/token' WHERE name = 'a'")
            async with store._sweeping:  # noqa: SLF001 -- the same
                assert await store.changed_so_far(0.0) == ["account 'b'"]
            assert sorted(await store.changed_so_far(PATIENCE)) == ["account 'a'", "account 'b'"]
            await store._sweeping.acquire()  # noqa: SLF001 -- one that is still under way at the end
            await store.changed_so_far(0.0)

    asyncio.run(story())


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more accounts than that, those are remembered whose tokens were asked for last."""
    monkeypatch.setattr(memory, "MOST_USED", 2)
    monkeypatch.setattr(memory, "MOST_SEEN", 1)

    async def story() -> None:
        async with opened(tmp_path) as store:
            made = {name: await with_account(store, name) for name in ("a", "b", "c", "d")}
        rows: dict[str, dict[str, object]] = {name: {"uuid": one.uuid, "name": name} for name, one in made.items()}
        kept = Memory()
        for name in ("a", "b", "a", "c"):
            kept.saw_account(rows[name], kept.epoch)
            kept.saw_secret(made[name].uuid, "access_token", {"held": 1}, kept.epoch)
        kept.saw_account(rows["d"], kept.epoch)  # only looked at: nothing is forgotten for it
        assert {name for name in rows if kept.account_named(name) is not None} == {"a", "c", "d"}
        assert kept.secret(made["b"].uuid, "access_token", 1) is None
        assert kept.secret(made["a"].uuid, "access_token", 1) is not None
        kept.saw_account(rows["b"], kept.epoch)
        kept.account_changed(rows["d"])
        assert {name for name in rows if kept.account_named(name) is not None} == {"a", "b", "c"}
        kept.account_gone(made["a"].uuid)
        assert (kept.account_named("a"), kept.account(made["a"].uuid)) == (None, None)

    asyncio.run(story())
