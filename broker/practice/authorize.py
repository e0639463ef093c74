"""The authorization endpoint: check the request, ask a person, send the browser back (RFC 6749 4.1, 7636, 9207).

Routed by ``app``; ``device`` shares the consent page.
"""

import re
import secrets
from collections.abc import Mapping
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.responses import RedirectResponse, Response

from broker.practice import pages, sabotage
from broker.practice.clients import OUT_OF_BAND, Client
from broker.practice.grants import User, s256
from broker.practice.refusal import Refusal
from broker.practice.shape import Shape
from broker.practice.state import Asked, Pushed
from broker.practice.tokens import foreign_issuer
from broker.practice.wire import RFC, Answer, Call, json_response, parameters, target

SCOPES: Mapping[str, str] = {
    "openid": "Know that it is you",
    "profile": "See your name",
    "email": "See your email address",
    "offline_access": "Stay logged in while you are away",
    "read": "Read your practice data",
    "write": "Change your practice data",
}
"""Scope -> what it lets a client do, as the consent page says it."""

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # what S256 always yields (RFC 7636 4.2)
_PATIENCE = 600  # seconds for which a consent page can be answered; the time that Keyfob gives a login


def checked_scopes(text: str, shape: Shape = RFC) -> tuple[str, ...]:
    """Return the scopes of a request, without repeats.

    Raises:
        Refusal: ``invalid_scope``: empty, or one that neither ``SCOPES`` nor the shape knows.
    """
    scopes = tuple(dict.fromkeys(filter(None, text.split(shape.scope_separator or " "))))
    if not scopes and (shape == RFC or shape.scopes):
        raise Refusal("invalid_scope", "no scope was asked for")
    if unknown := [scope for scope in scopes if scope not in SCOPES and scope not in shape.scopes]:
        raise Refusal("invalid_scope", f"unknown here: {' '.join(unknown)}; known: {' '.join(SCOPES)}")
    return scopes


def show(call: Call) -> Answer:
    """GET: check the request; ask the person, or with ``auto_approve`` answer at once."""
    try:
        fields = _fields(call)
        call.client, call.resource = fields.get("client_id", ""), fields.get("resource", "")
        client = _client(call, fields)
    except Refusal as refusal:  # never to a redirect URI that is not proven: RFC 6749 4.1.2.1
        call.result = refusal.result
        return pages.message("This request cannot be answered", refusal.description, status=400)
    redirect_uri, state = fields["redirect_uri"], fields.get("state")
    try:
        asked = _asked(call, client, fields)
    except Refusal as refusal:
        call.result = refusal.result
        return _back(call, redirect_uri, state, {"error": refusal.error, "error_description": refusal.description})
    if call.practice.settings.auto_approve or fields.get("auto_approve") in ("1", "true"):
        return _allow(call, asked, asked.login_hint or call.practice.settings.user, asked.scopes)
    if fields.get("prompt") == "none":
        call.result = "login_required"
        return _back(call, redirect_uri, state, {"error": "login_required"})
    call.result = "asked"
    ticket = secrets.token_urlsafe(16)
    call.practice.asked[ticket] = asked
    return pages.consent(
        action="/authorize",
        ticket=ticket,
        client=client.name or client.id,
        scopes={scope: SCOPES.get(scope, scope) for scope in asked.scopes},
        user=asked.login_hint or call.practice.settings.user,
        leads_to=redirect_uri,
    )


def push(call: Call) -> Answer:
    """POST: keep an authorization request until the browser comes with its reference (RFC 9126 2)."""
    form = call.form()
    client = call.authenticate(form)
    if "request_uri" in form:
        raise Refusal("invalid_request", "request_uri does not belong into a pushed request (RFC 9126 2.1)")
    fields = {name: value for name, value in form.items() if name != "client_secret"}
    if not client.may_redirect_to(fields.get("redirect_uri", "")):
        raise Refusal("invalid_request", "that is no redirect URI of this client")
    _asked(call, client, fields)
    reference, practice = f"urn:ietf:params:oauth:request_uri:{secrets.token_urlsafe(24)}", call.practice
    practice.pushed[reference] = Pushed(client.id, fields, practice.clock() + practice.settings.par_ttl)
    answer = sabotage.content({"request_uri": reference, "expires_in": practice.settings.par_ttl}, call.faults)
    return json_response(answer, 201)


def _fields(call: Call) -> dict[str, str]:
    """Return the parameters of the request: those of the query, or those that were pushed, once (RFC 9126 4)."""
    fields = parameters(call.request.scope["query_string"])
    reference = fields.get("request_uri")
    if reference is None:
        if call.practice.settings.require_par:
            raise Refusal("invalid_request", "Only pushed requests are answered here.")
        return fields
    held = call.practice.pushed.pop(reference, None)
    if held is None or call.practice.clock() >= held.expires_at or held.client_id != fields.get("client_id"):
        raise Refusal("invalid_request_uri", "This request is unknown, was used before, or is too old.")
    # What else stands in the query is not believed; a test's wish to be somebody is no part of the request.
    mine = {name: value for name, value in fields.items() if name in ("login_hint", "auto_approve")}
    return {**mine, **held.fields}


def decide(call: Call) -> Answer:
    """POST: the person's decision; 303 back to the client."""
    fields = parse_qs(call.body.decode(errors="replace"))
    asked = call.practice.asked.pop(fields.get("ticket", [""])[0], None)
    if asked is None or call.practice.clock() >= asked.expires_at:
        call.result = "expired"
        return pages.message("This page is too old", "Begin the login again where you started it.", status=400)
    call.client = asked.client_id
    scopes = tuple(scope for scope in asked.scopes if scope in fields.get("scope", []))
    if fields.get("decision") != ["allow"] or not scopes:
        call.result = "denied"
        return _back(call, asked.redirect_uri, asked.state, {"error": "access_denied"})
    user = fields.get("user", [""])[0].strip() or call.practice.settings.user
    return _allow(call, asked, user, scopes)


def _client(call: Call, fields: Mapping[str, str]) -> Client:
    """Return the client, once it and its redirect URI are proven to belong together."""
    client = call.practice.clients.find(fields.get("client_id", ""))
    if client is None:
        raise Refusal("invalid_client", f"No client has the id {fields.get('client_id', '')!r}.")
    uri = fields.get("redirect_uri", "")
    if not client.may_redirect_to(uri):
        raise Refusal("invalid_redirect_uri", f"{uri!r} is not a redirect URI of the client {client.id!r}.")
    return client


def _asked(call: Call, client: Client, fields: Mapping[str, str]) -> Asked:
    if fields.get("response_type") != "code":
        raise Refusal("unsupported_response_type", "response_type must be code")
    if fields.get("response_mode", "query") != "query":
        raise Refusal("invalid_request", "response_mode must be query")
    if "authorization_code" not in client.grant_types:
        raise Refusal("unauthorized_client", "this client is not registered for authorization_code")
    for name, value in call.shape.authorize_params.items():
        if fields.get(name, "") != value:
            raise Refusal("invalid_request", f"{name} has to be {value!r}")
    if call.shape.scope_parameter != "scope" and "scope" in fields:
        raise Refusal("invalid_request", f"scope is called {call.shape.scope_parameter} here")
    return Asked(
        client.id,
        fields["redirect_uri"],
        fields.get("state"),
        checked_scopes(fields.get(call.shape.scope_parameter, ""), call.shape),
        _challenge(call, client, fields),
        fields.get("nonce", ""),
        fields.get("login_hint", ""),
        target(fields),
        call.practice.clock() + _PATIENCE,
    )


def _challenge(call: Call, client: Client, fields: Mapping[str, str]) -> str:
    """Return the S256 code challenge, made from a plain one where that is the method; empty where there is no PKCE."""
    method, challenge = call.shape.pkce_of(public=client.secret is None), fields.get("code_challenge", "")
    if method == "none":
        if challenge or "code_challenge_method" in fields:
            raise Refusal("invalid_request", "code_challenge means nothing here")
        return ""
    if fields.get("code_challenge_method") != method:
        raise Refusal("invalid_request", f"PKCE is required: code_challenge_method must be {method}")
    if not _CHALLENGE.fullmatch(challenge):
        raise Refusal("invalid_request", "PKCE is required: code_challenge must have 43 characters of base64url")
    return challenge if method == "S256" else s256(challenge)


def _allow(call: Call, asked: Asked, user: str, scopes: tuple[str, ...]) -> Response:
    grants = call.practice.grants
    grant = grants.open(asked.client_id, User(user), scopes, asked.nonce)
    grant.resource = asked.resource
    call.result, call.grant = "allowed", grant.id
    code = grants.issue_code(grant, asked.redirect_uri, asked.challenge)
    shape, answer = call.shape, {"code": code.reveal()}
    if shape.callback_scope:
        answer[shape.callback_scope] = shape.reply_scope_separator.join(scopes)
    return _back(call, asked.redirect_uri, asked.state, answer)


def _back(call: Call, redirect_uri: str, state: str | None, answer: dict[str, str]) -> Response:
    """Send the browser to the client, or show the code where the client has no address."""
    practice = call.practice
    faults = practice.faults.take("authorize", ("content",))
    call.faults += faults
    spoiled = {fault.kind.name: fault.value for fault in faults}
    if "deny" in spoiled:
        answer = {"error": spoiled["deny"], "error_description": "practice fault"}
    if redirect_uri == OUT_OF_BAND:
        return pages.code(answer) if "code" in answer else pages.message("Login refused", answer["error"])
    if state is not None and "no_state" not in spoiled:
        answer["state"] = "a-foreign-state" if "wrong_state" in spoiled else state
    answer |= call.shape.callback_params
    if call.shape.sends_iss and "no_iss" not in spoiled:
        answer["iss"] = foreign_issuer(practice.issuer) if "wrong_iss" in spoiled else practice.issuer
    for fault in faults:
        if fault.kind.name == "json":
            answer |= {name: str(value) for name, value in fault.value.items()}
        if fault.kind.name == "without":
            answer.pop(fault.value, None)
    joint = "&" if urlsplit(redirect_uri).query else "?"
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return RedirectResponse(f"{redirect_uri}{joint}{urlencode(answer)}", 303, headers)
