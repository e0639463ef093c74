"""``keyfob audit``: the table, what narrows it, and the verdict with its exit code."""

import json
import time
from datetime import UTC, datetime

import pytest

from broker.cli.main import main

from .conftest import Show
from .scripted_daemon import ScriptedDaemon

FIXED = 1_900_000_000.0


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(FIXED + seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def entry(action: str, seconds: float, **more: object) -> dict[str, object]:
    """Make one entry as the API gives it."""
    blank = dict.fromkeys(("number", "account", "app", "generation", "first", "last", "count"))
    return {**blank, "at": _at(seconds), "action": action, "detail": "", **more}


ENTRIES = [
    entry("handout", -12, account="work", app="backup", generation=7, first=_at(-2500), last=_at(-12), count=31),
    entry("handout", -20, account="work", app="owner", generation=7, first=_at(-20), last=_at(-20), count=1),
    entry("unauthorized", -3000, first=_at(-3100), last=_at(-3000), count=4, detail="app port: no"),
    entry("login-failed", -90_000, account="work", detail="Evil \x1b[2J said no"),
]
FINE = {
    "intact": True,
    "entries": 12,
    "first": 3,
    "last": 12,
    "seal": "ab",
    "begins_at": _at(-90_000),
    "before_the_chain": 0,
    "sealed_late": 0,
    "unsealed": 0,
    "broken": None,
}


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a certain moment."""
    monkeypatch.setattr(time, "time", lambda: FIXED)


def test_table(daemon: ScriptedDaemon, screen: Show, capsys: pytest.CaptureFixture[str]) -> None:
    """Newest first, times relative, counts in words, and nothing of a stranger's moves the cursor."""
    daemon.answers("GET /v1/audit", {"entries": ENTRIES})

    assert screen("audit") == [
        "WHEN        WHAT          ACCOUNT  APP     DETAIL",
        "12 s ago    handout       work     backup  token 7; 31 times, first 42 min ago",
        "20 s ago    handout       work     owner   token 7; once",
        "50 min ago  unauthorized  -        -       4 times, first 52 min ago; app port: no",
        "25 h ago    login-failed  work     -       Evil ·[2J said no",
    ]
    assert capsys.readouterr().err == ""


def test_json(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """--json is the API's answer."""
    daemon.answers("GET /v1/audit", {"entries": ENTRIES})

    assert main(["audit", "--json"]) == 0

    out = capsys.readouterr().out
    assert json.loads(out) == {"entries": ENTRIES}
    assert "\x1b" not in out


def test_narrowed(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Account, app, time and number go to the daemon, and a full answer says that there may be more."""
    path = "GET /v1/audit?account=my+work&app=backup&since=2030-01-31T00%3A00%3A00Z&limit=4"
    daemon.answers(path, {"entries": ENTRIES})
    narrowed = ["--account", "my work", "--app", "backup", "--since", "2030-01-31", "--limit", "4"]

    assert main(["audit", *narrowed]) == 0

    assert "there may be more" in capsys.readouterr().err


def test_a_name_that_is_no_text(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes of the command line that are no UTF-8 go to the daemon as they are, which knows no such account."""
    daemon.answers("GET /v1/audit?account=%FF", {"entries": []})

    assert main(["audit", "--account", "\udcff"]) == 0

    assert "Nothing is recorded that fits." in capsys.readouterr().err


def test_since_how_long_ago(daemon: ScriptedDaemon) -> None:
    """A length of time is counted back from now."""
    before = time.time() - 3601  # by the same clock

    assert main(["audit", "--since", "1h"]) == 1  # the scripted daemon knows no such question; what matters is it

    asked = daemon.requests[0].line
    since = asked.partition("since=")[2].partition(" ")[0].replace("%3A", ":")
    assert before <= datetime.fromisoformat(since).timestamp() <= before + 60


def test_nothing(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty record, and one in which nothing fits, are told apart."""
    daemon.answers("GET /v1/audit", {"entries": []})
    daemon.answers("GET /v1/audit?account=home", {"entries": []})

    assert main(["audit"]) == 0
    assert main(["audit", "--account", "home"]) == 0

    assert capsys.readouterr() == ("", "Nothing is recorded yet.\nNothing is recorded that fits.\n")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--limit", "0"], "whole number from 1 to 1000"),
        (["--limit", "1001"], "whole number from 1 to 1000"),
        (["--since", "yesterday"], "neither a date"),
        (["--since", "2030-01-31T12:00:00"], "time zone"),
        (["--since", "0001-01-01T00:00:00+23:59"], "beyond every calendar"),
        (["--verify", "--account", "work"], "--account does not go with it"),
    ],
)
def test_wrong_use(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be is told before anybody is asked."""
    assert main(["audit", *argv]) == 2

    assert said in capsys.readouterr().err


def test_verify(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """An intact record is 0, and says how much was looked at and what nobody can vouch for."""
    daemon.answers("GET /v1/audit/verify", FINE)
    daemon.answers("GET /v1/audit/verify", {**FINE, "before_the_chain": 5, "sealed_late": 2, "unsealed": 1})

    assert main(["audit", "--verify"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Nothing was changed: all 12 entries of the audit fit. The oldest is entry 3, 25 h ago; the newest is 12."
    ]
    assert main(["audit", "--verify"]) == 0
    more = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in more] == ["5", "2", "1"]


BROKEN = {
    "kind": "changed",
    "number": 7,
    "detail": "Entry 7 was changed.",
    "at": _at(0),
    "action": "granted",
    "account": "work",
    "app": "in\x1bnocent",
}


def test_verify_broken(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A break is 1: the first entry that does not fit, what kind of break it is, and what stands there."""
    daemon.answers("GET /v1/audit/verify", {**FINE, "intact": False, "broken": BROKEN})

    assert main(["audit", "--verify"]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "keyfob: The audit is not as it was written (changed). Entry 7 was changed.",
        f"  What stands there now: {_at(0)}, granted, account work, app in·nocent",
    ]


def test_verify_json(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the verdict is on stdout, and the exit code is the same."""
    gone = {**FINE, "intact": False, "broken": {**BROKEN, "kind": "cut", "at": None, "action": None}}
    daemon.answers("GET /v1/audit/verify", gone)

    assert main(["audit", "--verify", "--json"]) == 1

    out, err = capsys.readouterr()
    assert json.loads(out) == gone
    assert len(err.splitlines()) == 1


def test_locked(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the key nothing can be checked: 7."""
    daemon.refuses("GET /v1/audit/verify", 423, "locked", "The key is away.")

    assert main(["audit", "--verify"]) == 7

    assert "The key is away." in capsys.readouterr().err
