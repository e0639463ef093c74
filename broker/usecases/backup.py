"""Copies of the database: one that is made while it is in use, and what a copied or older one means for its accounts.

Called by the owner's page; and by ``daemon`` at every start, before anything is asked of a provider.
"""

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

from broker.core import account as transitions
from broker.core.account import Account, NeedsLogin, Suspect
from broker.core.policy import Owner
from broker.errors import InvalidRequest, SecretChanged, UnknownProvider
from broker.usecases.context import Context
from broker.usecases.providers import find

log = logging.getLogger(__name__)


async def back_up(ctx: Context) -> Path:
    """Copy the database into the folder for that beside it; return where the copy is.

    Raises:
        CannotStart, StoreUnavailable: the folder or the disk is not well.
    """
    moment = datetime.fromtimestamp(ctx.clock(), UTC)
    made = await ctx.store.back_up(f"keyfob-{moment:%Y%m%d-%H%M%S-%f}.db")  # two in one second are two copies
    ctx.publish("backed-up", app=Owner.name, detail=str(made))
    return made


async def recognise_copy(ctx: Context) -> None:
    """Suspect every account whose refresh token may have been spent elsewhere; nothing where the database is no copy.

    A refresh that was under way in the copy is closed: what became of it, and what came after it, nobody here knows.
    Works while locked. Only when all accounts are marked does the database become the one in use here, so a crash in
    between begins this anew.

    Raises:
        CannotStart, StoreUnavailable: that cannot be written.
    """
    why = ctx.store.copied
    if not why:
        return
    log.warning("%s", why)
    rotates: dict[str, bool] = {}
    async for several in ctx.store.account_pages():
        for provider in {account.provider for account in several} - rotates.keys():
            rotates[provider] = await _rotates(ctx, provider)
        await asyncio.gather(*(_suspect(ctx, one, why) for one in several if rotates[one.provider]))
    await ctx.store.adopt()
    ctx.publish("adopted", detail=why)


async def _suspect(ctx: Context, account: Account, why: str) -> None:
    spends = account.has_refresh_token and not account.spends_nothing
    if not spends or isinstance(account.state, NeedsLogin | Suspect):
        return
    suspect = transitions.suspected(account, ctx.clock(), why)
    if await ctx.store.swap(suspect, settled=True) is not None:
        ctx.publish("suspect", account.name, detail=why)


async def _rotates(ctx: Context, provider: str) -> bool:
    """Whether a provider's refresh tokens may be spent by being used."""
    try:
        return (await find(ctx, provider)).refresh.rotation != "never"
    except (UnknownProvider, InvalidRequest, SecretChanged):
        return True  # its preset was taken away, or its row changed; nobody knows its rules, so the strict ones hold
