"""What a program reads when it asks without --json: one record a line with tabs between, and nothing else."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from broker.cli.main import main

from .scripted_daemon import ScriptedDaemon

KEYFOB = [sys.executable, "-m", "broker.cli"]


def _at(seconds: float) -> str:
    return f"{datetime.now(UTC).replace(microsecond=0, tzinfo=None) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}Z"


LATER, EARLIER = _at(86_400), _at(-86_400)
WORK = {
    "account": "work",
    "provider": "practice",
    "state": "active",
    "identity": {"label": "Ada\t\x1b[2J Lovelace"},
    "expires_at": LATER,
    "next_refresh_at": None,
    "last_used_at": EARLIER,
}
GRANTS = [{"account": "work", "expires_at": EARLIER}, {"account": "home", "expires_at": None}]
APP = {"name": "backup", "grants": GRANTS, "created_at": EARLIER, "expires_at": EARLIER}
HANDOUT = {"at": EARLIER, "action": "handout", "account": "work", "app": "backup", "generation": 7}
APPROVAL = {
    "id": "AB-CD",
    "state": "pending",
    "kind": "grant",
    "app": "mail",
    "wanted": [{"account": "work"}],
    "last_asked_at": EARLIER,
}
PRESET = {
    "name": "forge",
    "title": f"Forge{' with a long title' * 9}",
    "flows": ["browser", "paste", "token"],
    "notes": [],
    "unverified": ["scopes"],
}
PROVIDER = {"name": "mine", "preset": None, "issuer": "https://id.example"}
LISTS = [
    (["accounts"], "accounts", WORK, ["work", "practice", "active", "Ada··[2J Lovelace", LATER, "", EARLIER]),
    (["app", "list"], "apps", APP, ["backup", "work home", EARLIER, ""]),
    (["approvals"], "approvals", APPROVAL, ["AB-CD", "pending", "mail", "work", EARLIER]),
    (["provider", "list"], "providers", PROVIDER, ["mine", "", "https://id.example"]),
    (["provider", "presets"], "presets", PRESET, ["forge", PRESET["title"], "browser token", "", "1"]),
    (
        ["audit"],
        "audit",
        HANDOUT | {"count": 3, "first": EARLIER},
        [EARLIER, "handout", "work", "backup", f"token 7; 3 times, first {EARLIER}"],
    ),
]


@pytest.mark.parametrize(("line", "path", "one", "record"), LISTS, ids=[" ".join(row[0]) for row in LISTS])
def test_list(
    daemon: ScriptedDaemon,
    capsys: pytest.CaptureFixture[str],
    line: list[str],
    path: str,
    one: dict[str, object],
    record: list[str],
) -> None:
    """No heading, no padding, nothing shortened; empty is empty, times and names are such as --json has them."""
    member = {"audit": "entries"}.get(path, path)
    daemon.answers(f"GET /v1/{path}", {member: [one, one]})
    daemon.answers(f"GET /v1/{path}", {member: []})

    assert main(line) == 0
    out = capsys.readouterr().out
    assert main(line) == 0
    empty = capsys.readouterr()

    assert out == "\t".join(record) + "\n" + "\t".join(record) + "\n"
    assert empty.out == ""
    assert empty.err


@pytest.mark.parametrize("line", [row[0] for row in LISTS], ids=" ".join)
def test_help_says_so(capsys: pytest.CaptureFixture[str], line: list[str]) -> None:
    """Who writes a script is told by --help what a pipe gets."""
    assert main([*line, "--help"]) == 0
    assert "tabs between" in " ".join(capsys.readouterr().out.split())


def test_facts(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """One thing is told by a name and a value a line, the value as it is."""
    daemon.answers("GET /v1/accounts/work", WORK)

    assert main(["show", "work"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "account\twork",
        "provider\tpractice",
        "state\tactive",
        "identity label\tAda··[2J Lovelace",
        f"expires at\t{LATER}",
        f"last used at\t{EARLIER}",
    ]


def test_status(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """How the daemon is comes in the same form, without the sentence for people."""
    told = {
        "version": "1.0",
        "pid": 42,
        "state": "degraded",
        "reasons": ["the store is slow", "so is the disk"],
        "scheduler": {"next_tick_at": LATER, "due": 0},
    }
    daemon.answers("GET /v1/status", told)

    assert main(["status"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "version\t1.0",
        "pid\t42",
        "state\tdegraded",
        "reason\tthe store is slow",
        "reason\tso is the disk",
        "key\t?, open",
        "accounts\tnone",
        f"refreshes\t0 due, next look {LATER}",
    ]


def test_narrow_and_loud(daemon: ScriptedDaemon) -> None:
    """Neither a narrow terminal nor forced colours change what a program reads."""
    daemon.answers("GET /v1/presets", {"presets": [PRESET]})
    environ = os.environ | {"COLUMNS": "20", "CLICOLOR_FORCE": "1", "TERM": "xterm-256color"}

    done = subprocess.run([*KEYFOB, "provider", "presets"], capture_output=True, text=True, env=environ, check=True)

    assert (done.stdout, done.stderr) == (f"forge\t{PRESET['title']}\tbrowser token\t\t1\n", "")
