"""A sign of life while a person is at work in the browser.

Called by ``login``. It lives on stderr and only on a terminal; elsewhere the text is said once.
"""

import itertools
import sys
import threading
from collections.abc import Callable
from types import TracebackType

from broker.cli import terminal

# Ten frames a second look like motion and cost nothing.
INTERVAL = 0.1
BRAILLE, PLAIN = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"


class Spinner:
    """Turns for the length of a ``with`` block and leaves an empty line behind, whatever ends the block.

    Args:
        text: what is said beside it, asked for anew each time.
    """

    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        if terminal.is_terminal(sys.stderr):
            self._thread = threading.Thread(target=self._turn, daemon=True)
            self._thread.start()
        else:
            terminal.say(self._text())

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _turn(self) -> None:
        unicode = (sys.stderr.encoding or "").lower().replace("-", "") == "utf8"
        for frame in itertools.cycle(BRAILLE if unicode else PLAIN):
            # A line that wraps could not be written over.
            room = max(0, terminal.size()[0] - 3)
            sys.stderr.write(f"\r{frame} {self._text()[:room]}\x1b[K")
            sys.stderr.flush()
            if self._over.wait(INTERVAL):
                break
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
