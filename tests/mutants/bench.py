"""What tries mutants, for ``tests.mutants`` and ``tests.attacks``.

Every mutant is put into a copy of the checkout, where its test has to fail; without any it has to pass there. What
fails otherwise than by a failed test (an import that broke, a test that is not there) does not count as caught.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lanes.stage import say, table
from tests.mutants.mutants import Mutant

CHECKOUT = Path(__file__).parents[2]
# A test that hangs on a mutant has noticed it as well, but late.
LIMIT = 180.0
PASSED, FAILED = 0, 1  # pytest's exit codes; all others say that no test gave a verdict


def _tested(tests: Sequence[str], mutant: Mutant | None) -> tuple[int, list[str]]:
    """Run tests in a copy of the checkout, with a mutant in it or none.

    Returns:
        pytest's exit code, and the tests that failed; where none did, pytest's last words.
    """
    with tempfile.TemporaryDirectory(prefix="kf-mutant-") as place:
        copy = Path(place) / "keyfob"
        shutil.copytree(CHECKOUT, copy, ignore=shutil.ignore_patterns(".*", "artifacts", "__pycache__"))
        if mutant is not None:
            (copy / mutant.file).write_text(mutant.applied(copy))
        stop = ["-x"] if len(tests) == 1 or mutant is None else []
        command = [sys.executable, "-m", "pytest", "-q", *stop, *tests]
        # The package is installed from the checkout; what is imported and started here has to be the copy's.
        environ = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command, cwd=copy, env=environ, capture_output=True, text=True, timeout=LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            return FAILED, [f"{test}: not over after {LIMIT:.0f} s" for test in tests]
        failed = re.findall(r"^FAILED (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
        return done.returncode, failed or [done.stdout.strip().splitlines()[-1]]


def _outcome(mutant: Mutant) -> tuple[bool, str]:
    """Tell whether every test that has to notice did, and what was noticed."""
    code, said = _tested(mutant.tests, mutant)
    if code not in (PASSED, FAILED):
        return False, f"no verdict (exit {code}): {said[0]}"
    missed = [test for test in mutant.tests if not any(one.startswith(test) for one in said)]
    return not missed, f"not by {missed[0]}" if missed else said[0]


def attempt(mutants: Sequence[Mutant], arguments: Sequence[str] | None, *, prog: str, about: str, column: str) -> int:
    """Try mutants, and print what came of it.

    Args:
        mutants: all there are.
        arguments: of the command line.
        prog: how that is called.
        about: what it does.
        column: what a mutant is, as the head of the table.

    Returns:
        1 where one was not caught, else 0; 2 where none is called so.
    """
    parser = argparse.ArgumentParser(prog=prog, description=about)
    parser.add_argument("words", nargs="?", default="", help="only those with this in their name")
    words = parser.parse_args(arguments).words
    chosen = [mutant for mutant in mutants if words in mutant.name]
    if not chosen:
        say(f"None has '{words}' in its name; there are:\n" + "\n".join(f"  {each.name}" for each in mutants))
        return 2
    code, said = _tested(sorted({test for mutant in chosen for test in mutant.tests}), None)
    if code != PASSED:
        say(f"Without a change the tests do not pass, so nothing is shown: {said[0]}")
        return 1
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(_outcome, chosen))
    rows = [
        (each.name, "caught" if caught else "NOT CAUGHT", said)
        for each, (caught, said) in zip(chosen, outcomes, strict=True)
    ]
    say(table((column, "", "by"), rows))
    missed = sum(not caught for caught, _ in outcomes)
    say(f"{len(chosen) - missed} of {len(chosen)} caught")
    return int(missed > 0)
