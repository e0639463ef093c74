"""Narrower tokens while the database cannot be read: served as the account's own are, and forgotten as those."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.core.policy import AppGrant, Owner
from broker.core.secret import Secret
from broker.core.token import Wish
from broker.errors import StoreUnavailable
from broker.usecases import accounts, apps
from tests.usecases.house import House, opened, ready
from tests.usecases.test_store_faults import damaged
from tests.usecases.wishes import BOTH, BY_EXCHANGE, BY_REFRESH, RESOURCE, app_with, ask, carries, settle_in


@BOTH
@pytest.mark.parametrize("looked", [True, False], ids=["asked for again", "just brought"])
def test_what_lives_is_served(tmp_path: Path, data: dict[str, Any], kind: str, looked: bool) -> None:  # noqa: FBT001 -- a column
    """To the owner and to an app that may have no more; the provider is not asked, and nothing ended is served."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **data)
            app = await app_with(house, scope=("read",))
            narrow = ready(await ask(house, caller=app))
            other = ready(await ask(house, "read", resource=RESOURCE))
            if looked:
                assert ready(await ask(house, "read")) == narrow
            asked = house.asked(kind)
            async with damaged(house):
                assert ready(await ask(house, caller=app)) == ready(await ask(house, "read")) == narrow
                assert ready(await ask(house, "read", resource=RESOURCE)) == other
                assert carries(house, await ask(house, "read", resource=RESOURCE))[1] == RESOURCE
                with pytest.raises(StoreUnavailable):
                    await ask(house, "write", resource="https://never.example/")
                house.clock.forward(590.0)
                assert ready(await ask(house, caller=app)) == narrow
                house.clock.forward(20.0)
                with pytest.raises(StoreUnavailable):
                    await ask(house, caller=app)
            assert house.asked(kind) == asked

    asyncio.run(story())


def test_a_start_remembers_what_it_has_read(tmp_path: Path) -> None:
    """What an earlier start has kept is served once this one has seen it, and not before."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_EXCHANGE)
            narrow = ready(await ask(house, "read"))
            clock, practice = house.clock, house.practice
            async with opened(tmp_path, practice=practice, clock=clock) as again:
                assert ready(await ask(again, "read")) == narrow
                async with damaged(again):
                    assert ready(await ask(again, "read")) == narrow

    asyncio.run(story())


async def _logged_out(house: House) -> None:
    await accounts.log_out(house.ctx, "me")


async def _logged_in_again(house: House) -> None:
    await house.log_in()


async def _carries_less(house: House) -> None:
    house.practice.set_faults(['refresh:json={"scope":"read"}'])
    house.clock.forward(590.0)
    await accounts.refresh_now(house.ctx, "me")


async def _rejected(house: House) -> None:
    house.clock.forward(60.0)
    token = ready(await ask(house, "read"))
    assert await accounts.rejected(house.ctx, Owner(), "me", Secret(token)) is None


async def _moved(house: House) -> None:
    await house.store.move_times(-30.0, lambda: None)


async def _deleted(house: House) -> None:
    await house.store.delete_account(await house.account())


@pytest.mark.parametrize("change", [_logged_out, _logged_in_again, _carries_less, _rejected, _moved, _deleted])
def test_what_was_taken_away_or_changed_is_forgotten(tmp_path: Path, change: Any) -> None:  # noqa: ANN401 -- one of the above
    """A logout, another login, a token that carries less, a rejection and a clock that was set: none serves the old."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_REFRESH)
            assert ready(await ask(house, "read"))
            account = await house.account()
            assert await house.store.derived_token(account, READ) is not None
            await change(house)
            async with damaged(house):
                with pytest.raises(StoreUnavailable):
                    await house.store.derived_token(account, READ)

    asyncio.run(story())


def test_an_app_that_was_refused_meanwhile_gets_nothing(tmp_path: Path) -> None:
    """Who may have it is asked as ever: a grant that is gone is gone."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_EXCHANGE)
            key = await apps.add(house.ctx, "backup", (AppGrant("me", scope=("read",)),), None)
            app = await apps.identify(house.ctx, key.reveal())
            assert ready(await ask(house, caller=app))
            await apps.revoke(house.ctx, "backup", "me")
            async with damaged(house):
                with pytest.raises(StoreUnavailable):
                    await apps.identify(house.ctx, key.reveal())

    asyncio.run(story())


def test_it_opens_for_its_own_login_only(tmp_path: Path) -> None:
    """What memory holds is as sealed as the row: bound to the wish, the account and where its secrets may go."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await settle_in(house, **BY_REFRESH)
            await ask(house, "read")
            account = await house.account()
            elsewhere = replace(account, destination=replace(account.destination, token_endpoint="https://x.example/"))
            async with damaged(house):
                assert await house.store.derived_token(account, READ) is not None
                with pytest.raises(StoreUnavailable, match="was changed outside Keyfob"):
                    await house.store.derived_token(elsewhere, READ)

    asyncio.run(story())


READ = Wish(("read",), None)
