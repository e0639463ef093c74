"""The browser door's handlers: the start page, the redirect-URI callback and the page that says how it went.

Put behind the browser door by ``browser``. A token never leaves through here.
"""

import re
import secrets
from functools import partial
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from broker.core.login import LOGIN_LIFETIME, Login
from broker.core.secret import Secret
from broker.errors import Conflict, LoginFailed, UnknownLogin
from broker.usecases import again, login, paste, promise, providers
from broker.usecases.context import Context
from broker.web import pages, peers

# Ties the browser that opened a start page to the answer that comes back (RFC 9700 4.7.1); one for each login, so that
# two under way in two tabs do not meet. Without the state, which is in the provider's answer only, it is good for
# nothing: cookies of 127.0.0.1 reach every port of it.
COOKIE = "kf_login_"
# So much of the login's id is in the cookie's name. It is no secret: the id alone opens nothing that is open already.
ID_IN_NAME = 12
# 256 bits as base64url: what this page itself makes, and nothing else is taken for it.
_OURS = re.compile(r"[A-Za-z0-9_-]{43}")


async def start(request: Request, ctx: Context) -> Response:
    """``GET /login/{id}``: tie this browser to the login, then send it to the provider; a device login shows its code.

    That one never leads anywhere by itself: a person has to have wanted it (RFC 8628 5.4).
    """
    # The login's address was in a command line, which every user can read.
    if peers.is_foreign(request):
        return pages.render(pages.OTHER_USER)
    if promise.is_one(request.path_params["id"]):
        return await _promised(request, ctx)
    begun = await ctx.store.login(request.path_params["id"])
    ours = login.start_url(ctx, request.path_params["id"]) if begun is None else login.start_url_of(ctx, begun)
    if request.headers["host"] not in ours:
        # The answer comes to the redirect URI's host: a cookie for another name of this machine would not be there.
        return RedirectResponse(ours, 302, pages.HEADERS)
    login_id = request.path_params["id"]
    browser = _cookie(request, login_id)
    if browser is None or not await ctx.store.opened_by(login_id, browser):
        # A first visit, then; whatever cookie came along, another page of this machine may have left it.
        browser = Secret(secrets.token_urlsafe(32))
    response: Response
    try:
        response = await _first_step(ctx, await login.opened(ctx, login_id, browser))
    except UnknownLogin:
        return pages.render(pages.LOGIN_GONE)
    except Conflict:
        return pages.render(pages.OTHER_BROWSER)
    except LoginFailed:
        response = RedirectResponse(f"/ui/logins/{login_id}", 302, pages.HEADERS)  # it says why
    response.set_cookie(
        COOKIE + login_id[:ID_IN_NAME],
        browser.reveal(),
        max_age=int(LOGIN_LIFETIME),
        httponly=True,
        # Lax: the provider's redirect is a navigation that comes from another site.
        samesite="lax",
    )
    return response


async def _promised(request: Request, ctx: Context) -> Response:
    """Begin the login that a list promised, and lead on to its own start page."""
    try:
        return RedirectResponse(await promise.kept(ctx, request.path_params["id"]), 302, pages.HEADERS)
    except UnknownLogin:
        return pages.render(pages.LOGIN_GONE)
    except LoginFailed as exc:
        return pages.render(
            pages.RefusalPage(
                title="This login cannot be begun now",
                what_happened=exc.detail,
                next_step="In a terminal, this says why:",
                command=exc.hint,
                verdict="Nothing was changed",
                status=503,
            )
        )


async def _first_step(ctx: Context, opened: Login) -> Response:
    if (shown := opened.device) is None:
        return RedirectResponse(opened.authorization_url, 302, pages.HEADERS)
    title, complete = (await providers.find(ctx, opened.provider)).title, shown.verification_uri_complete or ""
    return pages.render(pages.DevicePage(title, shown.user_code, shown.verification_uri, complete))


async def callback(request: Request, ctx: Context) -> Response:
    """``GET /callback/{provider}``: pass on what came, and leave the address bar clean.

    Only the address of a paste login has to stay: the person carries it to the terminal.
    """
    params = request.query_params.multi_items()
    if (
        pasted := await paste.waiting(ctx, request.path_params["provider"], params, partial(_cookie, request))
    ) is not None:
        return pages.render(pages.paste_page((await providers.find(ctx, pasted.provider)).title))
    try:
        finished = await login.finish(ctx, request.path_params["provider"], params, partial(_cookie, request))
    except LoginFailed:
        return pages.render(pages.NO_LIVE_LOGIN)
    return RedirectResponse(f"/ui/logins/{finished.login.id}", 303, pages.HEADERS)


async def result(request: Request, ctx: Context) -> Response:
    """``GET /ui/logins/{id}``: how a login went. The address holds no code, and the page no token."""
    found = await ctx.store.login(request.path_params["id"])
    browser = _cookie(request, request.path_params["id"])
    if found is None or browser is None or not await ctx.store.opened_by(found.id, browser):
        return pages.render(pages.LOGIN_GONE)
    return pages.render(await _result_page(ctx, found))


async def _result_page(ctx: Context, found: Login) -> pages.Page:
    provider = await providers.find(ctx, found.provider)
    match found.state:
        case "done":
            account = await ctx.store.account(found.account)
            if account is None:
                return pages.RefusalPage(
                    title="This account is gone again",
                    what_happened=f"The login succeeded, but account '{found.account}' was logged out since.",
                    next_step="Nothing is left to do here; log in again if you need it.",
                    verdict="Logged out",
                    status=200,
                )
            return pages.SuccessPage(
                account=found.account,
                provider_title=provider.title,
                identity=account.identity.label if account.identity is not None else "",
                scope=account.scope,
                missing_scope=account.missing_scope,
                refreshable=account.renewable,
                back=f"{ctx.browser_url}/ui/accounts/{quote(account.name, safe='')}",
            )
        case "pending":
            return pages.RefusalPage(
                title="This login is not finished yet",
                what_happened=f"{provider.title} has not answered it so far.",
                next_step="Go on in the tab where you were asked to log in.",
                verdict="Waiting",
                status=200,
            )
        case "expired":
            return pages.LOGIN_GONE
        case "failed":
            # 200: the page says truly how the login went; the login's own refusal is not this request's.
            return pages.FailurePage(
                title="The login was not renewed" if found.replaces else "You are not logged in",
                what_happened=found.reason,
                next_step="Start the login again when that is mended:",
                command=again.describe(found, provider),
                verdict="As it was before" if found.replaces else "Not logged in",
                back=f"{ctx.browser_url}/ui/progress/{found.id}",
                status=200,
            )


async def home(_: Request, ctx: Context) -> Response:
    """``GET /ui/``."""
    return pages.render(pages.HomePage(locked=bool(ctx.store.locked)))


async def static(request: Request, ctx: Context) -> Response:
    """``GET /ui/static/{name}``."""
    del ctx
    return pages.static(request.path_params["name"])


def _cookie(request: Request, login_id: str) -> Secret | None:
    value = request.cookies.get(COOKIE + login_id[:ID_IN_NAME], "")
    return Secret(value) if _OURS.fullmatch(value) else None
