"""``keyfob lock``: hand out nothing until it is unlocked.

Called by ``main``.
"""

import argparse

from broker.cli import terminal
from broker.cli.connect import connect


def configure(parser: argparse.ArgumentParser) -> None:
    """Add nothing: there is one lock."""
    del parser


def run(args: argparse.Namespace) -> int:
    """Lock, and say what the key is still kept for."""
    del args
    with connect() as client:
        found = client.request("POST", "/v1/lock", {})
    terminal.say("Locked: no token is handed out, and none is renewed. To go on: keyfob unlock")
    if under_way := found.get("under_way"):
        terminal.say(f"  {under_way} under way: what comes of that is kept, then the key is forgotten (within 60 s).")
    return 0
