"""When Keyfob asks for an account by itself, and when the provider allows that it does.

Called by ``refresh``, by what shows accounts, and before a refresh that somebody wants.
"""

from collections.abc import Iterable

from broker.core import timing
from broker.core.account import Account
from broker.errors import InvalidRequest, StoreUnavailable, UnknownProvider
from broker.usecases import setbacks
from broker.usecases.context import Context
from broker.usecases.providers import find, timing_policy

# Provider -> its part of the schedule; None where nobody can be asked.
Policies = dict[str, timing.Policy | None]


async def next_refresh_at(ctx: Context, account: Account) -> float | None:
    """When Keyfob will next ask for this account by itself, or None where it will not."""
    return due_at(ctx, account, await policies_of(ctx, [account]))


async def next_refreshes(ctx: Context, accounts: Iterable[Account]) -> dict[str, float | None]:
    """Return the same of many accounts, by uuid."""
    known = list(accounts)
    policies = await policies_of(ctx, known)
    return {account.uuid: due_at(ctx, account, policies) for account in known}


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
