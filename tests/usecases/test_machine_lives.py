"""Accounts of programs through crashes, copies, a missing key and a changed database: nothing is lost or given away."""

import asyncio
from pathlib import Path

import pytest

from broker.core.secret import Secret
from broker.errors import Locked
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.store.fence import beside
from broker.usecases import backup, refresh
from tests.store import made
from tests.usecases.house import DUE, TTL, Clock, opened, ready
from tests.usecases.programs import log_in

KIND = "client_credentials"


@pytest.mark.parametrize("answered", [False, True])
def test_a_crash_loses_nothing(tmp_path: Path, answered: bool) -> None:  # noqa: FBT001 -- a case
    """An open intent is closed at the next start: an answer that was kept is used, else it is asked for again."""
    clock = Clock()

    async def first_life() -> None:
        async with opened(tmp_path, practice=practice, clock=clock) as house:
            account = await log_in(house)
            clock.forward(DUE)
            intended = await house.store.begin_refresh(account, clock())
            assert intended is not None
            if answered:
                raw = Secret('{"access_token":"kept","token_type":"Bearer","expires_in":600,"scope":"read"}')
                assert await house.store.keep_answer(intended, raw, None) is not None

    async def second_life() -> None:
        async with opened(tmp_path, practice=practice, clock=clock) as house:
            await refresh.settle(house.ctx)
            await house.landed()
            account = await house.account("ci")
            assert account.state.name == ("active" if answered else "refreshing-failed")
            assert await house.store.open_intents() == []
            clock.forward(16)
            await house.tick()
            assert (await house.account("ci")).state.name == "active"
            assert (ready(await house.token("ci")) == "kept") is answered
            assert house.asked(KIND) == (1 if answered else 2)

    with practice_in_thread(PracticeSettings(rotation="single-use"), clock=clock) as practice:
        asyncio.run(first_life())
        asyncio.run(second_life())


def test_a_copied_database_is_no_danger_to_it(tmp_path: Path) -> None:
    """There is no refresh token that another copy could have spent: the account goes on, a person's is suspected."""
    clock = Clock()

    async def first_life() -> None:
        async with opened(tmp_path, practice=practice, clock=clock) as house:
            await house.log_in("me", client_id="keyfob")
            await log_in(house)

    async def second_life() -> None:
        async with opened(tmp_path, practice=practice, clock=clock) as house:
            await backup.recognise_copy(house.ctx)
            states = {account.name: account.state.name for account in await house.store.accounts()}
            assert states == {"ci": "active", "me": "suspect"}
            clock.forward(DUE)
            await house.tick()
            assert house.asked(KIND) == 2
            assert house.asked("refresh") == 0

    with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
        asyncio.run(first_life())
        beside(made.database(tmp_path)).unlink()
        asyncio.run(second_life())


def test_locked_it_waits(tmp_path: Path) -> None:
    """Without the key nothing is sent and nothing handed out; with it again, the account goes on by itself."""
    clock, key = Clock(), made.key_file(tmp_path)

    async def life(*, locked: bool) -> None:
        async with opened(tmp_path, practice=practice, clock=clock) as house:
            assert bool(house.store.locked) is locked
            await house.tick()
            assert (await house.account("ci")).state.name == "active"
            if locked:
                with pytest.raises(Locked):
                    await house.token("ci")
            else:
                assert ready(await house.token("ci"))
            assert house.asked(KIND) == (1 if locked else 2)

    async def begin() -> None:
        async with opened(tmp_path, practice=practice, clock=clock) as house:
            await log_in(house)
            clock.forward(TTL + 1)

    with practice_in_thread(PracticeSettings(), clock=clock) as practice:
        asyncio.run(begin())
        key.rename(key.with_name("elsewhere"))
        asyncio.run(life(locked=True))
        key.with_name("elsewhere").rename(key)
        asyncio.run(life(locked=False))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE account SET renewal = 'jwt_bearer'",
        "UPDATE account SET renewal = 'refresh_token', refresh_generation = 1",
        "UPDATE account SET renewal_subject = 'root'",
        "UPDATE account SET renewal_audience = 'https://evil.example'",
        "UPDATE account SET token_endpoint = 'https://evil.example/token'",
    ],
)
def test_who_changes_the_row_does_not_change_what_is_asked(tmp_path: Path, change: str) -> None:
    """How an account renews itself, for whom and where is authenticated: after a change nothing is sent."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await log_in(house)
            made.behind(tmp_path, change)
            house.clock.forward(DUE)
            await house.tick()
            assert house.asked(KIND) + house.asked("jwt_bearer") + house.asked("refresh") == 1

    asyncio.run(story())
