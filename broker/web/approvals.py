"""The API's handlers for what programs ask the owner for, and for a program that wants to become an app.

Put behind the app doors by ``asgi``; the owner's page uses the same words.
"""

import asyncio
from typing import Any, cast, get_args

from starlette.requests import Request
from starlette.responses import Response

from broker.core.approval import Approval, Remember, Wanted
from broker.core.policy import App, Stranger
from broker.errors import Conflict, InvalidRequest, UnknownApproval
from broker.usecases import approvals, apps
from broker.usecases.approvals import Answer
from broker.usecases.context import Context
from broker.usecases.sessions import TICKET_LIFE
from broker.web import peers, render
from broker.web.api import MOST_WAIT
from broker.web.body import Fields, Query

# How often a program asks how its request stands, seconds, where it does not wait for the answer (RFC 8628 3.2).
INTERVAL = 5
DECISIONS = ("allow", "deny")


async def list_approvals(request: Request, ctx: Context) -> Response:
    """``GET /v1/approvals``."""
    Query(request)
    return render.answer({"approvals": [described(ctx, one) for one in await approvals.listed(ctx)]})


async def show_approval(request: Request, ctx: Context) -> Response:
    """``GET /v1/approvals/{id}``."""
    Query(request)
    return render.answer(described(ctx, await approvals.shown(ctx, request.path_params["id"])))


async def answer_approval(request: Request, ctx: Context) -> Response:
    """``POST /v1/approvals/{id}``."""
    said = answer_of(await Fields.read(request))
    return render.answer(described(ctx, await approvals.answer(ctx, request.path_params["id"], said)))


def answer_of(body: Fields) -> Answer:
    """Read an answer, whole.

    Raises:
        InvalidRequest: it is none.
    """
    decision, remember = body.text("decision"), body.text("remember", "always")
    scope = body.words("scope") or None
    expires_at, mode = body.time("expires_at"), body.text("mode") or None
    name, accounts = body.text("name"), body.words("accounts")
    body.end()
    if decision not in DECISIONS:
        raise InvalidRequest("'decision' must be 'allow' or 'deny'.")
    if remember not in get_args(Remember):
        raise InvalidRequest("'remember' must be 'once', 'until' or 'always'.")
    if mode not in (None, *apps.MODES):
        raise InvalidRequest("'mode' must be 'token' or 'proxy'.")
    return Answer(decision == "allow", cast("Remember", remember), expires_at, scope, mode, name, accounts)


async def ask_pairing(request: Request, ctx: Context) -> Response:
    """``POST /v1/pairing``: a program shows a key that it made for itself, and asks to become an app by it."""
    body = await Fields.read(request)
    name, wanted = body.text("name"), [_wanted(one) for one in body.objects("grants")]
    body.end()
    caller = _stranger(request)
    if isinstance(caller, App):
        raise Conflict(f"This key is app '{caller.name}' already.", "What it has: GET /v1/pairing")
    approval = await approvals.pair(ctx, caller, peers.address_of(request), name, wanted, peers.asker_of(request)())
    return render.answer(_pairing(ctx, approval), 201)


async def show_pairing(request: Request, ctx: Context) -> Response:
    """``GET /v1/pairing``: how the program's request stands; waits for the answer for up to ``wait`` seconds."""
    wait = min(Query(request, "wait").seconds("wait") or 0.0, MOST_WAIT)
    caller = _stranger(request)
    if isinstance(caller, App):
        return render.answer(_paired(caller.name))
    give_up = asyncio.get_running_loop().time() + wait
    with ctx.events.listen() as events:
        while (approval := approvals.pairing_of(ctx, caller)).state == "pending":
            left = give_up - asyncio.get_running_loop().time()
            if left <= 0 or events.closed:
                break
            await events.next(left)
    if approval.state == "allowed":
        # The owner may have given it another name.
        app = await ctx.store.app_by_key(caller.key_hash, ctx.clock())
        if app is None:
            raise UnknownApproval("This app is gone again.", "Ask again with another key: POST /v1/pairing")
        return render.answer(_paired(app.name))
    return render.answer(_pairing(ctx, approval))


async def end_pairing(request: Request, ctx: Context) -> Response:
    """``DELETE /v1/pairing``: the program does not ask any more."""
    Query(request)
    caller = _stranger(request)
    if isinstance(caller, App):
        raise Conflict(
            f"This key is app '{caller.name}' already.", f"The owner ends it: keyfob app remove {caller.name}"
        )
    approvals.end_pairing(ctx, caller)
    return Response(status_code=204, headers=render.ANSWER_HEADERS)


async def open_page(request: Request, ctx: Context) -> Response:
    """``POST /v1/session``: the address of the web page, with a secret in its fragment that signs one browser in.

    And the same without a secret, for a command line: that one works where the kernel says whose the browser is.
    """
    body = await Fields.read(request)
    body.end()
    ticket = ctx.sessions.ticket(ctx.steady())
    return render.answer(
        {
            "url": f"{ctx.browser_url}/ui/#s={ticket.reveal()}",
            "open_url": f"{ctx.browser_url}/ui/enter/{ctx.sessions.entry(ticket, ctx.steady())}",
            "expires_at": render.timestamp(ctx.clock() + TICKET_LIFE),
        },
        201,
    )


def described(ctx: Context, shown: Approval) -> dict[str, Any]:
    """Return a request as the owner sees it."""
    asker = shown.asker
    return {
        "id": shown.id,
        "kind": shown.kind,
        "state": shown.state,
        "app": shown.app,
        "wanted": [
            {"account": one.account, "scope": " ".join(one.scope), "resource": one.resource, "mode": one.mode}
            for one in shown.wanted
        ],
        "asker": None
        if asker is None
        else {"door": asker.door, "uid": asker.uid, "pid": asker.pid, "executable": asker.executable or None},
        "asked_at": render.timestamp(shown.asked_at),
        "last_asked_at": render.timestamp(shown.last_asked_at),
        "count": shown.count,
        "expires_at": render.timestamp(shown.expires_at),
        "approval_url": approvals.url(ctx, shown),
    }


def _stranger(request: Request) -> Stranger | App:
    caller = request.scope["state"]["caller"]
    if not isinstance(caller, Stranger | App):
        raise InvalidRequest(
            "A program asks this with a key of its own making.",
            "Send 'Authorization: Bearer kf_' and 256 random bits as 43 characters of base64url.",
        )
    return caller


def _wanted(body: Fields) -> Wanted:
    wanted = Wanted(body.text("account"), body.words("scope"), body.text("resource") or None)
    body.end()
    if not wanted.account:
        raise InvalidRequest("'account' is missing.", "Name the account: {'account': 'work'}")
    return wanted


def _pairing(ctx: Context, shown: Approval) -> dict[str, Any]:
    return {
        "state": shown.state,
        "code": shown.id,
        "app": shown.app,
        "approval_url": approvals.url(ctx, shown),
        "expires_at": render.timestamp(shown.expires_at),
        "interval": INTERVAL,
    }


def _paired(app: str) -> dict[str, Any]:
    return {"state": "allowed", "code": None, "app": app, "approval_url": None, "expires_at": None, "interval": None}
