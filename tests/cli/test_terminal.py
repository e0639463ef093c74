"""What people see: bold only on a terminal, times in words, nothing hidden in text from outside, closed streams."""

import os
import pty
import subprocess
import sys

import pytest

from broker.cli import terminal

from .scripted_daemon import ScriptedDaemon

NOW = 1_900_000_000.0  # 2030-03-17T17:46:40Z
KEYFOB = [sys.executable, "-m", "broker.cli"]


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ("2030-03-17T17:46:40Z", "in 0 s"),
        ("2030-03-17T17:48:20Z", "in 100 s"),
        ("2030-03-17T18:29:00Z", "in 42 min"),
        ("2030-03-17T20:46:39.5+00:00", "in 3 h"),
        ("2030-03-24T17:46:40Z", "in 7 d"),
        ("2030-03-17T17:46:39Z", "1 s ago"),
        ("2030-03-17T14:46:40Z", "3 h ago"),
        ("someday\x1b", "someday·"),
        (None, ""),
    ],
)
def test_when(moment: str | None, text: str) -> None:
    """A time is told by its distance, in the unit that a person would choose."""
    assert terminal.when(moment, NOW) == text


def test_clean() -> None:
    """Letters of every script pass; whatever steers a terminal or hides text does not."""
    assert terminal.clean("Zoë 東京 ok") == "Zoë 東京 ok"
    assert terminal.clean("a\x00\x1b\x7f\x9b\n\u200b\u2066\ufeffb") == "a" + "·" * 8 + "b"


@pytest.mark.parametrize(
    ("variables", "bold"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)]
)
def test_bold_on_a_terminal(daemon: ScriptedDaemon, variables: dict[str, str], bold: bool) -> None:  # noqa: FBT001 -- a parameter of the table
    """The header is bold on a terminal, unless NO_COLOR or TERM=dumb says no."""
    daemon.answers("GET /v1/accounts", {"accounts": [{"account": "work", "state": "active"}]})
    ours, theirs = pty.openpty()

    done = subprocess.run([*KEYFOB, "accounts"], stdout=theirs, env={**os.environ, **variables}, check=True)
    os.close(theirs)
    seen = os.read(ours, 4096)
    os.close(ours)

    assert done.returncode == 0
    assert seen.startswith(b"\x1b[1mACCOUNT") is bold
    assert seen.count(b"\x1b") == (2 if bold else 0)


def test_terminal_without_unicode(daemon: ScriptedDaemon) -> None:
    """A terminal that knows ASCII only gets question marks, not a traceback."""
    daemon.answers("GET /v1/accounts", {"accounts": [{"account": "wörk", "state": "active"}]})
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}

    done = subprocess.run([*KEYFOB, "accounts"], capture_output=True, env=environ, check=False)

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"w?rk" in done.stdout


@pytest.mark.parametrize("stream", [1, 2])
def test_closed_stream(daemon: ScriptedDaemon, stream: int) -> None:
    """Whoever closes stdout or stderr sees nothing of it; what was asked for is done, and the exit code says so."""
    daemon.answers("GET /v1/accounts/work/token", {"access_token": "t"})
    line = ["sh", "-c", f'"$@" {stream}>&-', "sh", *KEYFOB, "token", "work"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "" if stream == 1 else "t\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["login", "pod", "--provider", "p", "--flow", "token"], "Where is the token?"),
        (["login", "pod", "--provider", "p", "--flow", "token", "--token-file", "-"], "There is no token in stdin."),
        (["setup", "git", "work"], "no terminal is here to say yes at"),
    ],
)
@pytest.mark.usefixtures("forge_account")
def test_closed_stdin(words: list[str], said: str) -> None:
    """Whoever closes stdin is asked nothing, and told what is missing."""
    line = ["sh", "-c", '"$@" <&-', "sh", *KEYFOB, *words]

    done = subprocess.run(line, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
