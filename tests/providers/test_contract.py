"""Every preset, from begin to revoke, against a practice provider that behaves as that very preset says."""

import asyncio
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from broker.core.account import NeedsLogin
from broker.core.login import PUBLIC, Login
from broker.core.secret import Secret
from broker.errors import KeyfobError
from broker.practice.clients import Client
from broker.practice.grants import User
from broker.practice.shape import Person, Revocation, Shape
from broker.providers import catalog
from broker.providers.model import Provider
from broker.usecases import accounts, login, providers
from broker.usecases.newlogin import NewLogin
from broker.usecases.providers import NewProvider
from tests.providers.contract import CLIENT_ID, ODD, Contract, contract_of, methods_of, moved, settings_of
from tests.usecases.house import House, opened, ready

SECRET = Secret("made by hand, too")
USER = "grace"


def cases() -> list[tuple[str, str]]:
    """Return every preset, those with odd dimensions included, with every way in which a client proves itself."""
    shipped = {preset.name: preset.data for preset in catalog.presets().values()}
    odd = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(ODD.glob("*.toml"))}
    return [(name, method) for name, data in {**shipped, **odd}.items() for method in methods_of(data)]


@pytest.mark.parametrize(("name", "method"), cases())
def test_a_preset_keeps_its_contract(tmp_path: Path, presets_dir: Path, name: str, method: str) -> None:
    """Log in, see who it is and what was granted, refresh as it rotates, see a grant die, log in again, log out."""
    contract = contract_of(catalog.preset(name, presets_dir), presets_dir)
    asyncio.run(kept(tmp_path, presets_dir, contract, method, settings_of(contract)))


async def kept(place: Path, presets_dir: Path, contract: Contract, method: str, settings: Mapping[str, Any]) -> None:
    """Walk the whole life of an account at a practice provider that is set so."""
    async with opened(place, settings={**settings, "user": USER}) as house:
        house.ctx = replace(house.ctx, presets_dir=presets_dir)
        provider = await configured(house, contract, method)
        finished = await house.walk(await begin(house, provider))
        assert finished.account is not None, finished.reason
        await check_login(house, contract, provider)
        if contract.refreshes:
            await check_refresh(house, contract)
            await check_death(house, provider)
        await check_logout(house, contract, provider, method)


async def configured(house: House, contract: Contract, method: str) -> Provider:
    """Add the provider at the practice provider's address, with a client that both know."""
    secret = None if method in PUBLIC else SECRET
    provider = await providers.add(
        house.ctx,
        NewProvider(
            name=contract.preset.name,
            preset=contract.preset.name,
            base_url=house.practice.url if contract.preset.needs_base_url else "",
            parameters=contract.values,
            overrides=moved(contract, house.practice.url),
            client_id=CLIENT_ID,
            client_secret=secret,
            auth_method=method,
        ),
    )
    callback = login.redirect_uri(house.ctx, provider)
    house.practice.add_client(Client(CLIENT_ID, secret, (method,), redirect_uris=(callback,)))
    return provider


async def begin(house: House, provider: Provider) -> Login:
    """Begin a login of the account."""
    return await login.begin(house.ctx, NewLogin(provider=provider.name, account="me", client_id=CLIENT_ID))


async def check_login(house: House, contract: Contract, provider: Provider) -> None:
    """What was granted is known, who it is, and how long it is good; the token is the one that was given."""
    account = await house.account()
    reply = contract.provider.reply
    assert account.token is not None
    assert account.scope == contract.provider.scopes
    if reply.zero_is_endless:
        assert account.token.expires_at is None
    else:
        assert account.token.lifetime == settings_of(contract)["ttl"]
    assert account.has_refresh_token == contract.refreshes
    rules = provider.identity
    if rules.url or rules.reply_subject or provider.endpoints.userinfo:
        assert account.identity is not None
        assert account.identity.subject == User(USER).sub
        assert account.identity.issuer == provider.identity_issuer
        told = (rules.reply_subject, *rules.reply_label) if rules.reply_subject else (rules.subject, *rules.label)
        if (rules.reply_subject or rules.url) and told[1:] and told[0] != told[1]:
            assert account.identity.label == USER
    assert ready(await house.token()).startswith("practice_at_")


async def check_refresh(house: House, contract: Contract) -> None:
    """A refresh brings another token, and another refresh token where they are spent; twice, so that it was kept."""
    for _ in range(2):
        before = await house.secrets_of(await house.account())
        house.clock.forward(contract.provider.refresh.reuse_grace_s + 700.0)
        refreshed = await accounts.refresh_now(house.ctx, "me")
        after = await house.secrets_of(await house.account())
        assert not hasattr(refreshed, "reason"), refreshed
        assert (await house.account()).state.name == "active"
        assert after[0] != before[0]
        assert (after[1] != before[1]) == (contract.provider.refresh.rotation != "never")
    results = {event.result for event in house.practice.log.all("refresh")}
    assert results == {"ok"}, "no refresh token may be sent twice"


async def check_death(house: House, provider: Provider) -> None:
    """A grant that died at the provider ends in needs-login, whatever that calls it; a new login mends it.

    Where it does not, the preset names no error by which a dead grant is told from a passing trouble.
    """
    house.practice.revoke_grants()
    house.clock.forward(700.0)
    await accounts.refresh_now(house.ctx, "me")
    account = await house.account()
    assert isinstance(account.state, NeedsLogin), account.state
    finished = await house.walk(await begin(house, provider))
    assert finished.account is not None, finished.reason
    assert (await house.account()).state.name == "active"


async def check_logout(house: House, contract: Contract, provider: Provider, method: str) -> None:
    """The provider is told as it wants to be, and nothing lives there any more where it says so."""
    done = await accounts.log_out(house.ctx, "me")
    asked = house.practice.log.all("revoke")
    assert await house.store.account("me") is None
    assert {event.result for event in asked} <= {"ok"}
    if not provider.endpoints.revocation:
        assert (done.revoked, asked) == (False, [])
        assert "no revocation endpoint" in done.detail
        return
    takes = contract.refreshes or provider.revocation.which != "refresh"
    takes = takes and (method not in PUBLIC or provider.revocation.auth != "basic")
    assert bool(asked) == takes
    whole = provider.revocation.ends_login or provider.revocation.which != "access" or not contract.refreshes
    assert done.revoked == (takes and whole), done.detail
    if done.revoked and contract.refreshes:
        assert house.practice.revoke_grants() == 0, "no grant may live"


# Dimension -> the preset in which it matters, and another value.
OTHERWISE: dict[str, tuple[str, Any]] = {
    "scopes": ("nested", ()),
    "scope_separator": ("nested", "+"),
    "scope_parameter": ("formed", "scope"),
    "authorize_params": ("formed", {"type": "other"}),
    "pkce": ("nested", "S256"),
    "callback_params": ("jsonly", {"place": "us"}),
    "callback_scope": ("formed", "scope"),
    "sends_iss": ("practice", False),
    "body": ("jsonly", "form"),
    "grant_field": ("formed", "grant_type"),
    "code_grant": ("formed", "authorization_code"),
    "refresh_grant": ("formed", "refresh_token"),
    "client_id_field": ("formed", "client_id"),
    "params": ("nested", {"action": "other"}),
    "code_params": ("nested", {"kind": "other"}),
    "refresh_params": ("nested", {"kind": "other"}),
    "headers": ("jsonly", {"X-Version": "4"}),
    "redirect_uri_on_refresh": ("formed", False),
    "refresh_endpoint": ("formed", False),
    "codec": ("jsonly", "form"),
    "path": ("nested", "other"),
    "refresh_path": ("talkative", "authed.users.0"),
    "expires_in": ("formed", "expires_in"),
    "expires_factor": ("nested", 1),
    "endless": ("endless", False),
    "reply_scope_separator": ("formed", ","),
    "token_type": ("talkative", "bot"),
    "error": ("jsonly", "errors.1.errorType"),
    "success_field": ("nested", ""),
    "success_value": ("nested", 1),
    "errors": ("nested", {}),
    "statuses": ("formed", {"invalid_grant": 404}),
    "reply_subject": ("nested", "userid"),
    "reply_label": ("nested", "body.names.1"),
}
OTHERWISE_REVOKED: dict[str, tuple[str, Any]] = {
    "method": ("jsonly", "POST"),
    "body": ("jsonly", "form"),
    "auth": ("talkative", "client"),
    "token_field": ("jsonly", "token"),
    "hint": ("jsonly", True),
    "takes": ("jsonly", ("refresh_token",)),
    "params": ("formed", {"action": "other"}),
    "ends_login": ("jsonly", False),
    "at_token": ("formed", False),
}
OTHERWISE_NAMED: dict[str, tuple[str, Any]] = {
    "method": ("jsonly", "GET"),
    "body": ("jsonly", None),
    "scheme": ("jsonly", "Bearer"),
    "headers": ("jsonly", {"X-Version": "4"}),
    "subject": ("jsonly", "data.viewers.1.id"),
    "label": ("jsonly", "data.viewers.0.id"),
}
ALL_OTHERWISE = [
    *(("", name, *case) for name, case in OTHERWISE.items()),
    *(("revocation", name, *case) for name, case in OTHERWISE_REVOKED.items()),
    *(("person", name, *case) for name, case in OTHERWISE_NAMED.items()),
]


@pytest.mark.parametrize(("part", "dimension", "name", "value"), ALL_OTHERWISE)
def test_a_provider_that_is_otherwise_breaks_the_contract(
    tmp_path: Path, presets_dir: Path, part: str, dimension: str, name: str, value: object
) -> None:
    """Each dimension counts: where the provider differs from its preset in one, the walk does not succeed."""
    contract = contract_of(catalog.preset(name, presets_dir), presets_dir)
    settings = settings_of(contract)
    shape = settings["shape"]
    inner = replace(getattr(shape, part), **{dimension: value}) if part else value
    otherwise = replace(shape, **{part or dimension: inner})
    assert otherwise != shape
    method = methods_of(contract.preset.data)[0]

    with pytest.raises((AssertionError, KeyfobError)):
        asyncio.run(kept(tmp_path, presets_dir, contract, method, {**settings, "shape": otherwise}))


def test_every_dimension_of_the_practice_provider_is_tried() -> None:
    """A dimension that is added is added above, too; only the words of an error change nothing."""
    parts = {"revocation", "person", "activation", "description"}

    assert {field.name for field in fields(Shape)} == OTHERWISE.keys() | parts
    assert {field.name for field in fields(Revocation)} == OTHERWISE_REVOKED.keys()
    assert {field.name for field in fields(Person)} == OTHERWISE_NAMED.keys()
