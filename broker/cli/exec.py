"""``keyfob exec``: run a command with a token in its environment, never in its arguments.

Called by ``main``.
"""

import argparse
import os
import re
import signal

from broker.cli import terminal
from broker.cli.arguments import account_name
from broker.cli.connect import connect

# What shells, env and timeout answer for a command that cannot be run, and for one that is not there.
NOT_RUNNABLE, NOT_FOUND = 126, 127


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; ``main`` takes the command itself, after ``--``, off the line first."""
    account_name(parser)
    parser.add_argument(
        "--env", metavar="NAME", type=_variable, default="ACCESS_TOKEN", help="variable that holds the token"
    )
    parser.set_defaults(command=[])
    parser.epilog = "The command inherits the environment, but not KEYFOB_APP_KEY."
    parser.usage = "%(prog)s ACCOUNT [--env NAME] -- COMMAND [ARGUMENT ...]"


def run(args: argparse.Namespace) -> int:
    """Become the command; this returns only where that fails."""
    if not args.command:
        terminal.fail("There is no command to run.", f"keyfob exec {args.account} -- COMMAND ...")
        return 2
    with connect() as client:
        token = client.token(args.account)
    # An app key opens more than this one token, and lives longer.
    environ = {name: value for name, value in os.environ.items() if name != "KEYFOB_APP_KEY"}
    environ[args.env] = token.access_token
    for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them, and what is ignored stays so in the command
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    terminal.flush()
    try:
        os.execvpe(args.command[0], args.command, environ)  # nosec B606 # noqa: S606 -- running the person's command is the purpose
    except FileNotFoundError:
        terminal.fail(f"There is no command {args.command[0]!r}.")
        return NOT_FOUND
    except (OSError, ValueError) as exc:
        terminal.fail(f"{args.command[0]!r} cannot be run: {getattr(exc, 'strerror', None) or exc}.")
        return NOT_RUNNABLE


def _variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a variable")
    return text
