"""What it means when a refresh brought no token that can be used, and how that is written down.

Part of the story in ``refresh``, which calls it; nothing here asks a provider.
"""

import logging
from collections.abc import Callable

from broker.core import account as transitions
from broker.core import advice, timing
from broker.core.account import Account, Misconfigured, RefreshingFailed, Uncertain
from broker.core.token import Grant, Wish
from broker.events import Kind
from broker.oauth import wire
from broker.providers.model import Provider
from broker.usecases import refusedclients
from broker.usecases.context import Context
from broker.usecases.providers import timing_policy

log = logging.getLogger(__name__)

# The errors that say "I do not know this client": a matter of configuration, never a reason to drop a login.
CLIENT_ERRORS = ("invalid_client", "unauthorized_client")
# Seconds that a request may take until the provider looks at its own clock.
ON_THE_WAY = 1.0


async def receive(ctx: Context, account: Account, provider: Provider, outcome: wire.NoToken, sent_at: float) -> None:
    """Match what came back in the place of a token, and write down what it means."""
    match outcome:
        case wire.Refused() if account.is_derived:
            await _not_exchanged(ctx, account, provider, outcome)
        case wire.Refused(error=error, description=description) if account.is_machine and _is_final(provider, error):
            told = said(provider, error, description)
            checked = "its id, its secret or key, what it may ask for there, and the clock of this machine"
            await misconfigured(ctx, account, f"{told} Check the client: {checked}.")
        case wire.Refused(error=error) if error in provider.refresh.dead_grant_errors:
            await _dead(ctx, account, provider, outcome)
        case wire.Refused(error=error, description=description) if error in CLIENT_ERRORS and lost_at(account):
            # What was lost can be had again only within the grace: while that runs, there is no time to lose.
            await failed(ctx, account, provider, said(provider, error, description))
        case wire.Refused(error=error, description=description) if error in CLIENT_ERRORS:
            told = said(provider, error, description)
            await misconfigured(ctx, account, f"{told} The login is kept; check the client id and secret.")
        case wire.Refused(error=error, description=description):
            await failed(ctx, account, provider, said(provider, error, description))
        case wire.Throttled(reason=reason, retry_after=retry_after):
            if retry_after is not None:
                ctx.rates.be_silent(endpoint_of(account, provider), ctx.steady(), retry_after)
            await failed(ctx, account, provider, f"{provider.title} is throttling: {reason}.", retry_after)
        case wire.Unreachable(reason=reason):
            await failed(ctx, account, provider, f"{provider.title} cannot be reached: {reason}.")
        case wire.Faulty(reason=reason):
            await failed(ctx, account, provider, f"{provider.title} gave no proper answer: {reason}.")
        case wire.Lost(reason=reason):
            await lost(ctx, account, provider, sent_at, reason)


def doubts_the_login(provider: Provider, refusal: wire.Refused) -> bool:
    """Whether the refusal of a wish may be about the login or the client, and not about what was wished for."""
    return refusal.error in provider.refresh.dead_grant_errors or refusal.error in CLIENT_ERRORS


def is_of_client(outcome: wire.NoToken) -> bool:
    """Whether it says that the provider does not know the client that asked."""
    return isinstance(outcome, wire.Refused) and outcome.error in CLIENT_ERRORS


def issuer_of(account: Account) -> str:
    """Return whom the account's refreshes ask: what is gated together."""
    return account.destination.issuer or account.destination.token_endpoint


def silence(ctx: Context, account: Account, provider: Provider | None = None) -> float:
    """Return the seconds for which the account's provider takes no refresh, whichever account was told so.

    Without the provider, for those that refresh where they gave the first token.
    """
    return ctx.rates.silence(endpoint_of(account, provider), ctx.steady())


def endpoint_of(account: Account, provider: Provider | None) -> str:
    """Return the address that the account's refreshes go to."""
    own = "" if provider is None or account.is_derived else provider.endpoints.refresh
    return own or account.destination.token_endpoint


def spends(account: Account, provider: Provider) -> bool:
    """Whether a request to renew the account may spend what it is renewed with, so that a lost answer may be a loss."""
    return not account.spends_nothing and provider.refresh.rotation != "never"


def _is_final(provider: Provider, error: str) -> bool:
    """Whether an account of a program gets no token before somebody has mended its client (RFC 6749 5.2)."""
    return error in (*CLIENT_ERRORS, "invalid_grant", *provider.refresh.dead_grant_errors)


async def _not_exchanged(ctx: Context, account: Account, provider: Provider, refusal: wire.Refused) -> None:
    """The token of another account was not exchanged for this one's (RFC 8693 2.2.2).

    Whether that one's login is dead its own refresh finds out; until then this is tried again, less and less often.
    """
    told = said(provider, refusal.error, refusal.description)
    if refusal.error not in CLIENT_ERRORS:
        await failed(ctx, account, provider, told)
        return
    client = account.destination.client_id
    step = advice.exchange_forbidden(account.name)
    checked = f"Check client '{client}', and that it may exchange tokens there."
    await misconfigured(ctx, account, f"{told} {checked}", next_step=step)


async def _dead(ctx: Context, account: Account, provider: Provider, refusal: wire.Refused) -> None:
    """The provider says that the grant is dead. Only the row that was sent may die: a lost race is not a death."""
    reason = said(provider, refusal.error, refusal.description)
    if _in_doubt(account):
        reason = f"An answer of {provider.title} was lost, and the refresh token from before is not accepted any more."
    await login_needed(ctx, account, reason)


async def login_needed(ctx: Context, account: Account, reason: str, *, next_step: str = "") -> None:
    """Only a person can help from now on; the refresh token stays, and is not sent."""
    if await swap(ctx, account, lambda row: transitions.login_needed(row, ctx.clock(), reason)) is not None:
        ctx.publish("needs-login", account.name, detail=reason, next_step=next_step)


async def misconfigured(ctx: Context, account: Account, reason: str, *, next_step: str = "") -> None:
    """The client is wrong, not the login: keep the grant, and ask again after a while, less and less often.

    It may have been mended by then, at the provider, where nobody tells Keyfob. That it is still refused is no news.
    """
    attempts, wait = refusedclients.refused(ctx, account)
    retry_at = ctx.clock() + wait
    swapped = await swap(
        ctx, account, lambda row: transitions.misconfigured(row, ctx.clock(), reason, retry_at, attempts)
    )
    if swapped is None:
        return
    if isinstance(account.state, Misconfigured):
        log.info("'%s' is asked for again in %.0f s: %s", swapped.name, wait, reason)
    else:
        ctx.publish("misconfigured", swapped.name, detail=reason, retry_at=swapped.quiet_until, next_step=next_step)


async def changing(ctx: Context, account: Account, provider: Provider) -> None:
    """The client was refused while it was being changed: that says nothing, and soon it can be told."""
    if isinstance(account.state, Misconfigured) and not account.state.lost_at:
        account = transitions.refreshed(account, ctx.clock())
    await failed(ctx, account, provider, f"The client at {provider.title} has just been changed.")


async def still_misconfigured(ctx: Context, account: Account, why: str, least: float = 0.0) -> None:
    """Whether the client is still refused could not be told, or need not be asked: that is tried again later.

    What people read stays the refusal: it is what has to be mended.
    """
    attempts, wait = refusedclients.put_off(ctx, account)
    retry_at = ctx.clock() + max(wait, least)

    def change(row: Account) -> Account:
        return transitions.misconfigured(row, ctx.clock(), row.state.reason, retry_at, attempts)

    if await swap(ctx, account, change) is not None:
        log.info("'%s' is asked for again in %.0f s: %s", account.name, retry_at - ctx.clock(), why)


async def failed(
    ctx: Context, account: Account, provider: Provider, reason: str, retry_after: float | None = None
) -> None:
    """A passing failure: the token is served while it lives, and the next try is set."""
    if isinstance(account.state, Misconfigured):
        await still_misconfigured(ctx, account, reason, min(retry_after or 0.0, timing.RETRY_AFTER_CAP))
        return
    before = account.state if isinstance(account.state, RefreshingFailed) else None
    lasted = 0.0 if before is None else ctx.clock() - before.since
    wait = timing.backoff(1 if before is None else before.attempts + 1, ctx.rng, lasted)
    if _in_doubt(account):
        reason = f"An answer of {provider.title} was lost. Since then: {reason}"
    await _put_off(ctx, account, provider, reason, wait, retry_after=retry_after, lost_since=lost_at(account))


async def lost(ctx: Context, account: Account, provider: Provider, sent_at: float, reason: str) -> None:
    """Sent, and no answer came. What that means depends on whether the refresh token could be spent by it."""
    if not spends(account, provider):
        await failed(ctx, account, provider, f"The answer of {provider.title} was lost: {reason}.")
        return
    before = lost_at(account)
    if isinstance(account.state, Misconfigured):
        before = account.state.lost_at
    # Attempts count other failures, too, so after the second loss this is the most that it can be.
    losses = account.state.attempts + 1 if before and isinstance(account.state, RefreshingFailed) else 1
    depth = provider.refresh.grace_depth
    # The spent token still answers for a moment: asking again at once brings the same new token once more.
    pause = max(timing.LEAST_IN_GRACE, provider.refresh.reuse_grace_s / 4)
    wait = max(0.0, sent_at + pause - ctx.clock()) if before else 0.0
    text = f"An answer of {provider.title} was lost ({reason}); its refresh tokens may be spent only once."
    too_deep = depth is not None and losses > depth
    if not before:
        ctx.flights.anew.add(account.uuid)
    await _put_off(ctx, account, provider, text, wait, lost_since=before or sent_at, graceless=too_deep)


def lost_at(account: Account) -> float:
    """When the request was sent whose answer was lost and may be had again within the grace; 0 where none was."""
    return account.state.lost_at if isinstance(account.state, RefreshingFailed) else 0.0


async def held_up(ctx: Context, account: Account, provider: Provider) -> bool:
    """Whether nobody is to be asked after all, now that it is the account's turn; it then says until when."""
    if (wait := silence(ctx, account, provider)) > 0:
        # Another account was told so meanwhile; its word counts for all of them.
        await failed(ctx, account, provider, f"{provider.title} is throttling.", wait)
    elif refusedclients.another_was(ctx, account):
        await still_misconfigured(ctx, account, "Its client was refused to another account just now.")
    elif is_too_late(account, provider, ctx.clock()):
        await too_late(ctx, account, provider)
    else:
        return False
    return True


def is_too_late(account: Account, provider: Provider, now: float) -> bool:
    """Whether the grace is over, or will be when a request arrives: sending the spent token would end the login."""
    grace = provider.refresh.reuse_grace_s
    return lost_at(account) > 0 and now + min(ON_THE_WAY, grace / 4) >= lost_at(account) + grace


async def too_late(ctx: Context, account: Account, provider: Provider) -> None:
    """The turn came after the grace: do not send, and wait until nothing can be lost by it."""
    text = f"An answer of {provider.title} was lost; its refresh tokens may be spent only once."
    await _put_off(ctx, account, provider, text, provider.refresh.reuse_grace_s, lost_since=lost_at(account))


def _in_doubt(account: Account) -> bool:
    doubted = isinstance(account.state, Misconfigured) and account.state.lost_at > 0
    return doubted or isinstance(account.state, Uncertain) or lost_at(account) > 0


async def _put_off(
    ctx: Context,
    account: Account,
    provider: Provider,
    reason: str,
    wait: float,
    *,
    retry_after: float | None = None,
    lost_since: float = 0.0,
    graceless: bool = False,
) -> None:
    """Set the next try: after ``wait`` seconds, or, once an answer was lost and the grace is over, when it is harmless.

    Where ``graceless``, the provider's grace does not cover another try, however soon.

    Where the refresh token may be spent, sending it again can make the provider end the login, the living token
    included. So not while that token lives.
    """
    now = ctx.clock()
    pause = 0.0 if retry_after is None else min(retry_after, timing.RETRY_AFTER_CAP)
    over = graceless or (lost_since > 0 and now + max(wait, pause) >= lost_since + provider.refresh.reuse_grace_s)
    if isinstance(account.state, Uncertain) or over:
        attempts = account.state.attempts if isinstance(account.state, Uncertain | RefreshingFailed) else 0
        retry_at = now + max(timing.backoff(attempts + 1, ctx.rng), pause)
        kind: Kind = "uncertain"

        def change(row: Account) -> Account:
            return transitions.answer_lost(row, now, reason, retry_at)
    else:
        kind = "refresh-failed"

        def change(row: Account) -> Account:
            until = 0.0 if retry_after is None else now + pause
            return transitions.refresh_failed(row, now, reason, now + wait, throttled_until=until, lost_at=lost_since)

    swapped = await swap(ctx, account, change)
    if swapped is not None:
        coming = timing.next_refresh_at(swapped, timing_policy(provider))
        ctx.publish(kind, swapped.name, detail=reason, retry_at=coming)


async def swap(
    ctx: Context,
    account: Account,
    change: Callable[[Account], Account],
    grant: Grant | None = None,
    wish: Wish | None = None,
) -> Account | None:
    """Close the intent with what the answer changes, and return the new account; None where it was superseded.

    A row that changed meanwhile without a new generation (a new name, a reported rejection) is only read again. In
    another generation the refresh token that was sent is not the account's any more, so its answer says nothing.
    """
    while True:
        swapped = await ctx.store.swap(change(account), grant=grant, settled=True, wish=wish)
        if swapped is not None:
            return swapped
        current = await ctx.store.account_by_uuid(account.uuid)
        if current is None or current.generation != account.generation:
            return None
        account = current


def said(provider: Provider, error: str, description: str) -> str:
    """Return a provider's refusal in words."""
    return f"{provider.title} answered {error}" + (f": {description}" if description else "") + "."
