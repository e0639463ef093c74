"""The machine's clock was set: the times that Keyfob wrote down by it move along.

Called by the scheduler at every look.
"""

import logging

from broker.usecases.context import Context

log = logging.getLogger(__name__)


async def follow(ctx: Context) -> None:
    """Go by the machine's clock, and where that was set, keep every life and every wait as long as it was.

    A token that lives for another hour does so whatever the wall clock says. Where it is from before this start, and
    may have been written down by another clock, it may be taken for older than it is, and never for younger. Before
    the times have moved, nobody sees the new clock: what is left of a life would be wrong by the difference.

    Raises:
        StoreUnavailable: nothing was moved along, and time goes on as before; the next look tries again.
    """
    async with ctx.schedule.moving:
        if ctx.schedule.landing:
            return  # its times are by the clock as it is; until they are written, the clock stays so
        if seconds := ctx.ahead():
            await ctx.store.move_times(seconds, lambda: _moved(ctx, seconds))


def _moved(ctx: Context, seconds: float) -> None:
    ctx.shift(seconds)
    ctx.schedule.moved += seconds
    ctx.flights.move(seconds)
    log.warning("the clock of this machine was set by %+.0f s; what was written by it has moved along", seconds)
    ctx.publish("clock-set", detail=f"by {seconds:+.0f} s")
