"""The lanes by name: ``python -m tests.lanes crash`` (or any of ``LANES``), with ``--help`` for its flags.

Called by the Makefile.
"""

import importlib
import sys

LANES = ("crash", "race", "story", "disk", "wake", "drain")


def main() -> int:
    """Run the lane that is named first; its flags follow."""
    if len(sys.argv) == 1 or sys.argv[1] not in LANES:
        sys.stderr.write(f"usage: python -m tests.lanes {{{','.join(LANES)}}} [--help]\n")
        return 2
    # Only the one that is wanted: the programs of the story are forked from a process that has imported little.
    status = importlib.import_module(f"tests.lanes.{sys.argv[1]}").main(sys.argv[2:])
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
