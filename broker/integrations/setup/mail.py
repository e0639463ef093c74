"""What the mail programs share: whose mailbox it is, and at which server.

Called by ``msmtp``, ``mbsync`` and ``neomutt``.
"""

from __future__ import annotations

from broker.integrations.setup.plan import Asked, plain


def server(asked: Asked, default_port: int) -> tuple[str, int]:
    """Return the server and its port.

    Raises:
        ClientError: nobody named it.
    """
    host = plain(asked.option("host", "which mail server it is"), "mail server")
    return host, int(asked.options.get("port") or default_port)


def user(asked: Asked) -> str:
    """Return whose mailbox it is: who the person says, else who is logged in, where that is an address.

    Raises:
        ClientError: neither is known.
    """
    return plain(asked.option("user", "whose mailbox it is"), "user")
