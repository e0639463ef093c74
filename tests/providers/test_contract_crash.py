"""A crash in the middle of a refresh, at providers that answer in shapes of their own: nothing is lost by it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.secret import Secret
from broker.oauth import wire
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.providers import catalog
from broker.usecases import login, providers, refresh
from tests.providers.contract import contract_of, methods_of, settings_of
from tests.providers.test_contract import begin, configured
from tests.usecases.house import Clock, House, opened


@pytest.mark.parametrize("name", ["nested", "formed", "jsonly", "talkative"])
def test_an_answer_that_was_kept_is_judged_at_the_next_start(tmp_path: Path, presets_dir: Path, name: str) -> None:
    """It was written down before anybody looked at it; read again, it is read in the provider's own shape."""
    contract = contract_of(catalog.preset(name, presets_dir), presets_dir)
    settings = PracticeSettings(auto_approve=True, **settings_of(contract))
    clock = Clock()

    async def before(house: House) -> Secret:
        house.ctx = replace(house.ctx, presets_dir=presets_dir)
        provider = await configured(house, contract, methods_of(contract.preset.data)[0])
        assert (await house.walk(await begin(house, provider))).account is not None
        clock.forward(700.0)
        return await died_with_the_answer(house)

    async def after(house: House, kept: Secret) -> None:
        house.ctx = replace(house.ctx, presets_dir=presets_dir)
        await refresh.settle(house.ctx)
        account = await house.account()
        access_token, refresh_token = await house.secrets_of(account)
        assert account.state.name == "active"
        assert house.asked() == 1
        assert str(access_token) in kept.reveal()
        assert contract.provider.refresh.rotation == "never" or str(refresh_token) in kept.reveal()

    async def story() -> None:
        with practice_in_thread(settings, clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                kept = await before(house)
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await after(house, kept)

    asyncio.run(story())


async def died_with_the_answer(house: House) -> Secret:
    """Do what a refresh does up to the moment when the answer is durable, and no more; return the answer."""
    account = await house.account()
    provider = await providers.find(house.ctx, account.provider)
    client, secret = await house.store.client_of(account)
    refresh_token = await house.store.refresh_token(account)
    intended = await house.store.begin_refresh(account, house.clock())
    assert refresh_token is not None
    assert intended is not None
    outcome = await wire.refresh(
        house.ctx.http,
        provider,
        client,
        secret,
        token_endpoint=account.destination.token_endpoint,
        refresh_token=refresh_token,
        redirect_uri=login.redirect_uri(house.ctx, provider),
    )
    assert isinstance(outcome, wire.Answered), outcome
    await house.store.keep_answer(intended, outcome.raw, outcome.refresh_token)
    return outcome.raw
