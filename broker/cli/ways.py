"""Which way to log in fits this terminal, and how a browser elsewhere can reach the one here.

Called by ``login``.
"""

from __future__ import annotations

import getpass
import shlex
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from broker.cli.browser import opener

SSH_PORT = "22"


def browser_is_here(environ: Mapping[str, str]) -> bool:
    """Whether a browser can be opened that reaches this machine's own addresses.

    Over SSH the display is somebody else's, unless the person says with ``BROWSER`` what opens one.
    """
    return opener(environ) is not None and not (environ.get("SSH_CONNECTION") and not environ.get("BROWSER"))


def flows(environ: Mapping[str, str], *, no_browser: bool, can_paste: bool) -> list[str]:
    """Return the flows to try where the person names none; the first that the provider offers is taken.

    Args:
        environ: of this process.
        no_browser: the person wants to open the address in a browser by hand.
        can_paste: somebody is there to paste what another browser shows.
    """
    if no_browser or browser_is_here(environ):
        return ["browser", "device"]
    return ["device", "paste"] if can_paste else ["device", "browser"]


def tunnel(start_url: str, environ: Mapping[str, str]) -> str:
    """Return the command that lets a browser on the person's own machine reach the browser port here."""
    port = urlsplit(start_url).port
    # "client-address client-port server-address server-port", as sshd says it.
    said = environ.get("SSH_CONNECTION", "").split()
    host, ssh_port = (said[2], said[3]) if len(said) == 4 else (socket.gethostname(), SSH_PORT)  # noqa: PLR2004
    words = ["ssh", *(["-p", ssh_port] if ssh_port != SSH_PORT else [])]
    return shlex.join([*words, "-L", f"{port}:127.0.0.1:{port}", f"{_user()}@{host}"])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in some containers
        return "USER"
