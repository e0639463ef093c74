"""Records the terminal picture of the README: two real terminals, a real ``keyfob demo``, nothing invented.

Run by a person with ``keyfob`` on the PATH, before ``draw.py``. Writes asciinema v2, which ``asciinema play`` shows.
"""
# ruff: noqa: INP001 -- a script, not a package

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import tempfile
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

HERE = Path(__file__).parent
COLUMNS = 106  # the demo's longest line, the one with curl, has 103
HEIGHTS = {"demo.cast": 20, "token.cast": 13}
# What a calm typist needs for a key; a pasted line comes at once.
KEY = 0.055
# A step that has not come by then never will.
PATIENCE = 60.0


class Terminal:
    """A shell on a pseudo-terminal of its own, and everything that it has shown.

    Args:
        name: file name of the recording.
        began: when the recording began, on the monotonic clock.
        environ: the shell's environment.
    """

    def __init__(self, name: str, began: float, environ: Mapping[str, str]) -> None:
        self.name, self.began, self.text = name, began, ""
        self.events: list[tuple[float, str, str]] = []
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe("bash", ["bash", "--norc", "--noprofile"], dict(environ))  # noqa: S606, S607 -- a person's shell
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHTS[name], COLUMNS, 0, 0))

    def read(self) -> None:
        """Take in what is on the screen since the last look."""
        text = os.read(self.fd, 65536).decode()
        self.events.append((time.monotonic() - self.began, "o", text))
        self.text += text

    def write(self, keys: str) -> None:
        """Press keys."""
        os.write(self.fd, keys.encode())

    def end(self) -> None:
        """Close the terminal, and with it the shell."""
        os.kill(self.pid, signal.SIGHUP)
        os.close(self.fd)
        os.waitpid(self.pid, 0)

    def save(self) -> None:
        """Write the recording."""
        header = {"version": 2, "width": COLUMNS, "height": HEIGHTS[self.name], "timestamp": int(time.time())}
        lines = [header, *([round(at, 3), kind, text] for at, kind, text in self.events)]
        (HERE / self.name).write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


class Session:
    """Two terminals side by side, and a person who looks at both.

    Args:
        first: where the demo runs.
        second: where its tokens are used.
    """

    def __init__(self, first: Terminal, second: Terminal) -> None:
        self.first, self.second = first, second

    def pause(self, seconds: float) -> None:
        """Look on for a while."""
        self._look(lambda: False, seconds)

    def await_text(self, terminal: Terminal, pattern: str) -> re.Match[str]:
        """Look on until something is on a screen.

        Raises:
            TimeoutError: it does not come.
        """
        self._look(lambda: re.search(pattern, terminal.text) is not None, PATIENCE)
        found = re.search(pattern, terminal.text)
        if found is None:
            raise TimeoutError(pattern)
        return found

    def type(self, terminal: Terminal, line: str, *, paste: bool = False) -> None:
        """Type or paste a line, look at it, and press Enter."""
        for keys in [line] if paste else line:
            terminal.write(keys)
            self.pause(KEY)
        self.pause(0.6)
        terminal.write("\r")

    def _look(self, enough: Callable[[], bool], seconds: float) -> None:
        terminals = {terminal.fd: terminal for terminal in (self.first, self.second)}
        end = time.monotonic() + seconds
        while not enough() and (left := end - time.monotonic()) > 0:
            for fd in select.select(list(terminals), [], [], left)[0]:
                terminals[fd].read()


def play(session: Session) -> None:
    """Start the demo, use its token with an API, see it renewed, use it again, end the demo."""
    first, second = session.first, session.second
    session.pause(0.8)
    session.type(first, "keyfob demo")
    provider = session.await_text(first, r"provider (http://[\d.]+:\d+)")[1]
    socket = session.await_text(first, r"KEYFOB_SOCKET=(\S+)")[1]
    session.await_text(first, r"removes everything\)")
    session.pause(4.0)
    session.type(second, f"export KEYFOB_SOCKET={socket}", paste=True)
    session.pause(0.8)
    session.type(second, "keyfob token demo")
    session.pause(2.5)
    ask = f"keyfob token demo --header | curl -sH @- {provider}/userinfo; echo"
    session.type(second, ask)
    session.await_text(second, r"preferred_username")
    session.pause(1.5)
    session.type(second, "keyfob accounts")
    session.await_text(first, r"demo: refreshed")
    session.pause(3.0)
    session.type(second, "keyfob token demo")
    session.pause(2.5)
    session.type(second, ask, paste=True)
    session.pause(5.0)
    first.write("\x03")
    session.await_text(first, r"gone again")
    session.pause(2.0)


def main() -> None:
    """Record one session, in a home of its own."""
    with tempfile.TemporaryDirectory() as home:
        inputrc = Path(home) / "inputrc"
        inputrc.write_text("set enable-bracketed-paste off\n", encoding="utf-8")
        environ = {"HOME": home, "INPUTRC": str(inputrc), "PATH": os.environ["PATH"]}
        environ |= {"PS1": "$ ", "TERM": "xterm", "LANG": "C.UTF-8"}
        began = time.monotonic()
        terminals = [Terminal(name, began, environ) for name in HEIGHTS]
        try:
            play(Session(*terminals))
        finally:
            for terminal in terminals:
                terminal.end()
        for terminal in terminals:
            terminal.save()


if __name__ == "__main__":
    main()
