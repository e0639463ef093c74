"""``keyfob deny``: refuse what a program asks for, for now or for good.

Called by ``main``.
"""

import argparse

from broker.cli import terminal
from broker.cli.approve import code_argument, tell
from broker.cli.arguments import json_flag
from broker.cli.connect import connect
from broker.client import quote


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    code_argument(parser)
    parser.add_argument("--always", action="store_true", help="and do not ask again, until this is denied without it")
    json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Refuse it, and say so."""
    body = {"decision": "deny", "remember": "always" if args.always else "once"}
    with connect() as client:
        answered = client.request("POST", f"/v1/approvals/{quote(args.code)}", body)
    if args.json:
        terminal.result_json(answered)
        return 0
    return tell(answered)
