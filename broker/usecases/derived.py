"""What an account that is derived from another depends on: that one's login, which is its own too (RFC 8693).

Called by ``refresh`` before such an account is renewed, by ``derive``, and by whoever says what a person can do.
One account is derived from another, which is a login of its own: nothing is derived from a derived one.
"""

from collections.abc import Iterable

from broker.core import account as transitions
from broker.core import advice, timing
from broker.core.account import Account, Misconfigured, NeedsLogin
from broker.core.secret import Secret
from broker.usecases.context import Context

GONE = "The account that this one is derived from was removed."


async def parent_of(ctx: Context, account: Account) -> Account | None:
    """Return the account that ``account`` is derived from; None where it is gone, or ``account`` is a login."""
    return await ctx.store.account_by_uuid(account.renewal.subject) if account.is_derived else None


async def children_of(ctx: Context, account: Account) -> list[Account]:
    """Return the accounts that are derived from ``account``, by name."""
    return await ctx.store.children(account)


async def scope_of_parent(ctx: Context, account: Account) -> tuple[str, ...]:
    """Return what the token carries that this one's is exchanged for: the most, where nothing was asked for by name."""
    parent = await parent_of(ctx, account)
    return () if parent is None else parent.scope


async def token_of_parent(ctx: Context, account: Account) -> Secret | None:
    """Return the token that a derived account's is exchanged for.

    It goes where its own account's secrets may go, and nowhere else (RFC 9700 4.4.2).
    """
    parent = await parent_of(ctx, account)
    if parent is None or parent.destination != account.destination:
        return None
    return await ctx.store.access_token(parent)


def trouble(account: Account, parent: Account | None, now: float) -> str:
    """Return why ``account`` cannot be renewed before a person has done something; empty where it can or may be.

    Args:
        account: a derived one.
        parent: what it is derived from, or None where that is gone.
        now: epoch seconds.
    """
    if parent is None:
        return GONE
    if parent.is_derived:
        return f"Account '{parent.name}', which this one is derived from, is derived itself now."
    if (parent.provider, parent.destination) != (account.provider, account.destination):
        where = "with another client or at another address"
        return f"Account '{parent.name}', which this one is derived from, has logged in {where} since."
    if isinstance(parent.state, NeedsLogin | Misconfigured):
        return f"Account '{parent.name}', which this one is derived from, needs a login. {parent.state.reason}"
    if not parent.renewable and (parent.token is None or timing.is_expired(parent.token, now)):
        return f"Account '{parent.name}', which this one is derived from, needs a login. {advice.EXPIRED}"
    return ""


async def stirs(ctx: Context, account: Account) -> bool:
    """Whether an account that waits for a person at its parent's login has something to find out by itself.

    That is: the parent is well again, or in other trouble than before.
    """
    if not account.is_derived or not isinstance(account.state, NeedsLogin | Misconfigured):
        return False
    return _stirs(account, await parent_of(ctx, account), ctx.clock())


def stirred(waiting: Iterable[tuple[Account, Account | None]], now: float) -> list[Account]:
    """Return those of some derived accounts, each with what it is derived from, of which :func:`stirs` is so.

    Without those whose client was refused: when they are due, their own rows tell.
    """
    return [child for child, parent in waiting if isinstance(child.state, NeedsLogin) and _stirs(child, parent, now)]


def _stirs(account: Account, parent: Account | None, now: float) -> bool:
    if parent is None:
        return False
    why = trouble(account, parent, now)
    if isinstance(account.state, Misconfigured):
        # The client was refused; whoever logs in with it, or mends it, has it asked for again.
        return not why and account.quiet_until <= now
    return why != account.state.reason


async def waits_for_parent(ctx: Context, account: Account) -> bool:
    """Whether all that an account waits for is what a person is told of the one that it is derived from."""
    parent = await parent_of(ctx, account)
    return parent is not None and advice.need(parent, ctx.clock()) is not None


async def next_step(ctx: Context, account: Account) -> str:
    """Return what a person can do about an account, in words that end with a command; empty where all is well."""
    if not account.is_derived or not isinstance(account.state, NeedsLogin | Misconfigured):
        return advice.next_step(account, ctx.clock())
    return help_for(account, await parent_of(ctx, account), ctx.clock())


def help_for(account: Account, parent: Account | None, now: float) -> str:
    """Return what a person can do about a derived account that waits for one."""
    if parent is None:
        return f"Derive it from another account: keyfob login {account.name} --flow token-exchange --from ACCOUNT"
    if not trouble(account, parent, now):
        if isinstance(account.state, Misconfigured):
            return advice.exchange_forbidden(account.name)
        return f"Nothing has to be done. To try at once: keyfob refresh {account.name}"
    if isinstance(parent.state, Misconfigured):
        return advice.next_step(parent, now)
    if parent.is_derived:
        return f"Derive it from that one's own: keyfob login {account.name} --flow token-exchange --from ACCOUNT"
    if parent.destination != account.destination:
        return f"Derive it anew: keyfob login {account.name}"
    return f"Log in there, and this one goes on by itself: keyfob login {parent.name}"


async def orphaned(ctx: Context, parent: Account, children: list[Account]) -> None:
    """The account that these are derived from has been removed: they say so, for nothing renews them any more."""
    reason = f"Account '{parent.name}', which this one is derived from, was removed."
    for child in children:
        now, current = ctx.clock(), await ctx.store.account_by_uuid(child.uuid)
        while current is not None and current.renewal.subject == parent.uuid:
            if await ctx.store.swap(transitions.login_needed(current, now, reason)) is not None:
                ctx.publish("needs-login", child.name, detail=reason, next_step=help_for(child, None, now))
                break
            current = await ctx.store.account_by_uuid(child.uuid)
