"""The machine's clock was set: the times that Keyfob wrote down by it move along.

Called by the scheduler at every look.
"""

import logging

from broker.usecases.context import Context

log = logging.getLogger(__name__)


async def follow(ctx: Context) -> None:
    """Go by the machine's clock, and where that was set, keep every life and every wait as long as it was.

    A token that lives for another hour does so whatever the wall clock says. Times from before this start may have
    been written by another clock; those of tokens stay as they are.

    Raises:
        StoreUnavailable: nothing in the store was moved along; the next look tries again.
    """
    if ctx.schedule.landing:
        return  # its times are by the clock as it is; until they are written, the clock stays so
    seconds = ctx.follow()
    if seconds:
        log.warning("the clock of this machine was set by %+.0f s; what was written by it is moved along", seconds)
        ctx.schedule.moved += seconds
        ctx.schedule.unmoved += seconds
        ctx.flights.move(seconds)
        ctx.publish("clock-set", detail=f"by {seconds:+.0f} s")
    if ctx.schedule.unmoved:
        async with ctx.schedule.moving:
            await ctx.store.move_times(ctx.schedule.unmoved)
            ctx.schedule.unmoved = 0.0
