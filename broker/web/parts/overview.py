"""The first page: every account, what needs a person first.

Put behind the browser door by ``browser``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response

from broker.core.account import Account
from broker.core.approval import Approval
from broker.core.login import Login
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
    found = await _look(ctx, wanted)
    entries = [one for rank in sorted(found.ranks) for one in found.ranks[rank]]
    sheet = paging.cut(entries, page, found.total, wanted)
    part = OverviewPart(
        sheet=Sheet(tuple(await _lines(ctx, sheet.lines)), sheet.page, sheet.pages, sheet.total, sheet.query),
        needy=found.needy,
        waiting=tuple(one for one in await approvals.listed(ctx) if one.state == "pending"),
        lock=Lock.of(ctx),
    )
    return pages.render(part)


@dataclass(slots=True)
class _Found:
    """What there is.

    Attributes:
        ranks: how much it needs a person -> the uuids of those accounts that were searched for, or logins; by name.
        needy: how many of all accounts need a person.
        total: how many accounts and logins there are.
    """

    ranks: dict[int, list[str | Login]]
    needy: int = 0
    total: int = 0


async def _look(ctx: Context, wanted: str) -> _Found:
    """Rank all accounts. There may be very many, so of each no more is kept than what finds it again."""
    now, logins = ctx.clock(), await newlogin.first_logins(ctx)
    begun = sorted((one for one in logins if _fits(one, wanted)), key=attrgetter("account"))
    found = _Found({lines.BEGUN: [*begun]}, total=len(logins))
    async for several in ctx.store.account_pages():
        for account in several:
            rank = lines.rank(account, now)
            found.needy += rank == 0
            rank = min(rank, lines.LACKING) if stepup.noted(ctx, account) else rank
            if _fits(account, wanted):
                found.ranks.setdefault(rank, []).append(account.uuid)
        found.total += len(several)
    return found


async def _lines(ctx: Context, shown: Sequence[str | Login]) -> list[Line]:
    titles = await lines.titles_of(ctx, {one.provider for one in shown if isinstance(one, Login)})
    known = {one.uuid: one for one in await ctx.store.accounts_of([one for one in shown if isinstance(one, str)])}
    drawn = dict(zip(known, await lines.drawn(ctx, list(known.values())), strict=True))
    for uuid, account in known.items():
        if drawn[uuid].tone == "good" and stepup.noted(ctx, account):
            drawn[uuid] = lines.lacking(drawn[uuid])
    found = [lines.begun(one, titles[one.provider]) if isinstance(one, Login) else drawn.get(one) for one in shown]
    return [line for line in found if line is not None]


def _fits(one: Account | Login, wanted: str) -> bool:
    texts = (one.name, one.provider, one.label) if isinstance(one, Account) else (one.account, one.provider)
    return paging.fits(wanted, texts)
