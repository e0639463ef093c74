"""What happened to an account over time, drawn in three lanes: refreshes, trouble, and tokens that were handed out.

Used by ``account``. It is read from the audit, which tells hand-outs as counts with a beginning and an end.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from broker.core.timing import DAY
from broker.store.audit import AuditEntry
from broker.store.tally import HANDOUT

Span = Literal["hour", "day", "week", "month"]
HOUR: Final = 3600.0
SPANS: Final[dict[Span, float]] = {"hour": HOUR, "day": DAY, "week": 7 * DAY, "month": 30 * DAY}
# Columns of a lane: what falls into one is drawn as one.
COLUMNS: Final = 240
# Columns of hand-outs in one bar, so that a bar is wide enough to be seen.
PER_BAR: Final = 4
# The newest entries that are looked at: a token of ten seconds makes as many in half a day.
MOST_ENTRIES: Final = 5000

RENEWED: Final = ("refreshed", "logged-in")
TROUBLE: Final = ("refresh-failed", "uncertain", "needs-login", "misconfigured", "suspect", "rejected")
# What begins a time without an answer; a token that was reported as refused does not.
WITHOUT: Final = ("refresh-failed", "uncertain", "needs-login", "misconfigured")
SHOWN: Final = (*RENEWED, *TROUBLE, HANDOUT)


@dataclass(frozen=True, slots=True)
class History:
    """What happened, in columns of equal time.

    Attributes:
        span: how far back.
        begins_at: the left end, epoch seconds.
        renewed: columns in which a refresh or a login brought a token.
        trouble: columns in which something went wrong.
        without: from column to column: no refresh succeeded in between.
        bars: of each bar how high it is, from 0 to 1.
        refreshes: how many.
        failures: how many.
        handouts: how many tokens were handed out.
        whole: everything that happened was looked at; else the newest only.
    """

    span: Span
    begins_at: float
    renewed: tuple[int, ...]
    trouble: tuple[int, ...]
    without: tuple[tuple[int, int], ...]
    bars: tuple[float, ...]
    refreshes: int
    failures: int
    handouts: int
    whole: bool

    @property
    def columns(self) -> int:
        """How many columns a lane has."""
        return COLUMNS

    @property
    def per_bar(self) -> int:
        """How many columns a bar takes."""
        return PER_BAR


def drawn(entries: Iterable[AuditEntry], span: Span, now: float) -> History:
    """Draw what happened.

    Args:
        entries: of one account, in any order.
        span: how far back.
        now: epoch seconds.
    """
    begins, found = now - SPANS[span], list(entries)
    column = COLUMNS / SPANS[span]

    def place(at: float) -> int:
        return min(max(int((at - begins) * column), 0), COLUMNS - 1)

    happened = sorted((entry.at, entry.action) for entry in found if entry.action != HANDOUT)
    counts = [entry for entry in found if entry.action == HANDOUT]
    renewed = [at for at, action in happened if action in RENEWED]
    trouble = [at for at, action in happened if action in TROUBLE]
    return History(
        span=span,
        begins_at=begins,
        renewed=tuple(sorted({place(at) for at in renewed})),
        trouble=tuple(sorted({place(at) for at in trouble})),
        without=tuple((place(since), place(until)) for since, until in _without(happened, now)),
        bars=_bars(counts, begins, now),
        refreshes=len(renewed),
        failures=len(trouble),
        handouts=sum(entry.count or 0 for entry in counts),
        whole=len(found) < MOST_ENTRIES,
    )


def _without(happened: list[tuple[float, str]], now: float) -> list[tuple[float, float]]:
    """Return from when to when nothing was renewed although that was tried."""
    spans: list[tuple[float, float]] = []
    since: float | None = None
    for at, action in happened:
        if action in WITHOUT and since is None:
            since = at
        elif action in RENEWED and since is not None:
            spans.append((since, at))
            since = None
    return spans if since is None else [*spans, (since, now)]


def _bars(counts: list[AuditEntry], begins: float, now: float) -> tuple[float, ...]:
    """Spread each count evenly over the time in which it grew, and return how high the bars are."""
    bars, width = [0.0] * (COLUMNS // PER_BAR), (now - begins) / (COLUMNS // PER_BAR)
    for entry in counts:
        first, last = entry.first if entry.first is not None else entry.at, entry.at
        low, high = ((at - begins) / width for at in (first, last))
        inside = range(max(int(low), 0), min(int(high), len(bars) - 1) + 1)
        for bar in inside:
            part = 1.0 if high == low else (min(high, bar + 1) - max(low, bar)) / (high - low)
            bars[bar] += (entry.count or 0) * part
    most = max(bars, default=0.0)
    return tuple(round(bar / most, 3) if most else 0.0 for bar in bars)
