"""``keyfob rename``: give an account another name.

Called by ``main``.
"""

import argparse

from broker.cli import terminal
from broker.cli.arguments import account_name, json_flag, name
from broker.cli.connect import connect
from broker.client import quote


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    account_name(parser)
    parser.add_argument("new", metavar="NEW", type=name, help="the name that it gets")
    json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Rename it, and say who has to be told: programs ask by name."""
    with connect() as client:
        account = client.request("PATCH", f"/v1/accounts/{quote(args.account)}", {"name": args.new})
    if args.json:
        terminal.result_json(account)
        return 0
    terminal.say(f"Account '{args.account}' is called '{args.new}' now.")
    terminal.say(f"  Programs keep what they may have of it, and ask for it by the new name: keyfob token {args.new}")
    return 0
