"""``keyfob backup``: a copy of the database, whether the daemon runs or not.

Called by ``main``.
"""

import argparse
import os
from pathlib import Path

from broker import settings
from broker.cli import terminal
from broker.cli.arguments import STDIN
from broker.errors import InvalidRequest

# Said after every backup: without the key it is worth nothing, and beside the key it protects nothing.
KEYS = {
    "file": "the file {key_file}",
    "systemd": "the systemd credential keyfob-key",
    "secret-service": "the item 'Keyfob key for ...' in the desktop's keyring",
    "command": "what KEYFOB_KEY_COMMAND prints",
    "passphrase": "made of your passphrase, which is written down nowhere",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("file", metavar="FILE", help="where the copy goes; it must not exist")
    parser.add_argument("--force", action="store_true", help="replace a backup that has this name")


def run(args: argparse.Namespace) -> int:
    """Write the copy and say what is not in it.

    Raises:
        CannotStart: there is no database to copy.
        InvalidRequest: the file is in the way.
        StoreUnavailable: the database or the disk is not well.
    """
    if args.file == STDIN:
        raise InvalidRequest("A backup goes into a file.", "Name one: keyfob backup FILE")
    read = settings.read(os.environ)

    from broker.store.copies import back_up
    from broker.store.store import database_path

    file = Path(args.file)
    found = back_up(database_path(read.database_url), file, force=args.force)
    terminal.say(f"{terminal.clean(file)} holds everything Keyfob remembers: {accounts(found.accounts)}, sealed.")
    key = KEYS[_source(read)].format(key_file=read.key_file)
    terminal.say(f"The key is not in it, and without the key nobody can open it. It is {terminal.clean(key)}:")
    terminal.say("keep a copy of that too, and not beside this one.")
    _tell_daemon(file)
    return 0


def _source(read: settings.Settings) -> str:
    """Return where the key comes from: a daemon knows, and may have other settings than this terminal."""
    from broker.cli.connect import connect
    from broker.client import ClientError

    try:
        with connect() as client:
            return str(client.request("GET", "/v1/status")["key"]["source"])
    except ClientError:  # the copy is made, and what this terminal has been told is the best that is known
        return read.key_source


def _tell_daemon(file: Path) -> None:
    """Have it written into the audit, where a daemon runs; the copy is good either way."""
    from broker.cli.connect import connect
    from broker.client import ClientError

    try:
        with connect() as client:
            told = {"action": "backed-up", "detail": terminal.clean(file.absolute())}
            client.request("POST", "/v1/audit", told)
    except ClientError as exc:
        if exc.code != "daemon_not_running":
            terminal.say(f"That is not in the audit: {terminal.clean(exc)}")


def accounts(number: int) -> str:
    """Return a number of accounts in words."""
    return f"{number} account{'' if number == 1 else 's'}"
