"""The benchmarks: what is worse than on record is said, and what is measured is guarded and counted as ever."""

import contextlib
import http.client
import importlib
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.__main__ import ALL
from benchmarks.table import Goal, Row, middle, record, recorded
from benchmarks.tokens import counted, handing_out

LOUD = "WORSE THAN ON RECORD"


def test_what_is_worse_than_on_record_is_flagged(tmp_path: Path) -> None:
    """More than 20 % worse, whichever way is worse; what is noise or better is not, nor what was never recorded."""
    slow = Row("a", 130.0, "us", "bare", 100.0)
    rate = Row("b", 70.0, "/s", "bare", 100.0, Goal(0.5, least=True), more=True)
    first = [Row("a", 100.0, "us", "bare", 100.0), Row("b", 100.0, "/s", "bare", 100.0), Row("own", 5.0, "ms")]
    record(first, "abc", tmp_path / "recorded.toml")
    known = recorded(tmp_path / "recorded.toml")

    assert known == {"a : bare": 1.0, "b : bare": 1.0}
    assert "30 % WORSE" in slow.line(known["a : bare"])
    assert "43 % WORSE" in rate.line(known["b : bare"])
    assert not rate.missed
    assert LOUD not in Row("a", 110.0, "us", "bare", 100.0).line(1.0)
    assert LOUD not in Row("b", 200.0, "/s", "bare", 100.0, more=True).line(1.0)
    assert LOUD not in slow.line(None)
    assert LOUD not in Row("p99", 300.0, "ms", "bare", 100.0, steady=False).line(1.0)


def test_a_goal_that_is_missed_is_said() -> None:
    """A goal is for the ratio, or has a unit and is for the figure itself; so it is where there is no baseline."""
    for goal, met in ((Goal(0.5), 50.0), (Goal(0.5, least=True), 50.0), (Goal(80.0, unit="MB"), 80.0)):
        worse = met * (0.9 if goal.least else 1.1)
        assert not Row("a", met, "MB", "bare", 100.0, goal).missed
        assert "MISSED" in Row("a", worse, "MB", "bare", 100.0, goal).line(None)
    assert Row("errors", 1.0, "", goal=Goal(0)).missed


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


def test_what_is_measured_is_guarded_and_counted() -> None:
    """Guard, grant and audit are on in the daemon that is measured, on its one connection, while an answer stands."""
    with tempfile.TemporaryDirectory(prefix="kf-", dir="/tmp") as place, handing_out(place) as served:
        at = urlsplit(served.url)
        line = http.client.HTTPConnection(at.hostname or "", at.port)

        def ask(**other: str) -> int:
            line.request("GET", at.path, headers={"Authorization": f"Bearer {served.key}", **other})
            with line.getresponse() as answer:
                answer.read()
            return answer.status

        with contextlib.closing(line):
            assert ask() == 200
            kept = line.sock
            assert [ask() for _ in range(20)] == [200] * 20
            assert ask(Host="evil.example") == 400
            assert ask(Origin="http://evil.example") == 403
            assert ask(Authorization="Bearer kf_" + "x" * 43) == 401
            assert ask() == 200
            served.owner.request("DELETE", "/v1/apps/bench/grants/one")
            assert ask() == 403
            assert line.sock is kept
        for verb in ("lock", "unlock"):  # what was only counted so far is written down then
            served.owner.request("POST", f"/v1/{verb}")
        assert counted(served.owner, "bench") == 22
