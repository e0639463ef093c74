"""The browser door on one screen: which routes it has, for pages and for what their scripts ask.

Made by ``asgi`` when somebody comes to it for the first time: many a daemon shows no page for days.
"""

import logging
from functools import partial
from typing import Literal

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from broker.errors import KeyfobError, Unauthorized
from broker.usecases import audit, locking
from broker.usecases.context import Context
from broker.web import api, approvals, callback, keys, manage, pages, render, signed_in, told
from broker.web.guards import AccessLog, BrowserGuard
from broker.web.parts import account, activity, add, choose, overview, progress, settings
from broker.web.parts import app as part_app
from broker.web.parts import approvals as part_approvals
from broker.web.parts import apps as part_apps
from broker.web.routes import KEY_PATHS, Endpoint, Handler, by_path, clean_names, router
from broker.web.signed_in import act, part

log = logging.getLogger(__name__)

# What a route answers: a page for people, or what a page's script asks for.
Kind = Literal["page", "data"]

# fmt: off
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
WRITTEN = tuple({path.partition("{")[0] for method, path, _, _ in BROWSER_ROUTES if method != "GET"})


def door(ctx: Context, hosts: frozenset[str]) -> ASGIApp:
    """Return the app of the browser port."""
    app = router([], by_path(BROWSER_ROUTES, partial(_page_endpoint, ctx)), _missing)
    return AccessLog(BrowserGuard(app, hosts, WRITTEN), "browser")


def _page_endpoint(ctx: Context, path: str, handler: Handler, kind: Kind) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        request.scope["state"]["route"] = path
        try:
            clean_names(request)
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


def _missing(allowed: str) -> Response:
    if allowed:
        return PlainTextResponse("This path does not answer that.\n", 405, {**pages.HEADERS, "allow": allowed})
    return pages.render(pages.NOT_FOUND)
