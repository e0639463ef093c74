"""The steps of a walk: run one, say PASS or FAIL, go on, and count.

Used by the walks and by ``walk``, which prints the closing line that CI reads.
"""

import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn


class Unmet(AssertionError):
    """A step did not see what it expects."""


class Stopped(Exception):
    """A step failed that every later one needs."""


def say(line: str) -> None:
    """Print a line at once: whoever watches wants to see where a walk hangs."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def fail(seen: str) -> NoReturn:
    """End the step.

    Raises:
        Unmet: with what was seen.
    """
    raise Unmet(seen)


def expect(met: object, otherwise: str) -> None:
    """Go on only if ``met``.

    Raises:
        Unmet: with what was seen instead.
    """
    if not met:
        fail(otherwise)


def wait_for(what: str, seen: Callable[[], object], seconds: float) -> None:
    """Wait until ``seen`` is true: what a server or the daemon does by its own clock.

    Raises:
        Unmet: it did not come in time.
    """
    until = time.monotonic() + seconds
    while not seen():
        expect(time.monotonic() < until, f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)


class Steps:
    """Counts the steps of one walk.

    Args:
        name: stands in front of every line.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.passed = self.failed = 0
        self._began = time.monotonic()

    def run(self, promise: str, step: Callable[[], str | None], *, vital: bool = False) -> None:
        """Run one step; what it returns is printed behind the promise.

        Raises:
            Stopped: the step failed and is vital.
        """
        try:
            detail = step()
        except Exception as exc:  # whatever broke, the step failed; the next ones may tell more
            self.failed += 1
            where = "" if isinstance(exc, Unmet) else f" ({_place(exc)})"
            say(f"FAIL {self.name}: {promise}{self._clock()}\n     {type(exc).__name__}{where}: {_indented(str(exc))}")
            if vital:
                raise Stopped from exc
        else:
            self.passed += 1
            say(f"PASS {self.name}: {promise}{self._clock()}{f' -- {detail}' if detail else ''}")

    def _clock(self) -> str:
        return f" [{time.monotonic() - self._began:.1f} s]"

    def close(self) -> int:
        """Print the closing line; return the exit code."""
        say(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def _place(exc: BaseException) -> str:
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    return f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"


def _indented(text: str) -> str:
    return text.strip().replace("\n", "\n     ")
