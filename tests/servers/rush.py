"""Eight processes that want a token at the same moment, and what came of it.

Used by ``walk_race``; each process is a ``crowd``.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .servers import Refresh
from .steps import expect, wait_for

PROCESSES = 8
CHECKOUT = Path(__file__).parents[2]
# Eight interpreters start, or two hundred requests are answered, on a busy machine.
PATIENCE = 45.0


@dataclass(frozen=True)
class Outcome:
    """What came of one rush.

    Attributes:
        tokens: that were handed out, one for each request that got one.
        errors: what the other requests got.
        refreshes: that the server saw meanwhile, carried out or refused.
        valid: how many of the different tokens the server takes afterwards.
        seconds: from the moment when requests could be answered to the last answer.
    """

    tokens: list[str]
    errors: list[str]
    refreshes: list[Refresh]
    valid: int
    seconds: float

    def judge(self) -> None:
        """Expect one refresh and one good token, for everybody.

        Raises:
            Unmet: with what there was instead.
        """
        refused = sum(not refresh.issued for refresh in self.refreshes)
        seen = (len(self.refreshes), refused, len(set(self.tokens)), self.valid, len(self.errors))
        told = "{} refreshes ({} refused), {} different tokens ({} valid), {} without a token".format(*seen)
        expect(seen == (1, 0, 1, 1, 0), f"{told}; {sorted(set(self.errors))[:2]}")

    def __str__(self) -> str:
        return f"{len(self.tokens)} requests, 1 refresh, 1 token, the last had it after {self.seconds:.2f} s"


class Rush:
    """The processes, standing in line; at the end none of them runs any more.

    Args:
        plan: what each of them does, see ``crowd``.
    """

    def __init__(self, plan: Mapping[str, object]) -> None:
        self._asked = PROCESSES * int(str(plan["count"]))
        self._said: list[str] = []
        command = [sys.executable, "-m", "tests.servers.crowd"]
        self._processes = [
            subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(PROCESSES)
        ]
        self._readers = [threading.Thread(target=self._read, args=(each,), daemon=True) for each in self._processes]
        for reader in self._readers:
            reader.start()
        self._tell(json.dumps(plan))

    def __enter__(self) -> Self:
        wait_for("the processes of the crowd", lambda: self._said.count("ready") == PROCESSES, PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def go(self) -> None:
        """Let all of them ask; return when every request has left."""
        self._tell("go")
        wait_for("every request on its way", lambda: self._said.count("sent") == self._asked, PATIENCE)

    def answers(self) -> tuple[list[str], list[str]]:
        """Wait for all answers; return the tokens and the errors."""
        until = time.monotonic() + PATIENCE
        for reader in self._readers:
            reader.join(max(0.0, until - time.monotonic()))
        told: list[dict[str, Any]] = [json.loads(line) for line in self._said if line.startswith("{")]
        expect(len(told) == PROCESSES, f"{PROCESSES - len(told)} processes of the crowd did not come to an end")
        tokens, errors = ([said for each in told for said in each[kind]] for kind in ("tokens", "errors"))
        return tokens, errors

    def _tell(self, line: str) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{line}\n")
            process.stdin.flush()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._said.append(line.strip())
