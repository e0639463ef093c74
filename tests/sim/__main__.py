"""``python -m tests.sim``: plays seeds, prints what failed, and replays one exactly.

Called by ``make sim``.
"""

import argparse
import functools
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.sim.loop import prepare
from tests.sim.world import Result, make_template, play_one

SEEDS = 1000
HOURS = 72.0
# Lines of the story that a failing seed prints; a replay prints all of it.
LINES = 40


def in_memory() -> str | None:
    """Return a directory that lies in memory, where there is one: a sync there costs nothing."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 -- only a parent for mkdtemp


def report(result: Result, hours: float, lines_told: int = LINES) -> str:
    """Tell how a seed failed, and how to see it again."""
    lines = [f"seed {result.seed} BREAKS {result.failed}", f"  {result.profile}", "  the last that happened:"]
    lines += [f"    {line}" for line in result.story[-lines_told:]]
    lines.append(f"  replay: make sim SEED={result.seed}" + (f" HOURS={hours:g}" if hours != HOURS else ""))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Play seeds; return 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="Simulate Keyfob's refresh engine.")
    parser.add_argument("--seed", type=int, help="play this one and tell its story")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many (default %(default)s)")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--hours", type=float, default=HOURS, help="simulated hours of faults (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    chosen = parser.parse_args(arguments)
    prepare()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="keyfob-sim-", dir=in_memory()) as directory:
        base = Path(directory)
        (base / "template").mkdir()
        make_template(base / "template")
        play = functools.partial(play_one, hours=chosen.hours, base=base)
        if chosen.seed is not None:
            result = play(chosen.seed)
            sys.stdout.write(
                report(result, chosen.hours, len(result.story)) + "\n" if result.failed else _told(result) + "\n"
            )
            return int(bool(result.failed))
        seeds = range(chosen.first, chosen.first + chosen.seeds)
        failed, counts = 0, Counter[str]()
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(chosen.jobs, mp_context=spawn, initializer=prepare) as pool:
            for result in pool.map(play, seeds, chunksize=4):
                counts.update(result.counts)
                if result.failed:
                    failed += 1
                    sys.stdout.write(report(result, chosen.hours) + "\n")
                    sys.stdout.flush()
    figures = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    spent = time.monotonic() - begun
    sys.stdout.write(f"{len(seeds)} seeds x {chosen.hours:g} h in {spent:.0f} s, {failed} failed ({figures})\n")
    return int(failed > 0)


def _told(result: Result) -> str:
    return "\n".join([f"seed {result.seed} holds: {result.counts}", f"  {result.profile}", *result.story])


if __name__ == "__main__":
    sys.exit(main())
