"""``keyfob show``: everything that is known about one account, its token apart.

Called by ``main``.
"""

import argparse
import time

from broker.cli import terminal
from broker.cli.accounts import trouble
from broker.cli.arguments import account_name, json_flag
from broker.cli.connect import connect
from broker.client import quote


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    account_name(parser)
    json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Print one line per fact."""
    with connect() as client:
        account = client.request("GET", f"/v1/accounts/{quote(args.account)}")
    if args.json:
        terminal.result_json(account)
        return 0
    terminal.facts(account, time.time())
    if advice := trouble(account):
        terminal.say(advice)
    return 0
