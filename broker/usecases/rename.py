"""An account gets another name: whatever belongs to it goes with it, and nothing that was asked under the new name.

Called by the web API. Grants, derived accounts, refreshes and offered logins know the account by its uuid.
"""

from broker.core.account import Account
from broker.errors import Conflict, KeyfobError, Locked
from broker.usecases import accounts, newlogin
from broker.usecases.context import Context


async def rename(ctx: Context, name: str, new: str) -> Account:
    """Give an account another name; the one that it has already changes nothing.

    Args:
        ctx: the collaborators.
        name: the account's.
        new: the one that it gets.

    Raises:
        InvalidRequest: that can be no account's name.
        Locked: there is no key to authenticate the name with.
        UnknownAccount: none is called so.
        Conflict: the new name is an account's, or a first login's that is under way; or the account's own first login
            is, so that there is no account yet.
        SecretChanged: the account was changed outside Keyfob.
    """
    newlogin.check_name(new)
    if ctx.store.locked:
        raise Locked(ctx.store.locked, ctx.store.locked_hint)
    # The record finds the account of a refusal by the name that was asked for, when it is written down.
    await ctx.handouts.flush(ctx.store)
    async with ctx.names.changing:
        account = await ctx.store.account(name)
        if account is None:
            raise await _absent(ctx, name)
        if new == name:
            return account
        if ctx.names.held[new] or await _begun(ctx, new):
            raise Conflict(
                f"A login for a new account '{new}' is under way.",
                f"Choose another name, or give that login up first: keyfob logout {new}",
            )
        renamed = await ctx.store.rename_account(account, new)
        ctx.desk.rename(account.uuid, name, new)
    ctx.publish("renamed", new, detail=f"it was called '{name}'")
    return renamed


async def _absent(ctx: Context, name: str) -> KeyfobError:
    if await _begun(ctx, name):
        return Conflict(
            f"The first login of '{name}' is under way, so there is no account yet.",
            f"Finish it first; or give it up (keyfob logout {name}) and log in under the other name.",
        )
    return accounts.unknown(name)


async def _begun(ctx: Context, name: str) -> bool:
    """Whether a first login under that name is under way, or allowed in time and not written down yet."""
    allowed = [poll.answer[0].login for poll in ctx.polls.values() if poll.answer is not None]
    return any(found.account == name for found in (*await newlogin.under_way(ctx, name), *allowed))
