"""``keyfob approve``: allow what a program asks for, once, always, or for a time.

Called by ``main``. On a terminal it shows who asks and lets the person choose.
"""

import argparse
import sys
from typing import Any

from broker.cli import terminal
from broker.cli.approvals import describe
from broker.cli.arguments import each_word, json_flag, lasting, name, scope_flag
from broker.cli.connect import connect
from broker.client import quote
from broker.core.approval import STATE_WORDS
from broker.errors import InvalidRequest

CHOICES = {
    "o": {"decision": "allow", "remember": "once"},
    "a": {"decision": "allow", "remember": "always"},
    "n": {"decision": "deny", "remember": "once"},
    "v": {"decision": "deny", "remember": "always"},
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    code_argument(parser)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--once", action="store_true", help="for one token")
    choice.add_argument("--always", action="store_true", help="from now on, until you revoke it")
    choice.add_argument("--for", dest="until", metavar="30d", type=lasting, help="for so long: 1h, 30d, 2w")
    scope_flag(parser, "these scopes, in the place of those asked for")
    parser.add_argument("--proxy-only", action="store_true", help="it may use the proxy, but never sees a token")
    parser.add_argument("--name", metavar="NAME", type=name, help="of a program that wants to become an app: its name")
    parser.add_argument(
        "--account", metavar="A", type=name, action="append", default=[], help="and what it may use; repeatable"
    )
    json_flag(parser)


def code_argument(parser: argparse.ArgumentParser) -> None:
    """Add the code of the request that is answered."""
    parser.add_argument("code", metavar="CODE", type=name, help="the code of the request (see: keyfob approvals)")


def run(args: argparse.Namespace) -> int:
    """Show the request, take the choice, and say what came of it.

    Raises:
        InvalidRequest: nothing says for how long, and there is no terminal to ask at.
    """
    path = f"/v1/approvals/{quote(args.code)}"
    with connect() as client:
        found = client.request("GET", path)
        body = _chosen(args) or _choice(found)
        if body["decision"] == "allow":
            body |= _limits(args)
        answered = client.request("POST", path, body)
    if args.json:
        terminal.result_json(answered)
        return 0
    return tell(answered)


def tell(answered: dict[str, Any]) -> int:
    """Say how a request stands now, and what undoes that."""
    app, state = terminal.clean(answered["app"]), answered["state"]
    terminal.say(f"{terminal.clean(answered['id'])}: {STATE_WORDS.get(state, state)}.")
    if state == "allowed":
        terminal.say(f"  To see or undo it: keyfob app show {app}")
    elif state == "never":
        terminal.say("  To let it ask again: keyfob approvals shows its code, keyfob deny CODE forgets the answer")
    return 0


def _chosen(args: argparse.Namespace) -> dict[str, Any]:
    if args.until is not None:
        return {"decision": "allow", "remember": "until", "expires_at": args.until}
    if args.once or args.always:
        return {"decision": "allow", "remember": "once" if args.once else "always"}
    return {}


def _limits(args: argparse.Namespace) -> dict[str, Any]:
    given = {
        "scope": each_word(args.scope),
        "name": args.name,
        "accounts": args.account,
        "mode": "proxy" if args.proxy_only else None,
    }
    return {key: value for key, value in given.items() if value}


def _choice(found: dict[str, Any]) -> dict[str, Any]:
    for line in describe(found):
        terminal.say(line)
    if not sys.stdin.isatty():
        raise InvalidRequest(
            "For how long is not said, and there is no terminal to ask at.", "Add --once, --always, or --for 30d."
        )
    pairing = found["kind"] == "pairing"
    offered = "[a]lways / [n]o: " if pairing else "[o]nce / [a]lways / [n]ot now / ne[v]er: "
    terminal.say()
    sys.stderr.write(offered)
    sys.stderr.flush()
    letter = sys.stdin.readline().strip().lower()[:1]
    if letter not in (("a", "n") if pairing else tuple(CHOICES)):
        raise InvalidRequest("That is none of the choices.", "Nothing was changed. Try again.")
    return dict(CHOICES[letter])
