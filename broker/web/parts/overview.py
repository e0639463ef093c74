"""The first page: every account, what needs a person first.

Put behind the browser door by ``asgi``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response

from broker.core.account import Account
from broker.core.approval import Approval
from broker.core.login import Login
from broker.usecases import approvals, newlogin
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
    now = ctx.clock()
    accounts = await ctx.store.accounts()
    logins = await newlogin.first_logins(ctx)
    ranks = {account.uuid: lines.rank(account, now) for account in accounts}
    entries: list[tuple[int, str, Account | Login]] = [(ranks[one.uuid], one.name, one) for one in accounts]
    entries += [(lines.BEGUN, one.account, one) for one in logins]
    entries = sorted((entry for entry in entries if _fits(entry[2], wanted)), key=itemgetter(0, 1))
    sheet = paging.cut([one for _, _, one in entries], page, len(accounts) + len(logins), wanted)
    part = OverviewPart(
        sheet=Sheet(tuple(await _lines(ctx, sheet.lines)), sheet.page, sheet.pages, sheet.total, sheet.query),
        needy=sum(rank == 0 for rank in ranks.values()),
        waiting=tuple(one for one in await approvals.listed(ctx) if one.state == "pending"),
        lock=Lock.of(ctx),
    )
    return pages.render(part)


async def _lines(ctx: Context, shown: Sequence[Account | Login]) -> list[Line]:
    titles = await lines.titles_of(ctx, {one.provider for one in shown if isinstance(one, Login)})
    drawn = iter(await lines.drawn(ctx, [one for one in shown if isinstance(one, Account)]))
    return [lines.begun(one, titles[one.provider]) if isinstance(one, Login) else next(drawn) for one in shown]


def _fits(one: Account | Login, wanted: str) -> bool:
    texts = (one.name, one.provider, one.label) if isinstance(one, Account) else (one.account, one.provider)
    return paging.fits(wanted, texts)
