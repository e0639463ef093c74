"""A refresh: the one place where a refresh token is spent.

``join`` is what apps and the scheduler call; ``refresh_due`` is the tick; ``settle`` runs once at start, for what a
crash left open. The order in ``_fly`` is the promise: intent committed -> sent once -> answer durable -> judged ->
published. Nothing is open in the database while the network is asked.
"""

import asyncio
import logging

from broker.core import account as transitions
from broker.core import timing
from broker.core.account import Account, Active, RefreshingFailed, Uncertain
from broker.core.secret import Secret
from broker.core.token import Grant
from broker.errors import KeyfobError, StoreUnavailable
from broker.events import Kind
from broker.oauth import idtoken, wire
from broker.providers.model import Provider
from broker.usecases.context import Context
from broker.usecases.providers import find, timing_policy

log = logging.getLogger(__name__)

# The errors that say "I do not know this client": a matter of configuration, never a reason to drop a login.
CLIENT_ERRORS = ("invalid_client", "unauthorized_client")
# How often a commit of an answer that is already here is tried again: the answer is lost if we give up.
KEEP_TRIES = 60
KEEP_PAUSE = 1.0


def join(ctx: Context, account: Account, *, force: bool = False) -> asyncio.Task[None]:
    """Return the account's one refresh task, starting it where none is under way.

    Await it through ``asyncio.shield``: a caller that goes away must not take the refresh with it. The task itself
    ends without a value; read the account again to see what came of it.
    """
    task = ctx.flights.tasks.get(account.uuid)
    if task is None or task.done():
        task = asyncio.create_task(_fly(ctx, account.uuid, force=force), name=f"refresh {account.name}")
        ctx.flights.tasks[account.uuid] = task
        task.add_done_callback(lambda done: _landed(ctx, account.uuid, done))
    return task


def _landed(ctx: Context, uuid: str, task: asyncio.Task[None]) -> None:
    if ctx.flights.tasks.get(uuid) is task:
        del ctx.flights.tasks[uuid]
    ctx.wake.set()
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
    """When Keyfob will next ask for this account by itself."""
    return timing.next_refresh_at(account, timing_policy(await find(ctx, account.provider)))


async def settle(ctx: Context) -> None:
    """Settle what a crash left open: judge answers that were kept, and count the others as lost.

    An answer that was kept needs no request. For an intent without an answer nobody knows whether the provider saw
    the request: within its grace the same token is sent again at once, before anything else.
    """
    for account, started_at, answered in await ctx.store.open_intents():
        provider = await find(ctx, account.provider)
        raw = await ctx.store.kept_answer(account) if answered else None
        if raw is not None:
            await _judge(ctx, account, provider, raw, started_at)
            continue
        await ctx.store.drop_intent(account)
        current = await ctx.store.account_by_uuid(account.uuid)
        if current is not None:
            await _lost(ctx, current, provider, started_at, "Keyfob was stopped while it waited for an answer")


async def _fly(ctx: Context, uuid: str, *, force: bool) -> None:
    """One refresh, from the row to the row."""
    account = await ctx.store.account_by_uuid(uuid)
    if account is None or not account.has_refresh_token:
        return
    provider = await find(ctx, account.provider)
    issuer = account.destination.issuer or account.destination.token_endpoint
    async with ctx.flights.everywhere, ctx.flights.gate(issuer):
        if ctx.flights.grounded:
            return
        # The row may have changed while this flight waited at the gate.
        account = await ctx.store.account_by_uuid(uuid)
        if account is None or (account.token is not None and not force and not _worth_it(ctx, account, provider)):
            return
        client, secret = await ctx.store.client_of(account)
        refresh_token = await ctx.store.refresh_token(account)
        sent_at = ctx.clock()
        intended = await ctx.store.begin_refresh(account, sent_at)
        if intended is None or refresh_token is None:
            return
        outcome = await wire.refresh(
            ctx.http,
            provider,
            client,
            secret,
            token_endpoint=account.destination.token_endpoint,
            refresh_token=refresh_token,
            resource=account.resource,
        )
    await _receive(ctx, intended, provider, outcome, sent_at)


def _worth_it(ctx: Context, account: Account, provider: Provider) -> bool:
    """Whether a refresh still makes sense: another flight may have landed since this one was asked for."""
    if account.token is None or not isinstance(account.state, Active):
        return True
    due = timing.next_refresh_at(account, timing_policy(provider))
    return not timing.is_fresh(account.token, ctx.clock()) or due is None or due <= ctx.clock()


async def _receive(ctx: Context, account: Account, provider: Provider, outcome: wire.Outcome, sent_at: float) -> None:
    """Match what came back, and write down what it means."""
    now = ctx.clock()
    match outcome:
        case wire.Answered(raw=raw, refresh_token=refresh_token):
            kept = await _keep(ctx, account, raw, refresh_token)
            if kept is not None:
                await _judge(ctx, kept, provider, raw, sent_at)
        case wire.Refused(error=error) if error in provider.refresh.dead_grant_errors:
            await _dead(ctx, account, provider, outcome)
        case wire.Refused(error=error, description=description) if error in CLIENT_ERRORS:
            reason = _said(provider, error, description) + " The login is kept; check the client id and secret."
            await _swap(ctx, transitions.misconfigured(account, now, reason), "misconfigured", reason)
        case wire.Refused(error=error, description=description):
            await _failed(ctx, account, _said(provider, error, description))
        case wire.Throttled(reason=reason, retry_after=retry_after):
            await _failed(ctx, account, f"{provider.title} is throttling: {reason}", retry_after)
        case wire.Unreachable(reason=reason):
            await _failed(ctx, account, f"{provider.title} cannot be reached: {reason}")
        case wire.Faulty(reason=reason):
            await _failed(ctx, account, f"{provider.title} gave no proper answer: {reason}")
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
        grant = wire.read_grant(raw, provider=provider, issued_at=sent_at, asked_scope=account.scope)
        if grant.id_token is not None:
            await _check_same_person(ctx, account, provider, grant)
    except (wire.BadReply, KeyfobError) as exc:
        await _failed(ctx, account, f"the new token from {provider.title} is not usable: {exc}")
        return
    swapped = await ctx.store.swap(transitions.refreshed(account, ctx.clock()), grant=grant)
    if swapped is not None:
        ctx.publish("refreshed", swapped.name, generation=swapped.generation, detail=_lifetime(grant))


async def _check_same_person(ctx: Context, account: Account, provider: Provider, grant: Grant) -> None:
    """An ID token that comes with a refresh must be for the same person (OpenID Connect Core 12.2)."""
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
        raise wire.BadReply("it is for somebody else")


async def _dead(ctx: Context, account: Account, provider: Provider, refusal: wire.Refused) -> None:
    """The provider says that the grant is dead. Only the row that was sent may die: a lost race is not a death."""
    reason = _said(provider, refusal.error, refusal.description)
    if isinstance(account.state, Uncertain):
        reason = f"An answer of {provider.title} was lost, and the refresh token from before is not accepted any more."
    await _swap(ctx, transitions.login_needed(account, ctx.clock(), reason), "needs-login", reason)


async def _failed(ctx: Context, account: Account, reason: str, retry_after: float | None = None) -> None:
    """A passing failure: the token is served while it lives, and the next try is set."""
    now = ctx.clock()
    attempts = account.state.attempts if isinstance(account.state, RefreshingFailed) else 0
    throttled_until = 0.0 if retry_after is None else now + min(retry_after, timing.RETRY_AFTER_CAP)
    retry_at = now + timing.backoff(attempts + 1, ctx.rng)
    changed = transitions.refresh_failed(account, now, reason, retry_at, throttled_until)
    await _swap(ctx, changed, "refresh-failed", reason)


async def _lost(ctx: Context, account: Account, provider: Provider, sent_at: float, reason: str) -> None:
    """Sent, and no answer came. What that means depends on whether the refresh token could be spent by it."""
    now = ctx.clock()
    policy = provider.refresh
    if policy.rotation == "never":
        await _failed(ctx, account, f"the answer of {provider.title} was lost: {reason}")
    elif now < sent_at + policy.reuse_grace_s:
        # The spent token still answers for a moment: asking again now brings the same new token once more.
        changed = transitions.refresh_failed(account, now, f"the answer of {provider.title} was lost: {reason}", now)
        await _swap(ctx, changed, "refresh-failed", reason)
    else:
        attempts = account.state.attempts if isinstance(account.state, Uncertain) else 0
        wait = timing.backoff(attempts + 1, ctx.rng)
        # Asking again may make the provider end the login, old token included: so not while that token lives.
        lives_until = account.token.expires_at if account.token is not None else None
        retry_at = max(now + wait, lives_until or 0.0)
        text = f"An answer of {provider.title} was lost ({reason}); its refresh tokens may be spent only once."
        await _swap(ctx, transitions.answer_lost(account, now, text, retry_at), "uncertain", text)


async def _swap(ctx: Context, changed: Account, kind: Kind, detail: str) -> None:
    """Write a new state where nothing else has changed the account meanwhile."""
    swapped = await ctx.store.swap(changed)
    if swapped is not None:
        ctx.publish(kind, swapped.name, detail=detail)


def _said(provider: Provider, error: str, description: str) -> str:
    return f"{provider.title} answered {error}" + (f": {description}" if description else "") + "."


def _lifetime(grant: Grant) -> str:
    lifetime = grant.token.lifetime
    return "no lifetime given" if lifetime is None else f"good for {lifetime:.0f} s"
