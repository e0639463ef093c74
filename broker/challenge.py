"""What both sides compute of an app key: the proof that the daemon knows it, and the short code of a new one.

Called by ``client_proof``, which asks for the proof before the key is shown, and by the app port behind ``/healthz``,
which answers; by ``keyfob pair`` and by the desk that its request lies on. The standard library only.

The question is a key's public name, a nonce, and the numeric address that the connection leads to; the answer is a MAC
of the last two under the key's hash, which only the daemon and the key's holder know. The address is in it because
somebody at another one could pass the question on to the daemon.
"""

import hashlib
import hmac
import secrets

# It lets secret scanners find a leaked key.
KEY_PREFIX = "kf_"
KEY_BYTES = 32
# Of a key that is made for an address, where logs and error messages may show it: good there, and nowhere else.
CAPABILITY_PREFIX = "kf_cap_"
# What 32 bytes are in base64url.
KEY_LENGTH = 43
# Of a nonce (as of the key and the MAC): nobody meets the same one twice.
NONCE_BYTES = 32
# Digits of a key's public name. It is a label and no secret: 128 bits keep two keys from sharing one.
KEY_ID_DIGITS = 32
# Each use of the hash has words of its own, so that no value that is good in one place means anything in another.
_FOR_ID = b"Keyfob key id 1\n"
_FOR_PROOF = b"Keyfob proof 1\n"
_FOR_CODE = b"Keyfob pairing 1\n"
# Nobody confuses these with each other, and they make no words (RFC 8628 6.1).
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
CODE_LENGTH = 8
# What the address of the socket is called, which the kernel guards.
SOCKET = "socket"
# A code has 34 bits, so each guess at a key that has the same one must cost something: some 30 ms here, which is far
# more in all than the ten minutes that a request waits.
_ROUNDS = 100_000


def new_key(*, capability: bool = False) -> str:
    """Make an app key: 256 random bits as base64url (RFC 4648 5); with ``capability``, one for an address."""
    return (CAPABILITY_PREFIX if capability else KEY_PREFIX) + secrets.token_urlsafe(KEY_BYTES)


def is_capability(key: str) -> bool:
    """Whether that is a key for an address. The length tells it from a key whose random part happens to begin so."""
    return key.startswith(CAPABILITY_PREFIX) and len(key) == len(CAPABILITY_PREFIX) + KEY_LENGTH


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


def pairing_code(key_hash: bytes, address: str) -> str:
    """Return what a person compares on both sides before a key becomes an app's.

    The address is in it: where somebody between the two passes the request on, each side shows another code. PBKDF2
    (RFC 8018 5.2), because that somebody could otherwise look for a key of its own that has the same.

    Args:
        key_hash: of the key that the program made for itself.
        address: where the program's connection leads to, see :func:`written`; ``SOCKET`` for the socket.
    """
    number = int.from_bytes(hashlib.pbkdf2_hmac("sha256", key_hash, _FOR_CODE + address.encode(), _ROUNDS))
    letters = ""
    for _ in range(CODE_LENGTH):
        number, at = divmod(number, len(LETTERS))
        letters += LETTERS[at]
    return tidy(letters)


def tidy(code: str) -> str:
    """Return a code as Keyfob writes it, however it was typed: capitals, a dash in the middle."""
    letters = "".join(letter for letter in code.upper() if letter.isalpha())
    return f"{letters[: CODE_LENGTH // 2]}-{letters[CODE_LENGTH // 2 :]}"


def written(host: str, port: int) -> str:
    """Return a numeric address as both sides write it: ``127.0.0.1:8401``, ``[::1]:8401``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
