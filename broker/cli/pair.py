"""``keyfob pair``: get a program its app key without copy and paste.

Called by ``main``, on the program's side. The key is made here, goes to the daemon as every app key does, and becomes
an app's when the owner has seen the same code on both sides. It is never shown.
"""

import argparse
import contextlib
import os
import shlex
import time
from pathlib import Path

from broker import challenge
from broker.cli import terminal
from broker.cli.arguments import each_word, name, scope_flag, seconds
from broker.cli.connect import connect
from broker.client import Client, ClientError
from broker.errors import Conflict, InvalidRequest, NotGranted

# One poll waits for so long at the daemon.
POLL = 30.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("name", metavar="NAME", type=name, help="how the program is to be called")
    parser.add_argument(
        "--account", metavar="A", type=name, action="append", default=[], help="account that it wants; repeatable"
    )
    scope_flag(parser, "scopes that it wants (default: all)")
    parser.add_argument(
        "--key-file", metavar="FILE", required=True, help="where the key goes, readable by its owner only"
    )
    parser.add_argument("--timeout", metavar="S", type=seconds, default=600.0, help="such as 90 or 5m (10m)")


def run(args: argparse.Namespace) -> int:
    """Make a key, ask, and wait for the owner.

    Raises:
        Conflict: the key file exists already.
        InvalidRequest: the key file cannot be made.
        NotGranted: the owner said no, or nothing in time.
    """
    if args.scope and not args.account:
        raise InvalidRequest("Scopes of which account?", "Add --account A.")
    file, key = Path(args.key_file), challenge.new_key()
    _write(file, key)  # first of all: a yes must not be lost for want of a place
    try:
        answer = _ask(args, key)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    terminal.say(f"This program is app '{terminal.clean(answer['app'])}' now. Its key is in {file}:")
    terminal.say(f"  export KEYFOB_APP_KEY_FILE={shlex.quote(str(file))}")
    return 0


def _ask(args: argparse.Namespace, key: str) -> dict[str, str]:
    """Ask with a key, and return the answer, which is a yes."""
    scope = each_word(args.scope)
    grants = [{"account": account, **({"scope": scope} if scope else {})} for account in args.account]
    with connect(key) as client:
        client.request("POST", "/v1/pairing", {"name": args.name, "grants": grants})
        # Computed here, and not taken from the answer: whoever passes this on to the daemon has another code there.
        address = challenge.SOCKET if client.address is None else challenge.written(*client.address)
        code = challenge.pairing_code(challenge.hash_key(key), address)
        terminal.say(f"The owner of Keyfob has to allow this, where the same code is shown: {code}")
        terminal.say(f"  In a terminal: keyfob approve {code}")
        terminal.say("  In a browser:  keyfob ui opens the page")
        try:
            answer = _answer(client, time.monotonic() + args.timeout)
        except BaseException:
            with contextlib.suppress(ClientError):  # what brought us here is what there is to tell
                client.request("DELETE", "/v1/pairing")
            raise
        if answer is None:
            answer = _withdrawn(client)
    if answer["state"] != "allowed":
        raise NotGranted("The owner did not allow it.", "The key file is gone again.")
    return answer


def _answer(client: Client, end: float) -> dict[str, str] | None:
    """Wait for the answer; None where none came in time."""
    while (left := end - time.monotonic()) > 0:
        wait = min(POLL, left)
        try:
            answer: dict[str, str] = client.request("GET", f"/v1/pairing?wait={wait:.0f}", timeout=wait + POLL)
        except ClientError as exc:
            if exc.code == "unknown_approval":
                break
            raise
        if answer["state"] != "pending":
            return answer
    return None


def _withdrawn(client: Client) -> dict[str, str]:
    """Take the request back; where the owner was quicker, that counts."""
    try:
        client.request("DELETE", "/v1/pairing")
    except ClientError as exc:
        if exc.code != "conflict":
            raise
        answer: dict[str, str] = client.request("GET", "/v1/pairing")
        return answer
    raise NotGranted("The owner did not answer in time.", "Try again when somebody is there.")


def _write(file: Path, key: str) -> None:
    """Write the key into a new file, readable by nobody else from its first moment."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise Conflict(f"{file} exists already.", "Name another file, or remove that one.") from None
    except OSError as exc:
        raise InvalidRequest(f"{file} cannot be made: {exc.strerror}.", "Name another with --key-file.") from exc
    with os.fdopen(handle, "w") as written:
        written.write(f"{key}\n")
