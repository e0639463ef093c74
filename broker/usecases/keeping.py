"""An answer to a refresh is kept on the disk before anybody looks at it, then put in force, however long that takes.

Part of the story in ``refresh``, which calls it.
"""

import asyncio
import logging

from broker.core.account import Account
from broker.core.secret import Secret
from broker.core.token import Wish
from broker.errors import Locked, SecretChanged, StoreUnavailable
from broker.providers.model import Provider
from broker.usecases import judging
from broker.usecases.context import Context, Moment

log = logging.getLogger(__name__)

# Seconds between two tries to write down an answer that is already here: it is lost if we give up, so we never do.
KEEP_PAUSE = 1.0
# Seconds after which an answer that the database has not taken goes into the emergency journal meanwhile.
KEEP_SOON = 0.5


async def keep(ctx: Context, account: Account, raw: Secret, refresh_token: Secret | None) -> Account | None:
    """Make the answer durable before anybody looks at it; a store that stumbles is tried again and again.

    Meanwhile the answer stands in the emergency journal: should this process end now, the next start finds it there.
    Should the key go away meanwhile, whoever unlocks finds it there too; one that the journal did not take either waits
    here for the key.
    """
    saved = safe = False
    while True:
        writing = asyncio.create_task(ctx.store.keep_answer(account, raw, refresh_token))
        done, _ = await asyncio.wait({writing}, timeout=KEEP_SOON)
        if not saved and (not done or writing.exception() is not None):
            saved = True
            safe = await _save(ctx, account, raw, refresh_token)
        try:
            return await writing
        except Locked:
            if safe:
                return None
            log.warning("the answer for '%s' waits in memory for the key", account.name)
        except StoreUnavailable as exc:
            log.warning("the answer for '%s' could not be written yet: %s", account.name, exc)
        await asyncio.sleep(KEEP_PAUSE)


async def _save(ctx: Context, account: Account, raw: Secret, refresh_token: Secret | None) -> bool:
    try:
        await ctx.store.save_answer(account, raw, refresh_token)
    except (StoreUnavailable, Locked) as exc:
        log.error("the answer for '%s' is in memory only: %s", account.name, exc)  # noqa: TRY400 -- its text says it all
        return False
    return True


async def put_in_force(
    ctx: Context, account: Account, provider: Provider, raw: Secret, sent: Moment, wish: Wish | None
) -> str:
    """Judge an answer that is on the disk; a store that stumbles is tried again and again, as in :func:`keep`.

    Whoever gave up would leave a good token behind, and the next refresh would spend the new refresh token for another.

    Raises:
        Locked: the key has gone meanwhile; whoever unlocks finds the answer on the disk, and settles it.
    """
    while True:
        async with ctx.landing():
            try:
                return await judging.judge(ctx, account, provider, raw, ctx.when(sent), wish)
            except SecretChanged:
                raise  # no patience mends that
            except StoreUnavailable as exc:
                log.warning("the new token of '%s' could not be put in force yet: %s", account.name, exc)
        await asyncio.sleep(KEEP_PAUSE)
