"""The API's handlers for the audit: read it, and have it checked.

Put behind the app doors by ``asgi``.
"""

from starlette.requests import Request
from starlette.responses import Response

from broker.core.policy import Owner
from broker.errors import InvalidRequest
from broker.usecases.context import Context
from broker.web import render
from broker.web.body import Fields, Query
from broker.web.guards import check_unlocked

MOST_AUDIT = 1000
USUAL_AUDIT = 100


async def list_audit(request: Request, ctx: Context) -> Response:
    """``GET /v1/audit``, newest first."""
    query = Query(request, "account", "app", "since", "limit")
    limit = query.count("limit", USUAL_AUDIT, MOST_AUDIT)
    entries = await ctx.store.audit(
        account=query.text("account"), app=query.text("app"), since=query.time("since"), limit=limit
    )
    return render.answer({"entries": [render.audit_entry(entry) for entry in entries]})


async def note_backup(request: Request, ctx: Context) -> Response:
    """``POST /v1/audit``: `keyfob backup` copies the database by itself, and tells it here."""
    body = await Fields.read(request)
    action, detail = body.text("action"), body.text("detail")
    body.end()
    if action != "backed-up":
        raise InvalidRequest("Only 'backed-up' can be written into the audit.", "All else is written by Keyfob itself.")
    ctx.publish("backed-up", app=Owner.name, detail=detail)
    return Response(status_code=204, headers=render.ANSWER_HEADERS)


async def verify_audit(request: Request, ctx: Context) -> Response:
    """``GET /v1/audit/verify``: whether the record is as it was written."""
    Query(request)
    check_unlocked(ctx)
    return render.answer(render.verdict(await ctx.store.verify_audit()))
