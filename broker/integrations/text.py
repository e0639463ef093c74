"""What may stand in a line of another program's protocol.

Called by the modules beside it. A line end in a value would be a line of its own, and so an attribute or a header that
nobody meant to send.
"""

from __future__ import annotations

from broker.client import ClientError

# Lines end with the first two; the third ends a text in C.
FORBIDDEN = ("\n", "\r", "\0")


def checked(value: str, what: str, code: str = "bad_answer") -> str:
    """Return a value that holds neither a line end nor NUL.

    Raises:
        ClientError: it does; ``code`` is its code.
    """
    if any(character in value for character in FORBIDDEN):
        raise ClientError(f"The {what} holds a line end or NUL; nothing was given.", code=code)
    return value
