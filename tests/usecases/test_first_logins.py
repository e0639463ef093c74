"""Accounts whose first login is under way: each is one, however often it was begun, and gone when it is logged out."""

import asyncio
from pathlib import Path

import pytest

from broker.core.policy import App, Denied, Owner
from broker.core.secret import Secret
from broker.errors import LoginFailed, UnknownAccount
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases import accounts, health, login
from broker.usecases.accounts import PendingView, View
from broker.usecases.newlogin import first_logins
from broker.usecases.outcomes import MustLogin
from tests.store import made
from tests.usecases.callback import come_back, finish
from tests.usecases.codes import told
from tests.usecases.house import Clock, House, opened


async def listed(house: House) -> list[tuple[str, str]]:
    """Return the names of all accounts as they are listed, and the state or the login of each."""
    return [
        (one.account.name, one.account.state.name) if isinstance(one, View) else (one.login.account, one.login.id)
        async for one in accounts.listed(house.ctx)
    ]


async def states(house: House, *ids: str) -> list[str]:
    """Return how logins stand."""
    found = [await house.store.login(one) for one in ids]
    return [one.state for one in found if one is not None]


def test_a_first_login_that_was_begun_again_is_one_account(tmp_path: Path) -> None:
    """The list, the count and the answers to programs know each name once, and lead to the newest login."""

    async def story(house: House) -> None:
        await house.begin("dd")
        other = await house.begin("aa")
        house.clock.forward(1)
        newest = await house.begin("dd")
        assert await listed(house) == [("aa", other.id), ("dd", newest.id)]
        assert (await health.report(house.ctx)).accounts == {"pending": 2}
        shown, answer = await accounts.shown(house.ctx, "dd"), await house.token("dd")
        assert isinstance(shown, PendingView)
        assert isinstance(answer, MustLogin)
        assert shown.login_url == answer.login_url == login.start_url(house.ctx, newest.id)

    told(tmp_path, story)


def test_a_refresh_and_a_report_say_what_a_request_does(tmp_path: Path) -> None:
    """That the login is to be finished, and where; nothing else is told to an app without a grant."""

    async def story(house: House) -> None:
        begun = await house.begin("dd")
        answer = await house.token("dd")
        assert isinstance(answer, MustLogin)
        assert (answer.pending, answer.login_url) == (True, login.start_url(house.ctx, begun.id))
        assert await accounts.refresh_now(house.ctx, "dd") == answer
        assert await accounts.rejected(house.ctx, Owner(), "dd", Secret("old")) is None
        stranger = await accounts.rejected(house.ctx, App("job", ()), "dd", Secret("old"))
        assert isinstance(stranger, Denied)
        for asks in (accounts.refresh_now(house.ctx, "x"), accounts.rejected(house.ctx, Owner(), "x", Secret("old"))):
            with pytest.raises(UnknownAccount):
                await asks

    told(tmp_path, story)


def test_an_account_hides_the_first_logins_of_its_name(tmp_path: Path) -> None:
    """Begun twice and finished once, it is that account and nothing else."""

    async def story(house: House) -> None:
        finished, left = await house.begin("dd"), await house.begin("dd")
        waiting = await house.begin("ee")
        await house.walk(finished)
        assert await states(house, left.id) == ["pending"]
        assert await listed(house) == [("dd", "active"), ("ee", waiting.id)]
        assert (await health.report(house.ctx)).accounts == {"active": 1, "pending": 1}
        assert await first_logins(house.ctx) == [waiting]

    told(tmp_path, story)


def test_a_log_out_leaves_no_first_login_of_that_name(tmp_path: Path) -> None:
    """After it there is no such account, and no answer that is still to come makes one; other names are left alone."""

    async def story(house: House) -> None:
        begun, provider, params = await come_back(house)
        other, last = await house.begin("other"), await house.begin("me")
        await house.walk(last)
        await accounts.log_out(house.ctx, "me")
        assert await states(house, begun.id, last.id, other.id) == ["failed", "done", "pending"]
        with pytest.raises(UnknownAccount):
            await accounts.shown(house.ctx, "me")
        with pytest.raises(LoginFailed):
            await finish(house, provider, params)
        assert await listed(house) == [("other", other.id)]

    told(tmp_path, story)


@pytest.mark.parametrize("finished", [True, False], ids=["beside its account", "alone"])
def test_a_first_login_is_given_up_without_the_key(tmp_path: Path, *, finished: bool) -> None:
    """To forget an account no secret has to be opened, and for what is under way to it neither."""

    async def story() -> None:
        clock = Clock()
        with practice_in_thread(PracticeSettings(auto_approve=True), clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                begun = await house.begin()
                if finished:
                    await house.log_in()
            made.key_file(tmp_path).unlink()
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                assert house.store.locked
                await accounts.log_out(house.ctx, "me", local_only=True)
                assert await states(house, begun.id) == ["failed"]
                assert await listed(house) == []

    asyncio.run(story())
