"""The browser door's handlers for the owner: sign in and out, the page around every part, the news, and the API.

Put behind the browser door by ``browser``. Each part and each act wants the session's secret in the Authorization
header, which no browser sends by itself, and a browser of the daemon's own user.
"""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from broker.core.policy import Owner
from broker.core.secret import Secret
from broker.errors import NotGranted
from broker.usecases.context import Context
from broker.usecases.sessions import not_signed_in
from broker.web import pages, peers, render, stream
from broker.web.body import Fields
from broker.web.routes import Handler


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
    return _guarded(render.answer({"session": ctx.sessions.sign_in(ticket, ctx.steady()).reveal()}, 201))


async def sign_out(request: Request, ctx: Context) -> Response:
    """``DELETE /ui/session``."""
    ctx.sessions.sign_out(session_of(request))
    return Response(status_code=204, headers=render.ANSWER_HEADERS)


async def shell(request: Request, ctx: Context) -> Response:
    """Any page but the first: the same for everybody, whether there is what its address names or not."""
    del request, ctx
    return pages.render(pages.ShellPage())


async def approval(request: Request, ctx: Context) -> Response:
    """``GET /ui/approvals/{id}``: the same, with the command that answers the request where nobody is signed in."""
    del ctx
    return pages.render(pages.ShellPage(request.path_params["id"]))


async def news(request: Request, ctx: Context) -> Response:
    """``GET /ui/events``: server-sent events for the page, until it is signed out."""
    check(request, ctx)
    session = session_of(request)
    return _guarded(stream.answer(stream.changed(ctx, lambda: ctx.sessions.lasts(session, ctx.steady()))))


def part(handler: Handler) -> Handler:
    """Return a handler that draws a part, for the owner alone."""

    async def checked(request: Request, ctx: Context) -> Response:
        check(request, ctx)
        return await handler(request, ctx)

    return checked


def act(handler: Handler) -> Handler:
    """Return a handler of the API's for the owner's page: what is done there is the same, and so is the answer."""

    async def checked(request: Request, ctx: Context) -> Response:
        check(request, ctx)
        ctx.latch.used_at = ctx.steady()
        request.scope["state"]["caller"] = Owner()
        return _guarded(await handler(request, ctx))

    return checked


def check(request: Request, ctx: Context) -> None:
    """Let the owner pass, and nobody else.

    Raises:
        Unauthorized: there is no session.
        NotGranted: the browser is another user's.
    """
    _check_user(request)
    ctx.sessions.check(session_of(request), ctx.steady())


def session_of(request: Request) -> Secret:
    """Return the session's secret.

    Raises:
        Unauthorized: there is none.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise not_signed_in()
    return Secret(secret.strip())


def _check_user(request: Request) -> None:
    if peers.is_foreign(request):
        raise NotGranted(
            "Keyfob runs as one user of this computer, and this browser as another.", "Use: keyfob approvals"
        )


def _guarded(response: Response) -> Response:
    response.headers.update(pages.HEADERS)
    return response
