"""The encryption of oidc-agent's socket: NaCl's box (X25519, XSalsa20, Poly1305), with new keys for each connection.

Loaded by ``oidc_door`` when the first client comes that wants it: few people have one, and a start needs none.
"""

import base64

from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey

from broker.errors import InvalidRequest


class Envelope:
    """What passes between one client and us.

    Args:
        client_key: the client's public key, in base64.

    Raises:
        InvalidRequest: it is none.
    """

    def __init__(self, client_key: bytes) -> None:
        own = PrivateKey.generate()
        self.public_key = base64.b64encode(bytes(own.public_key))
        try:
            self._box = Box(own, PublicKey(_decoded(client_key, PublicKey.SIZE)))
        except CryptoError:  # one of the few keys with which every secret is the same
            raise _not_understood() from None

    def open(self, nonce: bytes, ciphertext: bytes) -> bytes:
        """Return what a message says; both parts of it are in base64.

        Raises:
            InvalidRequest: it was not made for this box, or was changed.
        """
        try:
            return self._box.decrypt(_decoded(ciphertext), _decoded(nonce, Box.NONCE_SIZE))
        except (CryptoError, ValueError):  # a text that is shorter than its seal is a ValueError
            raise _not_understood() from None

    def seal(self, text: bytes) -> bytes:
        """Return a message as it goes over the socket."""
        made = self._box.encrypt(text)
        return b"%d:%b:%b" % (len(text), base64.b64encode(made.nonce), base64.b64encode(made.ciphertext))


def _decoded(text: bytes, size: int | None = None) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise _not_understood() from None
    if size not in (None, len(raw)):
        raise _not_understood()
    return raw


def _not_understood() -> InvalidRequest:
    return InvalidRequest("The request is not encrypted as oidc-agent's clients do it.")
