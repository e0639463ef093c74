"""``keyfob token``: print an access token that is valid now.

Called by ``main``; by scripts at every request, so it imports as little as it can (a test holds the list).
"""

from __future__ import annotations

from broker.cli import terminal
from broker.cli.connect import connect

TYPE_CHECKING = False  # importing typing for its own constant costs two milliseconds at every start
if TYPE_CHECKING:
    import argparse

    from broker.client import Client, Token

# What the options are where none is given: a test holds it against the parser.
PLAIN = {
    "min_ttl": None,
    "scope": None,
    "resource": None,
    "audience": None,
    "id_token": False,
    "header": False,
    "json_header": False,
    "json": False,
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    from broker.cli.arguments import account_name

    account_name(parser)
    wish_flags(parser, "print the OpenID Connect ID token instead")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--header", action="store_true", help="print the line 'Authorization: Bearer TOKEN'")
    form.add_argument(
        "--json-header", action="store_true", help="print that header as a JSON object, as helpers of AI tools do"
    )
    form.add_argument("--json", action="store_true", help="print everything that is known, as JSON")


def wish_flags(parser: argparse.ArgumentParser, id_token: str) -> None:
    """Add what can be said of the token that is wanted; ``id_token`` is the help of that flag."""
    from broker.cli.arguments import seconds

    parser.add_argument("--min-ttl", type=seconds, metavar="S", help="how long it must still live, such as 90 or 10m")
    parser.add_argument(
        "--scope",
        metavar="S",
        action="append",
        help="scope that it must carry, and no other where it can be had; repeatable",
    )
    parser.add_argument("--resource", metavar="R", help="resource that it must be for (RFC 8707)")
    parser.add_argument("--audience", metavar="NAME", help="whom it must be for, by token exchange (RFC 8693)")
    parser.add_argument("--id-token", action="store_true", help=id_token)


def ask(client: Client, args: argparse.Namespace) -> Token:
    """Ask for the token that these options describe."""
    return client.token(
        args.account, args.min_ttl, args.scope, args.resource, audience=args.audience, id_token=args.id_token
    )


def run(args: argparse.Namespace) -> int:
    """Ask once, and print."""
    with connect() as client:
        if args.json:
            terminal.result_json(_members(ask(client, args)))
            return 0
        token = client.bare_token(
            args.account, args.min_ttl, args.scope, args.resource, audience=args.audience, id_token=args.id_token
        )
    if args.json_header:
        terminal.result_json({"Authorization": f"Bearer {token}"})
    else:
        terminal.result(f"Authorization: Bearer {token}" if args.header else token)
    return 0


def _members(token: Token) -> dict[str, object]:
    return {
        "account": token.account,
        "access_token": token.access_token,
        "token_type": token.token_type,
        "expires_at": token.expires_at,
        "expires_in": token.expires_in,
        "scope": token.scope,
        "resource": token.resource,
        "audience": token.audience,
    }
