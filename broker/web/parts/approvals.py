"""The page of one request that waits for the owner: who asks, for what, and the buttons.

``apps`` lists the requests.
"""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response

from broker.core.account import Account
from broker.core.approval import STATE_WORDS, Approval, State, Wanted
from broker.usecases import approvals
from broker.usecases.context import Context
from broker.web import pages
from broker.web.body import Query


@dataclass(frozen=True, slots=True)
class ApprovalPart:
    """One request.

    Attributes:
        approval: it.
        user: the user who asked, in words.
        accounts: what is wanted, each with the account, or None where there is none of that name.
        names: all accounts, for a program that names none; or more than are shown.
        status: the HTTP status.
    """

    template: ClassVar[str] = "parts/approval.html.j2"
    words: ClassVar[Mapping[State, str]] = STATE_WORDS
    approval: Approval
    user: str
    accounts: tuple[tuple[Wanted, Account | None], ...]
    names: tuple[str, ...]
    status: int = 200

    @property
    def open(self) -> bool:
        """Whether it waits for an answer."""
        return self.approval.state == "pending"

    @property
    def revisable(self) -> bool:
        """Whether it was answered, and another answer still counts."""
        state = self.approval.state
        return state in ("once", "never") or (state == "denied" and self.approval.kind == "grant")


async def show(request: Request, ctx: Context) -> Response:
    """``GET /ui/parts/approvals/{id}``."""
    Query(request)
    shown = await approvals.shown(ctx, request.path_params["id"])
    part = ApprovalPart(
        approval=shown,
        user=_user(shown.asker.uid if shown.asker is not None else None),
        accounts=tuple([(one, await ctx.store.account(one.account)) for one in shown.wanted]),
        names=await ctx.store.account_names(pages.MOST_NAMES + 1),
    )
    return pages.render(part)


def _user(uid: int | None) -> str:
    if uid is None:
        return "The kernel does not say"
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    whose = "you" if uid == os.getuid() else "another user"
    return f"{name or 'no name'} ({uid}, {whose})"
