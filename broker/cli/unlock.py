"""``keyfob unlock``: let the daemon ask for its key again, or bring it the passphrase.

Called by ``main``. The passphrase goes over the socket; it is never an argument and never a variable.
"""

import argparse
import getpass
import sys
from typing import Any

from broker.cli import terminal
from broker.cli.arguments import secret_from
from broker.cli.connect import connect
from broker.errors import InvalidRequest

NO_TERMINAL = "There is no terminal to ask at."
FROM_FILE = "Give the passphrase in a file, or through a pipe: --passphrase-file FILE|-"
# A try costs a sixth of a second, more on a slow machine, and they stand in line.
PATIENCE = 60.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    passphrase_flag(parser)


def passphrase_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--passphrase-file``."""
    parser.add_argument("--passphrase-file", metavar="FILE|-", help="read the passphrase from a file; - for stdin")


def run(args: argparse.Namespace) -> int:
    """Unlock, asking for the passphrase where it takes one.

    Raises:
        InvalidRequest: there is no way to ask, or what was typed twice differs.
    """
    with connect() as client:
        key: dict[str, Any] = client.request("GET", "/v1/status")["key"]
        if not key["locked"]:
            terminal.say("It is not locked.")
            return 0
        body = {}
        if key["source"] == "passphrase":
            body["passphrase"] = ask(args.passphrase_file, new=key["new"])
        elif args.passphrase_file:
            raise InvalidRequest(f"The key comes from the source '{key['source']}'.", "Leave --passphrase-file out.")
        client.request("POST", "/v1/unlock", body, timeout=PATIENCE)
    if key["new"] and body:
        terminal.say("The passphrase is set. Nobody can reset it: without it the logins here cannot be opened.")
    terminal.say("Unlocked.")
    return 0


def ask(file: str | None, *, new: bool) -> str:
    """Read the passphrase from a file, or ask for it on the terminal; twice where it is new.

    Raises:
        InvalidRequest: there is none.
    """
    if file:
        return secret_from(file, "passphrase")
    if not sys.stdin.isatty():
        raise InvalidRequest(NO_TERMINAL, FROM_FILE)
    said = getpass.getpass("A new passphrase (it is not shown): " if new else "Passphrase (it is not shown): ")
    if new and said != getpass.getpass("The same again: "):
        raise InvalidRequest("The two are not the same.", "Nothing was changed. Try again.")
    if not said.strip():
        raise InvalidRequest("No passphrase was typed.", "Nothing was changed. Try again.")
    return said
