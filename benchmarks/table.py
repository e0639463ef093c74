"""The one table of all benchmarks: each row is held against its goal, and its ratio against the run that is on record.

Every script of this directory prints by ``compare`` and ``measured``; ``benchmarks`` runs them all and sums up.
"""

import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

RECORD = Path(__file__).with_name("recorded.toml")
HEADING = "# Ratios of the run that later ones are held against. Written by: python -m benchmarks --record"
# How much worse than on record a ratio may be before it is said aloud: what two busy cores do to a median is less.
TOLERANCE = 1.2


@dataclass(frozen=True, slots=True)
class Goal:
    """What a row has to reach.

    Attributes:
        bound: the ratio, or the figure.
        least: whether it is the least, else the most.
        unit: of the figure, empty for a ratio.
    """

    bound: float
    least: bool = False
    unit: str = ""

    def __str__(self) -> str:
        return f"{'>=' if self.least else '<='} {self.bound:g}{self.unit and ' '}{self.unit}"

    def missed_by(self, row: "Row") -> bool:
        """Tell whether a row is not there."""
        value = row.ours if self.unit or not row.against else row.ratio
        return value < self.bound if self.least else value > self.bound


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        what: what was measured.
        ours: Keyfob's figure.
        unit: of both figures.
        against: what it is compared with, empty for a figure that has a goal of its own.
        baseline: the figure of that, in the same run.
        goal: None where there is none.
        more: whether more is better.
        steady: whether a second run gives the same, so that a worse ratio tells something; few slow ones do not.
    """

    what: str
    ours: float
    unit: str
    against: str = ""
    baseline: float = 1.0
    goal: Goal | None = None
    more: bool = False
    steady: bool = True

    @property
    def name(self) -> str:
        """How it is called in the record."""
        return f"{self.what} : {self.against}"

    @property
    def ratio(self) -> float:
        """How many times the baseline it is."""
        return self.ours / self.baseline

    @property
    def missed(self) -> bool:
        """Whether it has a goal and is not there."""
        return self.goal is not None and self.goal.missed_by(self)

    def worse(self, recorded: float | None) -> float:
        """Return by how many times the ratio is worse than on record, 0 where that is not known or tells nothing."""
        if not (self.against and self.steady and recorded and self.ratio):
            return 0.0
        return recorded / self.ratio if self.more else self.ratio / recorded

    def line(self, recorded: float | None) -> str:
        """Return it as a line of the table."""
        left = f"{self.what:<43} {_short(self.ours)} {self.unit:<5}"
        right = f"{self.against:<29} {_short(self.baseline)} {self.unit:<5} ratio {self.ratio:6.2f}"
        goal = f"goal {self.goal!s:<9} {'MISSED' if self.missed else 'met'}" if self.goal else ""
        known = f"on record {recorded:.2f}" if self.against and recorded is not None else ""
        worse = self.worse(recorded)
        loud = f"<<< {100 * (worse - 1):.0f} % WORSE THAN ON RECORD" if worse > TOLERANCE else ""
        return f"{left} {right if self.against else '':<61}  {goal:<22} {known:<16} {loud}".rstrip()


ROWS: list[Row] = []


def at_most(bound: float, unit: str = "") -> Goal:
    """Return a goal for the ratio, or with a unit for the figure itself."""
    return Goal(bound, unit=unit)


def at_least(bound: float, unit: str = "") -> Goal:
    """Return a goal for what is the better the more it is."""
    return Goal(bound, least=True, unit=unit)


def compare(
    what: str,
    ours: float,
    baseline_name: str,
    baseline: float,
    unit: str,
    goal: Goal | None = None,
    *,
    more: bool = False,
    steady: bool = True,
) -> None:
    """Print one line of the table: a figure beside that of a baseline, in the same unit.

    Args:
        what: what was measured; no two rows have the same name and baseline.
        ours: Keyfob's figure.
        baseline_name: what it is compared with.
        baseline: its figure in the same run.
        unit: of both.
        goal: where there is one.
        more: whether more is better; a goal that is ``at_least`` says so as well.
        steady: whether a ratio that is worse than the one on record is flagged.
    """
    more = more or (goal is not None and goal.least)
    _add(Row(what, ours, unit, baseline_name, baseline, goal, more, steady))


def measured(what: str, ours: float, unit: str, goal: Goal | None = None) -> None:
    """Print one line of the table: a figure without a baseline, held against its goal and nothing else."""
    _add(Row(what, ours, unit, goal=goal))


def middle(rows: Sequence[Row]) -> list[Row]:
    """Return one of each row where the benchmarks ran more than once: the one with the middle ratio."""
    runs: dict[str, list[Row]] = {}
    for row in rows:
        runs.setdefault(row.name, []).append(row)
    return [sorted(found, key=lambda row: row.ratio)[len(found) // 2] for found in runs.values()]


def record(rows: Iterable[Row], commit: str, path: Path = RECORD) -> None:
    """Write down what later runs are held against; a row that was not measured now keeps what it had."""
    ratios = {**recorded(path), **{row.name: row.ratio for row in rows if row.against}}
    lines = (f"{json.dumps(name)} = {ratio:.3f}" for name, ratio in ratios.items())
    path.write_text("\n".join([HEADING, f'commit = "{commit}"', "", "[ratios]", *lines, ""]), encoding="utf-8")


def recorded(path: Path = RECORD) -> dict[str, float]:
    """Return the ratios that are on record, by the names of their rows."""
    if not path.exists():
        return {}
    ratios: dict[str, float] = tomllib.loads(path.read_text(encoding="utf-8"))["ratios"]
    return ratios


def _add(row: Row) -> None:
    ROWS.append(row)
    print(row.line(recorded().get(row.name)), flush=True)


def _short(number: float) -> str:
    return f"{number:9.2f}" if abs(number) < 10_000 else f"{number:9.0f}"  # noqa: PLR2004 -- as wide as the column
