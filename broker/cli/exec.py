"""``keyfob exec``: run a command with a token in its environment or behind a file descriptor, never in its arguments.

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
VARIABLE = "ACCESS_TOKEN"
# A shell can redirect from these (POSIX, 2.7); stdin, stdout and stderr are the command's own.
DESCRIPTORS = range(3, 10)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; ``main`` takes the command itself, after ``--``, off the line first."""
    account_name(parser)
    parser.add_argument(
        "--env",
        metavar="NAME",
        type=_variable,
        help=f"variable that holds the token (default: {VARIABLE}, unless --fd is given)",
    )
    parser.add_argument(
        "--fd", metavar="N", type=_descriptor, help="file descriptor that the command reads the token from, once"
    )
    parser.set_defaults(command=[])
    parser.epilog = "The command inherits the environment, but not KEYFOB_APP_KEY."
    parser.usage = "%(prog)s ACCOUNT [--env NAME] [--fd N] -- COMMAND [ARGUMENT ...]"


def run(args: argparse.Namespace) -> int:
    """Become the command; this returns only where that fails."""
    if not args.command:
        terminal.fail("There is no command to run.", f"keyfob exec {args.account} -- COMMAND ...")
        return 2
    with connect() as client:
        token = client.token(args.account)
    # An app key opens more than this one token, and lives longer.
    environ = {name: value for name, value in os.environ.items() if name != "KEYFOB_APP_KEY"}
    if args.env or args.fd is None:
        environ[args.env or VARIABLE] = token.access_token
    if args.fd is not None:
        _hand_over(token.access_token, args.fd)
    for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them, and what is ignored stays so in the command
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    terminal.flush()
    try:
        os.execvpe(args.command[0], args.command, environ)  # nosec B606 # noqa: S606 -- running the person's command is the purpose
    except FileNotFoundError:
        terminal.fail(f"There is no command {args.command[0]!r}.", "Look at its spelling and at PATH.")
        return NOT_FOUND
    except (OSError, ValueError) as exc:
        terminal.fail(f"{args.command[0]!r} cannot be run: {getattr(exc, 'strerror', None) or exc}.")
        return NOT_RUNNABLE


def _hand_over(token: str, descriptor: int) -> None:
    """Put the token and a newline into a pipe whose other end the command inherits.

    Raises:
        KeyfobError: it does not fit into a pipe, which nobody reads yet.
    """
    reading, writing = os.pipe()
    line = f"{token}\n".encode("ascii")
    os.set_blocking(writing, False)
    try:
        written = os.write(writing, line)
    except BlockingIOError:
        written = 0
    os.close(writing)
    if written < len(line):
        from broker.errors import KeyfobError

        raise KeyfobError("The token is too long for a pipe.", "Use --env NAME instead of --fd.")
    if reading != descriptor:
        os.dup2(reading, descriptor)  # which the command inherits
        os.close(reading)
        return
    os.set_inheritable(descriptor, True)  # noqa: FBT003 -- the parameter has no name


def _descriptor(text: str) -> int:
    if text not in map(str, DESCRIPTORS):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {DESCRIPTORS[0]} to {DESCRIPTORS[-1]}")
    return int(text)


def _variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a variable")
    return text
