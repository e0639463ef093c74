"""Asking an issuer again what it says about itself: once a day where it is used, and whenever a person wants it.

Called by ``login`` and by the web API.
"""

import asyncio
import logging
from dataclasses import replace

from broker.errors import ConfirmNeeded, InvalidRequest, ProviderUnavailable, UnknownProvider
from broker.oauth.discover import discover
from broker.providers import catalog, discovery
from broker.providers.model import Provider, ProviderConfig
from broker.usecases.context import Context

log = logging.getLogger(__name__)

# OpenID Connect Core 10.1.1, security.md R25: metadata may be believed for so long.
METADATA_LIFETIME = 86_400.0


async def fresh(ctx: Context, name: str) -> Provider:
    """Return a configured provider; one that was asked about itself a day ago or longer is asked again.

    Where that fails the old answer counts on, and the issuer is left alone for an hour.

    Raises:
        UnknownProvider: none has that name.
        ConfirmNeeded: it now wants secrets at a host that nobody has agreed to; nothing was changed.
    """
    config = await _known(ctx, name)
    key = f"metadata of {name}"
    if not _is_old(ctx, config) or ctx.ration.left_alone_until(key, ctx.steady()) is not None:
        return catalog.resolve(config, ctx.presets_dir)
    async with ctx.registering.setdefault(name, asyncio.Lock()):
        config = await _known(ctx, name)
        if not _is_old(ctx, config):
            return catalog.resolve(config, ctx.presets_dir)
        try:
            return await _ask(ctx, config, confirm=False)
        except (InvalidRequest, ProviderUnavailable) as exc:
            ctx.ration.leave_alone(key, ctx.steady())
            log.warning("%s could not be asked about itself again, what it said before counts on: %s", name, exc.detail)
            return catalog.resolve(config, ctx.presets_dir)


async def again(ctx: Context, name: str, *, confirm: bool) -> Provider:
    """Ask a provider about itself now.

    Args:
        ctx: the collaborators.
        name: of the provider.
        confirm: hosts that nobody has agreed to yet are fine.

    Raises:
        UnknownProvider: none has that name.
        InvalidRequest: it was not discovered, or what it says now is not believed.
        ProviderUnavailable: it cannot be asked now.
        ConfirmNeeded: as :func:`fresh`, without ``confirm``.
    """
    async with ctx.registering.setdefault(name, asyncio.Lock()):
        config = await _known(ctx, name)
        if not config.discovered:
            raise InvalidRequest(
                f"Provider '{name}' was not discovered, so there is nobody to ask.", "See: keyfob provider show NAME"
            )
        found = await _ask(ctx, config, confirm=confirm)
        ctx.publish("provider-discovered", detail=f"{name}, new hosts confirmed" if confirm else name)
        return found


async def _known(ctx: Context, name: str) -> ProviderConfig:
    config = await ctx.store.provider(name)
    if config is None:
        raise UnknownProvider(f"No provider is called '{name}'.", "See: keyfob provider list")
    return config


def _is_old(ctx: Context, config: ProviderConfig) -> bool:
    # A moment that is still to come was written down by a clock that was wrong.
    return bool(config.discovered) and not 0 <= ctx.clock() - config.discovered_at < METADATA_LIFETIME


async def _ask(ctx: Context, config: ProviderConfig, *, confirm: bool) -> Provider:
    said = await discover(ctx.http, config.discovered["issuer"], private=config.private)
    new = replace(config, discovered=said, discovered_at=ctx.clock())
    provider = catalog.resolve(new, ctx.presets_dir)  # raises what it is lacking now, before anything is kept
    strangers = discovery.strangers(config.discovered, said)
    if strangers and not confirm:
        raise ConfirmNeeded(
            f"{said['issuer']} now wants codes, tokens or client secrets at another host: {', '.join(strangers)}. "
            "Nothing was sent there.",
            f"If you know that this is right, confirm it: keyfob provider discover {config.name} --confirm",
        )
    await ctx.store.put_provider(new)
    return provider
