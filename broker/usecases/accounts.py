"""Accounts as people see them, and what is done to one by hand: refresh, report a rejection, log out.

Called by the web API.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from operator import attrgetter

from broker.core import advice, timing
from broker.core.account import Account, Active, Misconfigured, NeedsLogin, RefreshingFailed, Static, Suspect, Uncertain
from broker.core.account import login_needed as needs_login
from broker.core.login import Login
from broker.core.policy import Ask, Caller, Denied, Owner, decide
from broker.core.rules import Passage
from broker.core.secret import Secret
from broker.errors import ConfirmNeeded, Conflict, Locked, ProviderUnavailable, TooManyRequests, UnknownAccount
from broker.oauth import identity
from broker.usecases import again, derived, due, get_token, login, newlogin, outcomes, promise, refresh, revoke, stepup
from broker.usecases.context import Context
from broker.usecases.outcomes import MustLogin, Unavailable
from broker.usecases.providers import find

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class View:
    """An account with what is derived from it.

    Attributes:
        account: the account.
        next_refresh_at: when Keyfob will ask by itself, or None.
        login_url: where a person can help, or empty.
        next_step: what a person can do, in words; empty where all is well.
        parent: the name of the account that it is derived from; empty where it is a login, or that one is gone.
        needed_scope: what its API has refused a request for; None where it has refused none, empty where it named none.
    """

    account: Account
    next_refresh_at: float | None
    login_url: str = ""
    next_step: str = ""
    parent: str = ""
    needed_scope: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class PendingView:
    """An account whose first login is under way, where a person can finish that, and how to begin it anew."""

    login: Login
    login_url: str
    again: str


async def listed(ctx: Context) -> AsyncIterator[View | PendingView]:
    """Yield all accounts by name, those whose first login is under way included; a list begins no login."""
    begun = sorted(await newlogin.first_logins(ctx), key=attrgetter("account"), reverse=True)
    policies: due.Policies = {}
    known: promise.Open = {}
    async for several in ctx.store.account_pages():
        policies |= await due.policies_of(ctx, [one for one in several if one.provider not in policies])
        for account in several:
            while begun and begun[-1].account <= account.name:
                pending = begun.pop()
                if pending.account != account.name:  # else it has just got that account
                    yield await _pending(ctx, pending)
            url = await promise.of(ctx, account, known)
            yield await _view(ctx, account, due.due_at(ctx, account, policies), url)
    while begun:
        yield await _pending(ctx, begun.pop())


async def shown(ctx: Context, name: str) -> View | PendingView:
    """Return one account, with a login URL where a login would help.

    Raises:
        UnknownAccount: none has that name.
    """
    account = await ctx.store.account(name)
    if account is None:
        begun = await newlogin.under_way(ctx, name)
        if not begun:
            raise unknown(name)
        return await _pending(ctx, begun[-1])
    return await _view(ctx, account, await due.next_refresh_at(ctx, account))


async def _view(ctx: Context, account: Account, next_refresh_at: float | None, url: str | None = None) -> View:
    """Return an account for people; where no address of a login is given, one is begun where that would help."""
    lacking = stepup.noted(ctx, account)
    needed = lacking.scopes if lacking is not None else None
    if url is None:
        helps = needed or isinstance(account.state, NeedsLogin)
        url = await login.offer(ctx, account, needed or ()) if helps else ""
    step = await derived.next_step(ctx, account) or (advice.more_scope(account, needed) if needed is not None else "")
    parent = await derived.parent_of(ctx, account)
    came_from = parent.name if parent is not None else ""
    return View(account, next_refresh_at, url, step, came_from, needed)


def unknown(name: str) -> UnknownAccount:
    """Return the error for a name that no account has."""
    return UnknownAccount(f"No account is called '{name}'.", "See: keyfob accounts")


async def refresh_now(ctx: Context, name: str, *, confirm: bool = False) -> Account | MustLogin | Unavailable:
    """Refresh because a person says so: passes Keyfob's own back-off, never the provider's Retry-After.

    Raises:
        UnknownAccount: none has that name.
        ConfirmNeeded: the next request may end the login.
        Conflict: nothing can refresh this account.
    """
    account = await ctx.store.account(name)
    if account is None:
        if (pending := await get_token.first_login(ctx, name)) is not None:
            return pending
        raise unknown(name)
    match account.state:
        case Static():
            raise Conflict(
                f"Account '{name}' holds a token that a person made; nothing can refresh it.",
                f"Make a new one at the provider and bring it: keyfob login {name} --flow token --token-file FILE",
                account=name,
            )
        case NeedsLogin() | Misconfigured() if not await derived.stirs(ctx, account):
            return await outcomes.refused(ctx, account, Owner())
        case Uncertain(reason=reason) | Suspect(reason=reason) if not confirm:
            raise ConfirmNeeded(
                reason, f"If you accept that this may end the login: keyfob refresh {name} --confirm", account=name
            )
        case RefreshingFailed(reason=reason, throttled_until=until) if until > ctx.clock():
            return Unavailable(name, reason, until - ctx.clock())
    if not account.renewable:
        raise Conflict(
            f"The provider gave account '{name}' no refresh token.",
            f"Log in again: keyfob login {name}",
            account=name,
        )
    if wait := await due.quota_wait(ctx, account):
        return Unavailable(name, "The provider rations its access tokens; another one now could end one in use.", wait)
    ctx.publish("refresh-forced", name, app=Owner.name, detail="even if that ends the login" if confirm else "")
    await asyncio.shield(refresh.join(ctx, account))
    after = await ctx.store.account_by_uuid(account.uuid)
    if after is None:
        raise unknown(name)
    if not isinstance(after.state, Active):
        return await outcomes.refused(ctx, after, Owner())
    return after


async def rejected(
    ctx: Context, caller: Caller, name: str, token: Secret, passage: Passage | None = None
) -> Denied | None:
    """A resource server refused a token: refresh, if it is still the stored one.

    The caller then asks for the token as always. None means that this was heard. With a ``passage`` it is the proxy
    that tells, of a request of the caller's.

    Raises:
        UnknownAccount: none has that name (for the owner; an app is told ``Denied``).
        TooManyRequests: a refresh was forced less than 30 s ago, or the provider's quota is used up.
    """
    account = await ctx.store.account(name)
    now = ctx.clock()
    if account is None:
        return await _absent_rejected(ctx, caller, Ask(name, passage=passage))
    decision = get_token.decide(caller, Ask(name, passage=passage), account, now)
    if isinstance(decision, Denied):
        return decision
    stored = await ctx.store.access_token(account)
    if stored is None or stored != token:
        await _narrower_rejected(ctx, account, token, now)
        return None  # It has been dropped now or replaced since: the caller only has to ask again.
    flight = ctx.flights.tasks.get(account.uuid)
    if flight is not None and ctx.flights.wishes[account.uuid] is None:
        await asyncio.wait([flight])
        return None  # Whatever came of it, the caller only has to ask again.
    if isinstance(account.state, RefreshingFailed) and account.state.throttled_until > now:
        return None  # Not before the provider allows it.
    if account.forced_at is not None and 0 <= now - account.forced_at < timing.LEAST_BETWEEN_REFRESHES:
        wait = timing.LEAST_BETWEEN_REFRESHES - (now - account.forced_at)
        raise TooManyRequests(
            f"The token of account '{name}' was renewed after a rejection less than 30 s ago.",
            "If the new one is refused too, it is not a matter of its age: look at its scope.",
            retry_after=round(wait, 1),
        )
    if wait := await due.quota_wait(ctx, account):
        raise TooManyRequests(
            f"The provider of account '{name}' rations its access tokens; another one now could end one in use.",
            "Ask again then. If the new token is refused too, it is not a matter of its age: look at its scope.",
            retry_after=round(wait, 1),
        )
    marked = await ctx.store.swap(replace(account, forced_at=now))
    if marked is None:
        return await rejected(ctx, caller, name, token, passage)  # The row has changed since it was read: look again.
    ctx.publish("rejected", name, app=caller.name, generation=account.generation)
    if isinstance(marked.state, Static) or not marked.renewable:
        await _check_unrefreshable(ctx, marked, stored)
    elif marked.state.name in ("active", "refreshing-failed"):
        await asyncio.shield(refresh.join(ctx, marked))
    return None


async def _absent_rejected(ctx: Context, caller: Caller, ask: Ask) -> Denied | None:
    """There is no such account to renew; whoever asks for its token hears of a first login that is under way."""
    decision = decide(caller, ask, (), None, ctx.clock())
    if isinstance(decision, Denied):
        return decision
    if await newlogin.under_way(ctx, ask.account):
        return None
    raise unknown(ask.account)


async def _narrower_rejected(ctx: Context, account: Account, token: Secret, now: float) -> None:
    """Drop a narrower token, if it is one, so that the next request brings another."""
    if await ctx.store.forget_derived(account, token, now - timing.LEAST_BETWEEN_REFRESHES) is False:
        raise TooManyRequests(
            f"That token of account '{account.name}' is less than 30 s old.",
            "If it is refused all the same, it is not a matter of its age: look at its scope and resource.",
            retry_after=timing.LEAST_BETWEEN_REFRESHES,
        )


async def _check_unrefreshable(ctx: Context, account: Account, token: Secret) -> None:
    """Nothing can renew this token: ask the provider itself before believing one app that it is dead."""
    provider = await find(ctx, account.provider)
    try:
        await identity.who(ctx.http, provider, access_token=token, client_id=account.destination.client_id)
    except ProviderUnavailable as exc:
        log.info("whether the token of '%s' is dead could not be asked: %s", account.name, exc)
    except identity.IdentityRefused:
        reason = f"{provider.title} does not accept this token any more."
        if await ctx.store.swap(needs_login(account, ctx.clock(), reason)) is not None:
            ctx.publish("needs-login", account.name, detail=reason)


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """How a log-out went. Here everything is forgotten either way.

    Attributes:
        revoked: the provider confirmed that the login is dead.
        detail: which half did not succeed or could not be tried, and what to do.
        derived: the names of the accounts that are derived from it: nothing renews them any more, and they say so.
    """

    revoked: bool
    detail: str
    derived: tuple[str, ...] = ()


async def log_out(ctx: Context, name: str, *, local_only: bool = False) -> LoggedOut:
    """Revoke at the provider in its own way, then forget everything here.

    Raises:
        UnknownAccount: none has that name.
    """
    account = await ctx.store.account(name)
    if account is None:
        begun = await newlogin.under_way(ctx, name)
        if not begun:
            raise unknown(name)
        for found in begun:
            await _give_up(ctx, found)
        return LoggedOut(revoked=False, detail="Its first login was cancelled; there was nothing to revoke.")
    ctx.flights.leaving.add(account.uuid)
    try:
        account = await _settled(ctx, account)
        result = LoggedOut(revoked=False, detail="") if local_only else await _revoke(ctx, account)
        children = await derived.children_of(ctx, account)
        await ctx.store.delete_account(account)
        ctx.streams.cut(account=account.uuid)
    finally:
        ctx.flights.leaving.discard(account.uuid)
    ctx.offers.pop(account.uuid, None)
    ctx.lacking.pop(account.uuid, None)
    ctx.offering.pop(account.uuid, None)
    ctx.publish("logged-out", account.name, detail=result.detail)
    await derived.orphaned(ctx, account, children)
    return replace(result, derived=tuple(child.name for child in children))


async def _settled(ctx: Context, account: Account) -> Account:
    """Give up or wait for whatever could bring new tokens to life after the old ones were revoked.

    A first login of that name is given up too: it may have been begun before the one that made the account.
    """
    for found in await ctx.store.logins_pending():
        if found.replaces == account.uuid or (found.replaces is None and found.account == account.name):
            try:
                await _give_up(ctx, found)
            except Conflict:
                # Its code is being exchanged; what that brings is revoked too. With nothing in the air, it was taken
                # in an earlier life, and is over with the account.
                if ctx.finishing:
                    await asyncio.wait(set(ctx.finishing))
    while flying := ctx.flights.of(account.uuid):
        await asyncio.wait(flying)
    return await ctx.store.account_by_uuid(account.uuid) or account


async def _give_up(ctx: Context, found: Login) -> None:
    try:
        await login.cancel(ctx, found.id)
    except Locked:  # its code cannot be exchanged without the key, so nobody is finishing it
        await login.end_cancelled(ctx, found)


async def _revoke(ctx: Context, account: Account) -> LoggedOut:
    provider = await find(ctx, account.provider)
    if isinstance(account.state, Static):
        where = f" at {provider.static_token_url}" if provider.static_token_url else ""
        return LoggedOut(revoked=False, detail=f"The token was made by hand: delete it{where}.")
    if account.is_derived:
        # RFC 7009 2.1: a server may end the whole login together with one token of it, and this login is another's.
        detail = "its last token ends by itself; to revoke it could end the login that it was derived from."
        return LoggedOut(revoked=False, detail=detail)
    client, secret = await ctx.store.client_of(account)
    done = await revoke.revoke(
        ctx,
        provider,
        client,
        secret,
        refresh_token=await ctx.store.refresh_token(account),
        access_token=await ctx.store.access_token(account),
    )
    if account.is_machine:
        detail = f"{provider.title} confirmed that the token is dead." if done.whole else done.detail
        kept = f"The client '{account.destination.client_id}' stays there, and can be removed there only."
        return LoggedOut(done.whole, f"{detail} {kept}")
    return LoggedOut(done.whole, done.detail)


async def _pending(ctx: Context, pending: Login) -> PendingView:
    return PendingView(pending, login.start_url(ctx, pending.id), await again.command(ctx, pending))
