"""``keyfob restore``: put a backup in the place of the database.

Called by ``main``. The daemon must not run: it would go on with the file that it has open.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

from broker import settings
from broker.cli import terminal
from broker.cli.arguments import STDIN
from broker.cli.backup import accounts
from broker.errors import Conflict

TYPE_CHECKING = False  # the store's modules are imported once the command line has been understood
if TYPE_CHECKING:
    from broker.settings import Settings
    from broker.store.keys import KeySource

STOP = "Stop it first: systemctl --user stop keyfob.socket keyfob.service, or end keyfob serve where it runs."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("file", metavar="FILE", help="a file that keyfob backup made; - for stdin")
    parser.add_argument(
        "--without-key", action="store_true", help="do not look whether the key at hand opens it (it can wait)"
    )


def run(args: argparse.Namespace) -> int:
    """Check the copy, keep the present database aside, and put the copy in its place.

    Raises:
        Conflict: the daemon runs.
        CannotStart: the file is no backup that this Keyfob can read.
        Locked: the key at hand does not open it.
        StoreUnavailable: something could not be written; the database is as it was.
    """
    read = settings.read(os.environ)

    from broker.store.copies import put_back
    from broker.store.files import Held, lock_database, lock_state_directory, private_directory
    from broker.store.store import database_path

    private_directory(read.state_dir)
    database = database_path(read.database_url)
    if not database.parent.exists():
        private_directory(database.parent)
    with contextlib.ExitStack() as locks:
        try:
            locks.enter_context(lock_state_directory(read.state_dir))
            locks.enter_context(lock_database(database))
        except Held as exc:
            raise Conflict(exc.detail, STOP) from exc
        stream, file = (sys.stdin.buffer, Path("stdin")) if args.file == STDIN else (None, Path(args.file))
        key = None if args.without_key else _key(read)
        found, aside = put_back(file, database, key, time.time(), stream)
    terminal.say(f"The database is the one of {terminal.clean(file)} now: {accounts(found.accounts)}.")
    if aside is not None:
        terminal.say(f"The one of before is kept: {terminal.clean(aside)}")
    terminal.say("Start Keyfob again. Where a provider renews refresh tokens, the ones in a backup may be used up, so")
    terminal.say("such accounts (keyfob accounts shows them as suspect) are not refreshed before you decide, for each:")
    terminal.say("  keyfob refresh NAME --confirm   tries; where the token is used up, the provider may end the login")
    terminal.say("  keyfob login NAME               logs in again, which always helps")
    return 0


def _key(read: Settings) -> KeySource | None:
    from broker.store.keys import key_source
    from broker.store.store import database_path

    if read.key_source == "passphrase":
        return None  # whoever restores is not asked for it here: the daemon will ask

    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    return key_source(
        read.key_source,
        file=read.key_file,
        command=read.key_command,
        credentials_dir=Path(credentials) if credentials else None,
        database=database_path(read.database_url),
    )
