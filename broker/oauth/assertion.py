"""What Keyfob signs: assertions that prove a client (RFC 7523 2.2, OpenID Connect Core 9) or ask for a token (2.1).

Called by ``wire`` for each request, and by ``usecases.clients``, which has the keys made and shows their public half.
"""

import json
import secrets
from collections.abc import Mapping
from typing import Any

from broker.core.login import BY_KEY, Client
from broker.core.secret import Secret
from broker.errors import InvalidRequest
from broker.providers.model import Provider

BY_SECRET = "client_secret_jwt"  # noqa: S105 -- the name of a method
# OpenID Connect Core 9; RFC 7591 2 knows them by the same names.
METHODS = (BY_SECRET, BY_KEY)
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# An assertion is for the request that it is made for, and for nobody who finds it later.
LIFETIME = 60
# Best first: a short signature of a key that is made at once.
KEY_ALGORITHMS = ("ES256", "RS256")
SECRET_ALGORITHM = "HS256"  # noqa: S105 -- the name of an algorithm
# RFC 7518 3.2: a key as long as the hash at least.
LEAST_SECRET = 32
# What a private key has and its public half has not (RFC 7518 6.2.2, 6.3.2).
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


def algorithm(provider: Provider) -> str:
    """Return what a key for this provider signs with: ES256, or RS256 where the provider announces only that.

    Raises:
        InvalidRequest: it announces others only.
    """
    announced = provider.auth_algs or KEY_ALGORITHMS
    for known in KEY_ALGORITHMS:
        if known in announced:
            return known
    raise InvalidRequest(
        f"{provider.title} takes signatures by {', '.join(announced)} only, and Keyfob makes none of these.",
        "Use another --token-endpoint-auth-method.",
    )


def new_key(chosen: str) -> Secret:
    """Make a private key, as a JWK (RFC 7517) in text. One of RSA takes a tenth of a second.

    Args:
        chosen: its algorithm, as :func:`algorithm` returned it.
    """
    from broker.oauth import signatures  # noqa: PLC0415 -- megabytes: see there

    return Secret(json.dumps(signatures.new_key(chosen)))


def public_jwks(key: Secret) -> dict[str, Any]:
    """Return the public half of a key that :func:`new_key` made, as a JWK set to be given to the provider."""
    private: dict[str, Any] = json.loads(key.reveal())
    return {"keys": [{name: value for name, value in private.items() if name not in _PRIVATE}]}


def check_secret(provider: Provider, secret: Secret | None) -> None:
    """See that a client secret is good for signing with.

    Raises:
        InvalidRequest: there is none, it is too short, or the provider announces other algorithms only.
    """
    if provider.auth_algs and SECRET_ALGORITHM not in provider.auth_algs:
        raise InvalidRequest(
            f"{provider.title} takes no signatures by {SECRET_ALGORITHM}.", "Use another --token-endpoint-auth-method."
        )
    if secret is None or len(secret.reveal().encode()) < LEAST_SECRET:
        raise InvalidRequest(
            f"To sign with it, as {BY_SECRET} does, a client secret needs {LEAST_SECRET} bytes (RFC 7518 3.2).",
            "Use client_secret_basic or client_secret_post, or have the provider make a long one.",
        )


def client_fields(provider: Provider, client: Client, proof: Secret, now: float) -> dict[str, str | Secret]:
    """Return the fields of a request that prove the client (RFC 7521 4.2).

    Args:
        provider: whom the proof is for.
        client: whose method is one of ``METHODS``.
        proof: its secret, or its private key.
        now: epoch seconds by the wall clock, which the provider compares with its own.
    """
    claims = {"iss": client.client_id, "sub": client.client_id, "aud": _audience(provider)}
    if client.auth_method == BY_SECRET:
        signed = _signed(claims, {"alg": SECRET_ALGORITHM}, proof.reveal(), now)
    else:
        signed = _signed_by_key(claims, proof, now)
    client_id = {provider.token.client_id_field: client.client_id}
    return {**client_id, "client_assertion_type": CLIENT_ASSERTION, "client_assertion": signed}


def grant(
    provider: Provider, client: Client, key: Secret, *, subject: str, audience: str, scope: str, now: float
) -> Secret:
    """Return an assertion that asks for a token (RFC 7523 2.1); the client is who issues it.

    Args:
        provider: whom it is for, where ``audience`` does not say otherwise.
        client: with a private key.
        key: that key.
        subject: for whom it asks; empty: for the client itself.
        audience: what the provider wants to be called, or empty.
        scope: what it asks for, as the request says it too: some servers read it in the assertion.
        now: epoch seconds by the wall clock.
    """
    claims = {
        "iss": client.client_id,
        "sub": subject or client.client_id,
        "aud": audience or _audience(provider),
        **({"scope": scope} if scope else {}),
    }
    return _signed_by_key(claims, key, now)


def _audience(provider: Provider) -> str:
    """Return what the provider is called in an assertion: one text and never a list (security.md R20).

    The issuer identifier. Where a provider has none, or wants its token endpoint there, another server that got the
    assertion could use it at this one, were it not that a key, as a secret, is one provider's alone.
    """
    if provider.issuer and provider.token.assertion_audience == "issuer":
        return provider.issuer
    return provider.endpoints.token


def _signed_by_key(claims: Mapping[str, str], key: Secret, now: float) -> Secret:
    jwk = json.loads(key.reveal())
    return _signed(claims, {"alg": jwk["alg"], "kid": jwk["kid"]}, jwk, now)


def _signed(claims: Mapping[str, str], header: Mapping[str, str], key: Mapping[str, Any] | str, now: float) -> Secret:
    from broker.oauth import signatures  # noqa: PLC0415 -- megabytes: see there

    issued = int(now)
    once = secrets.token_urlsafe(18)
    return Secret(signatures.sign(header, {**claims, "iat": issued, "exp": issued + LIFETIME, "jti": once}, key))
