"""``keyfob sasl``: what a mail program sends to log in with a token.

Called by ``main``.
"""

import argparse

from broker.cli import terminal
from broker.cli.arguments import account_name, name, port
from broker.cli.connect import connect
from broker.client import ClientError
from broker.integrations import sasl


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    account_name(parser)
    parser.add_argument("--user", metavar="U", type=name, required=True, help="whose mailbox: usually the address")
    parser.add_argument("--mechanism", choices=sasl.MECHANISMS, default=sasl.MECHANISMS[0], help="default: %(default)s")
    parser.add_argument("--host", metavar="HOST", default="", help="the mail server, told with oauthbearer")
    parser.add_argument("--port", metavar="N", type=port, default=0, help="its port, told with oauthbearer")
    parser.epilog = "Programs that want the bare token run: keyfob token ACCOUNT"


def run(args: argparse.Namespace) -> int:
    """Print the initial response, in base64."""
    try:
        with connect() as client:
            token = client.token(args.account)
        terminal.result(sasl.initial_response(token, args.user, args.mechanism, args.host, args.port))
    except ClientError as exc:
        from broker.cli import failures

        return failures.report(exc, args.account, one_line=True)
    return 0
