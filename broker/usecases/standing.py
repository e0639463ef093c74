"""Answers that stand: the same request again is answered with the same token, while nothing at all has changed.

Kept by ``web.standing`` after ``get_token`` has answered, and asked by it before. Programs ask before each use of a
token, so nearly every answer is one of those. Nothing is left out for it: whether the grant, the account, the key of
the store or anything else in the database has changed is known from :meth:`Store.mark`, time limits from
``Ready.until``; the rate is checked and the hand-out counted as ever.
"""

from dataclasses import dataclass, field
from typing import Any

from broker.core.policy import Caller
from broker.store.store import Mark
from broker.usecases import locking
from broker.usecases.context import Context, Since
from broker.usecases.get_token import Ready


@dataclass(slots=True)
class Standing:
    """One answer.

    Attributes:
        ready: what was answered.
        caller: whom.
        mark: of the store, from before anything was read for it.
        moved: by how much the clock had been set by then.
        plain: whether the bare token was wanted.
        written: the second for which the answer was written down, and how it goes out.
    """

    ready: Ready
    caller: Caller
    mark: Mark
    moved: float
    plain: bool
    written: tuple[float, Any, Any] | None = field(default=None, repr=False)


def holds(ctx: Context, kept: Standing) -> float | None:
    """Return the time at which an answer may be given again, which is now; None where all has to be looked at anew."""
    locking.watch(ctx)
    return ctx.unchanged(Since(kept.ready.now, kept.mark, kept.moved), kept.ready.until)
