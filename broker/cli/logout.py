"""``keyfob logout``: revoke an account's tokens at the provider and forget them here.

Called by ``main``.
"""

import argparse

from broker.cli import terminal
from broker.cli.arguments import account_name
from broker.cli.connect import connect
from broker.client import quote

# How the daemon begins to say that there was no account yet, only a login under way.
CANCELLED = "Its first login was cancelled"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    account_name(parser)
    parser.add_argument("--local-only", action="store_true", help="forget it here and do not tell the provider")


def run(args: argparse.Namespace) -> int:
    """Log out. Here the account is forgotten either way; the answer says whether the provider knows."""
    query = "?local_only=true" if args.local_only else ""
    with connect() as client:
        answer = client.request("DELETE", f"/v1/accounts/{quote(args.account)}{query}") or {}
    if args.local_only:
        terminal.say(f"Account '{args.account}' is forgotten here; the provider was not told.")
    elif CANCELLED in (answer.get("detail") or ""):
        terminal.say(f"The login of '{args.account}' that was under way is cancelled; it had no account yet.")
    elif answer.get("revoked"):
        terminal.say(f"Account '{args.account}' is logged out: revoked at the provider and forgotten here.")
    else:
        detail = terminal.clean(answer.get("detail") or "the provider did not confirm it")
        terminal.say(f"Account '{args.account}' is forgotten here, but not revoked at the provider: {detail}")
    if children := answer.get("derived"):
        terminal.say(f"Nothing renews what was derived from it any more: {terminal.clean(', '.join(children))}")
    return 0
