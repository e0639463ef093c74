"""Take one guard away after the other, and see that an attack succeeds then and is noticed: ``make attacks``."""

import sys
from collections.abc import Sequence

from tests.attacks.unguarded import UNGUARDED
from tests.mutants.bench import attempt


def main(arguments: Sequence[str] | None = None) -> int:
    """Try every build without a guard and print what came of it; 1 where an attack on one was not noticed."""
    return attempt(
        UNGUARDED, arguments, prog="python -m tests.attacks", about=str(__doc__), column="without this guard"
    )


if __name__ == "__main__":
    sys.exit(main())
