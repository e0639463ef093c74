"""``keyfob kube-credential``: an exec credential plugin for kubectl and the Kubernetes clients.

Called by ``main``; by kubectl whenever it has no token that is good.
"""

import argparse
import os

from broker.cli import terminal
from broker.cli.arguments import account_name
from broker.cli.connect import connect
from broker.cli.token import ask, wish_flags
from broker.client import ClientError
from broker.integrations import kube


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    account_name(parser)
    wish_flags(parser, "hand over the OpenID Connect ID token, as clusters with OIDC want it")


def run(args: argparse.Namespace) -> int:
    """Print one ExecCredential."""
    try:
        version = kube.version(os.environ.get("KUBERNETES_EXEC_INFO", ""))
        with connect() as client:
            terminal.result(kube.credential(ask(client, args), version))
    except ClientError as exc:
        from broker.cli import failures

        return failures.report(exc, args.account, one_line=True)
    return 0
