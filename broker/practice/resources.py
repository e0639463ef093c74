"""What stands around the token endpoint: metadata, keys, userinfo, revocation, introspection.

RFC 8414, OpenID Discovery, RFC 7517, OpenID Connect Core 5.3, RFC 7009, RFC 7662. Routed by ``app``.
"""

from typing import Any

from starlette.responses import Response

from broker.practice.assertions import KEY_ALGORITHMS, SECRET_ALGORITHM
from broker.practice.authorize import SCOPES
from broker.practice.clients import AUTH_METHODS, GRANT_TYPES
from broker.practice.grants import AccessToken, fingerprint
from broker.practice.refusal import Refusal
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
        "jwks_uri": f"{issuer}/jwks",
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(GRANT_TYPES),
        "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
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


def _bearer(call: Call) -> AccessToken:
    """Return what the request's bearer stands for; refuse as RFC 6750 3 says."""
    scheme, _, token = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        headers = {"WWW-Authenticate": 'Bearer realm="practice"'}
        raise Refusal("invalid_request", "a bearer token in the header is needed", status=401, headers=headers)
    access = call.practice.grants.access(token)
    if access is None:
        challenge = 'Bearer realm="practice", error="invalid_token", error_description="expired, revoked or unknown"'
        raise Refusal(
            "invalid_token", "expired, revoked or unknown", status=401, headers={"WWW-Authenticate": challenge}
        )
    return access


def revoke(call: Call) -> Answer:
    """POST: end a token; a refresh token takes its whole grant along (RFC 7009 2.1)."""
    form = call.form()
    client = call.authenticate(form)
    token = form.get("token", "")
    if not token:
        raise Refusal("invalid_request", "token is missing")
    grants = call.practice.grants
    by_refresh_token = grants.grant_of(token)
    grant = by_refresh_token or grants.access_grant(token)
    if grant is None:
        call.result = "unknown"
        return Response(None, 200)  # the purpose is fulfilled: RFC 7009 2.2
    call.grant = grant.id
    if grant.client_id != client.id:
        raise Refusal("unauthorized_client", "the token belongs to another client")
    if by_refresh_token is not None:
        call.refresh_token = fingerprint(token)
        grant.revoked = True
    else:
        grants.forget_access_token(token)
    return Response(None, 200)


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
    return {**base, **who, "iss": call.practice.issuer, **more}
