"""What the tests of narrower tokens have in common: providers that can, callers that ask, and what a token is worth.

Imported by the tests beside it.
"""

from typing import Any

import pytest

from broker.core.policy import App, AppGrant, Ask, Caller, Owner
from broker.core.token import Wish
from broker.providers.model import TOKEN_EXCHANGE
from broker.usecases import apps
from broker.usecases.get_token import get_token
from broker.usecases.outcomes import Outcome, Ready
from tests.store import made
from tests.usecases.house import House

SCOPES = ("read", "write", "offline_access")
RESOURCE = "https://api.example.org/"
BY_REFRESH = {"refresh": {"narrows": True, "other_resources": True}}
BY_EXCHANGE = {"grants": [TOKEN_EXCHANGE]}
NO_EXCHANGE: dict[str, Any] = {"grants": ["authorization_code", "refresh_token"]}
AUDIENCE = "billing"
WISH = Wish(("openid", "read"), None)
BOTH = pytest.mark.parametrize(
    ("data", "kind"), [(BY_REFRESH, "refresh"), (BY_EXCHANGE, "token_exchange")], ids=["refresh", "exchange"]
)


async def settle_in(house: House, **data: Any) -> None:  # noqa: ANN401 -- a preset file's values
    """Configure the provider, without token exchange unless the data says so, and log in with these tests' scopes."""
    await house.add_provider(**{**NO_EXCHANGE, **data})
    await house.log_in(scope=SCOPES)


async def ask(
    house: House,
    *scope: str,
    resource: str | None = None,
    audience: str | None = None,
    caller: Caller | None = None,
) -> Outcome:
    """Ask for a token."""
    return await get_token(house.ctx, caller or Owner(), Ask("me", scope, resource, audience))


async def app_with(house: House, **grant: Any) -> App:  # noqa: ANN401 -- AppGrant's fields
    """Make an app that may have so much of the account, and see who it is."""
    key = await apps.add(house.ctx, "backup", (AppGrant("me", **grant),), None)
    app = await apps.identify(house.ctx, made.reveal(key) or "")
    assert app is not None
    return app


def carries(house: House, outcome: Outcome) -> tuple[set[str], str]:
    """Return what a token that was handed out is worth at the provider: its scopes and its resource."""
    assert isinstance(outcome, Ready), outcome
    access = house.practice.worth(outcome.access_token.reveal())
    assert access is not None
    assert set(access.scopes) == set(outcome.facts.scope)
    return set(access.scopes), access.resource
