"""A refresh: the one place where a refresh token is spent, and where accounts without one get their next token.

``join`` is what apps and the scheduler call; ``refresh_due`` is the tick; ``settle`` runs once at start, for what a
crash left open. The order in ``_fly`` is the promise: intent committed -> sent once -> answer durable -> judged ->
published. Nothing is open in the database while the network is asked.
"""

import asyncio
import logging
import math
from dataclasses import replace

from broker.core import account as transitions
from broker.core import timing
from broker.core.account import Account, Active, Identity, NeedsLogin, RefreshingFailed, Uncertain
from broker.core.login import Client
from broker.core.secret import Secret
from broker.core.token import Grant, Wish
from broker.errors import InvalidRequest, KeyfobError, Locked, Misconfigured, StoreUnavailable, UnknownProvider
from broker.oauth import idtoken, wire
from broker.oauth.grant import BadReply, Unreadable, read_grant
from broker.providers.model import Provider
from broker.providers.rules import ReplyRules
from broker.usecases import renewal, setbacks
from broker.usecases.context import Context
from broker.usecases.keep import keep
from broker.usecases.login import redirect_uri
from broker.usecases.providers import find, timing_policy

log = logging.getLogger(__name__)


class _Foreign(Exception):
    """A refresh brought a token of another person; the text says whose, and is safe to show."""


def join(ctx: Context, account: Account, *, awaited: bool = True, wish: Wish | None = None) -> asyncio.Task[str]:
    """Return the account's one refresh task, starting it where none is under way; one that is ``awaited`` goes first.

    What it renews is ``account`` as the caller saw it: where a newer token is found, there is nothing to do.
    Await it through ``asyncio.shield``: a caller that goes away must not take the refresh with it. Read the account
    again to see what came of it.

    With a ``wish`` it brings a token for that, and the account's own stays. It spends the same refresh token, so it
    waits for the one that is under way, as the next one will wait for it. The task ends with why the provider does not
    give that; with empty text where it does, or where it is not known.
    """
    if awaited:
        ctx.flights.awaited.add(account.uuid)
    if setbacks.lost_at(account):
        ctx.flights.expiring.add(account.uuid)
    before = ctx.flights.tasks.get(account.uuid)
    task = before if ctx.flights.wishes.get(account.uuid) == wish else None
    if task is None or task.done():
        task = asyncio.create_task(_fly(ctx, account, wish, before), name=f"refresh {account.name}")
        ctx.flights.add(account.uuid, task, wish)
        task.add_done_callback(lambda done: _landed(ctx, account.uuid, done))
    return task


def _landed(ctx: Context, uuid: str, task: asyncio.Task[str]) -> None:
    if ctx.flights.tasks.get(uuid) is task:
        ctx.flights.remove(uuid)
    ctx.flights.flying.discard(uuid)
    ctx.wake.set()
    # One that came too late for an open store is begun anew as soon as that is open again.
    broke = task.cancelled() or not isinstance(task.exception(), Locked | None)
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
    if not ctx.store.locked:
        await _settled(ctx)
    now = ctx.clock()
    coming: float | None = None
    overdue: list[tuple[float, Account]] = []
    for account in await ctx.store.accounts():
        policy = await _policy(ctx, account)
        due = None if policy is None else _next_refresh_at(ctx, account, policy)
        if policy is None or due is None or account.uuid in ctx.flights.tasks:
            continue
        if due <= now:
            death = timing.dies_at(account, policy)
            overdue.append((math.inf if death is None else death, account))
        elif coming is None or due < coming:
            coming = due
    # After a holiday many are due at once: whoever dies first goes first.
    for _, account in [] if _barred(ctx) else sorted(overdue, key=lambda entry: entry[0]):
        join(ctx, account, awaited=False)
    return coming


async def next_refresh_at(ctx: Context, account: Account) -> float | None:
    """When Keyfob will next ask for this account by itself, or None where it will not."""
    policy = await _policy(ctx, account)
    return None if policy is None else _next_refresh_at(ctx, account, policy)


async def quota_wait(ctx: Context, account: Account) -> float:
    """Seconds until the provider's quota allows another refresh; 0 where it does now."""
    policy = await _policy(ctx, account)
    return 0.0 if policy is None else max(0.0, timing.allowed_at(account, policy) - ctx.clock())


async def _policy(ctx: Context, account: Account) -> timing.Policy | None:
    try:
        return timing_policy(await find(ctx, account.provider))
    except (UnknownProvider, InvalidRequest, StoreUnavailable):
        # Its preset was taken away, or its row changed: nobody can be asked. One such account must not stop the others.
        return None


def _next_refresh_at(ctx: Context, account: Account, policy: timing.Policy) -> float | None:
    due = timing.next_refresh_at(account, policy)
    if due is None:
        return None
    silence = ctx.flights.throttled.get(setbacks.issuer_of(account), 0.0)
    return max(due, ctx.flights.resting.get(account.uuid, 0.0), silence)


async def settle(ctx: Context) -> None:
    """Settle what a crash left open: judge answers that were kept, and count the others as lost.

    An answer that was kept needs no request. For an intent without an answer nobody knows whether the provider saw
    the request: within its grace the same token is sent again at once, before anything else.

    Raises:
        StoreUnavailable: not all of it could be written down. No refresh begins before that has been done: each
            tries this again first.
    """
    ctx.flights.unsettled = True
    await _settled(ctx)


async def _settled(ctx: Context) -> None:
    async with ctx.flights.settling:
        if not ctx.flights.unsettled:
            return  # what is open now is in the air
        if ctx.store.locked:
            raise Locked(ctx.store.locked, ctx.store.locked_hint)
        await ctx.store.recover()
        await _judge_the_open(ctx)
        ctx.flights.unsettled = False
    # Before anything else stands at the gate. Also where the retry itself did not come as far as an intent of its own.
    for account in await ctx.store.accounts():
        if setbacks.lost_at(account) and not ctx.store.locked:
            join(ctx, account, awaited=False)


async def _judge_the_open(ctx: Context) -> None:
    flying = set(ctx.flights.flying)
    for account, started_at, answered in await ctx.store.open_intents():
        if account.uuid in flying | ctx.flights.flying:
            continue  # it was locked and unlocked again meanwhile: that one still comes
        try:
            provider = await find(ctx, account.provider)
        except (UnknownProvider, InvalidRequest, StoreUnavailable) as exc:
            log.warning("what became of the last refresh of '%s' cannot be told: %s", account.name, exc)
            continue
        raw = await ctx.store.kept_answer(account) if answered else None
        if raw is not None:
            await _judge(ctx, account, provider, raw, started_at, await ctx.store.open_wish(account))
            continue
        await setbacks.lost(ctx, account, provider, started_at, "Keyfob was stopped while it waited for an answer")


async def _fly(ctx: Context, seen: Account, wish: Wish | None, before: asyncio.Task[str] | None) -> str:
    """One refresh, from the row to the row; return why the provider does not give what was wished for."""
    if before is not None and not before.done():
        await asyncio.wait([before])
    await _settled(ctx)
    provider = await find(ctx, seen.provider)
    issuer = setbacks.issuer_of(seen)
    rules = provider.refresh
    one_by_one = setbacks.spends(seen, provider) and not rules.reuse_grace_s
    async with ctx.flights.cleared(seen.uuid, issuer, one_by_one=one_by_one):
        # The row may have changed since it was seen, the more so while this flight waited at the gate.
        account = await ctx.store.account_by_uuid(seen.uuid)
        if _barred(ctx) or account is None or not _still_wanted(account, seen):
            return ""
        if account.state != seen.state and _has_to_wait(account, ctx.clock()):
            return ""  # The flight before this one found trouble: whoever waited for it is told of that.
        if wish is not None and not await still_wished(ctx, account, wish):
            return ""
        silence = ctx.flights.throttled.get(issuer, 0.0) - ctx.clock()
        if silence > 0:
            # Another account was told so meanwhile; its word counts for all of them.
            await setbacks.failed(ctx, account, provider, f"{provider.title} is throttling.", silence)
            return ""
        if setbacks.is_too_late(account, provider, ctx.clock()):
            await setbacks.too_late(ctx, account, provider)
            return ""
        client, proof = await ctx.store.client_of(account)
        refresh_token = await ctx.store.refresh_token(account)
        sent = ctx.sent()
        ready = refresh_token is not None or account.is_machine
        ctx.flights.flying.add(seen.uuid)
        intended = await ctx.store.begin_refresh(account, sent.at, wish) if ready else None
        if intended is None:
            return ""  # The row has changed since it was read; the next look finds what it is now.
        try:
            outcome = await _ask(ctx, account, provider, client, proof, refresh_token, wish)
        except Misconfigured as exc:
            # Nothing was sent, and nothing will be before a person has mended it.
            await setbacks.misconfigured(ctx, intended, str(exc))
            return ""
        if isinstance(outcome, wire.Answered):
            # Still at the gate: an answer that is not on the disk yet is in the air, as far as a crash is concerned.
            kept = await keep(ctx, intended, outcome.raw, outcome.refresh_token)
    async with ctx.landing():
        if isinstance(outcome, wire.Answered):
            return "" if kept is None else await _judge(ctx, kept, provider, outcome.raw, ctx.when(sent), wish)
        if wish is not None and (why := await setbacks.wish_denied(ctx, intended, provider, outcome)):
            return why
        await setbacks.receive(ctx, intended, provider, outcome, ctx.when(sent))
        return ""


async def _ask(
    ctx: Context,
    account: Account,
    provider: Provider,
    client: Client,
    proof: Secret | None,
    refresh_token: Secret | None,
    wish: Wish | None,
) -> wire.Outcome:
    """Send the one request that renews the account, or that brings what was wished for."""
    there, resource = account.destination.token_endpoint, account.resource
    if refresh_token is None or account.is_machine:
        scope = account.asked_scope
        return await renewal.ask(
            ctx, provider, account.renewal, client, proof, token_endpoint=there, scope=scope, resource=resource
        )
    return await wire.refresh(
        ctx.http,
        provider,
        client,
        proof,
        token_endpoint=there,
        refresh_token=refresh_token,
        redirect_uri=redirect_uri(ctx, provider),
        resource=resource if wish is None else wish.resource,
        scope=() if wish is None else wish.scope,
    )


def _barred(ctx: Context) -> bool:
    """Whether no request may be begun: the daemon stops, is locked, or changes its keys."""
    return ctx.flights.grounded or ctx.flights.held or bool(ctx.store.locked)


def _has_to_wait(account: Account, now: float) -> bool:
    """Whether the account's own trouble says that nobody is to be asked yet."""
    return isinstance(account.state, RefreshingFailed | Uncertain) and now < account.state.retry_at


def _still_wanted(account: Account, seen: Account) -> bool:
    """Whether a refresh still makes sense: another flight may have landed, or a login begun a new life."""
    # A narrower token leaves the account well and its own token alone; whatever else changes the generation does not.
    narrowed = isinstance(account.state, Active) and account.token_generation == seen.token_generation
    return (
        account.renewable
        and (account.generation == seen.generation or narrowed)
        # Seen between the two commits of an answer, it had the new generation and the old token still.
        and account.token == seen.token
        and not isinstance(account.state, NeedsLogin | transitions.Misconfigured)
    )


async def still_wished(ctx: Context, account: Account, wish: Wish) -> bool:
    """Whether to ask for a narrower token: the login is well, and nobody has just brought such a one."""
    if not isinstance(account.state, Active):
        return False
    kept = await ctx.store.derived_token(account, wish)
    if kept is None or timing.is_expired(kept[1], ctx.clock()):
        return True
    return not 0 <= ctx.clock() - kept[1].issued_at < timing.LEAST_BETWEEN_REFRESHES


async def _judge(
    ctx: Context, account: Account, provider: Provider, raw: Secret, sent_at: float, wish: Wish | None = None
) -> str:
    """Validate the rest of an answer whose refresh token is already safe, then put the token to use.

    Returns why the provider does not give what was wished for; empty text where it does.
    """
    own = account.asked_scope if account.is_machine else account.scope
    asked = own if wish is None else wish.scope or own
    rules = _reply_rules(account, provider)
    try:
        answering = replace(provider, reply=rules)
        grant = read_grant(raw, provider=answering, issued_at=sent_at, asked_scope=asked)
        if account.is_machine:
            grant = renewal.bare(grant)
        elif not (provider.issuer and provider.endpoints.jwks):
            grant = replace(grant, id_token=None)  # nothing could verify it
        await _check_use(ctx, account, provider, grant)
    except _Foreign as exc:
        # Whoever that is, nothing of it is handed out or sent again (OpenID Connect Core 12.2).
        await setbacks.login_needed(ctx, account, str(exc))
        return ""
    except (BadReply, KeyfobError) as exc:
        gone = isinstance(exc, Unreadable) or wire.hides_refresh_token(raw, rules)
        if gone and setbacks.spends(account, provider) and wire.refresh_token_in(raw, rules) is None:
            # Carried out, and the new refresh token is not to be found in it: as good as lost.
            await setbacks.lost(ctx, account, provider, sent_at, str(exc))
        else:
            await _unusable(ctx, account, provider, raw, exc)
        return ""
    if wish is not None and (more := beyond(wish, grant)):
        await setbacks.swap(ctx, account, lambda row: row)  # the token is dropped; the login is as well as before
        return f"{provider.title} gave more than was asked for: '{more}'."
    swapped = await setbacks.swap(ctx, account, lambda row: transitions.refreshed(row, ctx.clock()), grant, wish)
    if swapped is not None:
        about = _lifetime(grant) if wish is None else f"a narrower token, {_lifetime(grant)}"
        ctx.publish("refreshed", swapped.name, generation=swapped.generation, detail=about)
    return ""


def beyond(wish: Wish, grant: Grant) -> str:
    """Return the scopes that a token carries and nobody wished for, in words (RFC 8693 2.2.1)."""
    return " ".join(sorted(set(grant.token.scope) - set(wish.scope))) if wish.scope else ""


async def _unusable(ctx: Context, account: Account, provider: Provider, raw: Secret, why: Exception) -> None:
    if wire.refresh_token_in(raw, _reply_rules(account, provider)) is not None:
        account = transitions.doubt_over(account)
    said = str(why).rstrip(".")
    await setbacks.failed(ctx, account, provider, f"The new token from {provider.title} is not usable: {said}.")


async def _check_use(ctx: Context, account: Account, provider: Provider, grant: Grant) -> None:
    """A token must live, and an ID token that comes with it be for the same person (OpenID Connect Core 12.2)."""
    if grant.token.lifetime is not None and grant.token.lifetime <= 0:
        # It would be due again at once, and so would the next one, for ever.
        raise BadReply("it has expired already")
    if grant.id_token is None:
        # A provider with an issuer may name people otherwise in its ID tokens than beside them.
        if grant.whose is not None and account.identity is not None and not provider.issuer:
            _check_same(account.identity, provider, Identity(provider.identity_issuer, *grant.whose))
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
    if account.identity is not None:
        _check_same(account.identity, provider, Identity(claims.issuer, claims.subject, claims.label))


def _check_same(known: Identity, provider: Provider, told: Identity) -> None:
    if (told.issuer, told.subject) != (known.issuer, known.subject):
        raise _Foreign(
            f"{provider.title} answered a refresh for '{known.label}' with a token of somebody else ('{told.label}')."
        )


def _reply_rules(account: Account, provider: Provider) -> ReplyRules:
    """Return the shape that a renewal is answered in: every token of a program is a first one, and comes as such."""
    return provider.reply if account.is_machine else provider.reply.of_refresh()


def _lifetime(grant: Grant) -> str:
    lifetime = grant.token.lifetime
    return "no lifetime given" if lifetime is None else f"good for {lifetime:.0f} s"
