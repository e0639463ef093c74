"""``keyfob proxy-url``: where programs find an account's API without its token, and where that API is.

Called by ``main``.
"""

import argparse

from broker.cli import terminal
from broker.cli.arguments import account_name, json_flag
from broker.cli.connect import connect
from broker.client import quote


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    account_name(parser)
    parser.add_argument(
        "--api-base",
        metavar="URL",
        help="write down that the API is there; '' for where the account's login or its provider says",
    )
    json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Print the local URL; 1 where nobody knows where the API is."""
    where = f"/v1/accounts/{quote(args.account)}"
    with connect() as client:
        if args.api_base is None:
            account = client.request("GET", where)
        else:
            account = client.request("PATCH", where, {"api_base": args.api_base})
        base = account.get("api_base") or account.get("resource")
        base = base or client.request("GET", f"/v1/providers/{quote(account['provider'])}").get("api_base")
        door = client.request("GET", "/v1/status")["doors"]["app"]
    if not base:
        terminal.fail(
            f"Nobody knows where the API of account '{args.account}' is.",
            f"Say it: keyfob proxy-url {args.account} --api-base https://api.example.org/v1",
        )
        return 1
    url = f"{door}/proxy/{quote(args.account)}/"
    if args.json:
        terminal.result_json({"account": account["account"], "url": url, "api_base": base})
        return 0
    terminal.result(terminal.clean(url))
    terminal.say(terminal.clean(f"Requests there go to {base}, with the account's token."))
    terminal.say(f"A program shows its app key there: keyfob app add NAME --account {args.account} --proxy-only")
    return 0
