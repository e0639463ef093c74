"""Keys and signatures (RFC 7515, RFC 7517, RFC 7518), by joserfc.

Called by ``idtoken`` and ``assertion`` where there is something to verify or to sign: joserfc and what it needs of
cryptography are three megabytes, and many a daemon has providers without either.
"""

import json
from collections.abc import Mapping
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from broker.oauth import strict

Key = RSAKey | ECKey | OKPKey

# The least that RFC 7518 3.3 allows; our own keys have as many.
_RSA_BITS = 2048


def public_key(jwk: Mapping[str, Any], algorithm: str) -> Key | None:
    """Return the public half of a key that fits ``algorithm``; None for one that does not, or is broken."""
    try:
        match algorithm, jwk.get("kty"), jwk.get("crv"):
            case ("RS256" | "PS256", "RSA", _):
                # Measured here: joserfc only warns of a short one.
                if int.from_bytes(strict.base64url(jwk["n"])).bit_length() < _RSA_BITS:
                    return None
                return RSAKey.import_key({"kty": "RSA", "n": jwk["n"], "e": jwk["e"]})
            case ("ES256", "EC", "P-256"):
                return ECKey.import_key({"kty": "EC", "crv": "P-256", "x": jwk["x"], "y": jwk["y"]})
            case ("EdDSA", "OKP", "Ed25519"):
                return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": jwk["x"]})
            case _:
                return None
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        # Somebody else's broken key must not take the good ones with it.
        return None


def is_signed(algorithm: str, signed: bytes, signature: bytes, key: Key) -> bool:
    """Tell whether a signature is by this key."""
    # Straight to the algorithm: joserfc's own entry would parse the token a second time, by laxer rules.
    model = jws.JWSRegistry.algorithms[algorithm]
    try:
        model.check_key(key)
        return bool(model.verify(signed, signature, key))
    except (JoseError, ValueError):
        return False


def new_key(algorithm: str) -> dict[str, Any]:
    """Make a private key, as a JWK, for ES256 or RS256. One of RSA takes a tenth of a second."""
    key = RSAKey.generate_key(_RSA_BITS) if algorithm == "RS256" else ECKey.generate_key("P-256")
    # RFC 7638: the key's name follows from the key, so it is the same wherever it is shown.
    return {**key.as_dict(private=True), "kid": key.thumbprint(), "use": "sig", "alg": algorithm}


def sign(header: Mapping[str, str], claims: Mapping[str, str | int], key: Mapping[str, Any] | str) -> str:
    """Return claims as a signed token (RFC 7519 7.1).

    Args:
        header: with ``alg``.
        claims: what is said.
        key: a private JWK, or a secret that both sides know.
    """
    imported: ECKey | RSAKey | OctKey
    if isinstance(key, str):
        imported = OctKey.import_key(key)
    else:
        imported = RSAKey.import_key(dict(key)) if key["kty"] == "RSA" else ECKey.import_key(dict(key))
    payload = json.dumps(claims, separators=(",", ":"))
    return jws.serialize_compact({**header, "typ": "JWT"}, payload, imported, algorithms=[header["alg"]])
