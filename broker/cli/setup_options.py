"""The programs that ``keyfob setup`` knows, and what can be said of each.

Called by ``setup``.
"""

import argparse
from typing import NamedTuple

from broker.cli.arguments import host, port


class Tool(NamedTuple):
    """One program.

    Attributes:
        summary: what is set up.
        options: what may be said of it.
        defaults: those of them that the daemon may know: who is logged in, and for which resource.
        has_file: it has a file of its own, which ``--file`` names.
        has_app: it can run no command, and gets an app with a key.
    """

    summary: str
    options: tuple[str, ...] = ()
    defaults: tuple[str, ...] = ()
    has_file: bool = True
    has_app: bool = False


SERVER = ("host", "port", "user", "tls")
TOOLS = {
    "git": Tool("credential helper for the hosts of the account", ("host",)),
    "kubectl": Tool("a user in the kubeconfig", ("id_token",)),
    "rclone": Tool("a WebDAV remote", ("url",), ("url",)),
    "msmtp": Tool("an account that sends mail", (*SERVER, "mechanism"), ("user",)),
    "neomutt": Tool("the token for IMAP and SMTP", ("user",)),
    "mbsync": Tool("an account that reads mail", SERVER, ("user",)),
    "gcloud": Tool("a credentials file, for the libraries of that cloud", ("metadata",), has_file=False, has_app=True),
    "azure": Tool("a managed identity, for the libraries of that cloud", ("imds",), has_file=False, has_app=True),
    "oidc-agent": Tool("the socket that oidc-agent's clients ask", has_file=False),
    "prometheus": Tool("the oauth2 block of a scrape, to paste", has_file=False, has_app=True),
    "claude": Tool("an MCP server whose headers Keyfob gives", ("url", "name"), ("url",)),
}


def options(parser: argparse.ArgumentParser, tool: str) -> None:
    """Add what can be said of a program."""
    known = TOOLS[tool]
    if tool == "git":
        parser.add_argument(
            "--host", metavar="HOST", type=host, help="a host beside the provider's, where the repositories are"
        )
    elif "host" in known.options:
        parser.add_argument("--host", metavar="HOST", type=host, help="the mail server")
    if "port" in known.options:
        parser.add_argument("--port", metavar="N", type=port, help="its port, if it is not the usual one")
        parser.add_argument("--tls", action="store_true", help="TLS from the first byte on at an unusual port, too")
    if "user" in known.options:
        parser.add_argument("--user", metavar="U", help="whose mailbox it is; default: who is logged in")
    if "mechanism" in known.options:
        parser.add_argument("--mechanism", choices=("xoauth2", "oauthbearer"), help="default: xoauth2")
    if "id_token" in known.options:
        parser.add_argument("--id-token", action="store_true", help="the ID token, as clusters with OIDC want it")
    if "url" in known.options:
        parser.add_argument("--url", metavar="URL", help="where it is; default: the resource that was logged in at")
    if "name" in known.options:
        parser.add_argument("--name", metavar="NAME", help="how the server is called; default: keyfob-ACCOUNT")
    if "metadata" in known.options:
        parser.add_argument("--metadata", action="store_true", help="the metadata server's address instead of a file")
    if "imds" in known.options:
        parser.add_argument(
            "--imds", action="store_true", help="the form of a virtual machine (IMDS), with one address"
        )
    if known.has_file:
        parser.add_argument("--file", metavar="FILE", help="another file than the program's usual one")
