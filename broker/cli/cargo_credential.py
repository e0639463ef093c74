"""``keyfob cargo-credential``: a credential provider for Cargo's registries.

Called by ``main``; by Cargo, which tells by ``--cargo-plugin`` that it speaks its protocol.
"""

import argparse
import sys

from broker.cli import terminal
from broker.cli.arguments import host_flags, hosts_fit
from broker.cli.connect import connect
from broker.client import ClientError
from broker.integrations import cargo
from broker.integrations.whose import Wish, find


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    host_flags(parser)
    parser.add_argument(
        "--scheme",
        metavar="S",
        default=cargo.SCHEME,
        help="what stands before the token, may be empty (default: %(default)s)",
    )
    parser.add_argument("--cargo-plugin", action="store_true", required=True, help="Cargo adds this itself")


def run(args: argparse.Namespace) -> int:
    """Answer each request; a refusal is an answer, and the exit code stays 0: else Cargo would not show it."""
    if not hosts_fit(args):
        return 2
    _say(cargo.HELLO)
    for line in sys.stdin:
        try:
            _say(_answer(args, cargo.parse(line)))
        except ClientError as exc:
            from broker.cli import failures

            _say(cargo.refusal("other", failures.sentence(exc, args.account)))
    return 0


def _answer(args: argparse.Namespace, request: dict[str, object]) -> str:
    if request.get("kind") != "get":
        return cargo.refusal("operation-not-supported")
    with connect() as client:
        found = find(client, Wish("keyfob cargo-credential", args.account, args.host), cargo.index(request))
        if found is None:
            return cargo.refusal("url-not-supported")
        return cargo.answer(client.token(found.account), args.scheme)


def _say(line: str) -> None:
    terminal.result(line)
    terminal.flush()
