"""What the tests of the verbs share: a scripted daemon that the environment points at, an empty home, and a stdin."""

import contextlib
import io
import os
import pty
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from broker.cli.main import main

from .scripted_daemon import ScriptedDaemon, scripted_daemon
from .setup_home import FORGE, WORK

Feed = Callable[[str], None]
Show = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's settings, browser, display or terminal reach a test."""
    dropped = (
        "KEYFOB_",
        "XDG_",
        "BROWSER",
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "SSH_CONNECTION",
        "NO_COLOR",
        "TERM",
        "COLUMNS",
    )
    for name in [name for name in os.environ if name.startswith(dropped)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    """The other side, where the environment says that it is."""
    with scripted_daemon(tmp_path / "s.sock") as served:
        monkeypatch.setenv("KEYFOB_SOCKET", served.where)
        yield served


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Feed]:
    """Put text on stdin."""

    def put(text: str) -> None:
        (tmp_path / "stdin").write_text(text)
        opened.append((tmp_path / "stdin").open())
        monkeypatch.setattr(sys, "stdin", opened[-1])

    opened: list[TextIO] = []
    yield put
    for file in opened:
        file.close()


@pytest.fixture
def terminal_with(monkeypatch: pytest.MonkeyPatch) -> Iterator[Feed]:
    """Make stdin a terminal at which somebody types."""
    ours, theirs = pty.openpty()

    def put(text: str) -> None:
        os.write(ours, text.encode())

    with os.fdopen(theirs) as typed:
        monkeypatch.setattr(sys, "stdin", typed)
        yield put
    os.close(ours)


class _Screen(io.StringIO):
    """A terminal that remembers what it showed."""

    def isatty(self) -> bool:
        """Whether it is one: yes."""
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Run a verb whose stdout is a terminal, and return the lines there; without bold, which is tested elsewhere."""
    monkeypatch.setenv("NO_COLOR", "1")

    def show(*words: str) -> list[str]:
        with contextlib.redirect_stdout(_Screen()) as shown:
            assert main(list(words)) == 0
        return shown.getvalue().splitlines()

    return show


@pytest.fixture
def forge_account(daemon: ScriptedDaemon) -> None:
    """Script an account at a provider that has two hosts."""
    daemon.answers("GET /v1/accounts/work", WORK)
    daemon.answers("GET /v1/accounts", {"accounts": [WORK]})
    daemon.answers("GET /v1/providers/forge", FORGE)
    daemon.answers("GET /v1/providers", {"providers": [FORGE]})
    doors = {"socket": "/run/keyfob/keyfob.sock", "app": "http://127.0.0.1:8401", "oidc": "/run/keyfob/oidc.sock"}
    daemon.answers("GET /v1/status", {"doors": doors})
