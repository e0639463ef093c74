"""How the daemon is: what works, and what does not and why.

Called by the web API and by the watchdog.
"""

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from broker.core.account import Pending
from broker.core.timing import LONGEST_SLEEP
from broker.errors import StoreUnavailable
from broker.usecases import due, newlogin
from broker.usecases.context import Context

# The scheduler looks at least every 37 s; three missed looks mean that it is gone, not late.
SILENT = 3 * LONGEST_SLEEP
# How many things that were changed outside Keyfob are named; whoever changes them could make any number.
MOST_NAMED = 10
# Seconds to wait for what was changed outside Keyfob. It is looked for after the start, and when another program has
# written to the database; with a hundred thousand accounts that takes longer than anybody waits who asks how it is.
PATIENCE = 0.5


@dataclass(frozen=True, slots=True)
class Report:
    """How the daemon is.

    Attributes:
        state: ``ok``, ``degraded`` or ``locked``.
        reasons: what is wrong, for people; empty when ok.
        accounts: state -> how many accounts are in it.
        due: how many accounts wait for a refresh right now.
        counted: whether the store could tell those two; they are nothing to go by where it could not.
    """

    state: Literal["ok", "degraded", "locked"]
    reasons: tuple[str, ...]
    accounts: dict[str, int]
    due: int
    counted: bool


async def report(ctx: Context) -> Report:
    """Look at the store, the key and the scheduler."""
    now = ctx.clock()
    reasons: list[str] = []
    states: Counter[str] = Counter()
    overdue, counted = 0, False
    try:
        await ctx.store.ping(now)
    except StoreUnavailable as exc:
        reasons.append(str(exc))
    try:
        if begun := len(await newlogin.first_logins(ctx)):
            states[Pending.name] = begun
        states.update(await ctx.store.states())
        overdue = await due.count(ctx)
        counted = True
        if changed := await ctx.store.changed_so_far(PATIENCE):
            reasons.append(f"Changed outside Keyfob, so not used: {', '.join(changed[:MOST_NAMED])}{_more(changed)}.")
    except StoreUnavailable as exc:
        if not reasons:
            reasons.append(str(exc))
    if kept_back := ctx.store.unwritten:
        reasons.append(f"The database has not taken the answers of {kept_back} refreshes yet; they are kept meanwhile.")
    if _is_silent(ctx):
        reasons.append("The scheduler has not run for a while.")
    if ctx.store.locked:
        why = f"{ctx.store.locked} {ctx.store.locked_hint}"
        return Report("locked", (why, *reasons), dict(states), overdue, counted)
    return Report("degraded" if reasons else "ok", tuple(reasons), dict(states), overdue, counted)


def _more(changed: list[str]) -> str:
    left = len(changed) - MOST_NAMED
    return f" and {left} more" if left > 0 else ""


async def is_alive(ctx: Context) -> bool:
    """Whether the watchdog may be fed: the store answers and the scheduler runs.

    Locked is alive. So is a store that refuses: a restart would not make room on the disk, and would end the hand-out
    of tokens that live.
    """
    with contextlib.suppress(StoreUnavailable):
        await ctx.store.ping(ctx.clock())
    return not _is_silent(ctx)


def _is_silent(ctx: Context) -> bool:
    # By the loop's clock: after a sleep of the machine the wall clock would call a living scheduler dead.
    return ctx.schedule.last_tick > 0 and asyncio.get_running_loop().time() - ctx.schedule.last_tick > SILENT
