"""The signing key and the ID tokens, honest ones and spoiled ones.

Called by ``token`` and ``resources``.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

from broker.practice.grants import Grant, User

ALGORITHM = "ES256"
_LIFETIME = 300  # seconds; an ID token says who logged in, it is not kept
_LATE = 3600  # seconds by which ``expired_id_token`` is too old; beyond any leeway


def claims_about(user: User, scopes: Collection[str]) -> dict[str, Any]:
    """Return what the scopes let a client learn about a person (OpenID Connect Core 5.4)."""
    claims: dict[str, Any] = {"sub": user.sub}
    if "profile" in scopes:
        claims |= {"preferred_username": user.name, "name": user.name.title()}
    if "email" in scopes:
        claims |= {"email": f"{user.name}@practice.example", "email_verified": True}
    return claims


def foreign_user(user: User) -> User:
    """Return whom ``wrong_sub`` puts in a person's place."""
    return User(f"not-{user.name}")


class Signer:
    """One provider's signing key, made at start and kept in memory only."""

    def __init__(self) -> None:
        self._key = ECKey.generate_key("P-256")

    def jwks(self) -> dict[str, Any]:
        """Return the public key as a JWK set (RFC 7517 5)."""
        public = dict(self._key.as_dict(private=False))
        return {"keys": [{**public, "kid": self._key.thumbprint(), "use": "sig", "alg": ALGORITHM}]}

    def id_token(
        self, issuer: str, grant: Grant, user: User, access_token: str, now: float, faults: Collection[str], nonce: str
    ) -> str:
        """Return an ID token (OpenID Connect Core 2).

        Args:
            issuer: of this provider.
            grant: whose.
            user: who logged in.
            access_token: that it travels with, for ``at_hash``.
            now: epoch seconds.
            faults: names of the kinds that spoil it.
            nonce: of the authorization request; empty at a refresh (OpenID Connect Core 12.2).
        """
        issued = int(now) - (_LATE if "expired_id_token" in faults else 0)
        half = sha256(("another token" if "wrong_at_hash" in faults else access_token).encode()).digest()[:16]
        claims: dict[str, Any] = {
            **claims_about(foreign_user(user) if "wrong_sub" in faults else user, grant.scopes),
            "iss": foreign_issuer(issuer) if "wrong_iss" in faults else issuer,
            "aud": "another-client" if "wrong_aud" in faults else grant.client_id,
            "iat": issued,
            "exp": issued + _LIFETIME,
            "auth_time": int(grant.auth_time),
            "at_hash": _base64(half),
        }
        if nonce and "no_nonce" not in faults:
            claims["nonce"] = "a-foreign-nonce" if "wrong_nonce" in faults else nonce
        return self._sign(claims, faults)

    def _sign(self, claims: Mapping[str, Any], faults: Collection[str]) -> str:
        if "alg_none" in faults:
            return f"{_base64(json.dumps({'alg': 'none', 'typ': 'JWT'}))}.{_base64(json.dumps(claims))}."
        key = ECKey.generate_key("P-256") if "bad_signature" in faults else self._key
        header = {"alg": ALGORITHM, "typ": "JWT", "kid": self._key.thumbprint()}
        return jwt.encode(header, dict(claims), key)


def foreign_issuer(issuer: str) -> str:
    """Return what ``wrong_iss`` puts in the issuer's place: valid, on loopback, and somebody else."""
    return issuer + "/somebody-else"


def _base64(data: str | bytes) -> str:
    return urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=").decode()
