"""When Keyfob asks for an account by itself, and when the provider allows that it does.

Called by ``refresh``, by what shows accounts, and before a refresh that somebody wants.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter

from broker.core import timing
from broker.core.account import Account
from broker.errors import InvalidRequest, StoreUnavailable, UnknownProvider
from broker.usecases import derived, setbacks
from broker.usecases.context import Context
from broker.usecases.providers import find, timing_policy

# Provider -> its part of the schedule; None where nobody can be asked.
Policies = dict[str, timing.Policy | None]
# Of each provider so many accounts are looked at in one go: who is not among them is found by a later look.
MOST = 100


@dataclass(frozen=True, slots=True)
class Found:
    """What a look found.

    Attributes:
        overdue: the accounts to ask for now, those first whose refresh token dies first.
        coming: when there will be another one, epoch seconds; None where none will.
    """

    overdue: list[Account]
    coming: float | None


async def next_refresh_at(ctx: Context, account: Account) -> float | None:
    """When Keyfob will next ask for this account by itself, or None where it will not."""
    return due_at(ctx, account, await policies_of(ctx, [account]))


async def next_refreshes(ctx: Context, accounts: Iterable[Account]) -> dict[str, float | None]:
    """Return the same of many accounts, by uuid."""
    known = list(accounts)
    policies = await policies_of(ctx, known)
    return {account.uuid: due_at(ctx, account, policies) for account in known}


async def look(ctx: Context) -> Found:
    """Look at what is due. What that costs does not depend on how many accounts there are."""
    now, silences = ctx.clock(), ctx.rates.silences(ctx.steady())
    policies, resting = await schedule(ctx), ctx.flights.resting
    there = await ctx.store.look(policies, now, silences)
    coming = [now + seconds for seconds in silences.values()]
    found = []
    for provider in there.overdue:
        policy, most = policies[provider], MOST + len(resting)
        for account in await ctx.store.most_urgent(provider, policy, now, most, silences):
            death = timing.dies_at(account, policy)
            found.append((math.inf if death is None else death, account))
    found += [(math.inf, child) for child in derived.stirred(there.waiting, now) if child.provider in policies]
    coming += [resting[account.uuid] for _, account in found if resting.get(account.uuid, 0.0) > now]
    if there.coming is not None:
        coming.append(there.coming)
    overdue = [account for _, account in sorted(found, key=itemgetter(0)) if resting.get(account.uuid, 0.0) <= now]
    return Found(overdue, min(coming, default=None))


async def count(ctx: Context) -> int:
    """Return how many accounts wait for a refresh right now."""
    now = ctx.clock()
    there = await ctx.store.look(await schedule(ctx), now, ctx.rates.silences(ctx.steady()))
    return max(0, sum(there.overdue.values()) - sum(at > now for at in ctx.flights.resting.values()))


async def schedule(ctx: Context) -> dict[str, timing.Policy]:
    """Return the part of the schedule of every provider that accounts are at and that can be asked."""
    names = await ctx.unchanged("providers in use", ctx.store.providers_in_use)
    known = {name: await _policy(ctx, name) for name in names}
    return {name: policy for name, policy in known.items() if policy is not None}


async def quota_wait(ctx: Context, account: Account) -> float:
    """Seconds until the provider's quota allows another refresh; 0 where it does now."""
    policy = (await policies_of(ctx, [account]))[account.provider]
    return 0.0 if policy is None else max(0.0, timing.allowed_at(account, policy) - ctx.clock())


async def policies_of(ctx: Context, accounts: Iterable[Account]) -> Policies:
    """Look each provider of some accounts up, once."""
    return {name: await _policy(ctx, name) for name in {account.provider for account in accounts}}


def due_at(ctx: Context, account: Account, policies: Policies) -> float | None:
    """When an account is due, with all that holds it up; None where Keyfob will not ask."""
    policy = policies[account.provider]
    due = None if policy is None else timing.next_refresh_at(account, policy)
    if due is None:
        return None
    due = max(due, ctx.flights.resting.get(account.uuid, 0.0))
    silence = setbacks.silence(ctx, account)
    return max(due, ctx.clock() + silence) if silence else due


async def _policy(ctx: Context, provider: str) -> timing.Policy | None:
    try:
        return timing_policy(await find(ctx, provider))
    except (UnknownProvider, InvalidRequest, StoreUnavailable):
        # Its preset was taken away, or its row changed: nobody can be asked. One such account must not stop the others.
        return None
