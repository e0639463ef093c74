"""Break the promise on purpose, one way after the other, and see that a named test notices: ``make mutants``.

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
from tests.mutants.mutants import MUTANTS, Mutant

CHECKOUT = Path(__file__).parents[2]
# A test that hangs on a mutant has noticed it as well, but late.
LIMIT = 180.0
PASSED, FAILED = 0, 1  # pytest's exit codes; all others say that no test gave a verdict


def _tested(tests: Sequence[str], mutant: Mutant | None) -> tuple[int, str]:
    """Run tests in a copy of the checkout, with a mutant in it or none; return pytest's code and its last words."""
    with tempfile.TemporaryDirectory(prefix="kf-mutant-") as place:
        copy = Path(place) / "keyfob"
        shutil.copytree(CHECKOUT, copy, ignore=shutil.ignore_patterns(".*", "artifacts", "__pycache__"))
        if mutant is not None:
            (copy / mutant.file).write_text(mutant.applied(copy))
        command = [sys.executable, "-m", "pytest", "-q", "-x", *tests]
        # The package is installed from the checkout; what is imported and started here has to be the copy's.
        environ = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command, cwd=copy, env=environ, capture_output=True, text=True, timeout=LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            return FAILED, f"{tests[0]}: not over after {LIMIT:.0f} s"
        failed = re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
        return done.returncode, failed[0] if failed else done.stdout.strip().splitlines()[-1]


def _outcome(mutant: Mutant) -> tuple[bool, str]:
    code, said = _tested([mutant.caught_by], mutant)
    return code == FAILED, said if code in (PASSED, FAILED) else f"no verdict (exit {code}): {said}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Try every mutant and print what came of it; 1 where one was not caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("words", nargs="?", default="", help="only mutants with this in their name")
    words = parser.parse_args(arguments).words
    chosen = [mutant for mutant in MUTANTS if words in mutant.name]
    if not chosen:
        say(f"No mutant has '{words}' in its name; there are:\n" + "\n".join(f"  {each.name}" for each in MUTANTS))
        return 2
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        without = pool.submit(_tested, sorted({mutant.caught_by for mutant in chosen}), None)
        outcomes = list(pool.map(_outcome, chosen))
    code, said = without.result()
    if code != PASSED:
        say(f"Without a mutant the tests do not pass, so nothing is shown: {said}")
        return 1
    rows = [
        (each.name, "caught" if caught else "NOT CAUGHT", said)
        for each, (caught, said) in zip(chosen, outcomes, strict=True)
    ]
    say(table(("broken on purpose", "", "by"), rows))
    missed = sum(not caught for caught, _ in outcomes)
    say(f"{len(chosen) - missed} of {len(chosen)} caught")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
