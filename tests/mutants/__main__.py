"""Break the promise on purpose, one way after the other, and see that a named test notices: ``make mutants``."""

import sys
from collections.abc import Sequence

from tests.mutants.bench import attempt
from tests.mutants.mutants import MUTANTS


def main(arguments: Sequence[str] | None = None) -> int:
    """Try every mutant and print what came of it; 1 where one was not caught."""
    return attempt(MUTANTS, arguments, prog="python -m tests.mutants", about=str(__doc__), column="broken on purpose")


if __name__ == "__main__":
    sys.exit(main())
