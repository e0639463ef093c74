"""``keyfob docker-credential``: a credential helper for Docker, Podman, skopeo and others that read Docker's settings.

Called by ``main``, through a script of the name that those look for (docs/credential-helpers.md).
"""

import argparse
import json
import sys

from broker.cli import terminal
from broker.cli.arguments import host_flags, hosts_fit
from broker.cli.connect import connect
from broker.client import ClientError
from broker.integrations import docker
from broker.integrations.text import read
from broker.integrations.whose import Wish, find

ACTIONS_OF_DOCKER = ("get", "store", "erase", "list")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; the calling program appends the action."""
    host_flags(parser)
    parser.add_argument(
        "--username",
        metavar="U",
        default=docker.USERNAME,
        help="what the registry wants with it (default: %(default)s)",
    )
    parser.add_argument("action", choices=ACTIONS_OF_DOCKER, help="what is wanted; the calling program adds this")


def run(args: argparse.Namespace) -> int:
    """Answer; nothing is kept here, so there is nothing to store, to erase or to list but what the line says."""
    if not hosts_fit(args):
        return 2
    if args.action == "list":
        terminal.result(json.dumps(dict.fromkeys(args.host, args.username)))
        return 0
    try:
        text = read(sys.stdin.buffer)
        if args.action == "erase":
            return 0
        if args.action == "store":  # what the program quotes then is stdout
            terminal.result("keyfob keeps no passwords of registries: log in with keyfob login")
            return 1
        return _get(args, text)
    except ClientError as exc:
        from broker.cli import failures

        return failures.report(exc, args.account, one_line=True)


def _get(args: argparse.Namespace, text: str) -> int:
    server, place = docker.registry(text)
    with connect() as client:
        found = find(client, Wish("keyfob docker-credential", args.account, args.host), place)
        if found is None:
            terminal.result(docker.NOT_FOUND)
            return 1
        token = client.token(found.account)
    terminal.result(docker.credential(server, args.username, token))
    return 0
