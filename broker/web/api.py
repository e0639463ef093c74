"""The API's handlers for accounts, tokens and logins: parse, call the story, render.

Put behind the app doors by ``asgi``. A handler decides nothing.
"""

import asyncio
from typing import cast, get_args

from starlette.requests import Request
from starlette.responses import Response

from broker.core.account import Account
from broker.core.login import Flow, flow_name
from broker.core.policy import Ask, Caller, Denied
from broker.core.secret import Secret
from broker.errors import InvalidRequest, LoginFailed, UnknownLogin
from broker.providers.urls import check_resource
from broker.usecases import accounts, approvals, audit, begin, derive, forward, given, login, machine, paste, rename
from broker.usecases.context import Context
from broker.usecases.newlogin import NewLogin
from broker.usecases.outcomes import Outcome, Ready
from broker.web import accept, peers, refusals, render, stream
from broker.web.body import Fields, Query, check_audience, check_words
from broker.web.guards import check_unlocked

# A waiting poll answers before proxies and clients grow impatient.
MOST_WAIT = 60.0
FLOWS: tuple[Flow, ...] = get_args(Flow)
# What is done where nobody says anything: the second where the provider has no page for the first.
USUAL: tuple[Flow, ...] = ("browser", "device")
# These ask nothing of a person any more: they cannot be one choice of several.
AT_ONCE: tuple[Flow, ...] = (*machine.FLOWS, "token-exchange", "token", "refresh-token")


def caller_of(request: Request) -> Caller:
    """Return who asks, as the guard found out."""
    return cast("Caller", request.scope["state"]["caller"])


async def get_token(request: Request, ctx: Context) -> Response:
    """``GET /v1/accounts/{account}/token``."""
    query = Query(request, "min_ttl", "scope", "resource", "audience", "id_token")
    ask = _ask(request, query.words("scope"), query.text("resource"), query.text("audience"))
    min_ttl, id_token = query.seconds("min_ttl"), query.flag("id_token")
    check_unlocked(ctx)
    outcome = await approvals.ask_token(
        ctx, caller_of(request), ask, peers.asker_of(request), min_ttl=min_ttl, id_token=id_token
    )
    if isinstance(outcome, Ready) and outcome.until:
        request.scope["state"]["standing"] = outcome, _wants_text(request)
    return _answered(request, ctx, outcome)


async def report_rejected(request: Request, ctx: Context) -> Response:
    """``POST /v1/accounts/{account}/token/rejected``."""
    body = await Fields.read(request)
    token = body.secret("access_token")
    ask = _ask(request, body.words("scope"), body.text("resource"), body.text("audience"))
    body.end()
    token = _needed(token, "access_token")
    check_unlocked(ctx)
    denied = await accounts.rejected(ctx, caller_of(request), ask.account, token)
    if denied is not None:
        return _answered(request, ctx, denied)
    outcome = await approvals.ask_token(ctx, caller_of(request), ask, peers.asker_of(request))
    return _answered(request, ctx, outcome)


def _answered(request: Request, ctx: Context, outcome: Outcome) -> Response:
    if isinstance(outcome, Denied):
        audit.refused(ctx, caller_of(request), outcome.account, outcome.reason)
    return render.token(outcome, plain=_wants_text(request))


async def list_accounts(request: Request, ctx: Context) -> Response:
    """``GET /v1/accounts``."""
    Query(request)
    return await stream.listed("accounts", (render.account(view) async for view in accounts.listed(ctx)))


async def show_account(request: Request, ctx: Context) -> Response:
    """``GET /v1/accounts/{account}``."""
    Query(request)
    return render.answer(render.account(await accounts.shown(ctx, request.path_params["account"])))


async def delete_account(request: Request, ctx: Context) -> Response:
    """``DELETE /v1/accounts/{account}``."""
    local_only = Query(request, "local_only").flag("local_only")
    if not local_only:
        check_unlocked(ctx)
    result = await accounts.log_out(ctx, request.path_params["account"], local_only=local_only)
    if local_only:
        return Response(status_code=204, headers=render.ANSWER_HEADERS)
    return render.answer({"revoked": result.revoked, "detail": result.detail, "derived": list(result.derived)})


async def change_account(request: Request, ctx: Context) -> Response:
    """``PATCH /v1/accounts/{account}``: give it another name, or say where its API is."""
    Query(request)
    body = await Fields.read(request)
    new, base = body.text("name"), body.text_or_none("api_base")
    body.end()
    name = request.path_params["account"]
    if bool(new) == (base is not None):
        raise InvalidRequest("Give either 'name' or 'api_base'.", "One thing is changed at a time.")
    changed = await rename.rename(ctx, name, new) if base is None else await forward.set_base(ctx, name, base)
    return render.answer(render.account(await accounts.shown(ctx, changed.name)))


async def refresh_account(request: Request, ctx: Context) -> Response:
    """``POST /v1/accounts/{account}/refresh``."""
    Query(request)
    body = await Fields.read(request)
    confirm = body.flag("confirm")
    body.end()
    check_unlocked(ctx)
    result = await accounts.refresh_now(ctx, request.path_params["account"], confirm=confirm)
    if not isinstance(result, Account):
        return render.problem(refusals.refusal(result))
    view = await accounts.shown(ctx, result.name)
    return render.answer(render.account(view))


async def start_login(request: Request, ctx: Context) -> Response:
    """``POST /v1/logins``."""
    body = await Fields.read(request)
    name = body.text("account")
    flows = await _flows(ctx, body, name)
    new = NewLogin(
        provider=body.text("provider"),
        account=name,
        base_url=body.text("base_url"),
        parameters=body.texts("parameters"),
        scope=body.words("scope"),
        flow=flows[0],
        client_id=body.text("client_id"),
        client_secret=body.secret("client_secret"),
        auth_method=body.text("token_endpoint_auth_method"),
        resource=body.text("resource") or None,
        private=body.flag("private"),
        only_scope=body.flag("only_scope"),
        subject=body.text("subject"),
        audience=body.text("audience"),
        parent=body.text("from"),
    )
    access_token, refresh_token = body.secret("access_token"), body.secret("refresh_token")
    expires_at = body.time("expires_at")
    body.end()
    check_unlocked(ctx)
    _check_members(new, access_token, refresh_token)
    if new.flow == "token":
        finished = await given.bring_token(ctx, new, _needed(access_token, "access_token"), expires_at)
    elif new.flow == "refresh-token":
        finished = await given.bring_refresh_token(ctx, new, _needed(refresh_token, "refresh_token"))
    elif new.flow == "token-exchange":
        finished = await derive.log_in(ctx, new)
    elif new.flow in machine.FLOWS:
        finished = await machine.log_in(ctx, new)
    else:
        started = await begin.begin(ctx, new, flows)
        return render.answer(render.login(started, login.start_url(ctx, started.id)), 201)
    return render.answer(render.login(finished.login, "", finished.account), 201)


def _check_members(new: NewLogin, access_token: Secret | None, refresh_token: Secret | None) -> None:
    """Refuse what belongs to another flow: silence would let a person believe that it was heard."""
    brought = new.flow in ("token", "refresh-token")
    if not brought and (access_token is not None or refresh_token is not None):
        raise InvalidRequest("A token does not go with this flow.", "Use the flow 'token' or 'refresh-token'.")
    if new.flow not in (*machine.FLOWS, "token-exchange") and (new.subject or new.audience):
        raise InvalidRequest(
            "A subject or an audience does not go with this flow.", f"Use one of: {', '.join(machine.FLOWS)}."
        )
    if new.flow != "token-exchange" and new.parent:
        raise InvalidRequest("'from' does not go with this flow.", "Use the flow 'token-exchange'.")


async def show_login(request: Request, ctx: Context) -> Response:
    """``GET /v1/logins/{id}``, which waits for the end for up to ``wait`` seconds."""
    login_id = request.path_params["id"]
    wait = min(Query(request, "wait").seconds("wait") or 0.0, MOST_WAIT)
    give_up = asyncio.get_running_loop().time() + wait
    with ctx.events.listen() as events:
        await login.expire(ctx)
        while True:
            found = await ctx.store.login(login_id)
            if found is None:
                raise UnknownLogin("There is no such login. It never was, or ended an hour ago.", "Start it again.")
            left = give_up - asyncio.get_running_loop().time()
            if found.state != "pending" or left <= 0 or events.closed:
                break
            # A login that runs out publishes nothing until the next tick: look when its time is over.
            await events.next(min(left, max(0.1, found.expires_at - ctx.clock())))
            await login.expire(ctx)
    account = await ctx.store.account(found.account) if found.state == "done" else None
    return render.answer(render.login(found, login.start_url(ctx, login_id), account))


async def finish_login(request: Request, ctx: Context) -> Response:
    """``POST /v1/logins/{id}/finish``: the pasted redirect URL, or the pasted code."""
    body = await Fields.read(request)
    url, code = body.text("url"), body.secret("code")
    body.end()
    if bool(url) == (code is not None):
        raise InvalidRequest("Give either 'url' or 'code'.")
    check_unlocked(ctx)
    finished = await paste.finish(ctx, request.path_params["id"], url=url, code=code)
    if finished.account is None:
        raise LoginFailed(finished.reason)
    return render.answer(render.login(finished.login, "", finished.account))


async def cancel_login(request: Request, ctx: Context) -> Response:
    """``DELETE /v1/logins/{id}``."""
    await login.cancel(ctx, request.path_params["id"])
    return Response(status_code=204, headers=render.ANSWER_HEADERS)


def _ask(request: Request, scope: tuple[str, ...], resource: str | None, audience: str | None) -> Ask:
    """Return what is asked for: all of it goes to the provider where the account's own token is not that.

    Raises:
        InvalidRequest: they cannot be scopes, a resource (RFC 8707 2), or a name.
    """
    check_words("scope", scope)
    if resource:
        check_resource(resource)
    if audience:
        check_audience(audience)
    return Ask(request.path_params["account"], scope, resource or None, audience or None)


async def _flows(ctx: Context, body: Fields, account: str) -> tuple[Flow, ...]:
    """Take the flow, or several of which the first that the provider offers is meant.

    Where that leaves a choice, an account of a program logs in as it did before: no person is to be asked for it.
    """
    named = body.choices("flow")
    for flow in named:
        if flow_name(flow) not in FLOWS:
            raise InvalidRequest(f"There is no flow '{flow[:50]}'.", f"Use one of: {', '.join(FLOWS)}.")
    flows = cast("tuple[Flow, ...]", tuple(dict.fromkeys(map(flow_name, named))))
    if len(flows) > 1 and set(flows) & set(AT_ONCE):
        raise InvalidRequest(
            "A flow that asks nothing of a person leaves nothing to choose.", "Name that flow alone, or leave it out."
        )
    if len(flows) == 1:
        return flows
    former = await machine.former_flow(ctx, account)
    return (former,) if former is not None else flows or USUAL


def _needed(token: Secret | None, name: str) -> Secret:
    if token is None:
        raise InvalidRequest(f"'{name}' is missing.", "Send the token as text in the JSON body.")
    return token


def _wants_text(request: Request) -> bool:
    return accept.prefers_text(",".join(request.headers.getlist("accept")))
