"""``keyfob git-credential``: git's credential helper.

Called by ``main``; by git at every fetch and push that a server wants to see a credential for, so it imports as little
as it can (a test holds the list).
"""

import argparse
import sys

from broker.cli import terminal
from broker.cli.arguments import host_flags, hosts_fit
from broker.cli.connect import connect
from broker.client import ClientError
from broker.integrations import git
from broker.integrations.places import Place
from broker.integrations.text import read
from broker.integrations.whose import find

ACTION = "{get,store,erase,capability}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; git itself appends the action, and may one day append another."""
    host_flags(parser)
    parser.add_argument("action", metavar=ACTION, help="what git wants; it adds this itself")
    parser.epilog = (
        "Set up: keyfob setup git ACCOUNT. By hand, for one host: "
        "git config --global credential.https://git.example.org.helper '!keyfob git-credential'"
    )


def run(args: argparse.Namespace) -> int:
    """Answer git; what it only tells a helper for keeping is not kept."""
    if not hosts_fit(args):
        return 2
    if args.action == "capability":
        terminal.result("\n".join(git.CAPABILITIES))
        return 0
    try:
        text = read(sys.stdin.buffer)
        asked = git.Asked(text) if args.action in ("get", "erase") else None
        if asked is None or asked.place is None:
            return 0  # nothing is kept here; and git's mail asks helpers, too
        return _get(args, asked, asked.place) if args.action == "get" else _erase(args, asked, asked.place)
    except ClientError as exc:
        return _report(exc, args.account)


def _get(args: argparse.Namespace, asked: git.Asked, place: Place) -> int:
    with connect() as client:
        found = find(client, git.wish(place, args.account, args.host), place, asked.username)
        if found is None:
            terminal.say(f"keyfob: No account belongs to {terminal.clean(place.host)}; git goes on without.")
            return 0
        try:
            told = git.lines(asked, found, client.token(found.account))
        except ClientError as exc:
            # The account is the right one, so a password that git would ask the person for were none.
            terminal.result("quit=1")
            return _report(exc, found.account)
    terminal.result("\n".join(told))
    return 0


def _erase(args: argparse.Namespace, asked: git.Asked, place: Place) -> int:
    if asked.secret:
        with connect() as client:
            git.reject(client, asked, place, git.wish(place, args.account, args.host))
    return 0


def _report(exc: ClientError, account: str | None) -> int:
    from broker.cli import failures

    return failures.report(exc, account, one_line=True)
