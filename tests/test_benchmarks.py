"""The table of the benchmarks: what is worse than on record is said, and what is better is not."""

import importlib
from pathlib import Path

from benchmarks.__main__ import ALL
from benchmarks.table import Goal, Row, middle, record, recorded

LOUD = "WORSE THAN ON RECORD"


def test_what_is_worse_than_on_record_is_flagged(tmp_path: Path) -> None:
    """More than 20 % worse, whichever way is worse; what is noise or better is not, nor what was never recorded."""
    slow = Row("a", 130.0, "us", "bare", 100.0)
    rate = Row("b", 70.0, "/s", "bare", 100.0, Goal(0.5, least=True))
    first = [Row("a", 100.0, "us", "bare", 100.0), Row("b", 100.0, "/s", "bare", 100.0), Row("own", 5.0, "ms")]
    record(first, "abc", tmp_path / "recorded.toml")
    known = recorded(tmp_path / "recorded.toml")

    assert known == {"a : bare": 1.0, "b : bare": 1.0}
    assert "30 % WORSE" in slow.line(known["a : bare"])
    assert "43 % WORSE" in rate.line(known["b : bare"])
    assert not rate.missed
    assert LOUD not in Row("a", 110.0, "us", "bare", 100.0).line(1.0)
    assert LOUD not in Row("b", 200.0, "/s", "bare", 100.0).line(1.0)
    assert LOUD not in slow.line(None)
    assert LOUD not in Row("p99", 300.0, "ms", "bare", 100.0, steady=False).line(1.0)


def test_a_row_that_was_not_measured_keeps_its_record(tmp_path: Path) -> None:
    """To record one benchmark anew forgets nothing of the others."""
    path = tmp_path / "recorded.toml"
    record([Row("a", 1.0, "us", "bare", 2.0), Row("b", 1.0, "us", "bare", 4.0)], "abc", path)
    record([Row("b", 3.0, "us", "bare", 4.0)], "def", path)

    assert recorded(path) == {"a : bare": 0.5, "b : bare": 0.75}


def test_the_middle_of_several_runs_counts() -> None:
    """One slow run out of three tells nothing."""
    runs = [Row("a", ours, "us", "bare", 1.0) for ours in (3.0, 1.0, 2.0)]
    assert middle([*runs, Row("b", 1.0, "us")]) == [runs[2], Row("b", 1.0, "us")]


def test_every_benchmark_can_be_started() -> None:
    """Each that is named is a module, and has what is called."""
    assert all(callable(importlib.import_module(f"benchmarks.{name}").main) for name in ALL)
