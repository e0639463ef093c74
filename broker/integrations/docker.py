"""Docker's credential helper protocol: which registry is asked about, and its credential.

Called by ``cli.docker_credential``.
"""

from __future__ import annotations

import json

from broker.client import Token
from broker.integrations.places import Place, place_of
from broker.integrations.text import checked

# docker-credential-helpers: the words by which clients know that there is none, and go on without.
NOT_FOUND = "credentials not found in native keychain"
# Registries that take a token as a password mostly do not look at the name.
USERNAME = "oauth2"


def registry(text: str) -> tuple[str, Place]:
    """Return the address that came on stdin, and what it leads to.

    Raises:
        ClientError: there is more in it than an address.
    """
    server = checked(text.strip(), "address of the registry", "invalid_request")
    return server, place_of(server if "://" in server else f"https://{server}")


def credential(server: str, username: str, token: Token) -> str:
    """Return the answer."""
    return json.dumps({"ServerURL": server, "Username": username, "Secret": token.access_token})
