"""Assertions that clients sign, judged strictly: RFC 7523 3, OpenID Connect Core 9, and each once only.

Called by ``clients`` for client authentication and by ``token`` for the grant.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, RSAKey

from broker.core.secret import Secret

CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
KEY_ALGORITHMS = ("ES256", "RS256")
SECRET_ALGORITHM = "HS256"  # noqa: S105 -- the name of an algorithm
_LONGEST = 60.0  # seconds that an assertion may have left: it is made for one request, now
_SKEW = 5.0  # seconds by which a client's clock may be ahead


class Unproven(Exception):
    """An assertion that proves nothing; the text says why, for a developer."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What an assertion says of itself, before anything is believed.

    Attributes:
        text: the assertion.
        algorithm: in its header.
        kid: the key that it names, or empty.
        issuer: who it says it is from.
    """

    text: str
    algorithm: str
    kid: str
    issuer: str


def show(text: str) -> Shown:
    """Take an assertion apart.

    Raises:
        Unproven: it is no signed JWT.
    """
    try:
        parts = jws.extract_compact(text.encode())
        header, claims = parts.headers(), json.loads(parts.payload)
    except (JoseError, ValueError) as exc:
        raise Unproven("it is no signed JWT") from exc
    if not isinstance(claims, dict):
        raise Unproven("its claims are no object")
    return Shown(text, str(header.get("alg", "")), str(header.get("kid", "")), str(claims.get("iss", "")))


@dataclass(slots=True)
class Judge:
    """Judges assertions, and remembers those that were used.

    Attributes:
        clock: epoch seconds.
        audiences: what this provider is called, each good by itself.
    """

    clock: Callable[[], float]
    audiences: tuple[str, ...] = ()
    _used: dict[tuple[str, str], float] = field(default_factory=dict)

    def believed(self, shown: Shown, *, jwks: Sequence[Mapping[str, Any]], secret: Secret | None) -> dict[str, Any]:
        """Return the claims of an assertion, which is used up by that.

        Args:
            shown: the assertion.
            jwks: the public keys of its client.
            secret: the client's secret, or None.

        Raises:
            Unproven: signature, issuer, audience, times or repetition.
        """
        claims = _verified(shown, jwks, secret)
        if claims.get("aud") not in self.audiences:  # a list is not in it either, whatever it holds
            raise Unproven(f"its audience must be {' or '.join(self.audiences)}, as one text")
        now = self.clock()
        expires, issued = _time(claims, "exp"), _time(claims, "iat")
        if expires <= now:
            raise Unproven("it has expired")
        if expires - now > _LONGEST + _SKEW:
            raise Unproven(f"it lives for longer than {_LONGEST:g} s")
        if issued > now + _SKEW:
            raise Unproven("it is from the future")
        once = claims.get("jti")
        if not isinstance(once, str) or not once:
            raise Unproven("it has no jti")
        self._used = {known: until for known, until in self._used.items() if until > now}
        if (shown.issuer, once) in self._used:
            raise Unproven("it was used before")
        self._used[shown.issuer, once] = expires
        return claims


def _verified(shown: Shown, jwks: Sequence[Mapping[str, Any]], secret: Secret | None) -> dict[str, Any]:
    keys: list[ECKey | RSAKey | OctKey] = []
    if shown.algorithm == SECRET_ALGORITHM and secret is not None:
        keys.append(OctKey.import_key(secret.reveal()))
    elif shown.algorithm in KEY_ALGORITHMS:
        kind = ECKey if shown.algorithm == "ES256" else RSAKey
        fitting = [jwk for jwk in jwks if jwk.get("kty") == kind.key_type and jwk.get("kid", "") == shown.kid]
        keys.extend(kind.import_key(dict(jwk)) for jwk in fitting)
    if not keys:
        raise Unproven(f"no key of its client signs with {shown.algorithm or 'nothing'} under the kid {shown.kid!r}")
    for key in keys:
        try:
            return dict(jwt.decode(shown.text, key, algorithms=[shown.algorithm]).claims)
        except (JoseError, ValueError):
            continue
    raise Unproven("its signature is not by a key of its client")


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unproven(f"it has no usable {name}")
    return float(value)
