"""What was granted, as some providers tell it: beside the code, in the answer to the browser (Strava)."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.core.policy import App, AppGrant, Denied
from broker.practice.shape import Shape
from tests.usecases.callback import come_back, finish
from tests.usecases.house import House, opened

ASKED = ("openid", "read", "write")
SETTINGS = {"shape": Shape(scopes=("openid", "read", "write"), callback_scope="granted", reply_scope_separator=",")}


async def logged_in(house: House, changes: Mapping[str, str | None]) -> None:
    """Log in at a provider that grants all, and change what the browser brings."""
    changed: dict[str, Any] = {"grants": ["authorization_code", "refresh_token"], "reply": {"scope_separator": ","}}
    provider = await house.add_provider("mine", callback_scope="granted", **changed)
    where: dict[str, Any] = {"provider": provider.name, "base_url": "", "scope": ("read", "write")}
    _, name, params = await come_back(house, **where)
    brought = {**dict(params), **changes}
    finished = await finish(house, name, [(key, value) for key, value in brought.items() if value is not None])
    assert finished.account is not None, finished.reason


@pytest.mark.parametrize(
    ("told", "scope", "missing"),
    [
        ("read,write", ("read", "write"), ()),
        ("write,read,write", ("read", "write"), ()),
        ("read", ("read",), ("write",)),
        # Nothing that was not asked for, whatever it looks like.
        ("read,admin", ("read",), ("write",)),
        ("read,<script>alert(1)</script>,\x1b[2J\r\nwrite", ("read",), ("write",)),
        ("READ,rea,readwrite", (), ("read", "write")),
        ("," * 2000, (), ("read", "write")),
        ("", (), ("read", "write")),
        (None, (), ("read", "write")),
    ],
)
def test_what_was_granted_is_what_the_callback_says(
    tmp_path: Path, told: str | None, scope: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    """A yes or no to each scope that was asked for, and a refresh that names none leaves it so."""

    async def story() -> None:
        async with opened(tmp_path, settings=SETTINGS) as house:
            await logged_in(house, {"granted": told})
            account = await house.account()
            assert (account.scope, account.missing_scope) == (scope, missing)
            house.clock.forward(590)
            await house.token()
            refreshed = await house.account()
            assert refreshed.generation > account.generation
            assert (refreshed.scope, refreshed.missing_scope) == (scope, missing)

    asyncio.run(story())


def test_where_nothing_is_known_as_granted_a_limited_app_gets_nothing(tmp_path: Path) -> None:
    """What the callback does not say the token may carry all the same, so it is not for an app with a limit."""

    async def story() -> None:
        async with opened(tmp_path, settings=SETTINGS) as house:
            await logged_in(house, {"granted": None})
            limited = App("app", (AppGrant("me", scope=("read",)),))
            assert isinstance(await house.token(caller=limited), Denied)

    asyncio.run(story())


def test_what_comes_twice_is_not_believed(tmp_path: Path) -> None:
    """One answer says one thing (RFC 6749 3.1)."""

    async def story() -> None:
        async with opened(tmp_path, settings=SETTINGS) as house:
            provider = await house.add_provider("mine", callback_scope="granted")
            _, name, params = await come_back(house, provider=provider.name, base_url="", scope=("read",))
            finished = await finish(house, name, [*params, ("granted", "read")])
            assert finished.account is None
            assert "twice" in finished.reason

    asyncio.run(story())
