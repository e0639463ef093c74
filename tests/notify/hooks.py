"""A command that writes down what it was told, and announcers to run it.

Imported by the tests beside it.
"""

import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from broker.core.account import State
from broker.notify import Announcer
from tests.usecases.house import House

DAY = 86_400.0
MINUTE = 60.0
SCRIPT = """#!/bin/sh
# Ends with the exit code in the file `code`, if there is one; then it has not told anybody.
echo run >> {place}/runs
[ ! -e {place}/code ] || exit "$(cat {place}/code)"
cat >> {place}/lines
env > {place}/environ
"""


@dataclass(frozen=True, slots=True)
class Hook:
    """A command that writes down what it was told.

    Attributes:
        place: where it writes.
    """

    place: Path

    @property
    def command(self) -> str:
        """Its command line."""
        return f"'{self.place}/hook'"

    @property
    def runs(self) -> int:
        """How often it was run."""
        return len(self._read("runs").splitlines())

    @property
    def lines(self) -> list[dict[str, str]]:
        """What it found on its stdin, run by run."""
        return [json.loads(line) for line in self._read("lines").splitlines()]

    @property
    def environ(self) -> dict[str, str]:
        """What it found in its environment the last time."""
        return dict(line.split("=", 1) for line in self._read("environ").splitlines())

    def ends_with(self, code: int) -> None:
        """Let it fail, or succeed with 0."""
        (self.place / "code").unlink(missing_ok=True)
        if code:
            (self.place / "code").write_text(str(code))

    def _read(self, name: str) -> str:
        path = self.place / name
        return path.read_text() if path.exists() else ""


def program(path: Path, text: str) -> None:
    """Write an executable file."""
    path.write_text(text)
    path.chmod(0o700)


def announcer(
    house: House, command: str, environ: Mapping[str, str] | None = None, *, desktop: bool = False
) -> Announcer:
    """Make an announcer that is not started."""
    environ = {"PATH": os.environ["PATH"], **(environ or {})}
    return Announcer(house.ctx, command=command, desktop=desktop, environ=environ)


async def into(house: House, state: State, name: str = "me") -> None:
    """Log in, and put the account into a state."""
    account = await house.log_in(name)
    assert await house.store.swap(replace(account, state=state)) is not None


@contextlib.asynccontextmanager
async def running(house: House, command: str) -> AsyncIterator[Announcer]:
    """Run an announcer for one block."""
    crier = announcer(house, command)
    crier.start()
    try:
        yield crier
    finally:
        await crier.stop()
