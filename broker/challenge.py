"""How a daemon proves that it is the one that made an app key, before it is shown that key: what both sides compute.

Called by ``client_proof``, which asks, and by the app port behind ``/healthz``, which answers. The standard library
only.

The question is a key's public name, a nonce, and the numeric address that the connection leads to; the answer is a MAC
of the last two under the key's hash, which only the daemon and the key's holder know. The address is in it because
somebody at another one could pass the question on to the daemon.
"""

import hashlib
import hmac

# Of a nonce (as of the key and the MAC): nobody meets the same one twice.
NONCE_BYTES = 32
# Digits of a key's public name. It is a label and no secret: 128 bits keep two keys from sharing one.
KEY_ID_DIGITS = 32
# Each use of the hash has words of its own, so that no value that is good in one place means anything in another.
_FOR_ID = b"Keyfob key id 1\n"
_FOR_PROOF = b"Keyfob proof 1\n"


def hash_key(key: str) -> bytes:
    """Return what is stored of a key. It has 256 random bits, so a plain hash is enough to hide it."""
    return hashlib.sha256(key.encode()).digest()


def key_id(key_hash: bytes) -> str:
    """Return a key's public name in hexadecimal: it tells which key is meant and helps nobody to know it."""
    return hashlib.sha256(_FOR_ID + key_hash).hexdigest()[:KEY_ID_DIGITS]


def proof(key_hash: bytes, nonce: bytes, address: str) -> str:
    """Return HMAC-SHA256 (RFC 2104) over nonce and address, in hexadecimal.

    Args:
        key_hash: of the app key.
        nonce: ``NONCE_BYTES`` bytes, so that where it ends and the address begins is not in doubt.
        address: see :func:`written`.
    """
    return hmac.digest(key_hash, _FOR_PROOF + nonce + address.encode(), "sha256").hex()


def written(host: str, port: int) -> str:
    """Return a numeric address as both sides write it: ``127.0.0.1:8401``, ``[::1]:8401``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
