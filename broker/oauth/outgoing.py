"""A request as it goes over the wire: the headers that every one has, and its body.

Called by ``http`` only.
"""

import json as jsonlib
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import urlencode

from broker import __version__
from broker.core.secret import Secret


def written(
    form: Mapping[str, str | Secret] | None,
    json: object | None,
    headers: Mapping[str, str | Secret] | None,
    basic: tuple[str, str | Secret] | None,
) -> tuple[bytes | None, list[tuple[bytes, bytes]]]:
    """Write body and headers. Secrets are revealed here, and nowhere else on the way out."""
    lines = {
        "User-Agent": f"keyfob/{__version__}",
        "Accept": "application/json",
        # A compressed answer can be a bomb, and nothing here is large (security.md M20).
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    content: bytes | None = None
    if form is not None:
        content = urlencode({name: _text(value) for name, value in form.items()}).encode()
        lines["Content-Type"] = "application/x-www-form-urlencoded"
    elif json is not None:
        content = jsonlib.dumps(json, default=_revealed).encode()
        lines["Content-Type"] = "application/json"
    lines.update({name: _text(value) for name, value in (headers or {}).items()})
    if basic is not None:
        lines["Authorization"] = "Basic " + b64encode(f"{basic[0]}:{_text(basic[1])}".encode()).decode()
    return content, [(name.encode(), value.encode("latin-1")) for name, value in lines.items()]


def _text(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def _revealed(value: object) -> str:
    if not isinstance(value, Secret):
        raise TypeError(type(value).__name__)  # a mistake of the caller's: nothing else is not JSON by itself
    return value.reveal()
