"""A provider at which Keyfob has no client yet, and what a test of its registration does there.

Imported by the tests beside it.
"""

from dataclasses import replace
from typing import Any

from broker.core.login import Client, Login
from broker.providers.model import Provider
from broker.usecases import login, providers
from broker.usecases.context import Context
from broker.usecases.newlogin import NewLogin
from broker.usecases.providers import NewProvider
from tests.usecases.house import House

CONFIDENTIAL = 'discovery:json={"token_endpoint_auth_methods_supported": ["client_secret_basic"]}'


async def discovered(house: House, name: str = "theirs") -> Provider:
    """Add the practice provider by its issuer, so that Keyfob has no client there."""
    return await providers.add(house.ctx, NewProvider(name, issuer=house.practice.url))


async def the_client(house: House, name: str = "theirs") -> Client:
    """Return the only client at a provider."""
    (client,) = await house.store.clients(name)
    return client


def moved(house: House, port: int = 9000) -> Context:
    """Return the collaborators of a daemon whose browser door is elsewhere."""
    return replace(house.ctx, browser_url=f"http://127.0.0.1:{port}")


async def begin(ctx: Context, account: str = "me", **new: Any) -> Login:  # noqa: ANN401 -- NewLogin's fields
    """Begin a login at the discovered provider."""
    return await login.begin(ctx, NewLogin("theirs", account, **new))
