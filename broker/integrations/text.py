"""What may stand in a line of another program's protocol.

Called by the modules beside it. A line end in a value would be a line of its own, and so an attribute or a header that
nobody meant to send.
"""

from __future__ import annotations

from broker.client import ClientError

TYPE_CHECKING = False  # importing typing for its own constant costs two milliseconds at every start
if TYPE_CHECKING:
    from typing import BinaryIO

# What programs ask is some hundred bytes; a server's WWW-Authenticate lines may be among them.
MAX_INPUT = 65_536
# Lines end with the first two; the third ends a text in C.
FORBIDDEN = ("\n", "\r", "\0")


def checked(value: str, what: str, code: str = "bad_answer") -> str:
    """Return a value that is text, and holds neither a line end nor NUL.

    Raises:
        ClientError: it does; ``code`` is its code.
    """
    if any("\ud800" <= character <= "\udfff" for character in value):  # Python's sign for a byte that is none of UTF-8
        raise ClientError(f"The {what} is not text in UTF-8; nothing was given.", code=code)
    if any(character in value for character in FORBIDDEN):
        raise ClientError(f"The {what} holds a line end or NUL; nothing was given.", code=code)
    return value


def read(stream: BinaryIO) -> str:
    """Return all that a program asks. In bytes: Python's text streams take a CR for the end of a line.

    Raises:
        ClientError: it is too much; what is cut off could mean another host.
    """
    data = stream.read(MAX_INPUT + 1)
    if len(data) > MAX_INPUT:
        raise ClientError(f"The request is longer than {MAX_INPUT} bytes.", code="invalid_request")
    return data.decode("utf-8", "replace")
