"""A client without its secret is refused before anybody has to log in, where its preset knows that it has one."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.secret import Secret
from broker.errors import InvalidRequest
from broker.usecases import login
from broker.usecases.newlogin import NewLogin
from tests.usecases.house import opened


def test_a_missing_secret_is_noticed_at_once(tmp_path: Path) -> None:
    """Its own option is named; with the secret, or where the person says that there is none, the login begins."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            bare = NewLogin("strava", "st", client_id="12")
            with pytest.raises(InvalidRequest, match=r"A client of Strava has a secret.*--client-secret-file FILE"):
                await login.begin(house.ctx, bare)
            assert await house.store.logins_pending() == []
            await login.begin(house.ctx, replace(bare, client_secret=Secret("s")))
            await login.begin(house.ctx, replace(bare, auth_method="none"))
            assert len(await house.store.logins_pending()) == 2

    asyncio.run(story())


def test_where_nobody_knows_it_a_public_client_is_tried(tmp_path: Path) -> None:
    """Servers that take public clients often do not announce it: what their metadata leaves out is no reason."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.add_provider("strict", auth_methods=["client_secret_basic"])
            await login.begin(house.ctx, NewLogin("strict", "me", client_id="public"))
            assert len(await house.store.logins_pending()) == 1

    asyncio.run(story())
