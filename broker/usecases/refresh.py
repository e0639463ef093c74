"""A refresh: the one place where a refresh token is spent, and where accounts without one get their next token.

``join`` is what apps and the scheduler call; ``refresh_due`` is the tick; ``settle`` runs once at start, for what a
crash left open. The order in ``_fly`` is the promise: intent committed -> sent once -> answer durable -> judged ->
published. Nothing is open in the database while the network is asked.
"""

import asyncio
import logging
from dataclasses import replace

from broker import errors
from broker.core import timing
from broker.core.account import Account, Active, Misconfigured, NeedsLogin, RefreshingFailed, Static, Suspect, Uncertain
from broker.core.login import Client
from broker.core.secret import Secret
from broker.core.token import Wish
from broker.errors import KeyfobError, Locked, StoreUnavailable
from broker.oauth import wire
from broker.providers.model import Provider
from broker.usecases import asking, derived, due, judging, keeping, refusedclients, registrations, setbacks
from broker.usecases.context import Context, Moment
from broker.usecases.providers import find
from broker.usecases.untold import Untold

log = logging.getLogger(__name__)

# An app waits this long for a refresh: longer than one request to a provider may take (20 s), so that a slow answer
# still arrives, and shorter than the 30 s that most HTTP clients wait.
PATIENCE = 25.0
# Seconds between two looks while a herd is being refreshed: no account is due again within them (timing.SHORTEST_LIFE).
BETWEEN_LOOKS = 5.0


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
    ctx.flights.line.landed(uuid)
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
    _begin_due(ctx)
    # A look reads what is due. While much of it waits for its turn, none is made at each landing: what has come of one
    # is not due again so soon.
    looked = asyncio.get_running_loop().time() - ctx.schedule.last_tick
    if uuid in ctx.flights.anew or not ctx.flights.line or looked >= BETWEEN_LOOKS:
        ctx.wake.set()
    ctx.flights.anew.discard(uuid)


def _begin_due(ctx: Context) -> None:
    """Begin as many flights of what is due as can be on their way at a time."""
    while (account := ctx.flights.next_due()) is not None:
        # What cannot be begun calls for no look at once.
        if account.uuid in ctx.flights.tasks or _barred(ctx, account.uuid):
            ctx.flights.line.landed(account.uuid)
        else:
            join(ctx, account, awaited=False)


async def refresh_due(ctx: Context) -> float | None:
    """Start a flight for what is due; return when something else will be, in epoch seconds."""
    if not ctx.store.locked:
        await _settled(ctx)
    found = await due.look(ctx)
    # After a holiday many are due at once: whoever dies first goes first.
    ctx.flights.line.form((setbacks.issuer_of(account), account) for account in found.overdue)
    _begin_due(ctx)
    return found.coming


async def settle(ctx: Context) -> None:
    """Settle what a crash left open: judge answers that were kept, and count the others as lost.

    An answer that was kept needs no request. For an intent without an answer nobody knows whether the provider saw
    the request: within its grace the same token is sent again at once, before anything else.

    Raises:
        StoreUnavailable: not all of it could be written down. No refresh begins before that has been done: each
            tries this again first. Where only a provider cannot be read, that holds for its accounts alone.
    """
    ctx.flights.unsettled = True
    await _settled(ctx)


async def _settled(ctx: Context, uuid: str = "") -> None:
    """Settle what is open, and try again what could not be: that of one account, or of any."""
    async with ctx.flights.settling:
        first, again = ctx.flights.unsettled, ctx.flights.unjudged
        if not first and not (uuid in again if uuid else again):
            return  # what is open now is in the air
        if ctx.store.locked:
            raise Locked(ctx.store.locked, ctx.store.locked_hint)
        if count := await ctx.store.take_back(ctx.clock()):
            log.warning("%d accounts have times from the future of this clock: they are taken for the present", count)
        if first:  # then the intents tell what is open, but for what is in the air
            for told in ctx.flights.untold.keys() - ctx.flights.flying:
                del ctx.flights.untold[told]
        await ctx.store.recover()
        ctx.flights.unjudged = await judging.judge_the_open(ctx)
        ctx.flights.unsettled = False
    # Before anything else stands at the gate. Also where the retry itself did not come as far as an intent of its own.
    lost = await ctx.store.lost_answers()
    if not first:
        # The others were asked for when all was settled first, and have a time to wait since.
        lost = [account for account in lost if account.uuid in again]
    for account in lost:
        if not ctx.store.locked:
            join(ctx, account, awaited=False)


async def _settled_at(ctx: Context, account: Account) -> Provider:
    """Return the account's provider once nothing is open of the account any more."""
    await _settled(ctx, account.uuid)
    provider = await find(ctx, account.provider)
    if (untold := ctx.flights.untold.get(account.uuid)) is not None:
        await _tell(ctx, provider, untold)
    if account.uuid in ctx.flights.unjudged:  # and it can be read again, just now
        raise StoreUnavailable(f"What became of the last refresh of '{account.name}' is not known yet.", "Try again.")
    return provider


async def _fly(ctx: Context, seen: Account, wish: Wish | None, before: asyncio.Task[str] | None) -> str:
    """One refresh, from the row to the row; return why the provider does not give what was wished for."""
    if before is not None and not before.done():
        await asyncio.wait([before])
    provider = await _settled_at(ctx, seen)
    if seen.is_derived and not await _source_lives(ctx, seen, provider):
        return ""
    issuer = setbacks.issuer_of(seen)
    rules = provider.refresh
    one_by_one = setbacks.spends(seen, provider) and not rules.reuse_grace_s
    # Whether a client is still refused one account finds out for all; only then do the others ask.
    one_by_one = one_by_one or isinstance(seen.state, Misconfigured)
    async with ctx.flights.cleared(seen.uuid, issuer, one_by_one=one_by_one):
        # The row may have changed since it was seen, the more so while this flight waited at the gate.
        found = await ctx.store.departure(seen.uuid)
        if _barred(ctx, seen.uuid) or found is None or not _still_wanted(account := found.account, seen, ctx.clock()):
            return ""
        # Where the flight before this one found trouble, whoever waited for it is told of that.
        in_trouble = account.state != seen.state and _has_to_wait(account, ctx.clock())
        if in_trouble or (wish is not None and not await still_wished(ctx, account, wish)):
            return ""
        if await setbacks.held_up(ctx, account, provider):
            return ""
        client, proof = found.client()
        shown = found.refresh_token() if not account.is_derived else await derived.token_of_parent(ctx, account)
        sent = ctx.sent()
        ready = shown is not None or account.is_machine
        ctx.flights.flying.add(seen.uuid)
        intended = await ctx.store.begin_refresh(account, sent.at, wish) if ready else None
        if intended is None:
            return ""  # The row has changed since it was read; the next look finds what it is now.
        untold = Untold(intended, client, proof, sent, wish)
        outcome, kept = await _go(ctx, provider, untold, shown)
    if outcome is None:
        return ""
    await refusedclients.heard(ctx, account, provider, outcome)
    if isinstance(outcome, wire.Answered):
        return "" if kept is None else await keeping.put_in_force(ctx, kept, provider, outcome.raw, sent, wish)
    return await _tell(ctx, provider, replace(untold, outcome=outcome))


async def _go(
    ctx: Context, provider: Provider, untold: Untold, shown: Secret | None
) -> tuple[wire.Outcome | None, Account | None]:
    """Send the request; return what came, and the account once a token is on the disk. None where nothing was sent.

    Whatever breaks from here on: before the next request, it is written down that the answer to this one is lost.
    """
    account, uuid = untold.account, untold.account.uuid
    ctx.flights.untold[uuid] = untold
    try:
        outcome = await asking.ask(ctx, provider, untold, shown)
    except KeyfobError as exc:
        ctx.flights.untold.pop(uuid, None)
        if not isinstance(exc, errors.Misconfigured):
            raise
        # Nothing was sent, and nothing can be before a person has mended it.
        await setbacks.misconfigured(ctx, account, str(exc))
        return None, None
    if not isinstance(outcome, wire.Answered):
        ctx.flights.untold[uuid] = replace(untold, outcome=outcome)
        return outcome, None
    # Still at the gate: an answer that is not on the disk yet is in the air, as far as a crash is concerned.
    kept = await keeping.keep(ctx, account, outcome.raw, outcome.refresh_token)
    ctx.flights.untold.pop(uuid, None)
    return outcome, kept


async def _tell(ctx: Context, provider: Provider, told: Untold) -> str:
    """Write down what came in the place of a token; return why what was wished for is not given."""
    async with ctx.landing():
        account = await _as_of_now(ctx, told.account, told.sent)
        if await _was_changing(ctx, account, told.client, told.proof, told.outcome):
            await setbacks.changing(ctx, account, provider)
            why = ""
        else:
            why = await _without_token(ctx, account, provider, told.outcome, ctx.when(told.sent), told.wish)
    ctx.flights.untold.pop(account.uuid, None)
    return why


async def _as_of_now(ctx: Context, account: Account, sent: Moment) -> Account:
    """Return an account with the times that have moved along where the clock was set since its request was sent."""
    if ctx.when(sent) == sent.at:
        return account
    moved = await ctx.store.account_by_uuid(account.uuid)
    return moved if moved is not None and moved.generation == account.generation else account


async def _was_changing(
    ctx: Context, account: Account, client: Client, proof: Secret | None, outcome: wire.NoToken
) -> bool:
    """Whether the provider refused the client while that was being changed, which says nothing about either."""
    return setbacks.is_of_client(outcome) and await registrations.is_changing(ctx, account, client, proof)


async def _without_token(
    ctx: Context, account: Account, provider: Provider, outcome: wire.NoToken, sent_at: float, wish: Wish | None
) -> str:
    """Write down what came in the place of a token; return why what was wished for is not given.

    A refused wish leaves the login as well as it was: such a request is sent only where a refusal spends nothing
    (``RefreshPolicy``).
    """
    if wish is None or not isinstance(outcome, wire.Refused):
        await setbacks.receive(ctx, account, provider, outcome, sent_at)
        return ""
    well = await setbacks.swap(ctx, account, lambda row: row)
    if well is not None and setbacks.doubts_the_login(provider, outcome) and not await _just_renewed(ctx, well):
        # Some say so of what was wished for. Whether the login is dead, its own refresh tells.
        join(ctx, well, awaited=False)
    return setbacks.said(provider, outcome.error, outcome.description)


async def _just_renewed(ctx: Context, account: Account) -> bool:
    """Whether the login has just shown that it lives; or it cannot be asked, because of the provider's quota."""
    token = account.token
    if token is not None and 0 <= ctx.clock() - token.issued_at < timing.LEAST_BETWEEN_REFRESHES:
        return True
    return await due.quota_wait(ctx, account) > 0


async def _source_lives(ctx: Context, account: Account, provider: Provider) -> bool:
    """Whether the account that this one is derived from has a living token, renewed first where it is stale.

    Where it has none, this one says so: that only a person helps, or that it is tried again. Nobody at a gate waits
    here: the other account's refresh has to pass it too.
    """
    if (flight := ctx.flights.tasks.get(account.renewal.subject)) is not None:
        # Due together, the token that is exchanged shall be the new one, and a dead login be known by then.
        await asyncio.wait([flight], timeout=PATIENCE)
    parent = await derived.parent_of(ctx, account)
    fresh = parent is not None and parent.token is not None and timing.is_fresh(parent.token, ctx.clock())
    if parent is not None and not fresh and not derived.trouble(account, parent, ctx.clock()):
        parent = await renewed(ctx, parent)
    now = ctx.clock()
    if _barred(ctx):
        return False
    if why := derived.trouble(account, parent, now):
        if parent is not None or not isinstance(account.state, NeedsLogin):  # which names the one that is gone
            step = derived.help_for(account, parent, now)
            await setbacks.login_needed(ctx, account, why, next_step=step)
        return False
    if parent is None or _is_over(parent, now):
        name, reason = (parent.name, parent.state.reason) if parent is not None else ("", "")
        text = f"Account '{name}', which this one is derived from, has no living token now. {reason}"
        await setbacks.failed(ctx, account, provider, text.strip())
        return False
    return True


def _barred(ctx: Context, uuid: str = "") -> bool:
    """Whether no refresh may be begun: the daemon stops, is locked, or changes its keys, or the account is leaving."""
    return ctx.flights.is_closed(uuid) or ctx.flights.held or bool(ctx.store.locked)


async def renewed(ctx: Context, account: Account) -> Account | None:
    """Join the account's one refresh, where one can help, and return what the account is then.

    Nobody waits for longer than ``PATIENCE``; the refresh goes on.

    Raises:
        KeyfobError: nothing was sent, or its answer could not be kept, and there is no living token.
    """
    now = ctx.clock()
    match account.state:
        case RefreshingFailed() | Uncertain() if now < account.quiet_until:
            return account
        case NeedsLogin() | Misconfigured() if await derived.stirs(ctx, account):
            pass
        case NeedsLogin() | Misconfigured() | Suspect() | Static():
            return account
    if not account.renewable:
        return account
    try:
        if not _is_over(account, now) and await due.quota_wait(ctx, account):
            return account  # another one would end a token that somebody uses
        async with asyncio.timeout(PATIENCE):
            await asyncio.shield(join(ctx, account))
    except TimeoutError:
        pass  # The flight goes on; what the account offers meanwhile is decided below.
    except KeyfobError:
        # Nothing was sent, or its answer could not be kept; the old token is served while it lives.
        current = await ctx.store.account_by_uuid(account.uuid)
        if current is None or current.token is None or timing.is_expired(current.token, ctx.clock()):
            raise
        return current
    return await ctx.store.account_by_uuid(account.uuid)


def _is_over(account: Account, now: float) -> bool:
    return account.token is None or timing.is_expired(account.token, now)


def _has_to_wait(account: Account, now: float) -> bool:
    """Whether the account's own trouble says that nobody is to be asked yet."""
    return now < account.quiet_until


def _still_wanted(account: Account, seen: Account, now: float) -> bool:
    """Whether a refresh still makes sense: another flight may have landed, or a login begun a new life."""
    # A narrower token leaves the account well and its own token alone; whatever else changes the generation does not.
    narrowed = isinstance(account.state, Active) and account.token_generation == seen.token_generation
    return (
        account.renewable
        and (account.generation == seen.generation or narrowed)
        # Seen between the two commits of an answer, it had the new generation and the old token still.
        and account.token == seen.token
        # A derived account stands and falls with another one's login, which was looked at just now.
        and (account.is_derived or not isinstance(account.state, NeedsLogin))
        # One whose client was refused is asked for when its time has come, and not before.
        and not (isinstance(account.state, Misconfigured) and _has_to_wait(account, now))
    )


async def still_wished(ctx: Context, account: Account, wish: Wish) -> bool:
    """Whether to ask for a narrower token: the login is well, and nobody has just brought such a one."""
    if not isinstance(account.state, Active):
        return False
    kept = await ctx.store.derived_token(account, wish)
    if kept is None or timing.is_expired(kept[1], ctx.clock()):
        return True
    return not timing.is_new(kept[1], ctx.clock())
