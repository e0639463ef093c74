"""Configured providers: add, find, discover, remove, and the client that Keyfob is at each.

Called by ``login``, ``refresh`` and the web API.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from broker.core.account import Destination
from broker.core.login import Client
from broker.core.secret import Secret
from broker.core.timing import Policy
from broker.errors import Conflict, InvalidRequest, UnknownProvider
from broker.oauth import discover, registration
from broker.providers import catalog
from broker.providers.model import Provider, ProviderConfig
from broker.usecases.context import Context

# The name stands in the redirect path, which is registered at the provider: no escapes, no case folding.
PROVIDER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")


@dataclass(frozen=True, slots=True)
class NewProvider:
    """What a person says about a provider.

    Attributes:
        name: how to call it, or empty for a sane default.
        preset: the preset to follow, or empty for ``generic``.
        base_url: instance URL, or empty.
        issuer: issuer URL for discovery, or empty.
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
    overrides: Mapping[str, Any] = field(default_factory=dict)
    client_id: str = ""
    client_secret: Secret | None = None
    auth_method: str = ""
    private: bool = False


async def find(ctx: Context, name: str) -> Provider:
    """Return a configured provider, resolved.

    Raises:
        UnknownProvider: none has that name.
    """
    config = await ctx.store.provider(name)
    if config is None:
        raise UnknownProvider(f"No provider is called '{name}'.", "See: keyfob provider list")
    return catalog.resolve(config, ctx.presets_dir)


async def listed(ctx: Context) -> list[Provider]:
    """Return every configured provider, resolved, by name."""
    return [catalog.resolve(config, ctx.presets_dir) for config in await ctx.store.providers()]


def timing_policy(provider: Provider) -> Policy:
    """Return what the schedule needs to know about a provider."""
    return Policy(kills_old_access_token=provider.refresh.kills_old_access_token)


async def add(ctx: Context, new: NewProvider) -> Provider:
    """Configure a provider, discovering what its issuer publishes.

    Raises:
        Conflict: the name is taken.
        InvalidRequest: the description is not complete or not allowed.
        ProviderUnavailable: discovery did not succeed.
    """
    config = await _describe(ctx, new)
    if await ctx.store.provider(config.name) is not None:
        raise Conflict(
            f"A provider is already called '{config.name}'.",
            f"Choose another name, or remove it first: keyfob provider remove {config.name}",
        )
    return await _keep(ctx, config, new)


async def ensure(ctx: Context, new: NewProvider) -> Provider:
    """Return the configured provider that ``new`` describes, adding it where there is none yet.

    ``new.preset`` may be the name of a configured provider, of a preset, or an issuer URL (then it is in ``issuer``).
    """
    async with ctx.registering.setdefault("", asyncio.Lock()):  # no provider has an empty name
        return await _ensure(ctx, new)


async def _ensure(ctx: Context, new: NewProvider) -> Provider:
    if new.preset and not new.base_url and not new.issuer:
        config = await ctx.store.provider(new.preset)
        if config is not None:
            return await _keep(ctx, config, new) if new.client_id else catalog.resolve(config, ctx.presets_dir)
    base_url = catalog.check_url(new.base_url, what="base URL", private=True) if new.base_url else ""
    for config in await ctx.store.providers():
        same_issuer = bool(new.issuer) and new.issuer in (
            config.overrides.get("issuer"),
            config.discovered.get("issuer"),
        )
        same_instance = bool(base_url) and (config.preset, config.base_url) == (new.preset, base_url)
        if same_issuer or same_instance:
            return await _keep(ctx, config, new) if new.client_id else catalog.resolve(config, ctx.presets_dir)
    config = await _describe(ctx, new)
    return await _keep(ctx, replace(config, name=await _free_name(ctx, config.name)), new)


async def remove(ctx: Context, name: str) -> None:
    """Forget a provider that no account uses.

    Raises:
        UnknownProvider: none has that name.
        Conflict: an account still uses it.
    """
    await find(ctx, name)
    users = [account.name for account in await ctx.store.accounts() if account.provider == name]
    if users:
        raise Conflict(f"Provider '{name}' is used by: {', '.join(users)}.", f"Log out first: keyfob logout {users[0]}")
    await ctx.store.delete_provider(name)


async def client_for(ctx: Context, provider: Provider, redirect_uri: str, client_id: str = "") -> Client:
    """Return the client to log in with: the one named, the newest, or one that Keyfob now registers itself.

    Raises:
        InvalidRequest: there is none and the provider does not register one by itself.
    """
    async with ctx.registering.setdefault(provider.name, asyncio.Lock()):
        clients = await ctx.store.clients(provider.name)
        for client in clients:
            if client_id in ("", client.client_id):
                return client
        if client_id:
            raise InvalidRequest(f"Provider '{provider.name}' has no client '{client_id}'.", "Give its secret too.")
        destination = _destination(provider, provider.client_id)
        if provider.client_id:
            return await ctx.store.add_client(
                provider=provider.name,
                client_id=provider.client_id,
                secret=None,
                auth_method="none",
                origin="preset",
                destination=destination,
                now=ctx.clock(),
            )
        if provider.registration is None:
            where = f"Register one at {provider.register_url}" if provider.register_url else "Register one there"
            raise InvalidRequest(
                f"{provider.title} does not know Keyfob yet: a client id is needed.",
                f"{where} with the redirect URI {redirect_uri} and give it with --client-id "
                "(and --client-secret-file where it has a secret).",
            )
        registered = await registration.register(
            ctx.http, provider, redirect_uris=_registered_uris(provider, redirect_uri), scope=provider.scopes
        )
        return await ctx.store.add_client(
            provider=provider.name,
            client_id=registered.client_id,
            secret=registered.client_secret,
            auth_method=registered.auth_method,
            origin="registered",
            destination=replace(destination, client_id=registered.client_id),
            now=ctx.clock(),
        )


def _registered_uris(provider: Provider, redirect_uri: str) -> list[str]:
    """What to register: a loopback URI that outlives a change of port, and the out-of-band one where there is one."""
    uri = re.sub(r"^(http://127\.0\.0\.1):\d+/", r"\1/", redirect_uri)
    uris = [uri if provider.redirect.register_without_port else redirect_uri]
    return uris + ([provider.redirect.out_of_band] if provider.redirect.out_of_band else [])


def _destination(provider: Provider, client_id: str) -> Destination:
    return Destination(provider.identity_issuer, provider.endpoints.token, client_id)


async def _describe(ctx: Context, new: NewProvider) -> ProviderConfig:
    """Turn what a person says into a configuration, asking the issuer for the rest."""
    preset = catalog.preset(new.preset or "generic", ctx.presets_dir)
    overrides = dict(new.overrides)
    if new.issuer:
        catalog.check_url(new.issuer, what="issuer", private=new.private)
        overrides["issuer"] = catalog.check_issuer(new.issuer)
    base_url = catalog.check_url(new.base_url, what="base URL", private=new.private) if new.base_url else ""
    name = new.name or catalog.provider_name(preset.name, base_url, overrides.get("issuer", ""))
    if not PROVIDER_NAME.fullmatch(name):
        raise InvalidRequest(
            f"'{name}' cannot be a provider's name.", "Use lower-case letters, digits and dashes, 63 at the most."
        )
    config = ProviderConfig(name, preset.name, base_url, overrides, {}, new.private, ctx.clock())
    issuer = catalog.needs_discovery(config, ctx.presets_dir)
    if issuer:
        config = replace(config, discovered=await discover.discover(ctx.http, issuer, private=new.private))
    catalog.resolve(config, ctx.presets_dir)  # raises what is still missing, before anything is kept
    return config


async def _keep(ctx: Context, config: ProviderConfig, new: NewProvider) -> Provider:
    """Keep a provider, and the client that came with its description."""
    if new.auth_method and new.auth_method not in AUTH_METHODS:
        raise InvalidRequest(
            f"'{new.auth_method}' is no client authentication method.", f"Use one of {', '.join(AUTH_METHODS)}."
        )
    provider = catalog.resolve(config, ctx.presets_dir)
    await ctx.store.put_provider(config)
    if new.client_id:
        await ctx.store.add_client(
            provider=config.name,
            client_id=new.client_id,
            secret=new.client_secret,
            auth_method=new.auth_method or _best_method(provider, has_secret=new.client_secret is not None),
            origin="given",
            destination=_destination(provider, new.client_id),
            now=ctx.clock(),
        )
    return provider


def _best_method(provider: Provider, *, has_secret: bool) -> str:
    if not has_secret:
        return "none"
    # client_secret_basic is what every server must support (RFC 6749 2.3.1).
    known = [method for method in provider.auth_methods if method in AUTH_METHODS and method != "none"]
    return "client_secret_basic" if not known or "client_secret_basic" in known else known[0]


async def _free_name(ctx: Context, name: str) -> str:
    taken = {config.name for config in await ctx.store.providers()}
    number = 2
    candidate = name
    while candidate in taken:
        candidate = f"{name[:58]}-{number}"
        number += 1
    return candidate
