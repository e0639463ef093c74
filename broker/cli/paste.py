"""``keyfob login --flow paste``: a person carries the code, or the whole address, from a browser to this terminal.

Called by ``login``.
"""

import contextlib
import os
import sys
import termios
from collections.abc import Iterator
from typing import Any

from broker.cli import terminal
from broker.client import Client, ClientError
from broker.errors import LoginFailed

_BACKSPACE, _KILL_LINE = (b"\x7f", b"\x08"), b"\x15"
# Ctrl-D, and what Linux makes of one that was typed before the keys were handed over one by one.
_END = (b"\x04", b"\x00")


def carry(client: Client, path: str, login: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Show where to log in, and hand on what is pasted until it fits; return the login as it is then.

    Args:
        client: to the daemon.
        path: of the login in the API.
        login: as it was begun.
        timeout: seconds that the daemon may take to finish it.

    Raises:
        LoginFailed: nothing was pasted.
        ClientError: the daemon refuses, and asking again is no use.
    """
    terminal.say(f"1. Open this address in any browser and log in:\n   {terminal.clean(login['authorization_url'])}")
    ends_at = login.get("redirect_uri", "")
    if ends_at.startswith("http"):
        terminal.say(f"2. The browser then goes to an address that begins with {terminal.clean(ends_at)}?")
        terminal.say("   Whether that page loads or not: paste its whole address, from the address bar.")
    elif ends_at:
        terminal.say("2. Paste the code that the provider shows then.")
    else:
        terminal.say("2. Paste the code that is shown then, or the whole address at which the browser ends.")
    terminal.say("   Paste it here and nowhere else, whoever asks for it.")
    asks = sys.stdin.isatty()
    with _keys_at_once(sys.stdin.fileno()) if asks else contextlib.nullcontext():
        return _carry(client, path, login, timeout, asks=asks)


def _carry(client: Client, path: str, login: dict[str, Any], timeout: float, *, asks: bool) -> dict[str, Any]:
    while True:
        pasted = _pasted(asks=asks)
        kind = "url" if pasted.lower().startswith(("http://", "https://")) else "code"
        try:
            answer = client.request("POST", f"{path}/finish", {kind: pasted}, timeout)
        except ClientError as exc:
            if exc.code == "login_failed":
                return {**login, "state": "failed", "reason": exc.detail}
            if exc.code == "conflict":  # it ended meanwhile, well or not: the login itself says how
                ended = {**login, **client.request("GET", path)}
                if ended["state"] != "pending":
                    return ended
            # What cannot belong to this login leaves it waiting, so whoever is there may paste again.
            if not asks or exc.code != "invalid_request":
                raise
            terminal.fail(exc.detail, exc.hint, "Paste again, or give up with Ctrl-C.")
        else:
            return {**login, **(answer or {})}


def _pasted(*, asks: bool) -> str:
    """Read one line that is not empty; where nobody can be asked again, an empty one is the end too."""
    while True:
        if asks:
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = _typed(sys.stdin.fileno()) if asks else sys.stdin.readline()
        if pasted := line.strip():
            return pasted
        if not line or not asks:
            raise LoginFailed("Nothing was pasted, so the login was cancelled.", "Start it again.")


def _typed(descriptor: int) -> str:
    """Read a line of any length from a terminal, showing it; empty where its end was typed (Ctrl-D)."""
    line = b""
    while key := os.read(descriptor, 1):
        if key in (b"\r", b"\n"):
            break
        if key in _END:
            if not line:
                return ""
        elif key in _BACKSPACE or key == _KILL_LINE:
            kept = b"" if key == _KILL_LINE else line[:-1]
            sys.stderr.write("\b \b" * (len(line) - len(kept)))
            line = kept
        else:
            line += key
            sys.stderr.write(key.decode() if b" " <= key <= b"~" else "?")
        sys.stderr.flush()
    terminal.say()
    return line.decode(errors="replace") + "\n"


@contextlib.contextmanager
def _keys_at_once(descriptor: int) -> Iterator[None]:
    """Let the terminal hand over each key as it comes, and show none; Ctrl-C stays what it is.

    One that hands over whole lines cuts them at 4095 characters, and addresses with a signed state or code are longer.
    """
    before, now = termios.tcgetattr(descriptor), termios.tcgetattr(descriptor)
    now[3] &= ~(termios.ICANON | termios.ECHO)
    now[6][termios.VMIN], now[6][termios.VTIME] = 1, 0
    # What was typed ahead stays: only the way in which it is handed over changes.
    termios.tcsetattr(descriptor, termios.TCSANOW, now)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
