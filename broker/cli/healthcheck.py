"""``keyfob healthcheck``: exit 0 while the daemon answers, else 1, within two seconds.

Called by ``main``; by containers, which know no third answer.
"""

import argparse

from broker.cli import terminal
from broker.cli.connect import connect
from broker.client import ClientError

# The contract says 2 s for all of it; starting Python and ending it takes some of that.
DEADLINE = 1.7
OK = 200


def configure(parser: argparse.ArgumentParser) -> None:
    """There is nothing to choose."""


def run(args: argparse.Namespace) -> int:  # noqa: ARG001 -- every verb has the same shape
    """Ask ``/healthz``, which needs no key."""
    try:
        with connect() as client:
            reply = client.send("GET", "/healthz", timeout=DEADLINE)
    except ClientError as exc:
        terminal.fail(exc.detail)
        return 1
    if reply.status != OK:
        terminal.fail(f"The daemon answered {reply.status}.")
        return 1
    return 0
