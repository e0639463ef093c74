"""An app asks for a token: account, policy, freshness, one shared refresh, hand out. It never waits for a human.

Called by ``web.api`` for both app doors.
"""

import asyncio
from dataclasses import dataclass

from broker.core import policy, timing
from broker.core.account import (
    Account,
    Misconfigured,
    NeedsLogin,
    Pending,
    RefreshingFailed,
    Static,
    Suspect,
    Uncertain,
)
from broker.core.policy import Ask, Caller, Denied
from broker.core.secret import Secret
from broker.errors import KeyfobError, UnknownAccount
from broker.usecases import login, refresh
from broker.usecases.context import Context

# An app waits this long for a refresh: longer than one request to a provider may take (20 s), so that a slow answer
# still arrives, and shorter than the 30 s that most HTTP clients wait.
PATIENCE = 25.0


@dataclass(frozen=True, slots=True)
class Ready:
    """Here it is.

    Attributes:
        account: as it was read; ``account.token`` holds the times.
        access_token: the token, or the ID token where that was asked for.
        now: the clock when the remaining life was judged.
    """

    account: Account
    access_token: Secret
    now: float


@dataclass(frozen=True, slots=True)
class MustLogin:
    """Only a person can help. ``login_url`` starts it; it is empty where the browser door cannot help."""

    account: str
    reason: str
    login_url: str
    misconfigured: bool = False
    confirm: bool = False
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No token that lives, and none to be had now; ``retry_after`` seconds may help."""

    account: str
    reason: str
    retry_after: float


Outcome = Ready | MustLogin | Denied | Unavailable


async def get_token(
    ctx: Context,
    caller: Caller,
    ask: Ask,
    *,
    min_ttl: float | None = None,
    id_token: bool = False,
) -> Outcome:
    """Answer a request for a token.

    Args:
        ctx: the collaborators.
        caller: who asks.
        ask: the account, and the scope and resource that the caller names.
        min_ttl: seconds for which the token must still live; None for the usual.
        id_token: the ID token is wanted instead.

    Raises:
        UnknownAccount: the owner named an account that does not exist. (An app is told ``Denied``: names are not its
            business.)
        Locked, StoreUnavailable: the token cannot be read.
    """
    account = await ctx.store.account(ask.account)
    if account is None:
        return await _absent(ctx, caller, ask)
    decision = policy.decide(caller, ask, account.scope, account.resource, ctx.clock())
    if isinstance(decision, Denied):
        return decision
    if account.token is None or not timing.is_fresh(account.token, ctx.clock(), min_ttl):
        account = await _renewed(ctx, account)
        if account is None:
            return await _absent(ctx, caller, ask)
    return await _answer(ctx, caller, account, min_ttl, id_token=id_token)


async def _absent(ctx: Context, caller: Caller, ask: Ask) -> Outcome:
    """No such account; perhaps its first login is under way."""
    decision = policy.decide(caller, ask, (), ask.resource, ctx.clock())
    if isinstance(decision, Denied):
        return decision
    for pending in await login.first_logins(ctx):
        if pending.account == ask.account:
            return MustLogin(ask.account, Pending.reason, login.start_url(ctx, pending.id), pending=True)
    raise UnknownAccount(
        f"No account is called '{ask.account}'.",
        f"Log in first: keyfob login {ask.account} --provider NAME (see: keyfob accounts)",
    )


async def _renewed(ctx: Context, account: Account) -> Account | None:
    """Join the account's one refresh, where one can help, and return what the account is then."""
    now = ctx.clock()
    match account.state:
        case RefreshingFailed(retry_at=retry_at, throttled_until=until) if now < max(retry_at, until):
            return account
        case Uncertain(retry_at=retry_at) if now < retry_at:
            return account
        case NeedsLogin() | Misconfigured() | Suspect() | Static():
            return account
    if not account.has_refresh_token:
        return account
    try:
        async with asyncio.timeout(PATIENCE):
            await asyncio.shield(refresh.join(ctx, account))
    except TimeoutError:
        pass  # The flight goes on; what the account offers meanwhile is decided below.
    except KeyfobError:
        # Nothing was sent, or its answer could not be kept; the old token is served while it lives.
        current = await ctx.store.account_by_uuid(account.uuid)
        if current is None or current.token is None or timing.is_expired(current.token, ctx.clock()):
            raise
        return current
    return await ctx.store.account_by_uuid(account.uuid)


async def _answer(ctx: Context, caller: Caller, account: Account, min_ttl: float | None, *, id_token: bool) -> Outcome:
    """Hand out what lives; otherwise say who can help."""
    current: Account | None = account
    while current is not None and _may_serve(current, ctx.clock(), min_ttl):
        secret = await (ctx.store.id_token(current) if id_token else ctx.store.access_token(current))
        now = ctx.clock()
        if secret is not None:
            ctx.handouts.count(current, caller.name, now)
            ctx.publish("handed-out", current.name, app=caller.name, generation=current.generation)
            return Ready(current, secret, now)
        # No secret under that generation: either the row moved on between two reads, or there is none of that kind.
        seen, current = current, await ctx.store.account_by_uuid(current.uuid)
        if current is not None and current.generation == seen.generation:
            reason = f"Account '{current.name}' has no ID token: its login did not ask for the scope 'openid'."
            return MustLogin(current.name, reason, "")
    return await refused(ctx, current or account)


def _may_serve(account: Account, now: float, min_ttl: float | None) -> bool:
    if account.token is None or timing.is_expired(account.token, now):
        return False
    # With a dead grant the rest of the token's life is all there is, so a wish that it cannot fill means "log in".
    return not isinstance(account.state, NeedsLogin) or timing.satisfies(account.token, now, min_ttl)


async def refused(ctx: Context, account: Account) -> MustLogin | Unavailable:
    """Say who can help an account that has no living token, or whose forced refresh did not succeed."""
    now = ctx.clock()
    match account.state:
        case Misconfigured(reason=reason):
            return MustLogin(account.name, reason, "", misconfigured=True)
        case NeedsLogin(reason=reason):
            return MustLogin(account.name, reason, await login.offer(ctx, account))
        case RefreshingFailed(reason=reason, retry_at=retry_at, throttled_until=until):
            return Unavailable(account.name, reason, max(1.0, max(retry_at, until) - now))
        case Uncertain(reason=reason, retry_at=retry_at):
            return Unavailable(account.name, reason, max(1.0, retry_at - now))
        case Suspect(reason=reason):
            return MustLogin(account.name, reason, await login.offer(ctx, account), confirm=True)
    if account.has_refresh_token:
        return Unavailable(account.name, "A refresh is under way and takes long.", 5.0)
    reason = "The token has expired and the provider gave no refresh token."
    return MustLogin(account.name, reason, await login.offer(ctx, account))
