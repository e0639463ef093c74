"""A client that its provider refuses: when that is asked again, which account goes first, and when the others follow.

Called by ``setbacks`` and ``refresh``, and by whoever has kept a client anew or logged in with it.
"""

import logging

from broker.core import timing
from broker.core.account import Account, Destination, Misconfigured
from broker.errors import StoreUnavailable
from broker.oauth import wire
from broker.providers.model import Provider
from broker.usecases.context import Context
from broker.usecases.flights import Refusal

log = logging.getLogger(__name__)


def refused(ctx: Context, account: Account) -> tuple[int, float]:
    """Note that the account's client was refused; return how often in a row, and the seconds until it is tried again.

    The other accounts of that client need not find out the same: for half of that time they are left alone.
    """
    before = account.state.attempts if isinstance(account.state, Misconfigured) else 0
    known = ctx.flights.refused.get(account.destination)
    attempts = max(before + 1, 0 if known is None else known.attempts)
    wait = timing.refused_pause(attempts, ctx.rng)
    ctx.flights.refused[account.destination] = Refusal(attempts, ctx.steady() + wait / 2)
    return attempts, wait


def put_off(ctx: Context, account: Account) -> tuple[int, float]:
    """Return the same for an account that was not refused now: it has no answer, or was not asked for."""
    before = account.state.attempts if isinstance(account.state, Misconfigured) else 1
    known = ctx.flights.refused.get(account.destination)
    attempts = max(before, 0 if known is None else known.attempts)
    return attempts, timing.refused_pause(attempts, ctx.rng)


def another_was(ctx: Context, account: Account) -> bool:
    """Whether the account's client was refused to another account just now, so that nobody has to ask again."""
    known = ctx.flights.refused.get(account.destination)
    return isinstance(account.state, Misconfigured) and known is not None and known.alone_until > ctx.steady()


async def heard(ctx: Context, account: Account, provider: Provider, outcome: wire.Outcome) -> None:
    """Let the other accounts of a client follow where this one's answer shows that the provider knows it again.

    What a provider says of a grant, it says to a client that it knows (RFC 6749 5.2).
    """
    if not isinstance(account.state, Misconfigured):
        return
    of_grant = isinstance(outcome, wire.Refused) and outcome.error in provider.refresh.dead_grant_errors
    if isinstance(outcome, wire.Answered) or (of_grant and not account.spends_nothing):
        await mended(ctx, account.destination)


async def mended(ctx: Context, destination: Destination) -> None:
    """Ask again at once for all accounts of a client: it was changed here, or the provider has just accepted it."""
    ctx.flights.refused.pop(destination, None)
    try:
        count = await ctx.store.recall(destination, ctx.clock())
    except StoreUnavailable as exc:
        # Each of them is asked for again by itself, only later.
        log.warning("the accounts of client '%s' are not asked for at once: %s", destination.client_id, exc)
        return
    if count:
        log.info("client '%s' may be known again: its accounts are asked for (%d)", destination.client_id, count)
        ctx.wake.set()
