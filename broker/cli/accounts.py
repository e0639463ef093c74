"""``keyfob accounts``: list the accounts.

Called by ``main``; ``show``, ``refresh`` and ``login`` use its words for one account.
"""

import argparse
import time
from typing import Any

from broker.cli import terminal
from broker.cli.arguments import list_flags
from broker.cli.connect import connect

HEADER = ("ACCOUNT", "PROVIDER", "STATE", "IDENTITY", "EXPIRES", "NEXT REFRESH", "LAST USED")
# How accounts renew themselves that may be nobody's: those of programs, and what is derived from such a one.
MACHINE = ("client_credentials", "jwt_bearer", "token_exchange")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    list_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Print the list; below it, on stderr, what a person should do about some of them."""
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
        if advice := trouble(account, now):
            terminal.say(advice)
    return 0


def identity(account: dict[str, Any]) -> str:
    """Return who is logged in, or which client a program's account is of, for people."""
    who = account.get("identity") or {}
    client = account.get("client_id") if account.get("renewal") in MACHINE else None
    return terminal.clean(who.get("label") or who.get("subject") or client or "")


def trouble(account: dict[str, Any], now: float) -> str:
    """Return what is wrong with the account and what helps, in lines; nothing where all is well."""
    reason, step = account.get("reason") or "", account.get("next_step") or ""
    if not (reason or step):
        return ""
    how = standing(account, now) if reason else ""
    lines = [f"{account['account']}: {reason or step}", how, step if reason else ""]
    return "\n  ".join(terminal.clean(line) for line in lines if line)


def standing(account: dict[str, Any], now: float) -> str:
    """Return an account's state, for how long it is in it, and when Keyfob asks again by itself, in one line."""
    since, ahead = terminal.when(account.get("since"), now), terminal.when(account.get("next_refresh_at"), now)
    # A clock that was set back makes "since" lie ahead: then for how long cannot be told.
    long = f" for {since.removesuffix(' ago')}" if since.endswith(" ago") else ""
    due = "now" if terminal.is_past(account.get("next_refresh_at"), now) else ahead
    return f"{account['state']}{long}{f'; Keyfob asks again {due}' if ahead else ''}"


def _row(account: dict[str, Any], now: float) -> tuple[str, ...]:
    times = (terminal.moment(account.get(key), now) for key in ("expires_at", "next_refresh_at", "last_used_at"))
    return (account["account"], account.get("provider") or "", account["state"], identity(account), *times)
