"""The first page: every account, what needs a person first, as many as a person can read at a time.

What it costs depends on what it shows and on what needs a person, not on how many accounts there are.

Put behind the browser door by ``browser``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response

from broker.core import advice
from broker.core.account import Account
from broker.core.approval import Approval
from broker.core.login import Login
from broker.store.store import Order
from broker.usecases import approvals, newlogin, stepup
from broker.usecases.context import Context
from broker.web import pages
from broker.web.body import Query
from broker.web.parts import lines, paging
from broker.web.parts.lines import Line
from broker.web.parts.locked import Lock
from broker.web.parts.paging import Sheet


@dataclass(frozen=True, slots=True)
class OverviewPart:
    """Accounts, and what waits.

    Attributes:
        sheet: those of this page.
        needy: how many of all need a person.
        waiting: requests of programs that wait for the owner, oldest first.
        lock: whether Keyfob is locked, and how it opens.
        status: the HTTP status.
    """

    template: ClassVar[str] = "parts/overview.html.j2"
    sheet: Sheet[Line]
    needy: int
    waiting: tuple[Approval, ...]
    lock: Lock
    status: int = 200


async def show(request: Request, ctx: Context) -> Response:
    """``GET /ui/parts/overview``."""
    query = Query(request, "q", "page")
    wanted, page = (query.text("q") or "").strip(), query.count("page", 1, paging.MOST_PAGES)
    logins = await newlogin.first_logins(ctx)
    fitting = (one for one in logins if paging.fits(wanted, (one.account, one.provider)))
    begun = sorted(fitting, key=attrgetter("account"))
    order = Order(ctx.clock(), await stepup.lacking(ctx), tuple(dict.fromkeys(wanted.casefold().split())))
    every = await ctx.store.ranked(replace(order, words=()))
    found = {**(await ctx.store.ranked(order) if order.words else every), advice.BEGUN: len(begun)}
    page, pages_found = paging.placed(page, sum(found.values()))
    which = paging.across({rank: found[rank] for rank in advice.RANKS}, page)
    shown = tuple(await _lines(ctx, order, which, begun))
    part = OverviewPart(
        sheet=Sheet(shown, page, pages_found, sum(every.values()) + len(logins), wanted),
        needy=every[advice.WAITS],
        waiting=tuple(one for one in await approvals.listed(ctx) if one.state == "pending"),
        lock=Lock.of(ctx),
    )
    return pages.render(part)


async def _lines(ctx: Context, order: Order, which: Mapping[int, slice], begun: Sequence[Login]) -> list[Line]:
    """Return what stands on the page: accounts by rank, and among them, where those have their turn, logins."""
    logins = begun[which.get(advice.BEGUN, slice(0))]
    titles = await lines.titles_of(ctx, {one.provider for one in logins})
    ranks: dict[int, list[Line]] = {advice.BEGUN: [lines.begun(one, titles[one.provider]) for one in logins]}
    known = await ctx.store.of_ranks(order, which)
    drawn = iter(await lines.drawn(ctx, [account for accounts in known.values() for account in accounts]))
    for rank, accounts in known.items():
        ranks[rank] = [_line(ctx, account, next(drawn)) for account in accounts]
    return [line for rank in sorted(ranks) for line in ranks[rank]]


def _line(ctx: Context, account: Account, drawn: Line) -> Line:
    return lines.lacking(drawn) if drawn.tone == "good" and stepup.noted(ctx, account) else drawn
