"""``keyfob key rotate``: new keys for everything that is sealed, or the move to another key source.

Called by ``main``. The daemon does it while it runs.
"""

import argparse

from broker.cli import terminal
from broker.cli.arguments import json_flag, subverbs
from broker.cli.connect import connect
from broker.cli.unlock import ask, passphrase_flag
from broker.errors import InvalidRequest
from broker.settings import KEY_SOURCES

# Refreshes that are under way land first, which takes a minute at the most.
PATIENCE = 180.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    subverbs(parser, ACTIONS)


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    code: int = args.action(args)
    return code


def _configure_rotate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to", choices=KEY_SOURCES, metavar="SOURCE", help=f"take the key from elsewhere: {', '.join(KEY_SOURCES)}"
    )
    passphrase_flag(parser)
    json_flag(parser)


def _rotate(args: argparse.Namespace) -> int:
    """Have new keys made, and say what a person has to do about it.

    Raises:
        InvalidRequest: a passphrase is given and none is wanted, or the other way round.
    """
    with connect() as client:
        before = client.request("GET", "/v1/status")["key"]["source"]
        to = args.to or before
        body = {"to": to}
        if to == "passphrase":
            body["passphrase"] = ask(args.passphrase_file, new=True)
        elif args.passphrase_file:
            raise InvalidRequest(f"No passphrase goes with the key source '{to}'.", "Leave --passphrase-file out.")
        done = client.request("POST", "/v1/key/rotate", body, timeout=PATIENCE)
    if args.json:
        terminal.result_json(done)
        return 0
    count = done["secrets"]
    terminal.say(f"New keys: {count} secret{'' if count == 1 else 's'} sealed anew.")
    if done["new_key"]:
        terminal.say("  Backups from before open with the old key only. Make a new one: keyfob backup FILE")
    else:
        terminal.say(f"  The outer key is the old one: '{to}' still gives it. Put a new one there, then rotate again.")
    if to != before:
        terminal.say(f"  Set key_source to {to} before the daemon starts again, or it starts locked.")
        terminal.say(f"  The old key ({before}) opens nothing here any more, but older backups.")
    return 0


ACTIONS = {"rotate": ("make new keys for everything that is sealed", _configure_rotate, _rotate)}
