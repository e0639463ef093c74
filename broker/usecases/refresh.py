"""A refresh: the one place where a refresh token is spent.

``join`` is what apps and the scheduler call; ``refresh_due`` is the tick; ``settle`` runs once at start, for what a
crash left open. The order in ``_fly`` is the promise: intent committed -> sent once -> answer durable -> judged ->
published. Nothing is open in the database while the network is asked.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from broker.core import account as transitions
from broker.core import timing
from broker.core.account import Account, NeedsLogin, RefreshingFailed, Uncertain
from broker.core.secret import Secret
from broker.core.token import Grant
from broker.errors import InvalidRequest, KeyfobError, Misconfigured, StoreUnavailable, UnknownProvider
from broker.events import Kind
from broker.oauth import idtoken, wire
from broker.oauth.grant import BadReply, Unreadable, read_grant
from broker.providers.model import Provider
from broker.usecases.context import Context
from broker.usecases.providers import find, timing_policy

log = logging.getLogger(__name__)

# The errors that say "I do not know this client": a matter of configuration, never a reason to drop a login.
CLIENT_ERRORS = ("invalid_client", "unauthorized_client")
# How often a commit of an answer that is already here is tried again: the answer is lost if we give up.
KEEP_TRIES = 60
KEEP_PAUSE = 1.0


class _Foreign(Exception):
    """A refresh brought a token of another person; the text says whose, and is safe to show."""


def join(ctx: Context, account: Account) -> asyncio.Task[None]:
    """Return the account's one refresh task, starting it where none is under way.

    What it renews is ``account`` as the caller saw it: where a newer token is found, there is nothing to do.
    Await it through ``asyncio.shield``: a caller that goes away must not take the refresh with it. The task itself
    ends without a value; read the account again to see what came of it.
    """
    task = ctx.flights.tasks.get(account.uuid)
    if task is None or task.done():
        task = asyncio.create_task(_fly(ctx, account), name=f"refresh {account.name}")
        ctx.flights.tasks[account.uuid] = task
        task.add_done_callback(lambda done: _landed(ctx, account.uuid, done))
    return task


def _landed(ctx: Context, uuid: str, task: asyncio.Task[None]) -> None:
    if ctx.flights.tasks.get(uuid) is task:
        del ctx.flights.tasks[uuid]
    ctx.wake.set()
    broke = task.cancelled() or task.exception() is not None
    ctx.flights.resting.pop(uuid, None)
    if broke:
        # The row still says "due": without a rest the next tick would start over at once, for ever.
        ctx.flights.resting[uuid] = ctx.clock() + timing.LONGEST_SLEEP
    # Joiners get the exception themselves; without any, it is logged here and not lost.
    if not task.cancelled() and (exc := task.exception()) is not None:
        level = logging.WARNING if isinstance(exc, KeyfobError) else logging.ERROR
        log.log(level, "refresh failed: %s", exc, exc_info=None if isinstance(exc, KeyfobError) else exc)


async def refresh_due(ctx: Context) -> float | None:
    """Start a flight for every account that is due; return when the next one will be, in epoch seconds."""
    now = ctx.clock()
    coming: float | None = None
    for account in await ctx.store.accounts():
        due = await next_refresh_at(ctx, account)
        if due is None or account.uuid in ctx.flights.tasks:
            continue
        if due <= now and not ctx.store.locked and not ctx.flights.grounded:
            join(ctx, account)
        elif coming is None or due < coming:
            coming = due
    return coming


async def next_refresh_at(ctx: Context, account: Account) -> float | None:
    """When Keyfob will next ask for this account by itself, or None where it will not."""
    try:
        provider = await find(ctx, account.provider)
    except (UnknownProvider, InvalidRequest):
        # Its preset was taken away: nobody can be asked. One such account must not stop the others.
        return None
    due = timing.next_refresh_at(account, timing_policy(provider))
    return None if due is None else max(due, ctx.flights.resting.get(account.uuid, 0.0))


async def settle(ctx: Context) -> None:
    """Settle what a crash left open: judge answers that were kept, and count the others as lost.

    An answer that was kept needs no request. For an intent without an answer nobody knows whether the provider saw
    the request: within its grace the same token is sent again at once, before anything else.
    """
    for account, started_at, answered in await ctx.store.open_intents():
        try:
            provider = await find(ctx, account.provider)
        except (UnknownProvider, InvalidRequest) as exc:
            log.warning("what became of the last refresh of '%s' cannot be told: %s", account.name, exc)
            continue
        raw = await ctx.store.kept_answer(account) if answered else None
        if raw is not None:
            await _judge(ctx, account, provider, raw, started_at)
            continue
        await _lost(ctx, account, provider, started_at, "Keyfob was stopped while it waited for an answer")


async def _fly(ctx: Context, seen: Account) -> None:
    """One refresh, from the row to the row."""
    provider = await find(ctx, seen.provider)
    issuer = seen.destination.issuer or seen.destination.token_endpoint
    # In this order: a crowd at one slow issuer must not hold the places of all the others.
    async with ctx.flights.gate(issuer), ctx.flights.everywhere:
        # The row may have changed since it was seen, the more so while this flight waited at the gate.
        account = await ctx.store.account_by_uuid(seen.uuid)
        if ctx.flights.grounded or account is None or not _still_wanted(account, seen):
            return
        client, secret = await ctx.store.client_of(account)
        refresh_token = await ctx.store.refresh_token(account)
        sent_at = ctx.clock()
        intended = await ctx.store.begin_refresh(account, sent_at) if refresh_token is not None else None
        if intended is None or refresh_token is None:
            return  # The row has changed since it was read; the next look finds what it is now.
        try:
            outcome = await wire.refresh(
                ctx.http,
                provider,
                client,
                secret,
                token_endpoint=account.destination.token_endpoint,
                refresh_token=refresh_token,
                resource=account.resource,
            )
        except Misconfigured as exc:
            # Nothing was sent, and nothing will be before a person has mended it.
            await _misconfigured(ctx, intended, str(exc))
            return
    await _receive(ctx, intended, provider, outcome, sent_at)


def _still_wanted(account: Account, seen: Account) -> bool:
    """Whether a refresh still makes sense: another flight may have landed, or a login begun a new life."""
    return (
        account.has_refresh_token
        and account.generation == seen.generation
        and not isinstance(account.state, NeedsLogin | transitions.Misconfigured)
    )


async def _receive(ctx: Context, account: Account, provider: Provider, outcome: wire.Outcome, sent_at: float) -> None:
    """Match what came back, and write down what it means."""
    match outcome:
        case wire.Answered(raw=raw, refresh_token=refresh_token):
            kept = await _keep(ctx, account, raw, refresh_token)
            if kept is not None:
                await _judge(ctx, kept, provider, raw, sent_at)
        case wire.Refused(error=error) if error in provider.refresh.dead_grant_errors:
            await _dead(ctx, account, provider, outcome)
        case wire.Refused(error=error, description=description) if error in CLIENT_ERRORS:
            said = _said(provider, error, description)
            await _misconfigured(ctx, account, f"{said} The login is kept; check the client id and secret.")
        case wire.Refused(error=error, description=description):
            await _failed(ctx, account, provider, _said(provider, error, description))
        case wire.Throttled(reason=reason, retry_after=retry_after):
            await _failed(ctx, account, provider, f"{provider.title} is throttling: {reason}.", retry_after)
        case wire.Unreachable(reason=reason):
            await _failed(ctx, account, provider, f"{provider.title} cannot be reached: {reason}.")
        case wire.Faulty(reason=reason):
            await _failed(ctx, account, provider, f"{provider.title} gave no proper answer: {reason}.")
        case wire.Lost(reason=reason):
            await _lost(ctx, account, provider, sent_at, reason)


async def _keep(ctx: Context, account: Account, raw: Secret, refresh_token: Secret | None) -> Account | None:
    """Make the answer durable before anybody looks at it; a store that stumbles is tried again and again."""
    for attempt in range(KEEP_TRIES):
        try:
            return await ctx.store.keep_answer(account, raw, refresh_token)
        except StoreUnavailable as exc:
            if attempt == KEEP_TRIES - 1:
                raise
            log.warning("the answer for '%s' could not be written yet: %s", account.name, exc)
            await asyncio.sleep(KEEP_PAUSE)
    return None


async def _judge(ctx: Context, account: Account, provider: Provider, raw: Secret, sent_at: float) -> None:
    """Validate the rest of an answer whose refresh token is already safe, then put the token to use."""
    try:
        grant = read_grant(raw, provider=provider, issued_at=sent_at, asked_scope=account.scope)
        if not (provider.issuer and provider.endpoints.jwks):
            grant = replace(grant, id_token=None)  # nothing could verify it
        await _check_use(ctx, account, provider, grant)
    except _Foreign as exc:
        # Whoever that is, nothing of it is handed out or sent again (OpenID Connect Core 12.2).
        await _login_needed(ctx, account, str(exc))
        return
    except (BadReply, KeyfobError) as exc:
        gone = isinstance(exc, Unreadable) or wire.hides_refresh_token(raw)
        if gone and wire.refresh_token_in(raw) is None:
            # Carried out, and the new refresh token is not to be found in it: as good as lost.
            await _lost(ctx, account, provider, sent_at, str(exc))
        else:
            await _unusable(ctx, account, provider, raw, exc)
        return
    swapped = await _swap(ctx, account, lambda row: transitions.refreshed(row, ctx.clock()), grant)
    if swapped is not None:
        ctx.publish("refreshed", swapped.name, generation=swapped.generation, detail=_lifetime(grant))


async def _unusable(ctx: Context, account: Account, provider: Provider, raw: Secret, why: Exception) -> None:
    if wire.refresh_token_in(raw) is not None:
        account = transitions.doubt_over(account)
    said = str(why).rstrip(".")
    await _failed(ctx, account, provider, f"The new token from {provider.title} is not usable: {said}.")


async def _check_use(ctx: Context, account: Account, provider: Provider, grant: Grant) -> None:
    """A token must live, and an ID token that comes with it be for the same person (OpenID Connect Core 12.2)."""
    if grant.token.lifetime is not None and grant.token.lifetime <= 0:
        # It would be due again at once, and so would the next one, for ever.
        raise BadReply("it has expired already")
    if grant.id_token is None:
        return
    claims = await idtoken.verify(
        ctx.http,
        provider,
        ctx.jwks,
        id_token=grant.id_token,
        client_id=account.destination.client_id,
        nonce=None,
        access_token=grant.access_token,
        now=ctx.clock(),
    )
    if account.identity is not None and (claims.issuer, claims.subject) != (
        account.identity.issuer,
        account.identity.subject,
    ):
        raise _Foreign(
            f"{provider.title} answered a refresh for '{account.identity.label}' with a token of somebody else "
            f"('{claims.label}')."
        )


async def _dead(ctx: Context, account: Account, provider: Provider, refusal: wire.Refused) -> None:
    """The provider says that the grant is dead. Only the row that was sent may die: a lost race is not a death."""
    reason = _said(provider, refusal.error, refusal.description)
    if _in_doubt(account):
        reason = f"An answer of {provider.title} was lost, and the refresh token from before is not accepted any more."
    await _login_needed(ctx, account, reason)


async def _login_needed(ctx: Context, account: Account, reason: str) -> None:
    if await _swap(ctx, account, lambda row: transitions.login_needed(row, ctx.clock(), reason)) is not None:
        ctx.publish("needs-login", account.name, detail=reason)


async def _misconfigured(ctx: Context, account: Account, reason: str) -> None:
    """The client is wrong, not the login: stop asking, and keep the grant."""
    if await _swap(ctx, account, lambda row: transitions.misconfigured(row, ctx.clock(), reason)) is not None:
        ctx.publish("misconfigured", account.name, detail=reason)


async def _failed(
    ctx: Context, account: Account, provider: Provider, reason: str, retry_after: float | None = None
) -> None:
    """A passing failure: the token is served while it lives, and the next try is set."""
    attempts = account.state.attempts if isinstance(account.state, RefreshingFailed) else 0
    wait = timing.backoff(attempts + 1, ctx.rng)
    if _in_doubt(account):
        reason = f"An answer of {provider.title} was lost. Since then: {reason}"
    await _put_off(ctx, account, provider, reason, wait, retry_after=retry_after, lost_at=_lost_at(account))


async def _lost(ctx: Context, account: Account, provider: Provider, sent_at: float, reason: str) -> None:
    """Sent, and no answer came. What that means depends on whether the refresh token could be spent by it."""
    if provider.refresh.rotation == "never":
        await _failed(ctx, account, provider, f"The answer of {provider.title} was lost: {reason}.")
        return
    before = _lost_at(account)
    # The spent token still answers for a moment: asking again at once brings the same new token once more.
    pause = max(timing.LEAST_IN_GRACE, provider.refresh.reuse_grace_s / 4)
    wait = max(0.0, sent_at + pause - ctx.clock()) if before else 0.0
    text = f"An answer of {provider.title} was lost ({reason}); its refresh tokens may be spent only once."
    await _put_off(ctx, account, provider, text, wait, lost_at=before or sent_at)


def _lost_at(account: Account) -> float:
    return account.state.lost_at if isinstance(account.state, RefreshingFailed) else 0.0


def _in_doubt(account: Account) -> bool:
    return isinstance(account.state, Uncertain) or _lost_at(account) > 0


async def _put_off(
    ctx: Context,
    account: Account,
    provider: Provider,
    reason: str,
    wait: float,
    *,
    retry_after: float | None = None,
    lost_at: float = 0.0,
) -> None:
    """Set the next try: after ``wait`` seconds, or, once an answer was lost and the grace is over, when it is harmless.

    Where the refresh token may be spent, sending it again can make the provider end the login, the living token
    included. So not while that token lives.
    """
    now = ctx.clock()
    pause = 0.0 if retry_after is None else min(retry_after, timing.RETRY_AFTER_CAP)
    too_late = lost_at > 0 and now + max(wait, pause) >= lost_at + provider.refresh.reuse_grace_s
    if isinstance(account.state, Uncertain) or too_late:
        attempts = account.state.attempts if isinstance(account.state, Uncertain) else 0
        lives_until = (account.token.expires_at or 0.0) if account.token is not None else 0.0
        retry_at = max(now + max(timing.backoff(attempts + 1, ctx.rng), pause), lives_until)
        kind: Kind = "uncertain"

        def change(row: Account) -> Account:
            return transitions.answer_lost(row, now, reason, retry_at)
    else:
        kind = "refresh-failed"

        def change(row: Account) -> Account:
            until = 0.0 if retry_after is None else now + pause
            return transitions.refresh_failed(row, now, reason, now + wait, throttled_until=until, lost_at=lost_at)

    if await _swap(ctx, account, change) is not None:
        ctx.publish(kind, account.name, detail=reason)


async def _swap(
    ctx: Context, account: Account, change: Callable[[Account], Account], grant: Grant | None = None
) -> Account | None:
    """Close the intent with what the answer changes, and return the new account; None where it was superseded.

    A row that changed meanwhile without a new generation (a new name, a reported rejection) is only read again. In
    another generation the refresh token that was sent is not the account's any more, so its answer says nothing.
    """
    while True:
        swapped = await ctx.store.swap(change(account), grant=grant, settled=True)
        if swapped is not None:
            return swapped
        current = await ctx.store.account_by_uuid(account.uuid)
        if current is None or current.generation != account.generation:
            return None
        account = current


def _said(provider: Provider, error: str, description: str) -> str:
    return f"{provider.title} answered {error}" + (f": {description}" if description else "") + "."


def _lifetime(grant: Grant) -> str:
    lifetime = grant.token.lifetime
    return "no lifetime given" if lifetime is None else f"good for {lifetime:.0f} s"
