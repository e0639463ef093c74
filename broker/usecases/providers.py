"""Configured providers: add, find, discover, remove.

Called by ``login``, ``refresh`` and the web API.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from broker.core.secret import Secret
from broker.core.timing import Policy
from broker.errors import Conflict, InvalidRequest, UnknownProvider
from broker.oauth import discover, locate
from broker.oauth.locate import Found
from broker.providers import catalog
from broker.providers.model import Preset, Provider, ProviderConfig
from broker.usecases import clients, registrations
from broker.usecases.context import Context
from broker.usecases.registrations import Withdrawn

# What providers that ration access tokens count in: refreshes in ten minutes.
QUOTA_SECONDS = 600.0
# The name stands in the redirect path, which is registered at the provider: no escapes, no case folding.
PROVIDER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class NewProvider:
    """What a person says about a provider.

    Attributes:
        name: how to call it, or empty for a sane default.
        preset: the preset to follow, or empty for ``generic``.
        base_url: instance URL, or empty.
        issuer: URL for discovery: an issuer, a site, or a protected resource; or empty.
        resource: a protected resource (RFC 9728) whose authorization server it is, or empty.
        parameters: what else stands in the preset's addresses, such as a tenant.
        overrides: values in the shape of a preset file.
        client_id: the client registered by hand, or empty.
        client_secret: its secret, or None.
        auth_method: how the client authenticates, or empty for the provider's best.
        private: special-purpose addresses are allowed.
    """

    name: str = ""
    preset: str = ""
    base_url: str = ""
    issuer: str = ""
    resource: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    client_id: str = ""
    client_secret: Secret | None = None
    auth_method: str = ""
    private: bool = False


@dataclass(frozen=True, slots=True)
class Reached:
    """A provider that a login leads to.

    Attributes:
        provider: configured, and resolved.
        resource: the protected resource that led to it, or None.
        discovered: it was asked about itself just now.
        scopes: what that resource wants a token to have; empty where it does not say.
        supported: what it may want of another request.
    """

    provider: Provider
    resource: str | None = None
    discovered: bool = False
    scopes: tuple[str, ...] = ()
    supported: tuple[str, ...] = ()


async def find(ctx: Context, name: str) -> Provider:
    """Return a configured provider, resolved.

    Raises:
        UnknownProvider: none has that name.
    """

    async def resolved() -> Provider:
        config = await ctx.store.provider(name)
        if config is None:
            raise UnknownProvider(f"No provider is called '{name}'.", "See: keyfob provider list")
        return catalog.resolve(config, ctx.presets_dir)

    # Each refresh asks, and so does each look at what is due.
    return await ctx.unchanged(f"provider {name}", resolved)


async def listed(ctx: Context) -> list[Provider]:
    """Return every configured provider, resolved, by name."""
    return [catalog.resolve(config, ctx.presets_dir) for config in await ctx.store.providers()]


async def background(ctx: Context, name: str) -> Preset:
    """Return what a configured provider's preset says about itself: notes, sources, and what is not verified.

    Raises:
        UnknownProvider: none has that name.
    """
    config = await ctx.store.provider(name)
    if config is None:
        raise UnknownProvider(f"No provider is called '{name}'.", "See: keyfob provider list")
    return catalog.background(config, ctx.presets_dir)


def timing_policy(provider: Provider) -> Policy:
    """Return what the schedule needs to know about a provider."""
    rules = provider.refresh
    return Policy(
        kills_old_access_token=rules.kills_old_access_token,
        idle_days=rules.idle_days,
        least_between=QUOTA_SECONDS / rules.refreshes_per_10_min if rules.refreshes_per_10_min else 0.0,
    )


async def add(ctx: Context, new: NewProvider) -> Provider:
    """Configure a provider, discovering what its issuer publishes.

    Raises:
        Conflict: the name is taken.
        InvalidRequest: the description is not complete or not allowed.
        ProviderUnavailable: discovery did not succeed.
    """
    config, _ = await _describe(ctx, new)
    async with _naming(ctx):
        if await ctx.store.provider(config.name) is not None:
            raise Conflict(
                f"A provider is already called '{config.name}'.",
                f"Choose another name, or remove it first: keyfob provider remove {config.name}",
            )
        return await _keep(ctx, config, new)


async def ensure(ctx: Context, new: NewProvider) -> Provider:
    """Return the configured provider that ``new`` describes, adding it where there is none yet.

    ``new.preset`` may be the name of a configured provider, of a preset, or a URL (then it is in ``issuer``).
    """
    return (await reach(ctx, new)).provider


async def reach(ctx: Context, new: NewProvider) -> Reached:
    """Do as :func:`ensure`, and tell how the provider was found."""
    async with _naming(ctx):
        return await _reach(ctx, new)


def _naming(ctx: Context) -> asyncio.Lock:
    """Return the lock that is held from the look whether a name is free until a provider is kept under it."""
    return ctx.registering.setdefault("", asyncio.Lock())  # no provider has an empty name


async def _reach(ctx: Context, new: NewProvider) -> Reached:
    if new.preset and not new.base_url and not new.issuer and not new.resource and not new.parameters:
        config = await ctx.store.provider(new.preset)
        if config is not None:
            return Reached(catalog.resolve(config, ctx.presets_dir))
    base_url = catalog.check_url(new.base_url, what="base URL", private=True) if new.base_url else ""
    await _check_not_set_up(ctx, new)
    configs = await ctx.store.providers()
    if (meant := _of_issuer(configs, new.issuer) or _instance(configs, new, base_url)) is not None:
        return Reached(await find(ctx, meant.name))
    config, found = await _describe(ctx, new)
    if found is not None and found.issuer != new.issuer:
        # A site, or a resource, of an issuer that is known already.
        known = _of_issuer(await ctx.store.providers(), found.issuer)
        if known is not None:
            return _reached(await find(ctx, known.name), found)
    kept = await _keep(ctx, replace(config, name=await _free_name(ctx, config.name)), new)
    return replace(_reached(kept, found), discovered=True)


def _reached(provider: Provider, found: Found | None) -> Reached:
    if found is None:
        return Reached(provider)
    return Reached(provider, found.resource, scopes=found.scopes, supported=found.supported)


async def _check_not_set_up(ctx: Context, new: NewProvider) -> None:
    """Refuse to take the name of a configured provider for that of a preset.

    Raises:
        InvalidRequest: that provider is where it is, and the address or parameter is another one.
    """
    config = await ctx.store.provider(new.preset)
    if config is None or new.preset in catalog.presets(ctx.presets_dir):
        return
    named = "--base-url" if new.base_url else "--param" if new.parameters else "--resource"
    provider = catalog.resolve(config, ctx.presets_dir)
    place = provider.base_url or provider.issuer or provider.endpoints.token
    raise InvalidRequest(
        f"Provider '{config.name}' is set up already, at {place}.",
        f"Leave {named} out; for another instance name the preset: --provider {config.preset}",
    )


def _of_issuer(configs: Iterable[ProviderConfig], issuer: str) -> ProviderConfig | None:
    """Return the configured provider that has that issuer, or None."""
    return _plainest((config for config in configs if _has_issuer(config, issuer)), {"values", "issuer"})


def _has_issuer(config: ProviderConfig, issuer: str) -> bool:
    return bool(issuer) and issuer in (config.overrides.get("issuer"), config.discovered.get("issuer"))


def _instance(configs: Iterable[ProviderConfig], new: NewProvider, base_url: str) -> ProviderConfig | None:
    """Return the configured provider that is that instance of a preset, or None."""
    return _plainest((config for config in configs if _is_instance(config, new, base_url)), {"values"})


def _is_instance(config: ProviderConfig, new: NewProvider, base_url: str) -> bool:
    named = bool(base_url or new.parameters) and (config.preset, config.base_url) == (new.preset, base_url)
    return named and config.overrides.get("values", {}) == dict(new.parameters)


def _plainest(fitting: Iterable[ProviderConfig], place: set[str]) -> ProviderConfig | None:
    """Choose of several providers at one place the first that nobody has changed, where there is one.

    Who names the place alone does not mean an endpoint, or anything else, that was said for another name. What was
    changed is better than none: a person has set it up for that place.

    Args:
        fitting: the providers, by name.
        place: the overrides that say nothing but which place is meant.
    """
    return min(fitting, key=lambda config: bool(config.overrides.keys() - place), default=None)


async def foreseen(ctx: Context, new: NewProvider) -> Provider:
    """Return the provider that a login would lead to, as far as that is known here: nobody is asked, nothing is kept.

    So a person can be told its redirect URI, which has its name in it, before there is a login.

    Args:
        ctx: the collaborators.
        new: the name of a provider or preset, and its base URL and parameters where they are said.

    Raises:
        UnknownProvider: there is none of that name.
        InvalidRequest: what is said does not lead to one.
    """
    known = await ctx.store.provider(new.preset)
    if known is not None and not (new.base_url or new.parameters):
        return catalog.resolve(known, ctx.presets_dir)
    await _check_not_set_up(ctx, new)
    base_url = catalog.check_url(new.base_url, what="base URL", private=True) if new.base_url else ""
    meant = _instance(await ctx.store.providers(), new, base_url)
    if meant is not None:
        return catalog.resolve(meant, ctx.presets_dir)
    name = await _free_name(ctx, catalog.provider_name(new.preset, base_url, "", new.parameters))
    overrides = {"values": dict(new.parameters)} if new.parameters else {}
    config = ProviderConfig(name, new.preset, base_url, overrides, {}, private=True, created_at=ctx.clock())
    return catalog.resolve(config, ctx.presets_dir)


async def remove(ctx: Context, name: str, *, local_only: bool = False) -> list[Withdrawn]:
    """Forget a provider that no account uses, and delete there what Keyfob registered for itself.

    It is forgotten here first: whatever its server answers, nothing of it is used any more.

    Args:
        ctx: the collaborators.
        name: of the provider.
        local_only: its server is not asked.

    Returns:
        What became of each registration; nothing where there was none, or ``local_only``.

    Raises:
        Locked: a registration has to be deleted, and there is no key.
        UnknownProvider: none has that name.
        Conflict: an account still uses it.
    """
    provider = await find(ctx, name)
    users = await ctx.store.names_at(name)
    if users:
        raise Conflict(f"Provider '{name}' is used by: {', '.join(users)}.", f"Log out first: keyfob logout {users[0]}")
    registered = [] if local_only else await registrations.read_management(ctx, name)
    await ctx.store.delete_provider(name)
    ctx.publish("provider-removed", detail=name)
    return await registrations.withdraw(ctx, provider, registered)


async def _describe(ctx: Context, new: NewProvider) -> tuple[ProviderConfig, Found | None]:
    """Turn what a person says into a configuration, asking the issuer for the rest; tell also what that found."""
    preset = catalog.preset(new.preset or "generic", ctx.presets_dir, beside=[one.name for one in await listed(ctx)])
    overrides = dict(new.overrides)
    if new.parameters:
        overrides["values"] = dict(new.parameters)
    if new.issuer:
        catalog.check_url(new.issuer, what="issuer", private=new.private)
        overrides["issuer"] = catalog.check_issuer(new.issuer)
    base_url = catalog.check_url(new.base_url, what="base URL", private=new.private) if new.base_url else ""
    config = ProviderConfig("", preset.name, base_url, overrides, {}, new.private, ctx.clock())
    found = await _discover(ctx, config, new)
    if found is not None:
        if new.issuer or new.resource:
            overrides["issuer"] = found.issuer
        config = replace(config, discovered=found.data, discovered_at=config.created_at)
    name = new.name or catalog.provider_name(preset.name, base_url, overrides.get("issuer", ""), new.parameters)
    if not PROVIDER_NAME.fullmatch(name):
        raise InvalidRequest(
            f"'{name}' cannot be a provider's name.", "Use lower-case letters, digits and dashes, 63 at the most."
        )
    if name != preset.name and name in catalog.presets(ctx.presets_dir):
        # A login that names the preset would find this one in its place.
        raise InvalidRequest(
            f"'{name}' is the name of a preset, and this provider follows '{preset.name}'.", "Choose another name."
        )
    config = replace(config, name=name)
    catalog.resolve(config, ctx.presets_dir)  # raises what is still missing, before anything is kept
    return config, found


async def _discover(ctx: Context, config: ProviderConfig, new: NewProvider) -> Found | None:
    """Ask whoever a person named, or the preset's issuer, about itself; None where nobody has to be asked."""
    if new.resource:
        return await locate.locate_for(ctx.http, new.resource, private=new.private)
    issuer = catalog.needs_discovery(config, ctx.presets_dir)
    if issuer and new.issuer:
        return await locate.locate(ctx.http, new.issuer, private=new.private)
    return Found(await discover.discover(ctx.http, issuer, private=new.private)) if issuer else None


async def _keep(ctx: Context, config: ProviderConfig, new: NewProvider) -> Provider:
    """Keep a provider, and the client that came with its description."""
    provider = catalog.resolve(config, ctx.presets_dir)
    brought = await clients.described(
        provider, new.client_id, new.client_secret, auth_method=new.auth_method, now=ctx.clock()
    )
    await ctx.store.put_provider(config)
    ctx.publish("provider-added", detail=config.name)
    if brought is not None:
        await clients.keep(ctx, provider, *brought)
    return provider


async def _free_name(ctx: Context, name: str) -> str:
    taken = await ctx.store.provider_names()
    number = 2
    candidate = name
    while candidate in taken:
        candidate = f"{name[:58]}-{number}"
        number += 1
    return candidate
