"""The two doors for programs on one screen: which routes they have, who may use them, and what stands before them.

Called by ``daemon``, which opens a socket for each.
"""

import logging
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.core.policy import Owner
from broker.errors import InvalidRequest, KeyfobError, Locked, NotFound, NotGranted, Unauthorized
from broker.usecases import apps, audit, locking
from broker.usecases.context import Context
from broker.web import (
    api,
    approvals,
    callers,
    keys,
    manage,
    metrics,
    proxy,
    rates,
    record,
    render,
    told,
)
from broker.web.emulate import azure, google, oauth
from broker.web.guards import AccessLog, AppGuard, Problem
from broker.web.routes import KEY_PATHS, Endpoint, Handler, by_path, clean_names, router
from broker.web.standing import StandingAnswers

log = logging.getLogger(__name__)

# A client proves who it is in the way of its own protocol, to the handler.
Who = Literal["anyone", "stranger", "client", "app", "owner"]
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
# fmt: on
OPEN_PATHS = frozenset(path for _, path, _, who in APP_ROUTES if who == "anyone")
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
    table = by_path(APP_ROUTES, partial(_app_endpoint, ctx))
    # Any method, and any app: what it may send is asked there.
    app = router([Route(path, through) for path in proxy.ROUTES], table, _missing)
    guarded = AppGuard(app, ctx, hosts, OPEN_PATHS, STRANGER_PATHS, dialect_of)
    standing = StandingAnswers(guarded, ctx, name, anyone=hosts is not None)
    return AccessLog(standing, name, standing.again)


def browser_door(ctx: Context, hosts: frozenset[str]) -> ASGIApp:
    """Return the app of the browser port, which is made when somebody comes for the first time."""

    @cache
    def made() -> ASGIApp:
        from broker.web import browser  # noqa: PLC0415 -- many a daemon shows no page for days

        return browser.door(ctx, hosts)

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        await made()(scope, receive, send)

    return door


def _app_endpoint(ctx: Context, path: str, handler: Handler, who: Who) -> Endpoint:
    problem = DIALECTS.get(path, render.problem)

    async def endpoint(request: Request) -> Response:
        request.scope["state"]["route"] = path
        try:
            clean_names(request)
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


def _check_may(request: Request, who: Who) -> None:
    if who == "owner" and not isinstance(api.caller_of(request), Owner):
        raise NotGranted(
            "An app key may ask for tokens, report rejections and rate limits, use the proxy, and look at its grants.",
            "The owner does this on the socket, without a key.",
        )


def _missing(allowed: str) -> Response:
    if allowed:
        response = render.problem(InvalidRequest("This path does not answer that method.", f"Use {allowed}."), 405)
        response.headers["allow"] = allowed
        return response
    return render.problem(NOTHING_HERE)
