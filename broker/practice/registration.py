"""Dynamic client registration (RFC 7591 3), open to anybody on this machine.

Routed by ``app``.
"""

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
    """POST: a new client; 201 with its id, and its secret where it is to have one."""
    wanted = _metadata(call)
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
    secret = None if method in ("none", BY_KEY) else Secret(secrets.token_urlsafe(24))
    client = Client(
        f"registered-{secrets.token_hex(8)}",
        secret,
        (method,),
        tuple(grant_types),
        tuple(redirect_uris),
        name=str(wanted.get("client_name", "")),
        jwks=jwks,
    )
    call.practice.clients.add(client)
    call.client = client.id
    return _created(call, client, method)


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


def _created(call: Call, client: Client, method: str) -> Response:
    answer: dict[str, Any] = {
        "client_id": client.id,
        "client_id_issued_at": int(call.practice.clock()),
        "client_name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "grant_types": list(client.grant_types),
        "response_types": ["code"] if "authorization_code" in client.grant_types else [],
        "token_endpoint_auth_method": method,
    }
    if client.jwks:
        answer["jwks"] = {"keys": list(client.jwks)}
    if client.secret is not None:
        answer |= {"client_secret": client.secret.reveal(), "client_secret_expires_at": 0}
    return json_response(sabotage.content(answer, call.faults), 201)
