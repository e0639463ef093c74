"""Where a verb finds the daemon.

Called by every verb that talks to it.
"""

import os

from broker.client import Client


def connect(new_key: str | None = None) -> Client:
    """Return a client of the daemon of this user, or of the one that the environment names.

    Args:
        new_key: a key that no app has yet, to ask with in the place of the environment's; see ``Client``.

    Raises:
        CannotStart: the configuration file names the place and cannot be read.
        ClientError: the environment names a place or a key that cannot be.
    """
    named = any(os.environ.get(name) for name in ("KEYFOB_SOCKET", "KEYFOB_URL", "KEYFOB_RUNTIME_DIR"))
    config = os.environ.get("KEYFOB_CONFIG")
    # The file is read only where there is one: it may move the socket, and reading it costs what a token costs.
    if named or not (config or os.path.exists(os.path.expanduser("~/.config/keyfob/config.toml"))):  # noqa: PTH110, PTH111 -- pathlib costs two milliseconds
        return Client(key=new_key, new_key=new_key is not None)
    from broker import settings

    socket = settings.read(os.environ).socket
    return Client(socket=socket, key=new_key, new_key=new_key is not None)
