"""What is said of brought tokens, scopes and addresses, so that the next try is the right one."""

import asyncio
import ssl
from pathlib import Path

import pytest

from broker.core.secret import Secret
from broker.errors import InvalidRequest, LoginFailed
from broker.oauth.failures import why
from broker.providers import urls
from broker.usecases import given
from broker.usecases.newlogin import NewLogin
from tests.usecases.house import opened
from tests.usecases.programs import log_in


def test_a_spent_refresh_token_is_told(tmp_path: Path) -> None:
    """One that is used up, or another client's, is no matter of logging in again."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            new = NewLogin("practice", "moved", house.practice.url, flow="refresh-token", client_id="keyfob")
            with pytest.raises(LoginFailed, match=r"refused the refresh token: invalid_grant.*another client's than"):
                await given.bring_refresh_token(house.ctx, new, Secret("spent"))

    asyncio.run(story())


def test_a_scope_that_a_program_may_not_have_is_told(tmp_path: Path) -> None:
    """Its option is named, and not the secret and the clock."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            with pytest.raises(LoginFailed, match=r"invalid_scope.*--scope"):
                await log_in(house, scope=("everything",))

    asyncio.run(story())


def test_an_address_is_taken_or_told_how_to_write() -> None:
    """Spaces around it do no harm; a foreign host is shown as it has to be written; no path goes up."""
    assert urls.check_url(" https://pod.example/ ", what="base URL", private=False) == "https://pod.example"
    with pytest.raises(InvalidRequest, match=r"Write it as https://xn--bcher-kva\.example/x"):
        urls.check_url("https://bücher.example/x", what="base URL", private=False)
    with pytest.raises(InvalidRequest, match="up and down"):
        urls.check_url("https://pod.example/a/../b", what="base URL", private=False)


def test_plain_http_behind_https_is_told() -> None:
    """Waiting does not help there."""
    wrong = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)")
    wrong.reason = "WRONG_VERSION_NUMBER"
    assert "speaks plain http" in why(wrong, "id.example", 20.0)
