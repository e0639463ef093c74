"""Bazel's credential helper protocol: a URI in, headers out.

Called by ``cli.bazel_credential``.
"""

from __future__ import annotations

import json

from broker.client import ClientError, Token
from broker.integrations.places import Place, place_of


def asked(text: str) -> Place:
    """Return what the URI of a request leads to.

    Raises:
        ClientError: it is no request.
    """
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        request = None
    uri = request.get("uri") if isinstance(request, dict) else None
    if not isinstance(uri, str):
        detail = 'Bazel\'s request cannot be read: it is no JSON object with a "uri".'
        raise ClientError(detail, code="invalid_request")
    return place_of(uri)


def headers(token: Token | None) -> str:
    """Return the headers for the URI, none where nobody has a token for it, and until when they are good."""
    if token is None:
        return json.dumps({"headers": {}})
    told: dict[str, object] = {"headers": {"Authorization": [f"Bearer {token.access_token}"]}}
    if token.expires_at is not None:
        told["expires"] = token.expires_at
    return json.dumps(told)
