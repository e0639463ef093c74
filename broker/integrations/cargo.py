"""Cargo's credential provider protocol: one JSON message a line, after a word of greeting.

Called by ``cli.cargo_credential``. Cargo 1.74 and newer speak it.
"""

from __future__ import annotations

import json
import time

from broker.client import Token
from broker.integrations.places import Place, place_of

TYPE_CHECKING = False  # importing typing for its own constant costs two milliseconds at every start
if TYPE_CHECKING:
    from typing import Any

HELLO = '{"v":[1]}'
# Stands before the URL of an index that is not a git repository.
SPARSE = "sparse+"
# RFC 6750 2.1; Cargo sends what it gets as the whole Authorization header.
SCHEME = "Bearer"


def parse(line: str) -> dict[str, Any]:
    """Return a request, empty where the line is none."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return request if isinstance(request, dict) else {}


def index(request: dict[str, Any]) -> Place:
    """Return the registry that a request is about."""
    registry = request.get("registry")
    url = registry.get("index-url") if isinstance(registry, dict) else None
    return place_of(str(url or "").removeprefix(SPARSE))


def answer(token: Token, scheme: str) -> str:
    """Return the answer that holds the token, and says how long Cargo may keep it."""
    told: dict[str, object] = {
        "kind": "get",
        "token": f"{scheme} {token.access_token}".strip(),
        "cache": "session",
        "operation_independent": True,
    }
    if token.expires_in is not None:
        told |= {"cache": "expires", "expiration": int(time.time()) + token.expires_in}
    return json.dumps({"Ok": told})


def refusal(kind: str, message: str = "") -> str:
    """Return the answer for what cannot be given; with ``url-not-supported`` Cargo asks its next provider."""
    return json.dumps({"Err": {"kind": kind, **({"message": message, "caused-by": []} if message else {})}})
