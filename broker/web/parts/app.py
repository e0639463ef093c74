"""The page of one app: what it may, with the buttons to change that, its key, and its end.

Put behind the browser door by ``browser``. ``apps`` has all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response

from broker.core.account import Account
from broker.core.policy import AppGrant
from broker.store.store import AppRow
from broker.usecases import accounts, apps
from broker.usecases.context import Context
from broker.web import pages
from broker.web.body import Query
from broker.web.parts.apps import MOST_CHOICES, SPANS


@dataclass(frozen=True, slots=True)
class AppPart:
    """One app.

    Attributes:
        app: it.
        others: the accounts that it may not use, by name; or more than are offered.
        account: the account whose grant is being made or changed, or None.
        now: when this was drawn, epoch seconds.
        files: account -> where its token is kept for the app.
        status: the HTTP status.
    """

    template: ClassVar[str] = "parts/app.html.j2"
    spans: ClassVar[Mapping[str, int]] = SPANS
    most_choices: ClassVar[int] = MOST_CHOICES
    app: AppRow
    others: tuple[str, ...]
    account: Account | None
    now: float
    files: Mapping[str, Path] = field(default_factory=dict)
    status: int = 200

    @property
    def old(self) -> AppGrant | None:
        """What it has of that account already."""
        name = self.account.name if self.account is not None else None
        return next((grant for grant in self.app.grants if grant.account == name), None)


async def show(request: Request, ctx: Context) -> Response:
    """``GET /ui/parts/apps/{app}``; with ``account``, what it may of that one can be said.

    Raises:
        UnknownApp, UnknownAccount: there is none of that name.
    """
    name = Query(request, "account").text("account")
    row = await apps.shown(ctx, request.path_params["app"])
    account = await ctx.store.account(name) if name else None
    if name and account is None:
        raise accounts.unknown(name[:64])
    granted = {grant.account for grant in row.grants}
    most = pages.MOST_NAMES + len(granted) + 1
    part = AppPart(
        app=row,
        others=tuple(other for other in await ctx.store.account_names(most) if other not in granted),
        account=account,
        now=ctx.clock(),
        files={grant.account: file for grant in row.grants if (file := apps.token_file(ctx, row.name, grant))},
    )
    return pages.render(part)
