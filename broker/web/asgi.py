"""The three doors on one screen: which routes each has, who may use them, and what stands before them.

Called by ``daemon``, which opens a socket for each.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from broker.core.policy import Owner
from broker.errors import InvalidRequest, KeyfobError, NotFound, NotGranted
from broker.usecases.context import Context
from broker.web import api, callback, manage, pages, render
from broker.web.guards import AccessLog, AppGuard, BrowserGuard

log = logging.getLogger(__name__)

Handler = Callable[[Request, Context], Awaitable[Response]]
Who = Literal["anyone", "app", "owner"]

# fmt: off
APP_ROUTES: tuple[tuple[str, str, Handler, Who], ...] = (
    ("GET",    "/healthz",                              manage.healthz,         "anyone"),
    ("GET",    "/readyz",                               manage.readyz,          "owner"),
    ("GET",    "/openapi.yaml",                         manage.openapi,         "owner"),
    ("GET",    "/v1/status",                            manage.show_status,     "owner"),
    ("GET",    "/v1/accounts",                          api.list_accounts,      "owner"),
    ("GET",    "/v1/accounts/{account}",                api.show_account,       "owner"),
    ("DELETE", "/v1/accounts/{account}",                api.delete_account,     "owner"),
    ("GET",    "/v1/accounts/{account}/token",          api.get_token,          "app"),
    ("POST",   "/v1/accounts/{account}/token/rejected", api.report_rejected,    "app"),
    ("POST",   "/v1/accounts/{account}/refresh",        api.refresh_account,    "owner"),
    ("POST",   "/v1/logins",                            api.start_login,        "owner"),
    ("GET",    "/v1/logins/{id}",                       api.show_login,         "owner"),
    ("POST",   "/v1/logins/{id}/finish",                api.finish_login,       "owner"),
    ("DELETE", "/v1/logins/{id}",                       api.cancel_login,       "owner"),
    ("GET",    "/v1/providers",                         manage.list_providers,  "owner"),
    ("POST",   "/v1/providers",                         manage.add_provider,    "owner"),
    ("GET",    "/v1/providers/{provider}",              manage.show_provider,   "owner"),
    ("DELETE", "/v1/providers/{provider}",              manage.delete_provider, "owner"),
    ("GET",    "/v1/presets",                           manage.list_presets,    "owner"),
    ("GET",    "/v1/apps",                              manage.list_apps,       "owner"),
    ("POST",   "/v1/apps",                              manage.add_app,         "owner"),
    ("GET",    "/v1/apps/{app}",                        manage.show_app,        "app"),
    ("DELETE", "/v1/apps/{app}",                        manage.delete_app,      "owner"),
    ("POST",   "/v1/apps/{app}/rotate",                 manage.rotate_app,      "owner"),
    ("PUT",    "/v1/apps/{app}/grants/{account}",       manage.put_grant,       "owner"),
    ("DELETE", "/v1/apps/{app}/grants/{account}",       manage.delete_grant,    "owner"),
    ("GET",    "/v1/audit",                             manage.list_audit,      "owner"),
    ("GET",    "/v1/events",                            manage.stream_events,   "owner"),
)
BROWSER_ROUTES: tuple[tuple[str, Handler], ...] = (
    ("/login/{id}",           callback.start),
    ("/callback/{provider}",  callback.callback),
    ("/ui/logins/{id}",       callback.result),
    ("/ui/static/{name}",     callback.static),
    ("/ui/",                  callback.home),
    ("/",                     callback.home),
)
# fmt: on
OPEN_PATHS = frozenset(path for _, path, _, who in APP_ROUTES if who == "anyone")


def app_door(ctx: Context, name: str, hosts: frozenset[str] | None) -> ASGIApp:
    """Return the app of the app socket (``hosts`` None) or of the app port."""
    app = Starlette(
        routes=[
            _route(path, _app_endpoint(ctx, path, handler, who), method) for method, path, handler, who in APP_ROUTES
        ],
        exception_handlers={HTTPException: _app_miss},
    )
    app.router.redirect_slashes = False
    return AccessLog(AppGuard(app, ctx, hosts, OPEN_PATHS), name)


def browser_door(ctx: Context, hosts: frozenset[str]) -> ASGIApp:
    """Return the app of the browser port."""
    app = Starlette(
        routes=[_route(path, _page_endpoint(ctx, path, handler), "GET") for path, handler in BROWSER_ROUTES],
        exception_handlers={HTTPException: _page_miss},
    )
    app.router.redirect_slashes = False
    return AccessLog(BrowserGuard(app, hosts), "browser")


def _app_endpoint(ctx: Context, path: str, handler: Handler, who: Who) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        request.scope["state"]["route"] = path
        try:
            _check_may(request, who)
            return await handler(request, ctx)
        except KeyfobError as exc:
            return render.problem(exc)
        except Exception:
            log.exception("%s %s broke", request.method, path)
            return render.problem(KeyfobError("This is a fault of Keyfob; its log says more."))

    return endpoint


def _check_may(request: Request, who: Who) -> None:
    if who == "owner" and not isinstance(api.caller_of(request), Owner):
        raise NotGranted(
            "An app key may ask for tokens, report rejections and look at its own grants.",
            "The owner does this on the socket, without a key.",
        )


def _route(path: str, endpoint: Callable[[Request], Awaitable[Response]], method: str) -> Route:
    route = Route(path, endpoint, methods=[method])
    route.methods = {method}  # starlette adds HEAD to GET; a hand-out without a body helps nobody
    return route


def _page_endpoint(ctx: Context, path: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        request.scope["state"]["route"] = path
        try:
            return await handler(request, ctx)
        except KeyfobError as exc:
            return pages.render(pages.page_of(exc))
        except Exception:
            log.exception("%s %s broke", request.method, path)
            return pages.render(pages.BROKEN)

    return endpoint


async def _app_miss(request: Request, exc: Exception) -> Response:
    if isinstance(exc, HTTPException) and exc.status_code == 405:  # noqa: PLR2004 -- the status says it
        response = render.problem(InvalidRequest(f"{request.method} is not answered here.", "See /openapi.yaml."))
        response.status_code = 405
        response.headers.update(exc.headers or {})
        return response
    return render.problem(NotFound("There is nothing at this path.", "See /openapi.yaml."))


async def _page_miss(request: Request, exc: Exception) -> Response:
    del request, exc
    return pages.render(pages.NOT_FOUND)
