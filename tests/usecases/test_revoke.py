"""Logging out in each provider's own way, and what is said of it: revoked, forgotten here, or which half failed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.practice.shape import Revocation, Shape
from broker.usecases import accounts
from tests.usecases.house import opened
from tests.usecases.registered import discovered, the_client

# A server that lets only clients with a secret revoke, says so, and takes others for logins.
BY_BASIC = 'discovery:json={"revocation_endpoint_auth_methods_supported": ["client_secret_basic"]}'
RT, AT = ("refresh_token",), ("access_token",)

# How the provider revokes, by a preset and in truth -> how many requests, whether all is dead, what is said.
ENDS: dict[str, tuple[dict[str, Any], Revocation, int, bool, str]] = {
    "both": ({}, Revocation(), 2, True, "confirmed that the login is dead."),
    "any token ends it all": (
        {"ends_login": True},
        Revocation(ends_login=True),
        1,
        True,
        "confirmed that the login is dead.",
    ),
    "the access token ends it all": (
        {"which": "access", "ends_login": True},
        Revocation(takes=AT, ends_login=True),
        1,
        True,
        "confirmed that the login is dead.",
    ),
    "the refresh token only": (
        {"which": "refresh"},
        Revocation(takes=RT),
        1,
        True,
        "the last access token, if it does not go along with it, ends by itself",
    ),
    "the access token only": (
        {"which": "access"},
        Revocation(takes=AT),
        1,
        False,
        "has no way to revoke the refresh token, which is only forgotten here: remove Keyfob in your settings there",
    ),
    "a preset that is wrong": (
        {"which": "both"},
        Revocation(takes=AT),
        2,
        False,
        "did not confirm (refresh token: unsupported_token_type",
    ),
    "the second token does what the first did not": (
        {"which": "both", "ends_login": True},
        Revocation(takes=AT, ends_login=True),
        2,
        True,
        "confirmed that the login is dead.",
    ),
}


@pytest.mark.parametrize(("preset", "truth", "asked", "dead", "said"), ENDS.values(), ids=ENDS.keys())
def test_what_is_said_of_a_logout_is_true(
    tmp_path: Path,
    preset: dict[str, Any],
    truth: Revocation,
    asked: int,
    dead: bool,  # noqa: FBT001 -- a column
    said: str,
) -> None:
    """The tokens go that the provider takes; what it did not confirm, or cannot do, is named; here all is forgotten."""

    async def story() -> None:
        async with opened(tmp_path, settings={"shape": Shape(revocation=truth)}) as house:
            await house.add_provider(revocation=preset)
            await house.log_in()
            done = await accounts.log_out(house.ctx, "me")
            assert (done.revoked, said in done.detail) == (dead, True), done.detail
            assert len(house.practice.log.all("revoke")) == asked
            assert await house.store.account("me") is None
            # As far as the provider goes: the grant lives where its refresh token was not ended.
            assert (house.practice.revoke_grants() == 0) == dead

    asyncio.run(story())


def test_without_a_refresh_token_an_access_token_is_all_there_is(tmp_path: Path) -> None:
    """Where the provider gave none, revoking the access token is the whole; where it takes others only, nothing is."""

    async def story(place: Path, which: str) -> accounts.LoggedOut:
        async with opened(place, settings={"rotation": "none"}) as house:
            await house.add_provider(revocation={"which": which})
            await house.log_in()
            return await accounts.log_out(house.ctx, "me")

    assert asyncio.run(story(tmp_path / "1", "access")).revoked
    nothing = asyncio.run(story(tmp_path / "2", "refresh"))
    assert not nothing.revoked
    assert "no way to revoke the access token, which is only forgotten here" in nothing.detail


def test_keyfob_registers_itself_as_somebody_who_may_revoke(tmp_path: Path) -> None:
    """A client without a secret would do for logins, and could never end one there."""

    async def story() -> None:
        shape = Shape(revocation=Revocation(auth="basic"))
        async with opened(tmp_path, BY_BASIC, settings={"shape": shape}) as house:
            await discovered(house)
            await house.log_in(provider="theirs", base_url="")
            assert (await the_client(house)).auth_method == "client_secret_basic"
            done = await accounts.log_out(house.ctx, "me")
            assert done.revoked, done.detail
            assert house.practice.revoke_grants() == 0

    asyncio.run(story())


def test_a_secret_goes_the_way_that_the_revocation_endpoint_takes(tmp_path: Path) -> None:
    """A client that sends its secret in the body elsewhere sends it in the header there."""

    async def story() -> None:
        faults = (BY_BASIC[:-1] + ', "token_endpoint_auth_methods_supported": ["client_secret_post"]}',)
        shape = Shape(revocation=Revocation(auth="basic"))
        async with opened(tmp_path, *faults, settings={"shape": shape}) as house:
            await discovered(house)
            await house.log_in(provider="theirs", base_url="")
            assert (await the_client(house)).auth_method == "client_secret_post"
            done = await accounts.log_out(house.ctx, "me")
            assert done.revoked, done.detail

    asyncio.run(story())
