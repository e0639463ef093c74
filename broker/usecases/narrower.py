"""A token that carries less than the account's own, or is for another place: kept, refreshed for, or exchanged for.

Called by ``get_token``, once the policy has said that the caller may have no more, or wants no more.
"""

import asyncio
import logging
from dataclasses import dataclass

from broker.core import timing
from broker.core.account import Account, Active
from broker.core.secret import Secret
from broker.core.token import Token, Wish
from broker.errors import KeyfobError, ProviderUnavailable
from broker.oauth import wire
from broker.oauth.grant import BadReply
from broker.providers.model import Provider
from broker.usecases import due, exchange, refresh, setbacks
from broker.usecases.context import Context
from broker.usecases.providers import find

log = logging.getLogger(__name__)

# What a provider has refused is not asked for again for so long: an app that asks every second must not make a refresh
# of each; and a person who has mended it at the provider need not wait for long.
DENIED_FOR = 600.0
EXCHANGE_ONLY = (
    "An audience needs token exchange (RFC 8693). Where the provider knows that without announcing it, name it under "
    "'grants' in a file of your own; else ask without an audience, or for a resource."
)
# What may be said of the token that is shown, and not of what is asked for (RFC 8693 2.2.2, RFC 6750 3.1).
ABOUT_THE_TOKEN = ("invalid_request", "invalid_grant", "invalid_token")


@dataclass(frozen=True, slots=True)
class Held:
    """Such a token.

    Attributes:
        secret: the access token.
        facts: what is known about it.
    """

    secret: Secret
    facts: Token


@dataclass(frozen=True, slots=True)
class No:
    """Why such a token cannot be had; in words that are safe to show, as is ``hint``: what would help, or empty."""

    reason: str
    hint: str = ""


async def kept(ctx: Context, account: Account, wish: Wish) -> Held | None:
    """Return the token that is kept for a wish while it lives, or None."""
    found = await ctx.store.derived_token(account, wish)
    return None if found is None or timing.is_expired(found[1], ctx.clock()) else Held(*found)


async def bring(ctx: Context, account: Account, wish: Wish) -> No | None:
    """Get a token for a wish and keep it; :func:`unable` has said nothing against it.

    The account has to be well, with a living token of its own.

    None means that there is nothing to say against it: look at what is kept, and at the account.

    Raises:
        ProviderUnavailable: the provider cannot give one now.
        KeyfobError: the store does not work, or the client is gone.
    """
    provider = await find(ctx, account.provider)
    if _by_refresh(account, provider, wish):
        if wait := await due.quota_wait(ctx, account):
            raise ProviderUnavailable(f"{provider.title} rations its access tokens.", retry_after=wait)
        why = await asyncio.shield(refresh.join(ctx, account, wish=wish))
        if not why or not await _is_well(ctx, account):
            return None
        _deny(ctx, _key(account, wish), why)
    else:
        why = await asyncio.shield(_join_exchange(ctx, account, provider, wish))
    return No(why.rstrip(".")) if why else None


async def _is_well(ctx: Context, account: Account) -> bool:
    """Whether the login is well although a wish was refused; where that cast doubt on it, its own refresh tells."""
    own = ctx.flights.tasks.get(account.uuid)
    if own is not None and ctx.flights.wishes[account.uuid] is None:
        await asyncio.wait({own})
    current = await ctx.store.account_by_uuid(account.uuid)
    return current is not None and isinstance(current.state, Active)


async def unable(ctx: Context, account: Account, wish: Wish) -> No | None:
    """Return why there is no point in asking the provider for such a token; None where there may be one."""
    provider = await find(ctx, account.provider)
    if not _by_refresh(account, provider, wish) and not (provider.exchanges and account.destination.client_id):
        if wish.audience not in (None, account.audience):
            return No(f"{provider.title} gives no token for an audience beside the account's own", EXCHANGE_ONLY)
        what = "with less scope" if wish.resource == account.resource else "for another resource"
        return No(f"{provider.title} gives no token {what} beside the account's own")
    for key in (_key(account, wish), _key_with_token(account, wish)):
        until, why = ctx.flights.denied.get(key, (0.0, ""))
        if ctx.clock() < until:
            return No(why)
    return None


def _deny(ctx: Context, key: str, why: str) -> None:
    now = ctx.clock()
    ctx.flights.deny(key, now, now + DENIED_FOR, why.rstrip("."))


def _key(account: Account, wish: Wish) -> str:
    return f"{account.uuid} {account.logged_in_at} {wish.slot}"


def _key_with_token(account: Account, wish: Wish) -> str:
    """Name a refusal that may be about the account's present token: with the next one it is another question."""
    return f"{_key(account, wish)} {account.token_generation}"


def _by_refresh(account: Account, provider: Provider, wish: Wish) -> bool:
    rules = provider.refresh
    return (
        account.has_refresh_token
        and wish.audience is None  # RFC 6749 6 knows none, and a server that ignores it would give a token for anybody
        and not rules.kills_old_access_token
        and (rules.narrows or not wish.scope)
        and (rules.other_resources or wish.resource == account.resource)
    )


def _join_exchange(ctx: Context, account: Account, provider: Provider, wish: Wish) -> asyncio.Task[str]:
    """Return the one task that exchanges the account's token for this, starting it where none is under way."""
    key = f"{account.uuid} {wish.slot}"
    task = ctx.flights.tasks.get(key)
    if task is None or task.done():
        task = asyncio.create_task(_exchange(ctx, account, provider, wish, key), name=f"exchange {account.name}")
        ctx.flights.add(key, task, wish)
        task.add_done_callback(lambda done: _exchanged(ctx, key, done))
    return task


def _exchanged(ctx: Context, key: str, task: asyncio.Task[str]) -> None:
    if ctx.flights.tasks.get(key) is task:
        ctx.flights.remove(key)
    # Whoever waits gets the exception too; where nobody does any more, it is not lost.
    if not task.cancelled() and (exc := task.exception()) is not None:
        level = logging.WARNING if isinstance(exc, KeyfobError) else logging.ERROR
        log.log(level, "token exchange failed: %s", exc, exc_info=None if isinstance(exc, KeyfobError) else exc)


async def _exchange(ctx: Context, account: Account, provider: Provider, wish: Wish, key: str) -> str:
    """Ask, judge and keep; return why the provider does not give that, or empty text."""
    issuer = setbacks.issuer_of(account)
    async with ctx.flights.cleared(key, issuer, one_by_one=False):
        if (silence := setbacks.silence(ctx, account)) > 0:
            raise ProviderUnavailable(f"{provider.title} is throttling.", retry_after=silence)
        barred = ctx.flights.is_closed(account.uuid) or ctx.store.locked
        if barred or not await refresh.still_wished(ctx, account, wish):
            return ""
        access_token = await ctx.store.access_token(account)
        if access_token is None:
            return ""  # the row has changed since it was read
        client, secret = await ctx.store.client_of(account)
        sent = ctx.sent()
        outcome = await wire.exchange_token(
            ctx.http,
            provider,
            client,
            secret,
            token_endpoint=account.destination.token_endpoint,
            access_token=access_token,
            wish=wish,
        )
    async with ctx.landing():
        match outcome:
            case wire.Answered(raw=raw):
                try:
                    asked = wish.scope or account.scope
                    grant = exchange.read(raw, provider, issued_at=ctx.when(sent), asked=asked, most=wish.scope)
                except BadReply as exc:
                    why = f"{provider.title} gave a token that is not usable: {exc}."
                    _deny(ctx, _key(account, wish), why)
                    return why
                await ctx.store.put_derived(account, wish, grant)
                return ""
            case wire.Refused():
                return await _refused(ctx, account, provider, wish, outcome)
            case wire.Throttled(reason=reason, retry_after=retry_after):
                raise ProviderUnavailable(f"{provider.title} is throttling: {reason}.", retry_after=retry_after)
            case wire.Unreachable(reason=reason) | wire.Faulty(reason=reason) | wire.Lost(reason=reason):
                raise ProviderUnavailable(f"{provider.title} gave no proper answer: {reason}.")


async def _refused(ctx: Context, account: Account, provider: Provider, wish: Wish, refusal: wire.Refused) -> str:
    """Remember a refusal, and return what it says; empty text where it says nothing about the present token."""
    why = setbacks.said(provider, refusal.error, refusal.description)
    if refusal.error not in ABOUT_THE_TOKEN:
        _deny(ctx, _key(account, wish), why)
        return why
    current = await ctx.store.account_by_uuid(account.uuid)
    if current is None or current.token_generation != account.token_generation:
        return ""  # a refresh has come in between, and may have ended the token that was shown: look again
    _deny(ctx, _key_with_token(account, wish), why)
    return why
