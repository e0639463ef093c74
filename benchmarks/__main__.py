"""Runs the benchmarks, one after the other, and sums up: ``python -m benchmarks [--runs N] [--record] [NAME ...]``.

Started by ``benchmarks``. ``--record`` writes the ratios down as those that later runs are held against. Ends with 1
where a ratio is more than 20 % worse than on record, or a benchmark could not run, so that whoever looks at the outcome
alone notices; a goal that is missed is a matter of the machine too, and is only said.
"""

import argparse
import importlib
import os
import subprocess
import sys
import urllib.error

from benchmarks.table import RECORD, ROWS, TOLERANCE, middle, record, recorded
from broker.client import ClientError

# More than this, a core, of what other programs do is more than the table bears.
BUSY = 0.5
# The cheap ones first. Each module has a ``main``.
ALL = ("run", "peers", "tokens", "rest", "page", "proxy", "refreshes", "scale")


def run(name: str) -> str:
    """Run one; return why it could not, empty where it could."""
    print(f"\n== {name}", flush=True)
    try:
        importlib.import_module(f"benchmarks.{name}").main()
    except SystemExit as exc:
        return str(exc.code)
    except (ClientError, urllib.error.URLError, OSError, subprocess.SubprocessError) as exc:
        return str(exc)
    return ""


def main() -> int:
    """Run them and sum up."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Keyfob beside its baselines.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(ALL)}; default: all of them")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="run all of it so often; the middle counts")
    parser.add_argument("--record", action="store_true", help=f"write the ratios into {RECORD.name}")
    wanted = parser.parse_args()
    if unknown := set(wanted.names) - set(ALL):
        parser.error(f"there is no benchmark '{min(unknown)}'")
    names = wanted.names or ALL
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    failed = {name: why for _ in range(wanted.runs) for name in names if (why := run(name))}
    known, rows = recorded(), middle(ROWS)
    worse = [row for row in rows if row.worse(known.get(row.name)) > TOLERANCE]
    missed = [row for row in rows if row.missed]

    print("\n== the whole table" + (f", the middle of {wanted.runs} runs" if wanted.runs > 1 else ""))
    for row in rows:
        print(row.line(known.get(row.name)))
    for title, found in (("worse than on record", worse), ("goal missed", missed)):
        print(f"\n{title}: {len(found) or 'none'}")
        for row in found:
            print(f"  {row.line(known.get(row.name))}")
    for name, why in failed.items():
        print(f"\n{name} could not run: {why}")
    if busy > BUSY:
        print(f"\nThis machine was busy when it began (load {busy:.1f} a core): believe CPU times, and nothing else.")
    if wanted.record:
        record(rows, _commit())
        print(f"\nwritten down: {RECORD}")
    return 1 if failed or (worse and not wanted.record) else 0


def _commit() -> str:
    """Return which state of the repository is measured."""
    command = ["git", "-C", str(RECORD.parent), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
