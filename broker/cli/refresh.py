"""``keyfob refresh``: renew an account's token now, and say what came of it.

Called by ``main``.
"""

import argparse
import time
from typing import Any

from broker.cli import failures, terminal
from broker.cli.accounts import standing
from broker.cli.arguments import account_name, json_flag
from broker.cli.connect import connect
from broker.client import Client, ClientError, quote

# Answers about the account: it does not allow that, or its provider cannot be asked now.
EXPLAINED = (409, 503)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    account_name(parser)
    parser.add_argument(
        "--confirm", action="store_true", help="also where it may end the login (states uncertain and suspect)"
    )
    json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Force one refresh; say how long the new token lives, or how the account stands where there is none."""
    path = f"/v1/accounts/{quote(args.account)}"
    with connect() as client:
        try:
            account = client.request("POST", f"{path}/refresh", {"confirm": True} if args.confirm else {})
        except ClientError as exc:
            code = failures.report(exc, args.account)
            if exc.status in EXPLAINED:
                _explain(client, path)
            return code
    if args.json:
        terminal.result_json(account)
        return 0
    now = time.time()
    expires, ahead = (terminal.when(account.get(key), now) for key in ("expires_at", "next_refresh_at"))
    terminal.say(f"Account '{args.account}' has a new token{f'; it expires {expires}' if expires else ''}.")
    terminal.say(f"  Keyfob renews it by itself {ahead}." if ahead else "  Keyfob does not know when to renew it.")
    return 0


def _explain(client: Client, path: str) -> None:
    """Say how the account stands after a refresh that brought nothing: the old token, the state, the next try."""
    try:
        account: dict[str, Any] = client.request("GET", path)
    except ClientError:
        return  # why there is no account was said already
    now = time.time()
    expires = account.get("expires_at")
    if expires and terminal.is_past(expires, now):
        terminal.say(f"  The old token expired {terminal.when(expires, now)}.")
    elif expires:
        terminal.say(f"  The old token is served until it expires {terminal.when(expires, now)}.")
    terminal.say(f"  The account: {terminal.clean(standing(account, now))}.")
