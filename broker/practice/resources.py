"""What stands around the token endpoint: metadata, keys, userinfo, revocation, introspection.

RFC 8414, OpenID Discovery, RFC 7517, OpenID Connect Core 5.3, RFC 7009, RFC 7662. Routed by ``app``.
"""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from broker.practice.assertions import KEY_ALGORITHMS, SECRET_ALGORITHM
from broker.practice.authorize import SCOPES
from broker.practice.clients import AUTH_METHODS, GRANT_TYPES, Client
from broker.practice.grants import AccessToken, fingerprint
from broker.practice.refusal import Refusal
from broker.practice.shape import Revocation, put
from broker.practice.tokens import ALGORITHM, claims_about, foreign_issuer, foreign_user
from broker.practice.wire import Answer, Call


def metadata(call: Call) -> Answer:
    """GET: the same document for OpenID Discovery and RFC 8414."""
    issuer = call.practice.issuer
    return {
        "issuer": foreign_issuer(issuer) if "wrong_iss" in call.spoiled() else issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "revocation_endpoint": f"{issuer}/revoke",
        "introspection_endpoint": f"{issuer}/introspect",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "registration_endpoint": f"{issuer}/register",
        "device_authorization_endpoint": f"{issuer}/device_authorization",
        "pushed_authorization_request_endpoint": f"{issuer}/par",
        "require_pushed_authorization_requests": call.practice.settings.require_par,
        "jwks_uri": f"{issuer}/jwks",
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(GRANT_TYPES),
        "token_endpoint_auth_methods_supported": list(
            AUTH_METHODS[1:] if call.practice.settings.insists_on_client else AUTH_METHODS
        ),
        "revocation_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "introspection_endpoint_auth_methods_supported": list(AUTH_METHODS[1:]),
        "token_endpoint_auth_signing_alg_values_supported": [*KEY_ALGORITHMS, SECRET_ALGORITHM],
        "revocation_endpoint_auth_signing_alg_values_supported": [*KEY_ALGORITHMS, SECRET_ALGORITHM],
        "introspection_endpoint_auth_signing_alg_values_supported": [*KEY_ALGORITHMS, SECRET_ALGORITHM],
        "code_challenge_methods_supported": ["S256"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "claims_supported": ["sub", "preferred_username", "name", "email", "email_verified", "auth_time"],
        "authorization_response_iss_parameter_supported": True,
    }


def resource_metadata(call: Call) -> Answer:
    """GET: what the protected resource says about itself (RFC 9728 3.2)."""
    issuer = call.practice.issuer
    return {"resource": f"{issuer}/api", "authorization_servers": [issuer], "bearer_methods_supported": ["header"]}


def protected(call: Call) -> Answer:
    """GET with a bearer for this resource: who it is; without one a refusal that names the metadata (RFC 9728 5.1)."""
    here = f'resource_metadata="{call.practice.issuer}/.well-known/oauth-protected-resource/api"'
    try:
        access = _bearer(call)
    except Refusal as refusal:
        refusal.headers["WWW-Authenticate"] += f", {here}"
        raise
    if access.grant.resource != f"{call.practice.issuer}/api":
        challenge = f'Bearer realm="practice", error="invalid_token", error_description="for another resource", {here}'
        raise Refusal("invalid_token", "for another resource", status=401, headers={"WWW-Authenticate": challenge})
    return {"subject": access.grant.user.sub if access.grant.user else access.grant.client_id}


def jwks(call: Call) -> Answer:
    """GET: the public signing key."""
    return call.practice.signer.jwks()


def userinfo(call: Call) -> Answer:
    """GET or POST with a bearer in the header: who it is."""
    access = _bearer(call)
    call.client, call.grant = access.grant.client_id, access.grant.id
    if access.grant.user is None or "openid" not in access.scopes:
        description = "the token lacks the scope openid"
        challenge = f'Bearer realm="practice", error="insufficient_scope", error_description="{description}"'
        raise Refusal("insufficient_scope", description, status=403, headers={"WWW-Authenticate": challenge})
    user = access.grant.user
    return claims_about(foreign_user(user) if "wrong_sub" in call.spoiled() else user, access.scopes)


def identity(call: Call) -> Answer:
    """Say who it is as the shape wants it, to a token of any scope."""
    person = call.shape.person
    if call.request.method != person.method:
        raise Refusal("invalid_request", f"this is asked with {person.method}", status=405)
    for name, value in person.headers.items():
        if call.request.headers.get(name) != value:
            raise Refusal("invalid_request", f"the header {name} has to be {value!r}")
    if _json_of(call.body) != person.body:
        raise Refusal("invalid_request", "the body is not the one that belongs here")
    if call.request.method == "POST" and "content-length" not in call.request.headers:
        raise Refusal("invalid_request", "how long is it?", status=411)
    access = _bearer(call, person.scheme)
    call.client, call.grant = access.grant.client_id, access.grant.id
    answer: dict[str, Any] = {}
    if access.grant.user is not None:
        put(answer, person.subject, access.grant.user.sub)
        if person.label and person.label != person.subject:
            put(answer, person.label, access.grant.user.name)
    return answer


def _json_of(body: bytes) -> object:
    """Return what a body says; None where there is none."""
    try:
        return json.loads(body) if body else None
    except ValueError as exc:
        raise Refusal("invalid_request", "the body is no JSON") from exc


def _bearer(call: Call, wanted: str = "Bearer") -> AccessToken:
    """Return what the request's bearer stands for; refuse as RFC 6750 3 says."""
    token = _bearer_token(call, wanted)
    access = call.practice.grants.access(token)
    if access is None:
        challenge = 'Bearer realm="practice", error="invalid_token", error_description="expired, revoked or unknown"'
        raise Refusal(
            "invalid_token", "expired, revoked or unknown", status=401, headers={"WWW-Authenticate": challenge}
        )
    return access


def _bearer_token(call: Call, wanted: str) -> str:
    scheme, _, token = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != wanted.lower() or not token:
        headers = {"WWW-Authenticate": f'{wanted} realm="practice"'}
        raise Refusal("invalid_request", "a bearer token in the header is needed", status=401, headers=headers)
    return token


def is_revocation(call: Call, form: Mapping[str, str]) -> bool:
    """Tell whether a request to the token endpoint is a revocation there."""
    rules = call.shape.revocation
    return rules.at_token and all(form.get(name) == value for name, value in rules.params.items())


def revoke(call: Call) -> Answer:
    """End a token; a refresh token takes its whole grant along (RFC 7009 2.1)."""
    call.shaped = True
    rules, grants = call.shape.revocation, call.practice.grants
    client, token = _to_revoke(call, rules)
    by_refresh_token = grants.grant_of(token)
    grant = by_refresh_token or grants.access_grant(token)
    if grant is None:
        call.result = "unknown"
        return _done(call)  # the purpose is fulfilled: RFC 7009 2.2
    call.grant = grant.id
    if client is not None and grant.client_id != client.id:
        raise Refusal("unauthorized_client", "the token belongs to another client")
    if ("refresh_token" if by_refresh_token else "access_token") not in rules.takes:
        raise Refusal("unsupported_token_type", f"only these are revoked here: {' '.join(rules.takes)}")
    if by_refresh_token is not None:
        call.refresh_token = fingerprint(token)
    if by_refresh_token is not None or rules.ends_login:
        grant.revoked = True
    else:
        grants.forget_access_token(token)
    return _done(call)


def _to_revoke(call: Call, rules: Revocation) -> tuple[Client | None, str]:
    """Return who wants to revoke, None where that is not asked, and what."""
    if call.request.method != rules.method:
        raise Refusal("invalid_request", f"this is asked with {rules.method}", status=405)
    form: dict[str, str] = {}
    if rules.body == "none":
        if call.body:
            raise Refusal("invalid_request", "nothing may be in the body")
    else:
        form = call.shape.renamed(call.json_fields() if rules.body == "json" else call.form())
    for name, value in rules.params.items():
        if form.get(name) != value:
            raise Refusal("invalid_request", f"{name} has to be {value!r}")
    if rules.hint not in (None, "token_type_hint" in form):
        raise Refusal("invalid_request", "token_type_hint has to be there, or must not")
    if rules.auth == "bearer":
        return None, _bearer_token(call, "Bearer")
    taken = ("client_secret_basic",) if rules.auth == "basic" else ()
    client = None if rules.auth == "none" else call.authenticate(form, taken)
    if client is not None and call.request.path_params.get("client_id", client.id) != client.id:
        raise Refusal("invalid_request", "another client is in the address")
    if not (token := form.get(rules.token_field, "")):
        raise Refusal("invalid_request", f"{rules.token_field} is missing")
    return client, token


def _done(call: Call) -> Answer:
    return call.shape.succeeded({}) if call.shape.success_field else Response(None, 200)


def introspect(call: Call) -> Answer:
    """POST by a confidential client: what a token is worth now."""
    form = call.form()
    client = call.authenticate(form)
    if not client.confidential:
        raise Refusal("unauthorized_client", "only confidential clients may introspect")
    token = form.get("token", "")
    if not token:
        raise Refusal("invalid_request", "token is missing")
    grants = call.practice.grants
    if (access := grants.access(token)) is not None:
        times = {"token_type": "Bearer", "iat": int(access.issued_at), "exp": int(access.expires_at)}
        return _active(call, access, times)
    if grants.is_current(token) and (grant := grants.grant_of(token)) is not None:
        return _active(call, AccessToken(grant, grant.scopes, grant.auth_time, 0), {"token_type": "refresh_token"})
    return {"active": False}


def _active(call: Call, access: AccessToken, more: dict[str, Any]) -> dict[str, Any]:
    grant = access.grant
    call.grant = grant.id
    who = {"sub": grant.user.sub, "username": grant.user.name} if grant.user else {"sub": grant.client_id}
    base = {"active": True, "scope": " ".join(access.scopes), "client_id": grant.client_id}
    resource = access.resource or ("" if access.audience else grant.resource)
    targets = [target for target in (resource, access.audience) if target]
    audience = {"aud": targets[0] if len(targets) == 1 else targets} if targets else {}
    return {**base, **who, **audience, "iss": call.practice.issuer, **more}
