"""``keyfob refresh``: renew an account's token now.

Called by ``main``.
"""

import argparse
import time

from broker.cli import terminal
from broker.cli.arguments import account_name, json_flag
from broker.cli.connect import connect
from broker.client import quote


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    account_name(parser)
    parser.add_argument(
        "--confirm", action="store_true", help="also where it may end the login (states uncertain and suspect)"
    )
    json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Force one refresh and say how long the new token lives."""
    with connect() as client:
        body = {"confirm": True} if args.confirm else {}
        account = client.request("POST", f"/v1/accounts/{quote(args.account)}/refresh", body)
    if args.json:
        terminal.result_json(account)
        return 0
    expires = terminal.when(account.get("expires_at"), time.time())
    terminal.say(f"Account '{args.account}' has a new token{f'; it expires {expires}' if expires else ''}.")
    return 0
