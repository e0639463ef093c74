"""The page of all apps: what waits for an answer, who may what, and what was answered.

Put behind the browser door by ``browser``. ``app`` has the page of one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from starlette.requests import Request
from starlette.responses import Response

from broker.core.approval import STATE_WORDS, Approval, State
from broker.core.policy import AppGrant
from broker.store.store import AppRow
from broker.usecases import approvals, apps
from broker.usecases.context import Context
from broker.web import pages
from broker.web.body import Query
from broker.web.parts import paging
from broker.web.parts.paging import Sheet

# So many accounts are offered to choose from; of more, the name is typed, with what there is to help.
MOST_CHOICES: Final = 50
# Of one app, so many grants are told in the list of all; its own page has the rest.
GRANTS_SHOWN: Final = 5
# How long an app, or what it may, is good for: in words, and in seconds.
SPANS: Final[Mapping[str, int]] = {"an hour": 3600, "a day": 86_400, "30 days": 2_592_000, "a year": 31_536_000}


@dataclass(frozen=True, slots=True)
class AppsPart:
    """All apps, or a page of them.

    Attributes:
        sheet: those of this page.
        waiting: requests that wait for the owner, oldest first.
        answered: what was answered lately, or refused for good.
        accounts: all accounts, by name; or more than are offered.
        now: when this was drawn, epoch seconds.
        status: the HTTP status.
    """

    template: ClassVar[str] = "parts/apps.html.j2"
    words: ClassVar[Mapping[State, str]] = STATE_WORDS
    spans: ClassVar[Mapping[str, int]] = SPANS
    most_choices: ClassVar[int] = MOST_CHOICES
    most_grants: ClassVar[int] = GRANTS_SHOWN
    sheet: Sheet[AppRow]
    waiting: tuple[Approval, ...]
    answered: tuple[Approval, ...]
    accounts: tuple[str, ...]
    now: float
    status: int = 200


async def show(request: Request, ctx: Context) -> Response:
    """``GET /ui/parts/apps``."""
    query = Query(request, "q", "page")
    wanted, page = (query.text("q") or "").strip(), query.count("page", 1, paging.MOST_PAGES)
    rows = await apps.listed(ctx)
    fitting = [row for row in rows if paging.fits(wanted, _texts(row))]
    asked = await approvals.listed(ctx)
    part = AppsPart(
        sheet=paging.cut(fitting, page, len(rows), wanted),
        waiting=tuple(one for one in asked if one.state == "pending"),
        answered=tuple(one for one in asked if one.state != "pending"),
        accounts=await ctx.store.account_names(pages.MOST_NAMES + 1),
        now=ctx.clock(),
    )
    return pages.render(part)


def _texts(row: AppRow) -> list[str]:
    """Return what of an app is searched."""
    return [row.name, *(text for grant in row.grants for text in _texts_of(grant))]


def _texts_of(grant: AppGrant) -> tuple[str, ...]:
    return grant.account, *grant.scope, grant.resource or ""
