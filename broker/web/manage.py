"""The API's handlers for what only the owner does: providers, apps, events, status and health.

Put behind the app doors by ``asgi``.
"""

import os
import platform
import re
from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broker import __version__, challenge
from broker.core.policy import App, AppGrant
from broker.errors import InvalidRequest, KeyfobError, NotGranted, Unauthorized
from broker.providers import catalog
from broker.providers.discovery import ENDPOINTS
from broker.providers.model import Provider
from broker.store.store import AppRow
from broker.usecases import apps, audit, clients, health, login, providers, rediscovery
from broker.usecases.context import Context
from broker.usecases.providers import NewProvider
from broker.web import keys, peers, render, stream
from broker.web.api import caller_of
from broker.web.body import Fields, Query

# Of a question for a proof; the first two are in hexadecimal.
PROOF = ("key_id", "nonce", "address")
KEY_ID = re.compile(f"[0-9a-f]{{{challenge.KEY_ID_DIGITS}}}")
NONCE = re.compile(f"[0-9a-f]{{{2 * challenge.NONCE_BYTES}}}")


async def list_providers(request: Request, ctx: Context) -> Response:
    """``GET /v1/providers``."""
    Query(request)
    return render.answer({"providers": [await _provider(ctx, found) for found in await providers.listed(ctx)]})


async def show_provider(request: Request, ctx: Context) -> Response:
    """``GET /v1/providers/{provider}``."""
    Query(request)
    return render.answer(await _provider(ctx, await providers.find(ctx, request.path_params["provider"])))


async def add_provider(request: Request, ctx: Context) -> Response:
    """``POST /v1/providers``."""
    body = await Fields.read(request)
    endpoints = {ours: body.text(name) for name, ours in ENDPOINTS.items()}
    overrides: dict[str, Any] = {
        "endpoints": {name: url for name, url in endpoints.items() if url},
        "scopes": list(body.words("scope")),
        "grants": list(body.words("grants")),
        "refresh": body.table("refresh"),
        "api_base": body.text("api_base"),
        "title": body.text("title"),
    }
    new = NewProvider(
        name=body.text("name"),
        preset=body.text("preset"),
        base_url=body.text("base_url"),
        parameters=body.texts("parameters"),
        issuer=body.text("issuer"),
        overrides={name: value for name, value in overrides.items() if value},
        client_id=body.text("client_id"),
        client_secret=body.secret("client_secret"),
        auth_method=body.text("token_endpoint_auth_method"),
        private=body.flag("private"),
    )
    body.end()
    if not (new.preset or new.issuer or new.overrides.get("endpoints")):
        raise InvalidRequest(
            "Say what the provider is.",
            "Give 'issuer' (--issuer URL), 'preset' (--preset NAME), or its endpoints (--token-endpoint URL ...).",
        )
    return render.answer(await _provider(ctx, await providers.add(ctx, new)), 201)


async def delete_provider(request: Request, ctx: Context) -> Response:
    """``DELETE /v1/providers/{provider}``; with what became of each registration there, where there was one."""
    local_only = Query(request, "local_only").flag("local_only")
    gone = await providers.remove(ctx, request.path_params["provider"], local_only=local_only)
    if not gone:
        return _nothing()
    told = [{"client_id": one.client_id, "deleted": one.deleted, "detail": one.detail} for one in gone]
    return render.answer({"clients": told})


async def discover_provider(request: Request, ctx: Context) -> Response:
    """``POST /v1/providers/{provider}/discover``: ask it about itself now."""
    body = await Fields.read(request)
    confirm = body.flag("confirm")
    body.end()
    found = await rediscovery.again(ctx, request.path_params["provider"], confirm=confirm)
    return render.answer(await _provider(ctx, found))


async def client_metadata(request: Request, ctx: Context) -> Response:
    """``GET /v1/providers/{provider}/client-metadata``: what to host at the address that is to be the client id."""
    client_id = Query(request, "client_id").text("client_id") or ""
    provider = await providers.find(ctx, request.path_params["provider"])
    if not client_id:
        known = [client.client_id for client in await ctx.store.clients(provider.name)]
        client_id = next((one for one in known if one.startswith("https://")), "")
    if not client_id:
        raise InvalidRequest(
            "Where will the document be?",
            "Name its address, which is then the client id: --client-id https://you.example/keyfob.json",
        )
    return render.answer(clients.metadata_document(provider, client_id, login.redirect_uri(ctx, provider)))


async def list_presets(request: Request, ctx: Context) -> Response:
    """``GET /v1/presets``."""
    Query(request)
    found = catalog.presets(ctx.presets_dir)
    return render.answer({"presets": [render.preset(found[name]) for name in sorted(found)]})


async def show_preset(request: Request, ctx: Context) -> Response:
    """``GET /v1/presets/{preset}``: with the redirect URI of the provider that a login would make of it."""
    Query(request)
    found = catalog.preset(request.path_params["preset"], ctx.presets_dir)
    described = catalog.described(found)
    # Where a login has to say which of many it means, the provider's name and so its redirect URI come of that.
    open_ended = found.needs_base_url or any(not one.default for one in found.parameters.values())
    somewhere = bool(described.endpoints.token or described.issuer) and not open_ended
    redirect_uri = login.redirect_uri(ctx, described) if somewhere else ""
    return render.answer(render.preset_in_full(found, redirect_uri))


async def list_apps(request: Request, ctx: Context) -> Response:
    """``GET /v1/apps``."""
    Query(request)
    return render.answer({"apps": [_app(ctx, row) for row in await apps.listed(ctx)]})


async def show_app(request: Request, ctx: Context) -> Response:
    """``GET /v1/apps/{app}``: an app may look at itself, so that it can tell what it was granted."""
    Query(request)
    name = request.path_params["app"]
    caller = caller_of(request)
    if isinstance(caller, App) and caller.name != name:
        raise NotGranted("An app may look at its own grants only.", f"That is /v1/apps/{caller.name}.")
    return render.answer(_app(ctx, await apps.shown(ctx, name)))


async def add_app(request: Request, ctx: Context) -> Response:
    """``POST /v1/apps``."""
    body = await Fields.read(request)
    name, expires_at, capability = body.text("name"), body.time("expires_at"), body.flag("capability")
    grants = [_grant(given) for given in body.objects("grants")]
    body.end()
    key = await apps.add(ctx, name, grants, expires_at, capability=capability)
    granted = [_granted(ctx, name, given) for given in grants]
    return render.answer({"name": name, "key": key.reveal(), "grants": granted}, 201)


async def delete_app(request: Request, ctx: Context) -> Response:
    """``DELETE /v1/apps/{app}``."""
    await apps.remove(ctx, request.path_params["app"])
    return _nothing()


async def rotate_app(request: Request, ctx: Context) -> Response:
    """``POST /v1/apps/{app}/rotate``."""
    name = request.path_params["app"]
    body = await Fields.read(request)
    capability = body.flag("capability")
    body.end()
    key = await apps.rotate(ctx, name, capability=capability)
    return render.answer({"name": name, "key": key.reveal()})


async def put_grant(request: Request, ctx: Context) -> Response:
    """``PUT /v1/apps/{app}/grants/{account}``."""
    body = await Fields.read(request)
    app, given = request.path_params["app"], _grant(body, request.path_params["account"])
    await apps.grant(ctx, app, given)
    return render.answer(_granted(ctx, app, given))


async def delete_grant(request: Request, ctx: Context) -> Response:
    """``DELETE /v1/apps/{app}/grants/{account}``."""
    await apps.revoke(ctx, request.path_params["app"], request.path_params["account"])
    return _nothing()


async def stream_events(request: Request, ctx: Context) -> Response:
    """``GET /v1/events``: server-sent events, from now on."""
    Query(request)
    return stream.answer(stream.told(ctx))


async def show_status(request: Request, ctx: Context) -> Response:
    """``GET /v1/status``."""
    Query(request)
    report = await health.report(ctx)
    return render.answer(
        {
            "version": __version__,
            "pid": os.getpid(),
            "python": platform.python_version(),
            "state": report.state,
            "reasons": list(report.reasons),
            "doors": ctx.doors,
            "key": keys.described(ctx),
            "accounts": report.accounts,
            "scheduler": {"next_tick_at": render.timestamp(ctx.schedule.next_tick_at), "due": report.due},
        }
    )


async def healthz(request: Request, ctx: Context) -> Response:
    """``GET /healthz``: the process answers; to who names an app key it proves that it is the daemon that made it."""
    if not any(name in request.query_params for name in PROOF):  # a probe: its cache buster makes no one ill
        return render.answer({"state": "ok"})
    query = Query(request, *PROOF)
    key_id, nonce, address = map(query.text, PROOF)
    if not KEY_ID.fullmatch(key_id or "") or not NONCE.fullmatch(nonce or "") or not address:
        raise InvalidRequest("A proof needs 'key_id', 'nonce' and 'address'.", "See /openapi.yaml for their form.")
    try:
        proof = await _prove(request, ctx, key_id or "", bytes.fromhex(nonce or ""), address)
    except KeyfobError as exc:
        return render.answer({"state": "ok", "proof": None, "code": exc.code})
    return render.answer({"state": "ok", "proof": proof})


async def _prove(request: Request, ctx: Context, key_id: str, nonce: bytes, address: str) -> str:
    # A program at any other address gets no proof for its own; and at the socket the kernel is proof enough.
    if address != peers.address_of(request) or address == challenge.SOCKET:
        raise InvalidRequest("The app port is not there.")
    try:
        return await apps.prove(ctx, key_id, nonce, address)
    except Unauthorized as exc:
        audit.unauthorized(ctx, "app port", exc.detail)
        raise


async def readyz(_: Request, ctx: Context) -> Response:
    """``GET /readyz``: 200, or 503 with what is wrong; whatever a probe adds to the address."""
    report = await health.report(ctx)
    body = {"state": report.state, "reasons": list(report.reasons)}
    return render.answer(body, 200 if report.state == "ok" else 503)


async def openapi(_: Request, ctx: Context) -> Response:
    """``GET /openapi.yaml``: the same, whatever is added to the address."""
    del ctx
    text = (resources.files("broker.web") / "openapi.yaml").read_bytes()
    return Response(text, headers=render.ANSWER_HEADERS, media_type="application/yaml")


async def _provider(ctx: Context, found: Provider) -> dict[str, Any]:
    ids = [client.client_id for client in await ctx.store.clients(found.name)]
    about = await providers.background(ctx, found.name)
    public = None if ctx.store.locked else await clients.public_keys(ctx, found.name)
    return render.provider(found, ids, login.redirect_uri(ctx, found), about, public)


def _app(ctx: Context, row: AppRow) -> dict[str, Any]:
    return render.app(row, [_granted(ctx, row.name, given) for given in row.grants])


def _granted(ctx: Context, app: str, given: AppGrant) -> dict[str, Any]:
    return render.grant(given, apps.token_file(ctx, app, given))


def _grant(body: Fields, account: str = "") -> AppGrant:
    given = AppGrant(
        account=account or body.text("account"),
        scope=body.words("scope"),
        resource=body.text("resource") or None,
        mode=body.text("mode", "token"),
        expires_at=body.time("expires_at"),
        rules=apps.read_rules(body.lines("rules")),
        token_file=body.text_or_none("token_file"),
        rate_share=body.whole("rate_share", 1, 100),
    )
    if not given.account:
        raise InvalidRequest("'account' is missing in a grant.", "Name the account that the app may use.")
    body.end()
    return given


def _nothing() -> Response:
    return Response(status_code=204, headers=render.ANSWER_HEADERS)
