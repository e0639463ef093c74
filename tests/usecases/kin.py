"""Accounts that are derived from another at the practice provider: how one is made, and what its token is worth.

Imported by the tests beside it.
"""

from typing import Any

from broker.core.account import Account
from broker.practice.grants import AccessToken
from broker.usecases import derive
from broker.usecases.newlogin import NewLogin
from tests.usecases.house import House, ready

KIND = "token_exchange"
SCOPES = ("openid", "read", "write", "offline_access")


async def begin(house: House, **data: Any) -> Account:  # noqa: ANN401 -- a preset file's values
    """Configure the provider and log in to the account that others are derived from."""
    await house.add_provider(**data)
    return await house.log_in(scope=SCOPES)


async def derived_from(house: House, parent: str = "me", account: str = "bill", **new: Any) -> Account:  # noqa: ANN401 -- NewLogin's fields
    """Derive an account from another."""
    wanted = {"provider": "", "account": account, "flow": "token-exchange", "parent": parent, **new}
    finished = await derive.log_in(house.ctx, NewLogin(**wanted))
    assert finished.account is not None
    return finished.account


async def worth(house: House, account: str = "bill") -> AccessToken:
    """Ask for an account's token; return what it stands for at the provider."""
    access = house.practice.worth(ready(await house.token(account)))
    assert access is not None
    return access
