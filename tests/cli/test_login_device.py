"""`keyfob login` with a code: how it looks at every width, when it is chosen, and how it ends."""

import fcntl
import getpass
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import segno

from broker.cli import ways
from broker.cli.device import framed, qr
from broker.cli.main import main

from .conftest import Feed
from .scripted_daemon import ScriptedDaemon

KEYFOB = [sys.executable, "-m", "broker.cli"]
ACCOUNT = {"account": "work", "provider": "p", "state": "active", "identity": {"label": "Ada", "subject": "1"}}
COMPLETE = "https://id.example/device?user_code=WDJB-MJHT"
DEVICE = {
    "id": "L1",
    "state": "pending",
    "provider": "p",
    "flow": "device",
    "start_url": "http://127.0.0.1:8411/login/L1",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://id.example/device",
    "verification_uri_complete": COMPLETE,
    "interval": 5.0,
}
POLL = "GET /v1/logins/L1?wait=20"
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
OVER_SSH = {"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22"}


@pytest.fixture
def logins(daemon: ScriptedDaemon) -> ScriptedDaemon:
    """A daemon at which a device login succeeds at the second look."""
    ends = (datetime.now(UTC) + timedelta(seconds=600)).isoformat()
    daemon.answers("POST /v1/logins", {**DEVICE, "expires_at": ends}, status=201)
    daemon.answers(POLL, {"state": "pending"})
    daemon.answers(POLL, {"state": "done", "account": "work"})
    daemon.answers("GET /v1/accounts/work", ACCOUNT)
    daemon.answers("GET /v1/providers/p", {"name": "p", "flows": ["browser", "paste", "device"]})
    daemon.answers("DELETE /v1/logins/L1", status=204)
    return daemon


def on_terminal(columns: int, lines: int, *words: str, **environ: str) -> tuple[int, list[str]]:
    """Run the command on a terminal of that size; return its exit code and the lines that it wrote, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    env |= {"PYTHONUTF8": "1", **environ}
    with subprocess.Popen([*KEYFOB, *words], stderr=theirs, stdout=subprocess.PIPE, stdin=theirs, env=env) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                seen += os.read(ours, 65536)
            except OSError:  # the terminal's other end is closed
                break
        code = process.wait(10)
    os.close(ours)
    return code, ANSI.sub("", seen.decode().replace("\r\n", "\n")).split("\n")


def read_back(drawn: list[str]) -> list[list[bool]]:
    """Return the modules that half blocks show, True where dark, from black on white."""
    upper = {" ": False, "▀": True, "▄": False, "█": True}
    lower = {" ": False, "▀": False, "▄": True, "█": True}
    return [[halves[mark] for mark in line] for line in drawn for halves in (upper, lower)]


def the_code_of(lines: list[str]) -> list[str]:
    """Return what of the lines draws a QR code."""
    return [line[:33] for line in lines if not set(line[:33]) - set(" ▀▄█") and len(line) >= 33]


def widest(seen: list[str]) -> int:
    """Return the length of the longest line before the end of the login, the spinner's aside."""
    return max(len(line) for line in seen if "\r" not in line and not line.startswith(("Logged in", "Its token")))


@pytest.mark.parametrize(("columns", "lines"), [(40, 60), (80, 24), (200, 60)])
def test_on_a_terminal(logins: ScriptedDaemon, columns: int, lines: int) -> None:
    """Everything fits the width: the QR code, the address, the framed code, the warning, and the time that is left."""
    code, seen = on_terminal(columns, lines, "login", "work", "--flow", "device")

    assert code == 0
    assert logins.requests[0].body == {"account": "work", "flow": "device"}
    turning = [part for line in seen for part in line.split("\r") if "left" in part]
    assert re.fullmatch(r"\S Waiting, (9:5\d|10:00) left \(Ctrl-C cancels\)", turning[0])
    assert widest(seen) <= columns
    assert max(map(len, turning)) < columns
    for words in ("│  W D J B - M J H T  │", " To copy: WDJB-MJHT", "  https://id.example/device"):
        assert any(line.endswith(words) for line in seen), words
    assert "Only type a code that you asked for yourself, here." in " ".join(seen)
    want = [[bool(module) for module in row] for row in segno.make_qr(COMPLETE, error="l").matrix_iter(border=2)]
    assert read_back(the_code_of(seen))[: len(want)] == want


def test_small_or_plain_terminals_get_no_qr_code(logins: ScriptedDaemon) -> None:
    """Too few lines, too few columns, or no Unicode: the code and the address are there, and no garbage."""
    for columns, lines, environ in (
        (80, 20, {}),
        (60, 30, {}),
        (30, 60, {}),
        (80, 60, {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}),
    ):
        logins.forget(POLL)
        logins.answers(POLL, {"state": "done", "account": "work"})
        code, seen = on_terminal(columns, lines, "login", "work", "--flow", "device", **environ)

        assert code == 0
        assert the_code_of(seen) == []
        assert "  https://id.example/device" in seen
        assert any("W D J B - M J H T" in line or "WDJB-MJHT" in line for line in seen)
        assert widest(seen) <= columns


def test_the_time_that_is_left_is_the_persons(logins: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Who gives up after a minute and a half is not told of ten minutes."""
    assert main(["login", "work", "--flow", "device", "--timeout", "90"]) == 0

    assert re.search(r"Waiting, 1:(2\d|30) left", capsys.readouterr().err)
    assert logins.lines().count(POLL) == 2


def test_not_on_a_terminal(logins: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Plain lines on stderr for whoever reads a log; stdout holds the account alone, with --json."""
    assert main(["login", "work", "--flow", "device", "--json"]) == 0

    out, err = capsys.readouterr()
    assert json.loads(out) == ACCOUNT
    first, warning, waiting, *_ = err.splitlines()
    assert first == "On any device, open https://id.example/device and type the code WDJB-MJHT"
    assert "asked for yourself" in warning
    assert waiting.startswith("Waiting, ")
    assert "\x1b" not in err
    assert logins.lines().count(POLL) == 2


@pytest.mark.parametrize(
    ("width", "shown"),
    [(80, "W D J B - M J H T"), (25, "W D J B - M J H T"), (24, "WDJB-MJHT"), (17, "WDJB-MJHT"), (16, "WDJB-MJHT")],
)
def test_frames(monkeypatch: pytest.MonkeyPatch, width: int, shown: str) -> None:
    """Spaced out where there is room, else as it is, and without a frame where not even that fits."""
    monkeypatch.setenv("NO_COLOR", "1")
    lines = framed("WDJB-MJHT", width, unicode=False)

    assert any(shown in line for line in lines)
    assert max(map(len, lines)) <= width
    assert any("+--" in line for line in lines) is (width > 16)


def test_a_qr_code_without_colour_is_for_dark_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR the light modules are the ink; no escape sequence is written."""
    with Path(os.devnull).open("w", encoding="utf-8") as somewhere:
        monkeypatch.setattr(sys, "stderr", somewhere)
        coloured = qr(COMPLETE)
        monkeypatch.setenv("NO_COLOR", "1")
        plain = qr(COMPLETE)

    assert all(line.startswith("\x1b[38;5;16;48;5;231m") and line.endswith("\x1b[0m") for line in coloured)
    inverse = str.maketrans(" ▀▄█", "█▄▀ ")
    assert [ANSI.sub("", line) for line in coloured] == [line.translate(inverse) for line in plain]


def test_hostile_codes_do_not_paint(logins: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Should anything get past the daemon, no control character reaches the terminal."""
    logins.forget("POST /v1/logins")
    wild = {
        **DEVICE,
        "expires_at": "2030-01-01T00:00:00Z",
        "user_code": "A\x1b[2JB",
        "verification_uri": "https://x\x07",
    }
    logins.answers("POST /v1/logins", wild, status=201)

    assert main(["login", "work", "--flow", "device"]) == 0

    assert not set(capsys.readouterr().err) & {"\x1b", "\x07"}


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ({"state": "expired", "reason": "the code expired before anybody allowed it."}, "the code expired"),
        ({"state": "failed", "reason": "P says that access was refused there."}, "access was refused there"),
    ],
)
def test_endings(logins: ScriptedDaemon, end: Mapping[str, Any], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A code that expired and a refusal are told as what they are, with the command for another try."""
    logins.forget(POLL)
    logins.answers(POLL, end)

    assert main(["login", "work", "--flow", "device"]) == 1

    failed, again = capsys.readouterr().err.splitlines()[-2:]
    assert failed.startswith("keyfob: The login did not succeed: ")
    assert said in failed
    assert again == "  Try again: keyfob login work --flow device"


def test_over_ssh_a_code_comes_first(
    logins: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], feed: Feed
) -> None:
    """Without --flow, a device login is asked for, and the tunnel for a browser of one's own is shown."""
    feed("")
    monkeypatch.setenv("DISPLAY", ":10")
    monkeypatch.setenv("SSH_CONNECTION", OVER_SSH["SSH_CONNECTION"])

    assert main(["login", "work", "--provider", "p"]) == 0

    assert logins.requests[0].body["flow"] == ["device", "browser"]
    lines = capsys.readouterr().err.splitlines()
    assert f"  ssh -L 8411:127.0.0.1:8411 {getpass.getuser()}@192.0.2.2" in lines
    assert "  keyfob login work --provider p --no-browser" in lines


def test_no_tunnel_to_a_provider_without_pages(
    logins: ScriptedDaemon, capsys: pytest.CaptureFixture[str], feed: Feed
) -> None:
    """Where the provider has no page for a browser, none is spoken of."""
    feed("")
    logins.forget("GET /v1/providers/p")
    logins.answers("GET /v1/providers/p", {"name": "p", "flows": ["device", "token"]})

    assert main(["login", "work", "--provider", "p"]) == 0

    assert "ssh" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environ", "no_browser", "can_paste", "flows"),
    [
        ({"BROWSER": "true"}, False, True, ["browser", "device"]),
        ({"BROWSER": "true", **OVER_SSH}, False, True, ["browser", "device"]),
        ({}, False, True, ["device", "paste"]),
        ({}, False, False, ["device", "browser"]),
        (OVER_SSH, False, True, ["device", "paste"]),
        (OVER_SSH, True, True, ["browser", "device"]),
    ],
)
def test_which_flow_fits(
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    no_browser: bool,  # noqa: FBT001 -- a column
    can_paste: bool,  # noqa: FBT001 -- a column
    flows: list[str],
) -> None:
    """A browser where there is one; else a code, and pasting only where somebody can."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", "/bin:/usr/bin")

    assert ways.flows(environ, no_browser=no_browser, can_paste=can_paste) == flows


def test_the_tunnel_uses_the_port_of_this_session() -> None:
    """Another SSH port is named, and so is the real browser port."""
    there = {"SSH_CONNECTION": "192.0.2.1 50000 2001:db8::1 2222"}

    assert ways.tunnel("http://127.0.0.1:8411/login/x", there) == (
        f"ssh -p 2222 -L 8411:127.0.0.1:8411 {getpass.getuser()}@2001:db8::1"
    )
    assert re.fullmatch(r"ssh -L 8400:127\.0\.0\.1:8400 \S+@\S+", ways.tunnel("http://127.0.0.1:8400/login/x", {}))
