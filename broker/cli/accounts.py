"""``keyfob accounts``: list the accounts.

Called by ``main``; ``show``, ``refresh`` and ``login`` use its words for one account.
"""

import argparse
import time
from typing import Any

from broker.cli import terminal
from broker.cli.arguments import json_flag
from broker.cli.connect import connect

HEADER = ("ACCOUNT", "PROVIDER", "STATE", "IDENTITY", "EXPIRES", "NEXT REFRESH", "LAST USED")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table; below it, on stderr, what a person should do about some of them."""
    with connect() as client:
        answer = client.request("GET", "/v1/accounts")
    if args.json:
        terminal.result_json(answer)
        return 0
    accounts, now = answer["accounts"], time.time()
    if not accounts:
        terminal.say("There are no accounts yet. Log in: keyfob login --provider NAME-OR-ISSUER-URL")
        return 0
    terminal.table(HEADER, [_row(account, now) for account in accounts])
    for account in accounts:
        if advice := trouble(account):
            terminal.say(advice)
    return 0


def identity(account: dict[str, Any]) -> str:
    """Return who is logged in, for people."""
    who = account.get("identity") or {}
    return terminal.clean(who.get("label") or who.get("subject") or "")


def trouble(account: dict[str, Any]) -> str:
    """Return what is wrong with the account and what helps; nothing where all is well."""
    if not account.get("reason"):
        return ""
    name = account["account"]
    step = {
        "needs-login": f"keyfob login {name}",
        # There is no account yet that knows its provider.
        "pending": f"keyfob login {name} --provider {account.get('provider')}",
        "uncertain": f"keyfob refresh {name} --confirm",
        "suspect": f"keyfob refresh {name} --confirm",
    }.get(account["state"])
    return terminal.clean(f"{name}: {account['reason']}{f'  ({step})' if step else ''}")


def _row(account: dict[str, Any], now: float) -> tuple[str, ...]:
    times = (terminal.when(account.get(key), now) for key in ("expires_at", "next_refresh_at", "last_used_at"))
    return (account["account"], account.get("provider") or "", account["state"], identity(account), *times)
