"""The page of one app: what it may, with the buttons to change that, its key, and its end.

Put behind the browser door by ``asgi``. ``apps`` has all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response

from broker.core.account import Account
from broker.core.policy import AppGrant
from broker.errors import UnknownAccount
from broker.store.store import AppRow
from broker.usecases import apps
from broker.usecases.context import Context
from broker.web import pages
from broker.web.body import Query
from broker.web.parts.apps import MOST_CHOICES, SPANS


@dataclass(frozen=True, slots=True)
class AppPart:
    """One app.

    Attributes:
        app: it.
        others: the accounts that it may not use, by name.
        account: the account whose grant is being made or changed, or None.
        now: when this was drawn, epoch seconds.
        status: the HTTP status.
    """

    template: ClassVar[str] = "parts/app.html.j2"
    spans: ClassVar[Mapping[str, int]] = SPANS
    most_choices: ClassVar[int] = MOST_CHOICES
    app: AppRow
    others: tuple[str, ...]
    account: Account | None
    now: float
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
    granted = {grant.account for grant in row.grants}
    accounts = {account.name: account for account in await ctx.store.accounts()}
    if name and name not in accounts:
        raise UnknownAccount(f"No account is called '{name}'.", "Choose one of those that there are.")
    part = AppPart(
        app=row,
        others=tuple(sorted(accounts.keys() - granted)),
        account=accounts[name] if name else None,
        now=ctx.clock(),
    )
    return pages.render(part)
