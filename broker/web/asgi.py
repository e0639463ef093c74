"""The three doors on one screen: which routes each has, who may use them, and what stands before them.

Called by ``daemon``, which opens a socket for each.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Literal, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, compile_path
from starlette.types import ASGIApp

from broker.core.policy import Owner
from broker.errors import InvalidRequest, KeyfobError, Locked, NotFound, NotGranted, Unauthorized
from broker.usecases import apps, audit, locking
from broker.usecases.context import Context
from broker.web import (
    api,
    approvals,
    callback,
    callers,
    keys,
    manage,
    metrics,
    pages,
    proxy,
    rates,
    record,
    render,
    signed_in,
    told,
)
from broker.web.emulate import azure, google, oauth
from broker.web.guards import AccessLog, AppGuard, BrowserGuard, Problem
from broker.web.parts import account, activity, add, choose, overview, progress, settings
from broker.web.parts import app as part_app
from broker.web.parts import approvals as part_approvals
from broker.web.parts import apps as part_apps
from broker.web.signed_in import Handler, act, part
from broker.web.standing import StandingAnswers

log = logging.getLogger(__name__)

T = TypeVar("T")

Endpoint = Callable[[Request], Awaitable[Response]]
# A client proves who it is in the way of its own protocol, to the handler.
Who = Literal["anyone", "stranger", "client", "app", "owner"]
# What a browser door's route answers: a page for people, or what a page's script asks for.
Kind = Literal["page", "data"]
NOTHING_HERE = NotFound("There is nothing at this path.", "The owner gets the list: GET /openapi.yaml on the socket.")

# fmt: off
APP_ROUTES: tuple[tuple[str, str, Handler, Who], ...] = (
    ("GET",    "/healthz",                              manage.healthz,         "anyone"),
    ("GET",    "/readyz",                               manage.readyz,          "owner"),
    ("GET",    "/metrics",                              metrics.show,           "owner"),
    ("GET",    "/openapi.yaml",                         manage.openapi,         "owner"),
    ("GET",    "/v1/status",                            manage.show_status,     "owner"),
    ("GET",    "/v1/accounts",                          api.list_accounts,      "owner"),
    ("GET",    "/v1/accounts/{account}",                api.show_account,       "owner"),
    ("PATCH",  "/v1/accounts/{account}",                api.change_account,     "owner"),
    ("DELETE", "/v1/accounts/{account}",                api.delete_account,     "owner"),
    ("GET",    "/v1/accounts/{account}/token",          api.get_token,          "app"),
    ("POST",   "/v1/accounts/{account}/token/rejected", api.report_rejected,    "app"),
    ("POST",   "/v1/accounts/{account}/refresh",        api.refresh_account,    "owner"),
    ("GET",    "/v1/accounts/{account}/rate-limits",    rates.show_rate_limits, "app"),
    ("POST",   "/v1/accounts/{account}/rate-limits",    rates.report_rate_limits, "app"),
    ("POST",   "/v1/logins",                            api.start_login,        "owner"),
    ("GET",    "/v1/logins/{id}",                       api.show_login,         "owner"),
    ("POST",   "/v1/logins/{id}/finish",                api.finish_login,       "owner"),
    ("DELETE", "/v1/logins/{id}",                       api.cancel_login,       "owner"),
    ("GET",    "/v1/providers",                         manage.list_providers,  "owner"),
    ("POST",   "/v1/providers",                         manage.add_provider,    "owner"),
    ("GET",    "/v1/providers/{provider}",              manage.show_provider,   "owner"),
    ("DELETE", "/v1/providers/{provider}",              manage.delete_provider, "owner"),
    ("POST",   "/v1/providers/{provider}/discover",     manage.discover_provider, "owner"),
    ("GET",    "/v1/providers/{provider}/client-metadata", manage.client_metadata, "owner"),
    ("GET",    "/v1/presets",                           manage.list_presets,    "owner"),
    ("GET",    "/v1/presets/{preset}",                  manage.show_preset,     "owner"),
    ("GET",    "/v1/apps",                              manage.list_apps,       "owner"),
    ("POST",   "/v1/apps",                              manage.add_app,         "owner"),
    ("GET",    "/v1/apps/{app}",                        manage.show_app,        "app"),
    ("DELETE", "/v1/apps/{app}",                        manage.delete_app,      "owner"),
    ("POST",   "/v1/apps/{app}/rotate",                 manage.rotate_app,      "owner"),
    ("PUT",    "/v1/apps/{app}/grants/{account}",       manage.put_grant,       "owner"),
    ("DELETE", "/v1/apps/{app}/grants/{account}",       manage.delete_grant,    "owner"),
    ("GET",    "/v1/approvals",                         approvals.list_approvals, "owner"),
    ("GET",    "/v1/approvals/{id}",                    approvals.show_approval, "owner"),
    ("POST",   "/v1/approvals/{id}",                    approvals.answer_approval, "owner"),
    ("POST",   "/v1/pairing",                           approvals.ask_pairing,  "stranger"),
    ("GET",    "/v1/pairing",                           approvals.show_pairing, "stranger"),
    ("DELETE", "/v1/pairing",                           approvals.end_pairing,  "stranger"),
    ("GET",    "/v1/audit",                             record.list_audit,      "owner"),
    ("POST",   "/v1/audit",                             record.note_backup,     "owner"),
    ("GET",    "/v1/audit/verify",                      record.verify_audit,    "owner"),
    ("GET",    "/v1/events",                            manage.stream_events,   "owner"),
    ("POST",   "/v1/session",                           approvals.open_page,    "owner"),
    ("POST",   "/v1/lock",                              keys.lock,              "owner"),
    ("POST",   "/v1/unlock",                            keys.unlock,            "owner"),
    ("POST",   "/v1/key/rotate",                        keys.rotate,            "owner"),
    ("GET",    "/.well-known/oauth-authorization-server", oauth.metadata,       "anyone"),
    ("POST",   "/oauth/token",                          oauth.token,            "client"),
    ("GET",    "/azure/token",                          azure.token,            "client"),
    ("GET",    "/imds/{capability}/metadata/identity/oauth2/token", azure.machine_token, "client"),
    ("GET",    "/google/{capability}",                  google.ping,            "client"),
    ("GET",    "/google/{capability}/",                 google.ping,            "client"),
    ("GET",    "/google/{capability}/computeMetadata/v1/project/project-id", google.unknown, "client"),
    ("GET",    "/google/{capability}/computeMetadata/v1/universe/universe-domain", google.unknown, "client"),
    ("GET",    "/google/{capability}/computeMetadata/v1/instance/service-accounts/{identity}/",
               google.service_account, "client"),
    ("GET",    "/google/{capability}/computeMetadata/v1/instance/service-accounts/{identity}/email",
               google.email, "client"),
    ("GET",    "/google/{capability}/computeMetadata/v1/instance/service-accounts/{identity}/scopes",
               google.scopes, "client"),
    ("GET",    "/google/{capability}/computeMetadata/v1/instance/service-accounts/{identity}/token",
               google.token, "client"),
    ("GET",    "/google/{capability}/computeMetadata/v1/instance/service-accounts/{identity}/identity",
               google.identity, "client"),
)
BROWSER_ROUTES: tuple[tuple[str, str, Handler, Kind], ...] = (
    ("GET",    "/login/{id}",                        callback.start,                  "page"),
    ("GET",    "/callback/{provider}",               callback.callback,               "page"),
    ("GET",    "/ui/logins/{id}",                    callback.result,                 "page"),
    ("GET",    "/ui/static/{name}",                  callback.static,                 "page"),
    ("GET",    "/ui/enter/{id}",                     signed_in.enter,                 "page"),
    ("POST",   "/ui/session",                        signed_in.sign_in,               "data"),
    ("DELETE", "/ui/session",                        signed_in.sign_out,              "data"),
    ("GET",    "/ui/events",                         signed_in.news,                  "data"),
    ("GET",    "/ui/",                               callback.home,                   "page"),
    ("GET",    "/ui",                                callback.home,                   "page"),
    ("GET",    "/",                                  callback.home,                   "page"),
    ("GET",    "/ui/approvals/{id}",                 signed_in.approval,              "page"),
    ("GET",    "/ui/accounts/{account}",             signed_in.shell,                 "page"),
    ("GET",    "/ui/add",                            signed_in.shell,                 "page"),
    ("GET",    "/ui/add/{preset}",                   signed_in.shell,                 "page"),
    ("GET",    "/ui/progress/{id}",                  signed_in.shell,                 "page"),
    ("GET",    "/ui/parts/add",                      part(choose.show),               "data"),
    ("GET",    "/ui/parts/add/{preset}",             part(add.show),                  "data"),
    ("GET",    "/ui/parts/progress/{id}",            part(progress.show),             "data"),
    ("GET",    "/ui/apps",                           signed_in.shell,                 "page"),
    ("GET",    "/ui/apps/{app}",                     signed_in.shell,                 "page"),
    ("GET",    "/ui/activity",                       signed_in.shell,                 "page"),
    ("GET",    "/ui/parts/overview",                 part(overview.show),             "data"),
    ("GET",    "/ui/parts/accounts/{account}",       part(account.show),              "data"),
    ("GET",    "/ui/parts/approvals/{id}",           part(part_approvals.show),       "data"),
    ("GET",    "/ui/parts/apps",                     part(part_apps.show),            "data"),
    ("GET",    "/ui/parts/apps/{app}",               part(part_app.show),             "data"),
    ("GET",    "/ui/parts/activity",                 part(activity.show),             "data"),
    ("POST",   "/ui/v1/approvals/{id}",              act(approvals.answer_approval),  "data"),
    ("POST",   "/ui/v1/accounts/{account}/refresh",  act(api.refresh_account),        "data"),
    ("PATCH",  "/ui/v1/accounts/{account}",          act(api.change_account),         "data"),
    ("DELETE", "/ui/v1/accounts/{account}",          act(api.delete_account),         "data"),
    ("POST",   "/ui/v1/logins",                      act(api.start_login),            "data"),
    ("POST",   "/ui/v1/logins/{id}/finish",          act(api.finish_login),           "data"),
    ("DELETE", "/ui/v1/logins/{id}",                 act(api.cancel_login),           "data"),
    ("POST",   "/ui/v1/apps",                        act(manage.add_app),             "data"),
    ("DELETE", "/ui/v1/apps/{app}",                  act(manage.delete_app),          "data"),
    ("POST",   "/ui/v1/apps/{app}/rotate",           act(manage.rotate_app),          "data"),
    ("PUT",    "/ui/v1/apps/{app}/grants/{account}", act(manage.put_grant),           "data"),
    ("DELETE", "/ui/v1/apps/{app}/grants/{account}", act(manage.delete_grant),        "data"),
    ("GET",    "/ui/settings",                       signed_in.shell,                 "page"),
    ("GET",    "/ui/parts/settings",                 part(settings.show),             "data"),
    ("POST",   "/ui/v1/backup",                      act(settings.back_up),           "data"),
    ("POST",   "/ui/v1/audit/check",                 act(activity.check),             "data"),
    ("POST",   "/ui/v1/lock",                        act(keys.lock),                  "data"),
    ("POST",   "/ui/v1/unlock",                      act(keys.unlock),                "data"),
)
# fmt: on
# At the app doors they do not count as use, and nowhere as work that a lock would wait for.
KEY_PATHS = ("/v1/lock", "/v1/unlock", "/ui/v1/lock", "/ui/v1/unlock")
OPEN_PATHS = frozenset(path for _, path, _, who in APP_ROUTES if who == "anyone")
WRITTEN = tuple({path.partition("{")[0] for method, path, _, _ in BROWSER_ROUTES if method != "GET"})
STRANGER_PATHS = frozenset(path for _, path, _, who in APP_ROUTES if who == "stranger")
# How errors are written where another protocol is spoken: below these paths, and at each of its routes.
SPOKEN: Mapping[str, Problem] = {
    "/oauth/": oauth.problem,
    "/azure/": azure.problem,
    "/imds/": azure.machine_problem,
    "/google/": google.problem,
}
DIALECTS = {
    path: next(problem for below, problem in SPOKEN.items() if path.startswith(below))
    for _, path, _, who in APP_ROUTES
    if who == "client"
}
BELOW = tuple(SPOKEN)
# The guard stands before the router, and has to know a path as that does.
PATTERNS = [(compile_path(path)[0], problem) for path, problem in DIALECTS.items()]


def dialect_of(path: str) -> Problem | None:
    """Return how errors are written at a path where another protocol is spoken, None at every other."""
    if not path.startswith(BELOW):
        return None
    return next((problem for pattern, problem in PATTERNS if pattern.match(path)), None)


def app_door(ctx: Context, name: str, hosts: frozenset[str] | None) -> ASGIApp:
    """Return the app of the app socket (``hosts`` None) or of the app port."""
    through = proxy.Proxy(ctx, partial(_told_program, ctx))
    app = Starlette(
        routes=[
            # Any method, and any app: what it may send is asked there.
            *(Route(path, through) for path in proxy.ROUTES),
            *(
                _route(path, {method: _app_endpoint(ctx, path, handler, who) for method, handler, who in on_path})
                for path, on_path in _by_path(APP_ROUTES).items()
            ),
        ],
        exception_handlers={HTTPException: _app_miss},
    )
    app.router.redirect_slashes = False
    guarded = AppGuard(app, ctx, hosts, OPEN_PATHS, STRANGER_PATHS, dialect_of)
    standing = StandingAnswers(guarded, ctx, name, anyone=hosts is not None)
    return AccessLog(standing, name, standing.again)


def browser_door(ctx: Context, hosts: frozenset[str]) -> ASGIApp:
    """Return the app of the browser port."""
    app = Starlette(
        routes=[
            _route(path, {method: _page_endpoint(ctx, path, handler, kind) for method, handler, kind in on_path})
            for path, on_path in _by_path(BROWSER_ROUTES).items()
        ],
        exception_handlers={HTTPException: _page_miss},
    )
    app.router.redirect_slashes = False
    return AccessLog(BrowserGuard(app, hosts, WRITTEN), "browser")


def _app_endpoint(ctx: Context, path: str, handler: Handler, who: Who) -> Endpoint:
    problem = DIALECTS.get(path, render.problem)

    async def endpoint(request: Request) -> Response:
        request.scope["state"]["route"] = path
        try:
            _clean_names(request)
            _check_may(request, who)
            locking.watch(ctx)
            # Of a client nobody knows yet whether its coming counts as use.
            if request.method == "GET" or path in KEY_PATHS or who == "client":
                return await handler(request, ctx)
            ctx.latch.used_at = ctx.steady()
            with locking.working(ctx):
                return await handler(request, ctx)
        except Exception as exc:  # noqa: BLE001 -- whatever it is, it is told
            return _told_program(ctx, request, exc, problem)

    return endpoint


def _told_program(
    ctx: Context, request: Request, exc: Exception, problem: Callable[[KeyfobError], Response] = render.problem
) -> Response:
    """Return what a program is told where its request came to nothing; and note who was turned away."""
    match exc:
        case Locked():
            # The reason names files of the owner's.
            return problem(exc if isinstance(api.caller_of(request), Owner) else apps.locked())
        case Unauthorized():
            audit.unauthorized(ctx, callers.door_of(request.scope), exc.detail)
        case NotGranted():
            audit.refused(ctx, api.caller_of(request), request.path_params.get("account"), exc.detail)
        case KeyfobError():
            pass
        case _:
            log.error("%s %s broke", request.method, request.scope["state"]["route"], exc_info=exc)
            return problem(told.BROKEN)
    return problem(exc)


def _clean_names(request: Request) -> None:
    """Put marks for what cannot be printed: names come back in messages, which end in somebody's terminal.

    No name of anything holds the mark "?".
    """
    for name, value in request.path_params.items():
        request.path_params[name] = told.printable(value)


def _check_may(request: Request, who: Who) -> None:
    if who == "owner" and not isinstance(api.caller_of(request), Owner):
        raise NotGranted(
            "An app key may ask for tokens, report rejections and rate limits, use the proxy, and look at its grants.",
            "The owner does this on the socket, without a key.",
        )


def _by_path(routes: Iterable[tuple[str, str, Handler, T]]) -> dict[str, list[tuple[str, Handler, T]]]:
    found: dict[str, list[tuple[str, Handler, T]]] = {}
    for method, path, handler, more in routes:
        found.setdefault(path, []).append((method, handler, more))
    return found


def _route(path: str, by_method: Mapping[str, Endpoint]) -> Route:
    """Make one route of a path's methods, so that a wrong method is told all the right ones (RFC 9110 15.5.6)."""

    async def endpoint(request: Request) -> Response:
        return await by_method[request.method](request)

    route = Route(path, endpoint)
    route.methods = set(by_method)  # starlette adds HEAD to GET; a hand-out without a body helps nobody
    return route


def _page_endpoint(ctx: Context, path: str, handler: Handler, kind: Kind) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        request.scope["state"]["route"] = path
        try:
            _clean_names(request)
            locking.watch(ctx)
            if request.method == "GET" or path in KEY_PATHS:
                return await handler(request, ctx)
            with locking.working(ctx):
                return await handler(request, ctx)
        except Unauthorized as exc:
            audit.unauthorized(ctx, "browser port", exc.detail)
            return _told(exc, kind)
        except KeyfobError as exc:
            return _told(exc, kind)
        except Exception:
            log.exception("%s %s broke", request.method, path)
            return _told(told.BROKEN, kind)

    return endpoint


def _told(error: KeyfobError, kind: Kind) -> Response:
    if kind == "page":
        return pages.render(pages.BROKEN if error is told.BROKEN else pages.page_of(error))
    response = render.problem(error)
    response.headers.update(pages.HEADERS)
    return response


async def _app_miss(_: Request, exc: Exception) -> Response:
    if isinstance(exc, HTTPException) and exc.status_code == 405:  # noqa: PLR2004 -- the status says it
        allowed = ", ".join(sorted((exc.headers or {}).get("Allow", "").split(", ")))
        response = render.problem(InvalidRequest("This path does not answer that method.", f"Use {allowed}."), 405)
        response.headers["allow"] = allowed
        return response
    return render.problem(NOTHING_HERE)


async def _page_miss(_: Request, exc: Exception) -> Response:
    if isinstance(exc, HTTPException) and exc.status_code == 405:  # noqa: PLR2004 -- the status says it
        return PlainTextResponse("This path does not answer that.\n", 405, {**pages.HEADERS, **(exc.headers or {})})
    return pages.render(pages.NOT_FOUND)
