"""A program that runs in the foreign environment, with an unmodified library and without Keyfob, and asks when told.

Used by the walks of libraries. Each of ``programs`` asks its API once for each line that it reads, and prints what
became of that.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).parent / "programs"
FOREIGN = Path(sys.prefix) / "foreign/bin/python"


class Program:
    """One of the programs, running.

    Args:
        library: which.
        arguments: its command line.
        environ: its environment, all of it.
    """

    def __init__(self, library: str, *arguments: str, environ: Mapping[str, str]) -> None:
        if not FOREIGN.exists():
            pytest.fail(f"There is no {FOREIGN}. Run: make test-clients")
        self._process = subprocess.Popen(
            [FOREIGN, "-I", PROGRAMS / f"with_{library}.py", *arguments],
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def asks(self) -> Any:  # noqa: ANN401 -- what it printed
        """Let it ask its API once more, and return what became of that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def ends(self, patience: float) -> str:
        """Let it ask until it says why it cannot, and return its words. Its clock may give the token some time more."""
        give_up = time.monotonic() + patience
        while "words" not in (said := self.asks()):
            assert said["status"] == 401
            assert time.monotonic() < give_up
        return str(said["words"])

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=10)
        assert self._process.returncode == 0
