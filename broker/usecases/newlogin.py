"""What a login should be: at which provider, for which account and resource, and what is asked for.

Used by every kind of login: ``login``, ``device``, ``given``, ``machine``.
"""

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Concatenate, ParamSpec, TypeVar

from broker.core.account import ACCOUNT_NAME, Account
from broker.core.login import Flow, Login
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest
from broker.providers.model import Provider
from broker.providers.urls import check_resource
from broker.usecases import providers, rediscovery
from broker.usecases.context import Context
from broker.usecases.providers import NewProvider

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewLogin:
    """What a login should be.

    Attributes:
        provider: name of a provider or preset, or a URL: an issuer, a site, or a protected resource. Empty where an
            account logs in again, or ``resource`` says where.
        account: the name to give, or empty for a sane default.
        base_url: the instance, where the preset needs one.
        parameters: what else stands in the preset's addresses, such as a tenant.
        scope: what to ask; empty for the provider's default. An account that logs in again is asked for what it has
            asked for before as well, ...
        only_scope: ... unless this is so.
        flow: how the person logs in.
        client_id: a client registered by hand, or empty.
        client_secret: its secret, or None.
        auth_method: how the client authenticates, or empty.
        resource: RFC 8707 resource, or None for what the account or a resource's URL says.
        private: special-purpose addresses are allowed for a provider that is new.
        subject: for whom the flow ``jwt-bearer`` asks, or empty.
        audience: for whom the token of a program's or a derived account shall be, or how its provider wants to be
            called; or empty.
        parent: the account to derive this one from, with the flow ``token-exchange``; or empty.
    """

    provider: str
    account: str = ""
    base_url: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    scope: tuple[str, ...] = ()
    flow: Flow = "browser"
    client_id: str = ""
    client_secret: Secret | None = None
    auth_method: str = ""
    resource: str | None = None
    private: bool = False
    only_scope: bool = False
    subject: str = ""
    audience: str = ""
    parent: str = ""

    def asks(self, provider: Provider, account: Account | None) -> tuple[str, ...]:
        """Return the scopes to ask for: more of them must not cost an account those that it has."""
        had = account.asked_scope if account is not None else ()
        if self.only_scope or not self.scope:
            return self.scope or had or provider.scopes
        return tuple(dict.fromkeys((*had, *self.scope)))


def check(new: NewLogin) -> None:
    """Refuse what can be no account's name, or no resource (RFC 8707 2).

    Raises:
        InvalidRequest: with what it should be.
    """
    if new.account:
        check_name(new.account)
    if new.resource is not None:
        check_resource(new.resource)


def check_name(name: str) -> None:
    """Refuse what can be no account's name.

    Raises:
        InvalidRequest: with what can.
    """
    if not ACCOUNT_NAME.fullmatch(name):
        raise InvalidRequest(
            f"'{name}' cannot be an account's name.",
            "Use letters, digits and . _ @ - (the first a letter or digit), 64 at the most.",
        )


@contextlib.asynccontextmanager
async def holding(ctx: Context, name: str) -> AsyncIterator[None]:
    """Hold the name of a login's account, so that no other account gets it before that login has ended.

    It is looked up first and used after many a wait; most logins that ask nothing of a person are in no table yet.
    """
    async with ctx.names.changing:
        ctx.names.held[name] += 1
    try:
        yield
    finally:
        ctx.names.held[name] -= 1
        if not ctx.names.held[name]:
            del ctx.names.held[name]


def holds_name(
    story: Callable[Concatenate[Context, NewLogin, P], Awaitable[T]],
) -> Callable[Concatenate[Context, NewLogin, P], Coroutine[Any, Any, T]]:
    """Let a story hold its account's name from its first look to its end; see :func:`holding`."""

    @functools.wraps(story)
    async def held(ctx: Context, new: NewLogin, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with holding(ctx, new.account):
            return await story(ctx, new, *args, **kwargs)

    return held


async def prepare(
    ctx: Context, new: NewLogin, *, ask_again: bool = True
) -> tuple[Provider, Account | None, str | None]:
    """Find or add the provider, the account that would log in again, and the resource that the login is for.

    Args:
        ctx: the collaborators.
        new: what the login should be.
        ask_again: an issuer that was asked about itself long ago is asked again; nobody has to wait for that.

    Raises:
        InvalidRequest, Conflict, UnknownProvider, ProviderUnavailable: with the next step.
    """
    check(new)
    known = rediscovery.fresh if ask_again else providers.find
    account = await ctx.store.account(new.account) if new.account else None
    if account is not None and account.proven is False:
        raise Conflict(
            f"Account '{account.name}' was changed outside Keyfob. A login would not tell what else it is now.",
            f"Remove it first: keyfob logout {account.name} --local-only",
        )
    if account is not None and not new.base_url and not new.parameters:
        provider = await providers.find(ctx, account.provider)
        if new.provider in ("", provider.name, provider.preset):
            return await known(ctx, provider.name), account, new.resource or account.resource
    if not new.provider and new.resource is None:
        begun = await under_way(ctx, new.account) if new.account and account is None else []
        if not begun:
            raise InvalidRequest("Which provider?", "Name it with --provider; see: keyfob provider presets")
        return await known(ctx, begun[-1].provider), None, None
    is_url = "://" in new.provider
    reached = await providers.reach(
        ctx,
        NewProvider(
            preset="" if is_url else new.provider,
            issuer=new.provider if is_url else "",
            resource="" if new.provider else new.resource or "",
            base_url=new.base_url,
            parameters=new.parameters,
            private=new.private,
        ),
    )
    provider = reached.provider
    if account is not None and account.provider != provider.name:
        raise Conflict(
            f"Account '{account.name}' is at provider '{account.provider}', not at '{provider.name}'.",
            "Choose another account name, or log that one out first.",
        )
    if not reached.discovered:
        provider = await known(ctx, provider.name)
    # What a resource wants comes before what its server has for everybody.
    asked = tuple(dict.fromkeys((*reached.scopes, *provider.scopes)))
    provider = replace(provider, scopes=asked, further_scopes=reached.supported)
    # What leads to the server is named as it names itself; a resource beside a provider is what the person says.
    said = (new.resource if new.provider else None) or reached.resource or new.resource
    return provider, account, said or (account.resource if account is not None else None)


def wanted(new: NewLogin, provider: Provider, account: Account | None) -> tuple[str, ...]:
    """Return the scope to ask for: what is said now, else what the account asked for, else the provider's.

    Raises:
        InvalidRequest: an ID token would be asked for that nobody could check.
    """
    scope = new.asks(provider, account)
    if "openid" in scope and not provider.endpoints.jwks:
        raise InvalidRequest(
            f"{provider.title} shows no keys, so an ID token of it cannot be checked.",
            "Leave the scope 'openid' out (--scope ...), or configure the provider with its jwks_uri.",
        )
    return scope


async def first_logins(ctx: Context) -> list[Login]:
    """Return the logins under way that would make an account of a chosen name: of each name the newest.

    None whose name an account has meanwhile, by another login: that is shown in its place.
    """
    newest = {found.account: found for found in await _begun(ctx)}
    taken = await ctx.store.names_among([*newest])
    return [found for name, found in newest.items() if name not in taken]


async def under_way(ctx: Context, name: str) -> list[Login]:
    """Return every login under way that would make an account of that name, oldest first."""
    return [found for found in await _begun(ctx) if found.account == name]


async def _begun(ctx: Context) -> list[Login]:
    now = ctx.clock()
    pending = await ctx.store.logins_pending()
    return [found for found in pending if found.account and found.replaces is None and found.expires_at > now]
