"""SASL for mail: the initial response of XOAUTH2 and of OAUTHBEARER (RFC 7628).

Called by ``cli.sasl``.
"""

from __future__ import annotations

import binascii

from broker.client import ClientError, Token
from broker.integrations.text import checked

MECHANISMS = ("xoauth2", "oauthbearer")
# Ends each member of both forms (RFC 7628 3.1).
SEPARATOR = "\x01"


def initial_response(token: Token, user: str, mechanism: str, host: str = "", port: int = 0) -> str:
    """Return the initial response in base64, as it stands after the mechanism's name.

    Args:
        token: what proves it.
        user: whose mailbox it is.
        mechanism: one of ``MECHANISMS``.
        host: the server, and ``port``; told with OAUTHBEARER only, and only where they are given.
        port: see ``host``.

    Raises:
        ClientError: the user or the host holds what would be a member of its own.
    """
    for value, what in ((user, "user"), (host, "host")):
        if SEPARATOR in checked(value, what, "invalid_request"):
            raise ClientError(f"The {what} holds a control character; nothing was given.", code="invalid_request")
    bearer = f"auth=Bearer {token.access_token}"
    if mechanism == "xoauth2":
        members = [f"user={user}", bearer]
    else:
        # RFC 5801 4: in the GS2 header a comma and an equals sign of the user stand for themselves no more.
        escaped = user.replace("=", "=3D").replace(",", "=2C")
        where = ([f"host={host}"] if host else []) + ([f"port={port}"] if port else [])
        members = [f"n,a={escaped},", *where, bearer]
    message = SEPARATOR.join([*members, "", ""])
    return binascii.b2a_base64(message.encode(), newline=False).decode("ascii")
