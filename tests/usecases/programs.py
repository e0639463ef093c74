"""Accounts of programs at the practice provider: how they log in, and how a key is made known there.

Imported by the tests beside it.
"""

from typing import Any

import httpx2

from broker.core.account import Account
from broker.core.secret import Secret
from broker.providers.catalog import provider_name
from broker.providers.model import Provider
from broker.usecases import clients, machine, providers
from broker.usecases.newlogin import NewLogin
from broker.usecases.providers import NewProvider
from tests.loopback import NO_TLS
from tests.usecases.house import PATIENCE, House

MACHINE = "keyfob-machine"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


async def log_in(house: House, account: str = "ci", **new: Any) -> Account:  # noqa: ANN401 -- NewLogin's fields
    """Log in as the provider's confidential client, by its secret unless told otherwise."""
    where = {"provider": "practice", "base_url": house.practice.url}
    by_secret = {"client_id": MACHINE, "client_secret": house.practice.client_secret}
    wanted = {"account": account, "flow": "client-credentials", **where, **by_secret, **new}
    finished = await machine.log_in(house.ctx, NewLogin(**wanted))
    assert finished.account is not None
    return finished.account


async def again(house: House, account: str = "ci", **new: Any) -> Account:  # noqa: ANN401 -- NewLogin's fields
    """Log in again by the account's name alone, as ``keyfob login NAME`` does."""
    flow = await machine.former_flow(house.ctx, account)
    assert flow is not None
    finished = await machine.log_in(house.ctx, NewLogin("", account, flow=flow, **new))
    assert finished.account is not None
    return finished.account


async def with_key(house: House, **overrides: Any) -> tuple[Provider, str]:  # noqa: ANN401 -- a preset file's own types
    """Configure the provider with a key, and give that to it; return the provider and the new client's id."""
    provider = await providers.add(
        house.ctx,
        NewProvider(preset="practice", base_url=house.practice.url, overrides=overrides, auth_method="private_key_jwt"),
    )
    ((waiting, jwks),) = await clients.public_keys(house.ctx, provider.name)
    assert waiting == ""
    return provider, await registered(house, jwks)


async def registered(house: House, jwks: dict[str, Any]) -> str:
    """Register a client with these public keys at the provider, as a person does there; return its id."""
    wanted = {
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": jwks,
        "grant_types": ["client_credentials", JWT_BEARER, "authorization_code", "refresh_token"],
        "redirect_uris": [f"http://127.0.0.1/callback/{provider_name('practice', house.practice.url, '')}"],
    }
    async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE, verify=NO_TLS) as person:
        answer = await person.post(f"{house.practice.url}/register", json=wanted)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["client_id"])


async def by_key(house: House, account: str = "ci", **new: Any) -> Account:  # noqa: ANN401 -- NewLogin's fields
    """Configure the provider with a key, make that known, and log in by it."""
    provider, client_id = await with_key(house)
    where = {"provider": provider.name, "base_url": "", "client_secret": None}
    return await log_in(house, account, client_id=client_id, **where, **new)


async def secret_changed(house: House) -> Secret:
    """Change the client's secret at the provider; return the new one."""
    new = Secret("another secret of some thirty characters")
    house.practice.change_client_secret(new)
    return new
