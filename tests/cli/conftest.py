"""What the tests of the verbs share: a scripted daemon that the environment points at, and an empty home."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .scripted_daemon import ScriptedDaemon, scripted_daemon


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
