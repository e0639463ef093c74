"""Every preset with a device flow, from the code to the logout, at a practice provider that speaks it as that says."""

import asyncio
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from broker.core.login import PUBLIC, Login
from broker.errors import KeyfobError
from broker.practice.shape import Activation
from broker.providers import catalog
from broker.providers.rules import DeviceRules
from broker.usecases import device
from broker.usecases.newlogin import NewLogin
from tests.providers.contract import CLIENT_ID, ODD, Contract, contract_of, methods_of, settings_of
from tests.providers.test_contract import USER, check_login, check_logout, check_refresh, configured
from tests.usecases.codes import INTERVAL, allow, tick
from tests.usecases.house import House, opened


def cases() -> list[tuple[str, str]]:
    """Return every preset whose polls come to the token endpoint, with every way in which a client proves itself.

    One that wants its id alone works with a secret and without.
    """
    shipped = {preset.name: preset.data for preset in catalog.presets().values()}
    odd = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in ODD.glob("*.toml")}
    known = {
        name: data for name, data in {**shipped, **odd}.items() if "device_authorization" in data.get("endpoints", ())
    }
    return [
        (name, method)
        for name, data in known.items()
        if "device_token" not in data["endpoints"]
        for method in dict.fromkeys(
            (*methods_of(data), *(() if data.get("device", {}).get("client_secret", True) else PUBLIC[:1]))
        )
    ]


async def kept(place: Path, presets_dir: Path, contract: Contract, method: str, settings: Mapping[str, Any]) -> None:
    """Log in by a code, see who it is and what was granted, refresh, log out."""
    async with opened(place, settings={**settings, "user": USER}) as house:
        house.ctx = replace(house.ctx, presets_dir=presets_dir)
        provider = await configured(house, contract, method)
        new = NewLogin(provider=provider.name, account="me", flow="device", client_id=CLIENT_ID)
        begun = await device.begin(house.ctx, new)
        await device.poll_due(house.ctx)
        await landed(house, begun)
        await check_login(house, contract, provider)
        if contract.refreshes:
            await check_refresh(house, contract)
        await check_logout(house, contract, provider, method)


async def landed(house: House, begun: Login) -> None:
    """Poll before the person allows and after, and see that the login ends with an account."""
    await tick(house, INTERVAL)
    found = await house.store.login(begun.id)
    assert found is not None
    assert found.state == "pending", found.reason
    await allow(begun)
    await tick(house, INTERVAL)
    found = await house.store.login(begun.id)
    assert found is not None
    assert found.state == "done", found.reason
    assert {event.result for event in house.practice.log.all("device_code")} == {"ok", "authorization_pending"}


@pytest.mark.parametrize(("name", "method"), cases())
def test_a_preset_keeps_its_contract(tmp_path: Path, presets_dir: Path, name: str, method: str) -> None:
    """The person allows once, and everything is as after a login in the browser."""
    contract = contract_of(catalog.preset(name, presets_dir), presets_dir)
    asyncio.run(kept(tmp_path, presets_dir, contract, method, settings_of(contract)))


def test_a_code_that_the_provider_knows_no_more(tmp_path: Path, presets_dir: Path) -> None:
    """Twitch has one answer for a code that ran out and one that was used; it ends the login as expired."""

    async def story() -> None:
        contract = contract_of(catalog.preset("twitch", presets_dir), presets_dir)
        async with opened(tmp_path, settings=settings_of(contract)) as house:
            provider = await configured(house, contract, "none")
            new = NewLogin(provider=provider.name, account="me", flow="device", client_id=CLIENT_ID)
            begun = await device.begin(house.ctx, new)
            await device.poll_due(house.ctx)
            house.practice.set_faults(['device_code:answer={"status":400,"message":"invalid device code"}'])
            await tick(house, INTERVAL)
            found = await house.store.login(begun.id)
            assert found is not None
            assert found.state == "expired"

    asyncio.run(story())


OTHERWISE: dict[str, Any] = {"client_secret": True, "scope_parameter": "scope", "scope_at_poll": False}


@pytest.mark.parametrize("dimension", OTHERWISE)
def test_a_provider_that_is_otherwise_breaks_the_contract(tmp_path: Path, presets_dir: Path, dimension: str) -> None:
    """Each dimension counts: where the provider differs from Twitch in one, the login does not succeed."""
    contract = contract_of(catalog.preset("twitch", presets_dir), presets_dir)
    settings = settings_of(contract)
    activation = replace(settings["shape"].activation, **{dimension: OTHERWISE[dimension]})
    otherwise = {**settings, "shape": replace(settings["shape"], activation=activation)}

    with pytest.raises((AssertionError, KeyfobError)):
        asyncio.run(kept(tmp_path, presets_dir, contract, "client_secret_post", otherwise))


def test_every_dimension_is_tried() -> None:
    """Of the practice provider; and of the rules those that no preset needs there are tried in ``tests/oauth``."""
    assert {field.name for field in fields(Activation)} == OTHERWISE.keys()
    elsewhere = {"grant", "code_field", "status_errors", "own_client"}
    assert {field.name for field in fields(DeviceRules)} == OTHERWISE.keys() | elsewhere
