"""Client registration (RFC 7591 3), open to anybody on this machine; its management (RFC 7592); and another form of it.

Routed by ``app``.
"""

import hmac
import json
import secrets
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from starlette.responses import Response

from broker.core.secret import Secret
from broker.practice import sabotage
from broker.practice.clients import AUTH_METHODS, BY_KEY, GRANT_TYPES, Client, redirect_uri_problem
from broker.practice.refusal import Refusal
from broker.practice.wire import Answer, Call, json_response


def register(call: Call) -> Answer:
    """POST: a new client; 201 with its id, its secret where it is to have one, and what manages it (RFC 7592 3)."""
    client = _asked(call, _metadata(call), f"registered-{secrets.token_hex(8)}")
    call.practice.clients.add(client)
    call.client = client.id
    return _told(call, client, 201)


def read(call: Call) -> Answer:
    """GET: what is registered (RFC 7592 2.1)."""
    return _told(call, _managed(call), 200)


def change(call: Call) -> Answer:
    """PUT: other metadata, all of it (RFC 7592 2.2); the answer brings a new token, and the old one is dead."""
    client = _managed(call)
    wanted = _metadata(call)
    if not_for_it := [name for name in _OURS if name in wanted]:
        raise Refusal("invalid_request", f"not for an update: {' '.join(not_for_it)}")
    if wanted.get("client_id") != client.id:
        raise Refusal("invalid_request", "client_id must be there, and the same")
    if client.secret is not None and wanted.get("client_secret") != client.secret.reveal():
        raise Refusal("invalid_request", "client_secret must be there, and the one of now")
    changed = _asked(call, wanted, client.id, client)
    call.practice.clients.add(changed)
    return _told(call, changed, 200)


def delete(call: Call) -> Answer:
    """DELETE: the client is no more (RFC 7592 2.3)."""
    call.practice.clients.remove(_managed(call).id)
    return Response(None, 204)


def own_form(call: Call) -> Answer:
    """POST: a confidential client by another form than RFC 7591's, as servers of the social web have it."""
    form = call.form()
    if not form.get("client_name") or not form.get("redirect_uris"):
        raise Refusal("invalid_client_metadata", "client_name and redirect_uris are needed", status=422)
    uris = tuple(form["redirect_uris"].split())
    secret = Secret(secrets.token_urlsafe(24))
    client = Client(
        f"app-{secrets.token_hex(8)}", secret, AUTH_METHODS[1:], redirect_uris=uris, name=form["client_name"]
    )
    call.practice.clients.add(client)
    call.client = client.id
    answer = {
        "id": client.id,
        "name": client.name,
        "scopes": form.get("scopes", "read").split(),
        "redirect_uris": list(uris),
        "client_id": client.id,
        "client_secret": secret.reveal(),
        "client_secret_expires_at": 0,
    }
    return json_response(sabotage.content(answer, call.faults))


# What is the server's to say: an update must not name it (RFC 7592 2.2).
_OURS = ("registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at")


def _managed(call: Call) -> Client:
    """Return the client that a request manages, proven by its registration access token."""
    client = call.practice.clients.find(call.request.path_params["client"])
    scheme, _, token = call.request.headers.get("authorization", "").partition(" ")
    known = client.registration_token if client is not None else None
    if client is None or known is None or scheme.lower() != "bearer" or not _same(known, token):
        challenge = {"WWW-Authenticate": 'Bearer realm="practice", error="invalid_token"'}
        raise Refusal("invalid_token", "no such registration access token", status=401, headers=challenge)
    call.client = client.id
    return client


def _same(known: Secret, token: str) -> bool:
    return hmac.compare_digest(known.reveal().encode(), token.encode())


def _asked(call: Call, wanted: dict[str, Any], client_id: str, before: Client | None = None) -> Client:
    """Return the client that metadata describes, with fresh tokens."""
    method = wanted.get("token_endpoint_auth_method", "client_secret_basic")  # the default of RFC 7591 2
    if method not in AUTH_METHODS:
        raise Refusal("invalid_client_metadata", f"token_endpoint_auth_method: one of {', '.join(AUTH_METHODS)}")
    grant_types = _texts(wanted, "grant_types", ["authorization_code"])
    if unknown := [name for name in grant_types if name not in GRANT_TYPES]:
        raise Refusal("invalid_client_metadata", f"grant_types unknown here: {' '.join(unknown)}")
    if _texts(wanted, "response_types", ["code"]) not in (["code"], []):
        raise Refusal("invalid_client_metadata", "response_types must be code")
    redirect_uris = _redirect_uris(wanted, grant_types)
    jwks = _jwks(wanted) if method == BY_KEY else ()
    ttl = call.practice.settings.client_secret_ttl
    without = method in ("none", BY_KEY)
    secret = None if without else before.secret if before and ttl is None else None
    if not without and secret is None:
        secret = Secret(secrets.token_urlsafe(24))
    return Client(
        client_id,
        secret,
        (method,),
        tuple(grant_types),
        tuple(redirect_uris),
        name=str(wanted.get("client_name", "")),
        jwks=jwks,
        secret_expires_at=float(int(call.practice.clock() + ttl)) if ttl is not None and secret is not None else 0.0,
        registration_token=Secret(secrets.token_urlsafe(24)),
        metadata={name: value for name, value in wanted.items() if name not in ("client_id", "client_secret")},
    )


def _metadata(call: Call) -> dict[str, Any]:
    if call.request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal("invalid_client_metadata", "the body must be application/json")
    try:
        wanted = json.loads(call.body)
    except (ValueError, RecursionError) as exc:
        raise Refusal("invalid_client_metadata", "the body is no JSON") from exc
    if not isinstance(wanted, dict):
        raise Refusal("invalid_client_metadata", "the body must be a JSON object")
    return wanted


def _jwks(wanted: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the public keys of a client (RFC 7591 2)."""
    told = wanted.get("jwks")
    keys = told.get("keys") if isinstance(told, dict) else None
    if not isinstance(keys, list) or not keys or not all(isinstance(key, dict) for key in keys):
        raise Refusal("invalid_client_metadata", f"{BY_KEY} needs jwks with a key in it")
    for key in keys:
        if "d" in key:
            raise Refusal("invalid_client_metadata", "jwks: that is a private key; keep it")
        try:
            (ECKey if key.get("kty") == "EC" else RSAKey).import_key(key)
        except (KeyError, ValueError, TypeError, JoseError) as exc:
            raise Refusal("invalid_client_metadata", "jwks: a key cannot be read; EC and RSA are known here") from exc
    return tuple(keys)


def _texts(wanted: dict[str, Any], name: str, default: list[str]) -> list[str]:
    value = wanted.get(name, default)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Refusal("invalid_client_metadata", f"{name} must be an array of strings")
    return value


def _redirect_uris(wanted: dict[str, Any], grant_types: list[str]) -> list[str]:
    uris = _texts(wanted, "redirect_uris", [])
    if "authorization_code" in grant_types and not uris:
        raise Refusal("invalid_redirect_uri", "authorization_code needs redirect_uris")
    for uri in uris:
        if problem := redirect_uri_problem(uri):
            raise Refusal("invalid_redirect_uri", f"{uri!r}: {problem}")
    return uris


def _told(call: Call, client: Client, status: int) -> Response:
    token = client.registration_token
    answer: dict[str, Any] = {
        **client.metadata,
        "client_id": client.id,
        "client_id_issued_at": int(call.practice.clock()),
        "client_name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "grant_types": list(client.grant_types),
        "response_types": ["code"] if "authorization_code" in client.grant_types else [],
        "token_endpoint_auth_method": client.auth_methods[0],
        "registration_client_uri": f"{call.practice.issuer}/register/{client.id}",
        "registration_access_token": token.reveal() if token is not None else "",
    }
    if client.jwks:
        answer["jwks"] = {"keys": list(client.jwks)}
    if client.secret is not None:
        answer |= {
            "client_secret": client.secret.reveal(),
            "client_secret_expires_at": int(client.secret_expires_at),
        }
    return json_response(sabotage.content(answer, call.faults), status)
