"""The browser door's handlers for the owner: sign in, see what waits, answer it.

Put behind the browser door by ``asgi``. Each wants the session's secret in the Authorization header, which no browser
sends by itself, and a browser of the daemon's own user.
"""

import os
import pwd
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from broker.core.secret import Secret
from broker.errors import NotGranted
from broker.usecases import approvals
from broker.usecases.context import Context
from broker.usecases.sessions import not_signed_in
from broker.web import pages, parts, peers, render
from broker.web.approvals import answer_of, described
from broker.web.body import Fields


async def enter(request: Request, ctx: Context) -> Response:
    """``GET /ui/enter/{id}``: give the one-time secret to a browser of the owner's, and to no other program.

    The address stood in a command line, which every user can read: so here the kernel has to name the user.
    """
    if not peers.is_own(request):
        return pages.render(pages.WHOSE_BROWSER)
    ticket = ctx.sessions.enter(request.path_params["id"], ctx.steady())
    return RedirectResponse(f"/ui/#s={ticket.reveal()}", 303, pages.HEADERS)


async def sign_in(request: Request, ctx: Context) -> Response:
    """``POST /ui/session``: trade the one-time secret of ``keyfob ui`` for the one that this page keeps."""
    _check_user(request)
    body = await Fields.read(request)
    ticket = body.secret("ticket") or Secret("")
    body.end()
    return _answer({"session": ctx.sessions.sign_in(ticket, ctx.steady()).reveal()}, 201)


async def sign_out(request: Request, ctx: Context) -> Response:
    """``DELETE /ui/session``."""
    ctx.sessions.sign_out(_session(request))
    return Response(status_code=204, headers=render.ANSWER_HEADERS)


async def approval_page(request: Request, ctx: Context) -> Response:
    """``GET /ui/approvals/{id}``: the same for everybody, whether there is such a request or not."""
    del ctx
    code = request.path_params["id"]
    return pages.render(parts.ShellPage(f"/ui/parts/approvals/{code}", code))


async def approvals_part(request: Request, ctx: Context) -> Response:
    """``GET /ui/parts/approvals``."""
    _check(request, ctx)
    found = await approvals.listed(ctx)
    waiting = tuple(one for one in found if one.state == "pending")
    return pages.render(parts.ApprovalsPart(waiting, tuple(one for one in found if one.state != "pending")))


async def approval_part(request: Request, ctx: Context) -> Response:
    """``GET /ui/parts/approvals/{id}``."""
    _check(request, ctx)
    shown = await approvals.shown(ctx, request.path_params["id"])
    known = {account.name: account for account in await ctx.store.accounts()}
    asked = f"{datetime.fromtimestamp(shown.last_asked_at, UTC):%Y-%m-%d %H:%M} UTC"
    asked += (
        f", {shown.count} times since {datetime.fromtimestamp(shown.asked_at, UTC):%H:%M}" if shown.count > 1 else ""
    )
    part = parts.ApprovalPart(
        approval=shown,
        user=_user(shown.asker.uid if shown.asker is not None else None),
        asked=asked,
        accounts=tuple((one, known.get(one.account)) for one in shown.wanted),
        names=tuple(sorted(known)),
    )
    return pages.render(part)


async def answer_approval(request: Request, ctx: Context) -> Response:
    """``POST /ui/approvals/{id}``: the same as at the app door."""
    _check(request, ctx)
    said = answer_of(await Fields.read(request))
    return _answer(described(ctx, await approvals.answer(ctx, request.path_params["id"], said)))


def _answer(body: dict[str, object], status: int = 200) -> Response:
    response = render.answer(body, status)
    response.headers.update(pages.HEADERS)
    return response


def _check(request: Request, ctx: Context) -> None:
    _check_user(request)
    ctx.sessions.check(_session(request), ctx.steady())


def _check_user(request: Request) -> None:
    if peers.is_foreign(request):
        raise NotGranted(
            "Keyfob runs as one user of this computer, and this browser as another.", "Use: keyfob approvals"
        )


def _session(request: Request) -> Secret:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise not_signed_in()
    return Secret(secret.strip())


def _user(uid: int | None) -> str:
    if uid is None:
        return "The kernel does not say"
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    whose = "you" if uid == os.getuid() else "another user"
    return f"{name or 'no name'} ({uid}, {whose})"
