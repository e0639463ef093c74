"""What a login brought that nobody will hold is given back, unless that might end a login that stays."""

import asyncio
from pathlib import Path

import pytest

from tests.usecases.codes import allow, cancel_in_flight, start, told
from tests.usecases.house import House, opened


async def gives_back(house: House) -> bool:
    """Tell whether something was given back: then refresh token and access token, of the last login."""
    codes, revoked = house.practice.log.all("code", "ok"), house.practice.log.all("revoke", "ok")
    assert [event.grant for event in revoked] in ([], [codes[-1].grant] * 2)
    return bool(revoked)


@pytest.mark.parametrize("theirs", [{}, {"scope": ("read",)}], ids=["named", "nameless"])
def test_not_where_an_account_stays_that_may_be_theirs(tmp_path: Path, theirs: dict[str, tuple[str, ...]]) -> None:
    """Many providers end by one revocation all that a person gave to the client, the login that works too."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in("ada", "ada")
            await house.log_in("grace", "grace", **theirs)
            finished = await house.walk(await house.begin("ada"), "grace")  # the wrong profile of the browser
            assert "'grace'" in finished.reason
            assert not await gives_back(house)

    asyncio.run(story())


@pytest.mark.parametrize("same_person", [False, True])
def test_an_account_that_was_removed_meanwhile(tmp_path: Path, *, same_person: bool) -> None:
    """Nobody holds what the login brought; another account of the same person does not suffer by that."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            await house.log_in("me", "ada")
            await house.log_in("other", "ada" if same_person else "grace")
            begun = await house.begin("me")
            await house.store.delete_account(await house.account("me"))
            finished = await house.walk(begun, "ada")
            assert "removed while you logged in" in finished.reason
            assert await gives_back(house) is not same_person

    asyncio.run(story())


def test_a_name_that_was_taken_meanwhile(tmp_path: Path) -> None:
    """The second of two first logins that want the same name brought a grant for nobody."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            late = await house.begin("me")
            await house.log_in("me", "ada")
            finished = await house.walk(late, "grace")
            assert "an account 'me' already" in finished.reason
            assert await gives_back(house)

    asyncio.run(story())


@pytest.mark.parametrize("same_person", [False, True])
def test_a_code_for_a_device_that_was_given_up(tmp_path: Path, *, same_person: bool) -> None:
    """What comes for it is given back, where that cannot end a login of the same person."""

    async def story(house: House) -> None:
        await house.log_in("other", "" if same_person else "grace")
        begun = await start(house)
        await allow(begun)
        await cancel_in_flight(house, begun)
        assert house.asked("revoke") == (0 if same_person else 2)  # refresh token and access token

    told(tmp_path, story)
