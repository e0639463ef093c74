"""``keyfob login --flow paste``: a person carries the code, or the whole address, from a browser to this terminal.

Called by ``login``.
"""

import contextlib
import os
import select
import sys
import termios
import time
from collections.abc import Iterator
from typing import Any

from broker.cli import terminal
from broker.client import Client, ClientError
from broker.errors import LoginFailed

# Seconds: select(2) takes no longer wait than its clock counts, and no login lives that long.
MOST_WAIT = 1e6
_BACKSPACE, _KILL_LINE = (b"\x7f", b"\x08"), b"\x15"
# Ctrl-D, and what Linux makes of one that was typed before the keys were handed over one by one.
_END = (b"\x04", b"\x00")


def carry(client: Client, path: str, login: dict[str, Any], timeout: float, end: float) -> dict[str, Any]:
    """Show where to log in, and hand on what is pasted until it fits; return the login as it is then.

    Args:
        client: to the daemon.
        path: of the login in the API.
        login: as it was begun.
        timeout: seconds that the daemon may take to finish it.
        end: what ``time.monotonic`` tells when nobody waits for a paste any more; may be infinite.

    Raises:
        LoginFailed: nothing was pasted, or not in time.
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
        return _carry(client, path, login, timeout, _Line(end, asks=asks))


def _carry(client: Client, path: str, login: dict[str, Any], timeout: float, line: "_Line") -> dict[str, Any]:
    while True:
        pasted = line.pasted()
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
            if not line.asks or exc.code != "invalid_request":
                raise
            terminal.fail(exc.detail, exc.hint, "Paste again, or give up with Ctrl-C.")
        else:
            return {**login, **(answer or {})}


class _Line:
    """What is pasted: lines from stdin, of any length, until it is too late."""

    def __init__(self, end: float, *, asks: bool) -> None:
        self.asks = asks
        self._end = end

    def pasted(self) -> str:
        """Read one line that is not empty; where nobody can be asked again, an empty one is the end too."""
        while True:
            if self.asks:
                sys.stderr.write("> ")
                sys.stderr.flush()
            line = self._read()
            if pasted := line.strip():
                return pasted
            if not line or not self.asks:
                raise LoginFailed("Nothing was pasted, so the login was cancelled.", "Start it again.")

    def _read(self) -> str:
        """Read a line, and show it where a terminal does not do that by itself; empty at the end (Ctrl-D)."""
        line = bytearray()
        while key := self._key():
            if key in (b"\r", b"\n"):
                break
            if self.asks and key in _END:
                if not line:
                    return ""
            elif self.asks and (key in _BACKSPACE or key == _KILL_LINE):
                kept = 0 if key == _KILL_LINE else max(0, len(line) - 1)
                _show("\b \b" * (len(line) - kept), shown=self.asks)
                del line[kept:]
            else:
                line += key
                _show(key.decode() if b" " <= key <= b"~" else "?", shown=self.asks)
        else:
            if not line:
                return ""
        _show("\n", shown=self.asks)
        return line.decode(errors="replace") + "\n"

    def _key(self) -> bytes:
        """Wait for the next byte; none where no more will come."""
        left = max(0.0, self._end - time.monotonic())
        if left < float("inf") and not select.select([sys.stdin], [], [], min(left, MOST_WAIT))[0]:
            raise LoginFailed("Nobody logged in in time, so the login was cancelled.", "Give it more: --timeout S")
        return os.read(sys.stdin.fileno(), 1)


def _show(text: str, *, shown: bool) -> None:
    if shown:
        sys.stderr.write(text)
        sys.stderr.flush()


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
