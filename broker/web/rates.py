"""The API's handlers for rate limits: what is left, and what programs have seen of it.

Put behind the app doors by ``asgi``.
"""

import math
from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from broker.errors import InvalidRequest
from broker.usecases import ratelimits
from broker.usecases.context import Context
from broker.usecases.ratelimits import Standing
from broker.web import render
from broker.web.api import caller_of
from broker.web.body import Fields, Query

# What HTTP knows as a status (RFC 9110 15).
STATUSES = (100, 599)


async def show_rate_limits(request: Request, ctx: Context) -> Response:
    """``GET /v1/accounts/{account}/rate-limits``."""
    Query(request)
    return _answer(await ratelimits.standing(ctx, caller_of(request), request.path_params["account"]))


async def report_rate_limits(request: Request, ctx: Context) -> Response:
    """``POST /v1/accounts/{account}/rate-limits``: what an answer said that a program got itself."""
    Query(request)
    body = await Fields.read(request)
    status, headers = body.whole("status", *STATUSES), body.texts("headers")
    method, path = body.text("method"), body.text("path")
    body.end()
    if status is None:
        raise InvalidRequest("'status' is missing.", "Give the HTTP status of the answer, and its headers.")
    seen = {name.lower(): value for name, value in headers.items()}
    name = request.path_params["account"]
    found = await ratelimits.report(
        ctx, caller_of(request), name, status=status, headers=seen, method=method, path=path
    )
    return _answer(found)


def _answer(found: Iterable[Standing]) -> Response:
    return render.answer(
        {
            "rate_limits": [
                {
                    "scope": one.scope,
                    "use": one.use,
                    "limit": one.limit,
                    "remaining": one.remaining,
                    "window": one.window,
                    "reset_at": render.timestamp(one.reset_at),
                    "retry_after": math.ceil(one.retry_after),
                    "waiting": one.waiting,
                    "told_at": render.timestamp(one.told_at),
                }
                for one in found
            ]
        }
    )
