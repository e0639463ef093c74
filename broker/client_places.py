"""Where the daemon is when nobody says so, with which key, and what a key or a token may look like.

Called by ``client``; as poor in imports as that.
"""

from __future__ import annotations

import os

from broker.client_errors import ClientError

TYPE_CHECKING = False  # importing typing for its own constant costs two milliseconds at every start
if TYPE_CHECKING:
    from collections.abc import Mapping


def default_socket(environ: Mapping[str, str]) -> str:
    """Return where the app socket is when nobody names one.

    ``keyfob.sock`` in ``KEYFOB_RUNTIME_DIR``, else in ``$XDG_RUNTIME_DIR/keyfob``; without a session (cron, containers)
    in ``run`` below ``KEYFOB_STATE_DIR``, by default ``~/.local/state/keyfob``.
    """
    directory = environ.get("KEYFOB_RUNTIME_DIR")
    if not directory and environ.get("XDG_RUNTIME_DIR"):
        directory = f"{environ['XDG_RUNTIME_DIR']}/keyfob"
    if not directory:
        directory = f"{environ.get('KEYFOB_STATE_DIR') or '~/.local/state/keyfob'}/run"
    return f"{os.path.expanduser(directory)}/keyfob.sock"  # noqa: PTH111 -- pathlib costs two milliseconds at every start


def key_of(environ: Mapping[str, str]) -> str | None:
    """Return the app key that the environment names, or None.

    Raises:
        ClientError: its file cannot be read, or is empty: whoever names one means to ask as an app, not as the owner.
    """
    path = environ.get("KEYFOB_APP_KEY_FILE")
    if environ.get("KEYFOB_APP_KEY") or not path:
        return environ.get("KEYFOB_APP_KEY") or None
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 -- as above
            key = file.read().strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = why(exc) if isinstance(exc, OSError) else "it is not plain text"
        detail = f"The app key file {path} cannot be read: {reason}."
        raise ClientError(detail, "Look at KEYFOB_APP_KEY_FILE.", code="invalid_request") from exc
    if not key:
        raise ClientError(f"The app key file {path} is empty.", "Look at KEYFOB_APP_KEY_FILE.", code="invalid_request")
    return key


def bearer(value: object, what: str, code: str, hint: str = "") -> str:
    """Refuse what would break a header or a terminal (RFC 6750 2.1: printable ASCII without spaces)."""
    if isinstance(value, str) and value and all("!" <= character <= "~" for character in value):
        return value
    raise ClientError(f"There is no usable {what}.", hint, code=code)


def why(exc: OSError) -> str:
    """Say in a few words what the system refused."""
    return "it took too long" if isinstance(exc, TimeoutError) else exc.strerror or str(exc) or type(exc).__name__
