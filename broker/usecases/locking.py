"""Lock and unlock: nothing is handed out from one moment to the next, and no answer that is in the air is lost by it.

Called by the web API, and at every look of the scheduler and every request for what locks by itself.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from broker.core.secret import Secret
from broker.errors import InvalidRequest, Locked, StoreUnavailable, TooManyRequests
from broker.usecases import audit, backup, refresh
from broker.usecases.context import Context

log = logging.getLogger(__name__)

# Seconds for which the key is kept for what is in the air: the end of a login may ask a provider three times, and each
# request has 20 s. What has its answer by then and no place for it is in the emergency journal, or waits in memory.
LONGEST_LANDING = 60.0
# The two clocks are read one after the other, so they differ by some microseconds; no machine sleeps that short.
NAP = 1.0
BY_OWNER = "It was locked by its owner."
BY_SLEEP = "It locked itself, because the machine slept."
BY_IDLENESS = "It locked itself, because nobody had used it for a while."


def lock(ctx: Context, why: str = BY_OWNER) -> int:
    """Hand out nothing from now on, begin no refresh, and forget the key once what is in the air has landed.

    Returns:
        For how many refreshes, logins and other work the key is still kept.
    """
    if not ctx.store.locked:
        ctx.store.lock(why)
        ctx.forget_in_clear()
        # Whatever this leaves open is settled first when it goes on.
        ctx.flights.unsettled = True
        ctx.publish("locked", detail=why)
        ctx.latch.forgetting = asyncio.create_task(_forget(ctx), name="forget the key")
    return len(_in_the_air(ctx)) if ctx.store.holds_key else 0


async def unlock(ctx: Context, passphrase: Secret | None) -> None:
    """Open what is locked, settle what was left open, and go on.

    Raises:
        Locked, TooManyRequests, InvalidRequest, StoreUnavailable: as ``Store.unlock``.
    """
    if passphrase is not None and not ctx.store.wants_passphrase:
        raise InvalidRequest(
            f"The key comes from the source '{ctx.store.key_name}', not from a passphrase.", "Leave it out."
        )
    if not ctx.store.locked:
        return
    if passphrase is None and ctx.store.wants_passphrase:
        raise Locked(ctx.store.locked, "Send the passphrase, or run: keyfob unlock")
    try:
        await ctx.store.unlock(passphrase, ctx.clock())
    except (Locked, TooManyRequests) as exc:
        log.warning("it stays locked: %s", exc.detail)
        raise
    if ctx.latch.forgetting is not None:
        ctx.latch.forgetting.cancel()
        ctx.latch.forgetting = None
    ctx.latch.used_at, ctx.latch.slept = ctx.steady(), ctx.slept()
    ctx.publish("unlocked", detail=f"by the key source '{ctx.store.key_name}'")
    try:
        await backup.recognise_copy(ctx)
        await refresh.settle(ctx)
        ctx.sweep.set()
    except StoreUnavailable as exc:
        log.warning("what was left open cannot be settled yet: %s", exc)
    ctx.wake.set()


def watch(ctx: Context) -> None:
    """Lock by itself where it is time to: the machine has slept, or nobody has used Keyfob for long."""
    latch = ctx.latch
    if not latch.on_sleep and not latch.idle:
        return
    slept = ctx.slept()
    woke, latch.slept = slept - latch.slept >= NAP, slept
    if ctx.store.locked:
        return
    if latch.on_sleep and woke:
        lock(ctx, BY_SLEEP)
    elif latch.idle and ctx.steady() - latch.used_at >= latch.idle:
        lock(ctx, BY_IDLENESS)


@contextlib.contextmanager
def working(ctx: Context) -> Iterator[None]:
    """Keep the key for the length of this block, should Keyfob be locked meanwhile."""
    done = asyncio.get_running_loop().create_future()
    ctx.latch.work.add(done)
    try:
        yield
    finally:
        ctx.latch.work.discard(done)
        done.set_result(None)


async def stop(ctx: Context) -> None:
    """End the waiting: the process is about to forget the key by itself."""
    if ctx.latch.forgetting is not None:
        ctx.latch.forgetting.cancel()
        await asyncio.wait([ctx.latch.forgetting])


async def _forget(ctx: Context) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LONGEST_LANDING):
            while flying := _in_the_air(ctx):
                await asyncio.wait(flying)
            await asyncio.shield(audit.write_handouts(ctx))  # while there is a key to seal them with
    ctx.store.drop_key()
    log.info("the key is forgotten")


def _in_the_air(ctx: Context) -> set[asyncio.Future[Any]]:
    return {*ctx.flights.tasks.values(), *ctx.finishing, *ctx.latch.work}
