"""Narrower tokens: sealed, one for each wish, bound to it, and gone with the login that they came from."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.account import Account
from broker.core.secret import Secret
from broker.core.token import Grant, Token, Wish
from broker.errors import StoreUnavailable
from broker.store.store import Store
from tests.store.made import DESTINATION, ME, NOW, behind, grant, opened, reveal, stored_bytes, with_account

READ = Wish(("read",), None)
ELSEWHERE = Wish(("read",), "https://api.example.org")
FOR_BILLING = Wish(("read",), None, "billing")


def narrow(mark: str, *scope: str, at: float = NOW) -> Grant:
    """Make a grant of an access token only."""
    return Grant(Token("Bearer", scope or ("read",), at, at + 600.0), Secret(f"narrow-{mark}"))


async def found(store: Store, account: Account, wish: Wish = READ) -> str | None:
    """Return the token that is kept for a wish."""
    kept = await store.derived_token(account, wish)
    return None if kept is None else reveal(kept[0])


def test_one_for_each_wish(tmp_path: Path) -> None:
    """Scopes in any order are one wish, another resource is another; they survive a restart and stand sealed."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            assert await found(store, account) is None
            assert await store.put_derived(account, READ, narrow("1"))
            assert await store.put_derived(account, ELSEWHERE, narrow("2"))
            assert await store.put_derived(account, FOR_BILLING, narrow("5"))
            assert await store.put_derived(account, Wish(("a", "b"), None), narrow("3", "a", "b"))
            assert await store.put_derived(account, READ, narrow("4", at=NOW + 5.0))
        async with opened(tmp_path) as store:
            assert await found(store, account) == "narrow-4"
            assert await found(store, account, ELSEWHERE) == "narrow-2"
            assert await found(store, account, FOR_BILLING) == "narrow-5"
            assert await found(store, account, Wish(("b", "a"), None)) == "narrow-3"
            kept = await store.derived_token(account, READ)
            assert kept is not None
            assert kept[1] == Token("Bearer", ("read",), NOW + 5.0, NOW + 605.0)
        assert b"narrow-" not in stored_bytes(tmp_path)

    asyncio.run(story())


def test_names_of_wishes_are_those_of_the_first_version() -> None:
    """Tokens that an older version kept are found again, and an audience is never taken for another part of a wish."""
    assert READ.slot == "9dc003a2fcb22777484c93812654f2f7"
    assert ELSEWHERE.slot == "4e48628adbf8c399d765cac9a5fb6302"
    others = [READ, ELSEWHERE, FOR_BILLING, Wish(("read",), "billing"), Wish(("read",), "billing", "billing")]
    assert len({wish.slot for wish in others}) == len(others)


def test_what_has_ended_goes_with_the_next(tmp_path: Path) -> None:
    """Wishes that nobody has any more leave nothing behind for ever."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            await store.put_derived(account, READ, narrow("1"))
            await store.put_derived(account, ELSEWHERE, narrow("2", at=NOW + 600.0))
            assert await found(store, account) is None
            assert behind(tmp_path, "SELECT count(*) FROM secret WHERE kind LIKE 'derived%'") == [(1,)]

    asyncio.run(story())


def test_a_token_put_in_the_place_of_another_does_not_open(tmp_path: Path) -> None:
    """Whoever can write the database cannot make one wish's token pass for another's."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            await store.put_derived(account, READ, narrow("1"))
            await store.put_derived(account, ELSEWHERE, narrow("2"))
            rows = behind(tmp_path, "SELECT kind, sealed FROM secret WHERE kind LIKE 'derived%' ORDER BY kind")
            for (kind, _), (_, other) in zip(rows, reversed(rows), strict=True):
                behind(tmp_path, "UPDATE secret SET sealed = ? WHERE kind = ?", other, kind)
            for wish in (READ, ELSEWHERE):
                with pytest.raises(StoreUnavailable):
                    await found(store, account, wish)

    asyncio.run(story())


def test_a_login_that_has_been_replaced_takes_none(tmp_path: Path) -> None:
    """What an exchange for the old login brings after the new one is nobody's; those that there were are gone."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            await store.put_derived(account, READ, narrow("1"))
            new = await store.replace_login(
                account,
                client="",
                destination=DESTINATION,
                identity=ME,
                asked_scope=("read",),
                resource=None,
                state=account.state,
                grant=grant("2", refresh="refresh-2"),
                now=NOW + 60.0,
            )
            assert new is not None
            assert await found(store, new) is None
            assert not await store.put_derived(account, READ, narrow("2"))
            assert behind(tmp_path, "SELECT count(*) FROM derived_token") == [(0,)]

    asyncio.run(story())


@pytest.mark.parametrize(("scope", "left"), [(("read",), None), (("read", "write", "admin"), "narrow-1")])
def test_a_smaller_scope_of_the_login_drops_them(tmp_path: Path, scope: tuple[str, ...], left: str | None) -> None:
    """A refresh that brings less may have been made so by the person: what was got before may carry too much."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            first = grant("1", refresh="refresh-1")
            account = await with_account(
                store, first=replace(first, token=replace(first.token, scope=("read", "write")))
            )
            await store.put_derived(account, READ, narrow("1"))
            begun = await store.begin_refresh(account, NOW)
            assert begun is not None
            kept = await store.keep_answer(begun, Secret("{}"), Secret("refresh-2"))
            assert kept is not None
            brought = grant("2", refresh="refresh-2", at=NOW + 60.0)
            swapped = await store.swap(kept, grant=replace(brought, token=replace(brought.token, scope=scope)))
            assert swapped is not None
            assert await found(store, swapped) == left

    asyncio.run(story())


def test_a_refresh_for_a_wish_leaves_the_accounts_own_token(tmp_path: Path) -> None:
    """The intent says what it is for; the rotated token is the account's, the access token the wish's."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            begun = await store.begin_refresh(account, NOW + 5.0, ELSEWHERE)
            assert begun is not None
            assert await store.open_wish(begun) == ELSEWHERE
            kept = await store.keep_answer(begun, Secret("{}"), Secret("refresh-2"))
            assert kept is not None
            brought = replace(narrow("1", at=NOW + 5.0), refresh_token=Secret("refresh-2"))
            swapped = await store.swap(kept, grant=brought, settled=True, wish=ELSEWHERE)
            assert swapped is not None
            assert swapped.token == account.token
            assert (swapped.token_generation, swapped.generation) == (1, 2)
            assert swapped.last_refresh_at == NOW + 5.0
            assert reveal(await store.access_token(swapped)) == "access-1"
            assert reveal(await store.refresh_token(swapped)) == "refresh-2"
            assert await found(store, swapped, ELSEWHERE) == "narrow-1"
            assert await store.open_intents() == []
            again = await store.begin_refresh(swapped, NOW + 9.0)
            assert again is not None
            assert await store.open_wish(again) is None

    asyncio.run(story())


def test_times_move_with_the_clock(tmp_path: Path) -> None:
    """A narrower token lives as long as it did when the clock of the machine is set."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            account = await with_account(store)
            await store.put_derived(account, READ, narrow("1"))
            await store.move_times(3600.0, lambda: None)
            kept = await store.derived_token(account, READ)
            assert kept is not None
            assert (kept[1].issued_at, kept[1].expires_at) == (NOW + 3600.0, NOW + 4200.0)

    asyncio.run(story())
