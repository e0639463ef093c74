"""``keyfob show``: everything that is known about one account, its token apart; and how one of anything is shown.

Called by ``main``, ``apps`` and ``providers``.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

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
    """Print one line per fact, and what to do where something is wrong."""
    return show(f"/v1/accounts/{quote(args.account)}", as_json=args.json, advise=trouble)


def show(path: str, *, as_json: bool, advise: Callable[[dict[str, Any], float], str] | None = None) -> int:
    """Print what is known about one thing of the daemon: one line per fact, or its JSON.

    Args:
        path: where the API has it.
        as_json: print it as it came.
        advise: returns what a person should do about it now (epoch seconds), or empty text.
    """
    with connect() as client:
        found = client.request("GET", path)
    if as_json:
        terminal.result_json(found)
        return 0
    now = time.time()
    terminal.facts(found, now)
    if advise is not None and (advice := advise(found, now)):
        terminal.say(advice)
    return 0
