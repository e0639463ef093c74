"""The token endpoint: code, refresh, client credentials, JWT bearer, device code and token exchange.

RFC 6749 4.1.3, 4.4, 6; RFC 7523 2.1; RFC 8628 3.4; RFC 8693.

Routed by ``app``.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from broker.practice import resources, sabotage
from broker.practice.assertions import Unproven, show
from broker.practice.authorize import checked_scopes
from broker.practice.clients import GRANT_TYPES, JWT_BEARER, Client
from broker.practice.grants import Issued, User, fingerprint
from broker.practice.refusal import Refusal
from broker.practice.wire import Answer, Call, target

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636 4.1
OTHER = "other_grant"  # what faults and events call a request of no kind that is known
_SLOWER = 5.0  # seconds that a slow_down adds (RFC 8628 3.5)


ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 -- RFC 8693 3: the name of a type


def checked_resource(form: Mapping[str, str]) -> str:
    """Return the resource of a request, or empty text (RFC 8707 2).

    Raises:
        Refusal: ``invalid_target``: it is no absolute URI without a fragment.
    """
    resource = form.get("resource", "")
    if resource and (not urlsplit(resource).scheme or "#" in resource):
        raise Refusal("invalid_target", f"{resource!r} is no absolute URI without a fragment")
    return resource


def grant_name(call: Call) -> str:
    """Return the name by which faults and events know this token request."""
    try:
        form = call.token_form()
        return "revoke" if resources.is_revocation(call, form) else GRANT_TYPES.get(form.get("grant_type", ""), OTHER)
    except Refusal:
        return OTHER  # what is wrong with the form is said by the endpoint itself


def token(call: Call) -> Answer:
    """POST: tokens for a grant."""
    call.shaped = True
    form = call.token_form()
    if resources.is_revocation(call, form):
        return resources.revoke(call)
    call.refresh_token = fingerprint(form.get("refresh_token", ""))
    call.resource = target(form)
    grant_type = _needed(form, "grant_type")
    claims: Mapping[str, Any] = {}
    if grant_type == JWT_BEARER:
        client, claims = _signed(call, form)
    else:
        bare = GRANT_TYPES.get(grant_type) == "device_code" and not call.shape.activation.client_secret
        client = call.authenticate(form, ("none",) if bare else ())
    if grant_type not in GRANT_TYPES:
        raise Refusal("unsupported_grant_type", f"known here: {' '.join(GRANT_TYPES)}")
    if grant_type not in client.grant_types:
        raise Refusal("unauthorized_client", f"this client is not registered for {grant_type}")
    if grant_type == JWT_BEARER:
        issued, nonce = _asserted(call, client, form, claims)
    else:
        handler = {
            "code": _code,
            "refresh": _refresh,
            "client_credentials": _machine,
            "device_code": _device,
            "token_exchange": _exchange,
        }
        issued, nonce = handler[GRANT_TYPES[grant_type]](call, client, form)
    call.result, call.grant = issued.result, issued.grant.id
    answer = _answer(call, issued, nonce)
    if GRANT_TYPES[grant_type] == "token_exchange":
        answer["issued_token_type"] = ACCESS_TOKEN_TYPE
    user = issued.grant.user
    return call.shape.told(
        sabotage.content(answer, call.faults),
        refreshed=GRANT_TYPES[grant_type] == "refresh",
        subject=user.sub if user else "",
        label=user.name if user else "",
    )


def _needed(form: Mapping[str, str], name: str) -> str:
    if name not in form:
        raise Refusal("invalid_request", f"{name} is missing")
    return form[name]


def _code(call: Call, client: Client, form: Mapping[str, str]) -> tuple[Issued, str]:
    proven = call.shape.pkce_of(public=client.secret is None) != "none"
    verifier = _needed(form, "code_verifier") if proven else form.get("code_verifier", "")
    if proven and not _VERIFIER.fullmatch(verifier):
        raise Refusal("invalid_request", "code_verifier must have 43 to 128 unreserved characters")
    grants = call.practice.grants
    grant = grants.redeem_code(_needed(form, "code"), client.id, _needed(form, "redirect_uri"), verifier)
    if call.resource and call.resource != grant.resource:
        raise Refusal("invalid_target", "resource is not the one of the authorization request")  # RFC 8707 2.2
    return grants.issue(grant, with_refresh_token="refresh_token" in client.grant_types), grant.nonce


def _refresh(call: Call, client: Client, form: Mapping[str, str]) -> tuple[Issued, str]:
    refresh_token = _needed(form, "refresh_token")
    if (known := call.practice.grants.grant_of(refresh_token)) is not None:
        call.grant = known.id  # so that a refused refresh is counted for its grant as well
    # A login by a device has none that could be compared.
    if known is not None and known.redirect_uri and form.get("redirect_uri", known.redirect_uri) != known.redirect_uri:
        raise Refusal("invalid_grant", "redirect_uri is not the one of the login")
    scopes = checked_scopes(form["scope"], call.shape) if "scope" in form else None
    return call.practice.grants.refresh(refresh_token, client.id, scopes, checked_resource(form)), ""


def _exchange(call: Call, client: Client, form: Mapping[str, str]) -> tuple[Issued, str]:
    subject_token = _needed(form, "subject_token")
    types = (_needed(form, "subject_token_type"), form.get("requested_token_type", ACCESS_TOKEN_TYPE))
    if types != (ACCESS_TOKEN_TYPE, ACCESS_TOKEN_TYPE):
        raise Refusal("invalid_request", "access tokens are exchanged for access tokens here, and nothing else")
    subject = call.practice.grants.access(subject_token)
    if subject is None or subject.grant.client_id != client.id:
        raise Refusal("invalid_request", "no such living access token of this client (RFC 8693 2.2.2)")
    call.grant = subject.grant.id
    scopes = checked_scopes(form["scope"], call.shape) if "scope" in form else None
    audience = form.get("audience", "")
    if not audience.isprintable():
        raise Refusal("invalid_target", "there is nobody of such a name (RFC 8693 2.2.2)")
    return call.practice.grants.exchange(subject, scopes, checked_resource(form), audience), ""


def _machine(call: Call, client: Client, form: Mapping[str, str]) -> tuple[Issued, str]:
    if not client.confidential:
        raise Refusal("unauthorized_client", "client_credentials is for confidential clients only (RFC 6749 4.4)")
    grant = call.practice.grants.open(client.id, None, checked_scopes(form.get("scope", "read")))
    return call.practice.grants.issue(grant, with_refresh_token=False), ""


def _signed(call: Call, form: Mapping[str, str]) -> tuple[Client, Mapping[str, Any]]:
    """Return the client that signed the assertion of the grant, and its claims (RFC 7523 3.1).

    The assertion proves its client well enough; one that is proven beside it must be the same.
    """
    text = _needed(form, "assertion")
    try:
        shown = show(text)
        call.client = shown.issuer
        client, claims = call.practice.clients.signed_by(shown)
    except Unproven as exc:
        raise Refusal("invalid_grant", f"the assertion: {exc}") from exc
    beside = any(name in form for name in ("client_id", "client_assertion")) or "authorization" in call.request.headers
    if call.practice.settings.insists_on_client and not {"client_assertion", "client_secret"} & form.keys():
        raise Refusal("invalid_client", "the client has to authenticate beside its assertion", status=401)
    if beside and call.authenticate(form) != client:
        raise Refusal("invalid_grant", "the assertion is of another client")
    return client, claims


def _asserted(call: Call, client: Client, form: Mapping[str, str], claims: Mapping[str, Any]) -> tuple[Issued, str]:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise Refusal("invalid_grant", "the assertion: it has no subject")
    user = None if subject == client.id else User(subject)
    grant = call.practice.grants.open(client.id, user, checked_scopes(form.get("scope", "read")))
    return call.practice.grants.issue(grant, with_refresh_token=False), ""


def _device(call: Call, client: Client, form: Mapping[str, str]) -> tuple[Issued, str]:
    practice, code = call.practice, _needed(form, "device_code")
    device, now = practice.devices.get(code), practice.clock()
    if device is None or device.client_id != client.id:
        raise Refusal("invalid_grant", "no such device code of this client")
    rules = call.shape.activation
    repeated = form.get(rules.scope_parameter)
    if repeated != (call.shape.scope_separator.join(device.scopes) if rules.scope_at_poll else None):
        raise Refusal("invalid_request", f"{rules.scope_parameter} has to be repeated, or must not be there")
    if now >= device.expires_at:
        raise Refusal("expired_token", "nobody entered the code in time")
    early = now - device.polled_at < device.interval
    device.polled_at = now
    if device.denied:
        raise Refusal("access_denied", "the person said no")
    if early:
        device.interval += _SLOWER
        raise Refusal("slow_down", f"wait {device.interval:g} s between two polls")
    if device.grant is None:
        raise Refusal("authorization_pending", "nobody has entered the code yet")
    del practice.devices[code]
    return practice.grants.issue(device.grant, with_refresh_token="refresh_token" in client.grant_types), ""


def _answer(call: Call, issued: Issued, nonce: str) -> dict[str, Any]:
    practice, grant = call.practice, issued.grant
    answer: dict[str, Any] = {
        "access_token": issued.access_token.reveal(),
        "token_type": "Bearer",
        "expires_in": int(practice.settings.ttl),
        "scope": " ".join(issued.scopes),
    }
    if not issued.scopes:
        del answer["scope"]
    if issued.refresh_token is not None:
        answer["refresh_token"] = issued.refresh_token.reveal()
        call.issued_refresh_token = fingerprint(answer["refresh_token"])
    if grant.user is not None and "openid" in issued.scopes:
        answer["id_token"] = practice.signer.id_token(
            practice.issuer, grant, grant.user, answer["access_token"], practice.clock(), call.spoiled(), nonce
        )
    return answer
