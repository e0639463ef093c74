"""Foreign bytes for a long time: ``make fuzz``, or ``python -m tests.fuzz [--seconds N] [TARGET ...]``.

Each target of ``targets`` is tried for so many seconds, one after the other, by atheris, which looks for input that
reaches new code; where there is no atheris for this Python, by hypothesis, which draws it blindly. ``api`` is
schemathesis at a running daemon. What is found is kept in ``artifacts/fuzz``: it becomes a seed, or a test.
"""

import argparse
import importlib.util
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import hypothesis

from tests.fuzz import api
from tests.fuzz.mutation import mutants
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS
from tests.lanes.stage import say, table

FINDINGS = Path(__file__).parents[2] / "artifacts" / "fuzz"
# All of them take twenty minutes then.
SECONDS = 30
# How long a process may take beside that: it starts, on a busy machine, and it has to notice a hang by itself.
BESIDE = 300.0
# Whoever works at the machine meanwhile shall not notice.
NICE = 10
# How much of its last words is shown of a process that found something.
SHOWN = 3000
ROUND = 500


def _guided(target: Target, seconds: int) -> tuple[int, str]:
    """Try a target under atheris; return how many inputs it saw, and what was found, or empty text."""
    command = [sys.executable, "-m", "tests.fuzz.guided", target.name, str(seconds), str(FINDINGS)]
    try:
        with tempfile.TemporaryDirectory(prefix="kf-fuzz-") as place:
            done = subprocess.run(
                command,
                env={**os.environ, "TMPDIR": place},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
                timeout=seconds + BESIDE,
            )
    except subprocess.TimeoutExpired:
        return 0, "It did not end, and libFuzzer did not notice: something hangs, or the machine is too busy."
    counts = re.findall(r"stat::number_of_executed_units: (\d+)", done.stdout)
    found = "" if done.returncode == 0 and counts else done.stdout[-SHOWN:]
    return int(counts[-1]) if counts else 0, found


def _blind(target: Target, seconds: int) -> tuple[int, str]:
    """The same by hypothesis, round after round, each with a seed of its own."""
    count, ends = 0, time.monotonic() + seconds
    while time.monotonic() < ends:

        @hypothesis.seed(count)
        @hypothesis.settings(
            max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.given(mutants(target))
        def try_it(data: bytes) -> None:
            nonlocal count
            count += 1
            target.try_it(data)

        try:
            try_it()
        except Exception as exc:  # noqa: BLE001 -- whatever it is, it is what was looked for
            return count, "\n".join((repr(exc), *getattr(exc, "__notes__", ())))
    return count, ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the targets and print what came of it; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--seconds", type=int, default=SECONDS, help=f"for each target; {SECONDS} unless told otherwise"
    )
    names = [*(target.name for target in TARGETS), "api"]
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"some of: {', '.join(names)}; all where none is named"
    )
    given = parser.parse_args(arguments)
    if unknown := set(given.targets) - set(names):
        parser.error(f"there is no target {min(unknown)}; there are: {', '.join(names)}")
    chosen = given.targets or names
    FINDINGS.mkdir(parents=True, exist_ok=True)
    os.nice(NICE)
    logging.disable()
    if importlib.util.find_spec("atheris"):
        try_one, how = _guided, "atheris"
    else:
        say("There is no atheris for this Python here, so hypothesis draws the input, and no coverage guides it.")
        try_one, how = _blind, "hypothesis"
    rows, found_any = [], False
    for target in (target for target in TARGETS if target.name in chosen):
        count, found = try_one(target, given.seconds)
        found_any |= bool(found)
        rows.append((target.name, how, f"{count:,}", "FOUND" if found else ""))
        say(f"{target.name}: {count:,} inputs{f', and this was found:{os.linesep}{found}' if found else ''}")
    if "api" in chosen:
        count, found = api.for_seconds(given.seconds)
        found_any |= bool(found)
        rows.append(("api", "schemathesis", f"{count:,}", "FOUND" if found else ""))
        say(f"api: {count:,} requests{f', and this was found:{os.linesep}{found}' if found else ''}")
    say(table(("target", "by", "inputs", ""), rows))
    return int(found_any)


if __name__ == "__main__":
    sys.exit(main())
