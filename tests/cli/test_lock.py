"""``keyfob lock`` and ``keyfob unlock``: what is sent, what is asked, and what is said."""

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.cli.main import main

from .conftest import Feed
from .scripted_daemon import ScriptedDaemon

KEYFOB = [sys.executable, "-m", "broker.cli"]
PHRASE = "correct horse battery staple"


def stands(daemon: ScriptedDaemon, source: str = "passphrase", **changes: bool) -> None:
    """Let the daemon's status say how its key is."""
    key: dict[str, Any] = {"source": source, "locked": True, "new": False, "forgotten": True}
    daemon.answers("GET /v1/status", {"key": key | changes})
    daemon.answers("POST /v1/unlock", {"state": "unlocked"})


def typed(*lines: str) -> tuple[int, str]:
    """Run ``keyfob unlock`` at a terminal, type when asked, and return its exit code and all that was seen."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*KEYFOB, "unlock"], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        seen, left = "", list(lines)
        with contextlib.suppress(OSError):  # the other end is closed: it has ended
            while more := os.read(ours, 1024):
                seen += more.decode()
                if left and seen.count("again: ") + seen.count("shown): ") > len(lines) - len(left):
                    os.write(ours, f"{left.pop(0)}\n".encode())
    os.close(ours)
    return process.returncode, seen


@pytest.mark.parametrize(("under_way", "said"), [(0, ""), (2, "2 under way")])
def test_lock(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str], under_way: int, said: str) -> None:
    """One request; the person learns how to go on, and what the key is still kept for."""
    daemon.answers("POST /v1/lock", {"state": "locked", "under_way": under_way})

    assert main(["lock"]) == 0

    out, err = capsys.readouterr()
    assert (out, daemon.lines()) == ("", ["POST /v1/lock"])
    assert "keyfob unlock" in err
    assert (said or "Locked") in err


@pytest.mark.parametrize("pipe", [True, False])
def test_a_passphrase_from_a_file(daemon: ScriptedDaemon, feed: Feed, tmp_path: Path, *, pipe: bool) -> None:
    """A file or a pipe brings the passphrase; it goes into the body and nowhere else."""
    stands(daemon)
    feed(f"{PHRASE}\n")
    where = "-" if pipe else str(tmp_path / "stdin")

    assert main(["unlock", "--passphrase-file", where]) == 0

    assert daemon.requests[-1].body == {"passphrase": PHRASE}
    assert PHRASE not in str([request.line for request in daemon.requests])


def test_another_source_is_only_asked_again(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """With a key file no passphrase is asked for, and one that is brought is refused."""
    stands(daemon, "file")

    assert main(["unlock"]) == 0
    assert daemon.requests[-1].body == {}
    assert main(["unlock", "--passphrase-file", "x"]) == 2

    assert "source 'file'" in capsys.readouterr().err


def test_what_is_open_stays_so(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is asked and nothing sent where it is not locked."""
    stands(daemon, locked=False)

    assert main(["unlock"]) == 0

    assert daemon.lines() == ["GET /v1/status"]
    assert "not locked" in capsys.readouterr().err


def test_without_a_terminal(daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody can be asked, the option is named, and nothing of stdin is taken for an answer."""
    stands(daemon)
    feed(f"{PHRASE}\n")

    assert main(["unlock"]) == 2

    assert "--passphrase-file FILE|-" in capsys.readouterr().err
    assert daemon.lines() == ["GET /v1/status"]


@pytest.mark.parametrize(
    ("status", "code", "exit_code"), [(423, "locked", 7), (429, "too_many_requests", 5), (400, "invalid_request", 2)]
)
def test_a_refusal(
    daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str], status: int, code: str, exit_code: int
) -> None:
    """What the daemon says is repeated, with the wait, and ends with its exit code."""
    stands(daemon)
    daemon.forget("POST /v1/unlock")
    daemon.refuses("POST /v1/unlock", status, code, "That is not the passphrase.", retry_after=8)
    feed(PHRASE)

    assert main(["unlock", "--passphrase-file", "-"]) == exit_code

    err = capsys.readouterr().err
    assert "That is not the passphrase." in err
    assert "Try again in 8 s." in err
    assert PHRASE not in err


def test_at_a_terminal(daemon: ScriptedDaemon) -> None:
    """It is asked for once, and not shown."""
    stands(daemon)

    code, seen = typed(PHRASE)

    assert code == 0
    assert daemon.requests[-1].body == {"passphrase": PHRASE}
    assert "horse" not in seen
    assert "Unlocked." in seen


def test_a_new_one_is_typed_twice(daemon: ScriptedDaemon) -> None:
    """The first passphrase of a database is asked for twice, and the person is told what it means."""
    stands(daemon, new=True)

    code, seen = typed(PHRASE, PHRASE)

    assert (code, daemon.requests[-1].body) == (0, {"passphrase": PHRASE})
    assert "The passphrase is set" in seen
    assert "horse" not in seen


def test_a_slip_of_the_finger_sets_nothing(daemon: ScriptedDaemon) -> None:
    """Two that differ are refused before anything is sent."""
    stands(daemon, new=True)

    code, seen = typed(PHRASE, PHRASE + "r")

    assert code == 2
    assert "not the same" in seen
    assert daemon.lines() == ["GET /v1/status"]


def test_nothing_typed(daemon: ScriptedDaemon) -> None:
    """An empty line is no passphrase and costs no try."""
    stands(daemon)

    assert typed("")[0] == 2

    assert daemon.lines() == ["GET /v1/status"]
