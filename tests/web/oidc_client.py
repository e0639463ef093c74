"""A client of oidc-agent's socket, byte by byte: in the clear, or in a box as the stock clients do it.

Used by the tests of this room that ask there, and by ``tests.fuzz``.
"""

import base64
import json
from typing import Any

from nacl.public import Box, PrivateKey, PublicKey

from tests.web.raw import Line


def in_the_clear(where: str, request: dict[str, Any]) -> Any:  # noqa: ANN401 -- whatever the answer holds
    """Ask with a JSON object as it is, and return the answer; it has to be one, too, and the end of the connection."""
    with Line(where) as line:
        line.send(json.dumps(request).encode())
        return json.loads(line.end())


def sealed(box: Box, text: bytes) -> bytes:
    """Return a message as the stock clients write it."""
    made = box.encrypt(text)
    return b"%d:%b:%b" % (len(text), base64.b64encode(made.nonce), base64.b64encode(made.ciphertext))


def shake_hands(line: Line) -> Box:
    """Send a public key, and return the box that comes of the answer."""
    own = PrivateKey.generate()
    line.send(base64.b64encode(bytes(own.public_key)))
    return Box(own, PublicKey(base64.b64decode(line.take(44))))


def in_a_box(where: str, text: bytes) -> Any:  # noqa: ANN401 -- as above
    """Ask with a box around any text, and return the answer, which has to be in that box."""
    with Line(where) as line:
        box = shake_hands(line)
        line.send(sealed(box, text))
        length, nonce, ciphertext = line.end().split(b":")
        opened = box.decrypt(base64.b64decode(ciphertext), base64.b64decode(nonce))
        assert len(opened) == int(length)
        return json.loads(opened)
