"""``keyfob bazel-credential``: a credential helper for Bazel.

Called by ``main``, through a script (docs/credential-helpers.md): Bazel's setting names a file without arguments.
"""

import argparse
import sys

from broker.cli import terminal
from broker.cli.arguments import host_flags, hosts_fit
from broker.cli.connect import connect
from broker.client import ClientError
from broker.integrations import bazel
from broker.integrations.text import read
from broker.integrations.whose import Wish, find


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; Bazel appends the action."""
    host_flags(parser)
    parser.add_argument("action", choices=("get",), help="what is wanted; Bazel adds this")


def run(args: argparse.Namespace) -> int:
    """Print the headers for one URI."""
    if not hosts_fit(args):
        return 2
    try:
        place = bazel.asked(read(sys.stdin.buffer))
        with connect() as client:
            found = find(client, Wish("keyfob bazel-credential", args.account, args.host), place)
            token = client.token(found.account) if found is not None else None
        terminal.result(bazel.headers(token))
    except ClientError as exc:
        from broker.cli import failures

        return failures.report(exc, args.account, one_line=True)
    return 0
