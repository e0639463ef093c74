"""``keyfob doctor``: what it makes of answers, files, ports and the clock."""

import json
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker import __version__
from broker.cli.main import main
from broker.store.files import lock_state_directory
from tests.loopback import held_port

from .scripted_daemon import ScriptedDaemon

NOW = 1_900_000_000.0
MEMBERS = {"check", "level", "detail", "next_step", "about"}


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(NOW + seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose daemon would listen where the scripted one does, at a moment that is later than every file."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setenv("KEYFOB_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("KEYFOB_BROWSER_PORT", "0")
    monkeypatch.setenv("KEYFOB_APP_PORT", "0")
    monkeypatch.setenv("PATH", "/nonexistent")  # no systemd and no notify-send of whoever runs the tests
    return tmp_path


def _status(place: Path, **more: Any) -> dict[str, Any]:  # noqa: ANN401 -- JSON
    return {
        "version": __version__,
        "pid": 1,
        "state": "ok",
        "reasons": [],
        "doors": {"socket": str(place / "keyfob.sock")},
        "scheduler": {"next_tick_at": _at(30), "due": 0},
        **more,
    }


def _account(state: str = "active", **more: Any) -> dict[str, Any]:  # noqa: ANN401 -- JSON
    return {"account": "me", "state": state, "since": _at(-300), "reason": "", "next_step": None, **more}


def _daemon(daemon: ScriptedDaemon, place: Path, accounts: list[dict[str, Any]] | None = None, **status: Any) -> None:  # noqa: ANN401 -- JSON
    daemon.answers("GET /v1/status", _status(place, **status))
    daemon.answers("GET /v1/accounts", {"accounts": accounts or []})


def _findings(capsys: pytest.CaptureFixture[str], check: str = "") -> tuple[int, list[dict[str, str]]]:
    """Run the doctor; return its exit code and what it found that is not well, or all of one check."""
    code = main(["doctor", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"version", "state", "findings"}
    assert all(set(found) == MEMBERS for found in answer["findings"])
    assert (answer["state"] == "trouble") == (code == 1)
    return code, [f for f in answer["findings"] if (f["check"] == check if check else f["level"] != "ok")]


def test_all_is_well(daemon: ScriptedDaemon, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is found, it says so, and scripts get 0; the daemon is asked for what needs no provider only."""
    _daemon(daemon, place, [_account()])

    assert main(["doctor"]) == 0

    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "All is well."
    assert all(line.startswith("ok ") for line in out.splitlines()[:-1])
    assert err == ""
    assert daemon.lines() == ["GET /v1/status", "GET /v1/accounts"]


@pytest.mark.parametrize(
    ("state", "level"),
    [
        ("needs-login", "trouble"),
        ("misconfigured", "trouble"),
        ("suspect", "trouble"),
        ("refreshing-failed", "warning"),
        ("uncertain", "warning"),
        ("pending", "warning"),
        ("active", "trouble"),  # with a next step: a token that has ended and that nothing can renew
    ],
)
def test_accounts(
    daemon: ScriptedDaemon, place: Path, capsys: pytest.CaptureFixture[str], state: str, level: str
) -> None:
    """An account that needs a person is trouble, one that mends itself a warning; how it is and what to do is told."""
    sick = _account(state, reason="It is so.", next_step="Do this.", next_refresh_at=_at(60))
    _daemon(daemon, place, [sick, _account(account="other")])

    code, found = _findings(capsys)

    assert code == (level == "trouble")
    assert found == [
        {
            "check": "account",
            "level": level,
            "detail": f"me: {state} for 5 min; Keyfob asks again in 60 s. It is so.",
            "next_step": "Do this.",
            "about": "me",
        }
    ]


@pytest.mark.parametrize(
    ("ends", "level", "words"), [(3 * 86_400, "warning", "ends in 3 d"), (-60, "trouble", "its token expired 60 s ago")]
)
def test_a_token_that_ends(
    daemon: ScriptedDaemon, place: Path, capsys: pytest.CaptureFixture[str], ends: float, level: str, words: str
) -> None:
    """A token that nothing can renew is a warning before its end, and trouble from then on."""
    _daemon(daemon, place, [_account("static", next_step="Bring a new one.", expires_at=_at(ends))])

    code, (found,) = _findings(capsys)

    assert code == (level == "trouble")
    assert (found["level"], found["next_step"]) == (level, "Bring a new one.")
    assert words in found["detail"]


@pytest.mark.parametrize(
    ("status", "check", "level", "words"),
    [
        ({"version": "9.9.9"}, "version", "warning", "9.9.9"),
        ({"state": "degraded", "reasons": ["The disk is full."]}, "state", "trouble", "The disk is full."),
        ({"state": "locked", "reasons": ["No key."]}, "state", "trouble", "is locked: No key."),
        ({"scheduler": {"next_tick_at": _at(-600), "due": 3}}, "scheduler", "trouble", "600 s ago"),
        ({"scheduler": {"next_tick_at": _at(600), "due": 3}}, "scheduler", "trouble", "only in 600 s"),
        ({"doors": {"socket": "/elsewhere/keyfob.sock"}}, "settings", "warning", "listens elsewhere"),
    ],
)
def test_the_daemon_is_not_well(
    daemon: ScriptedDaemon,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    status: dict[str, Any],
    check: str,
    level: str,
    words: str,
) -> None:
    """Another version, a degraded or locked daemon, a scheduler that is stuck, and one of other settings are told."""
    _daemon(daemon, place, **status)

    code, found = _findings(capsys)

    assert [(one["check"], one["level"]) for one in found] == [(check, level)]
    assert words in found[0]["detail"]
    assert found[0]["next_step"] or "disk" in words
    assert code == (level == "trouble")


def test_a_port_that_does_not_answer(daemon: ScriptedDaemon, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon says where its ports are; one where nobody answers is trouble."""
    with held_port() as port:
        doors = {"socket": str(place / "keyfob.sock"), "app": f"http://127.0.0.1:{port}"}
        _daemon(daemon, place, doors=doors)

        code, found = _findings(capsys)

    assert (code, [one["about"] for one in found]) == (1, ["app"])


def test_asked_as_an_app(
    daemon: ScriptedDaemon, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an app key in the environment nobody is the owner; the variable is named."""
    monkeypatch.setenv("KEYFOB_APP_KEY", "kf_x")
    monkeypatch.chdir(place)
    daemon.refuses("GET /v1/status", 403, "not_granted", "An app key may ask for tokens.")

    code, found = _findings(capsys, "daemon")

    assert code == 1
    assert found[0]["next_step"].startswith("Unset KEYFOB_APP_KEY:")


def test_a_clock_that_was_set_back(daemon: ScriptedDaemon, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What an account went through in this clock's future shows that the clock is wrong."""
    _daemon(daemon, place, [_account(last_refresh_at=_at(3600))])

    code, found = _findings(capsys, "clock")

    assert code == 1
    assert "3600 s in this clock's future" in found[-1]["detail"]


# --- without a daemon -------------------------------------------------------------------------------------------------


def _state(place: Path) -> Path:
    state = place / ".local/state/keyfob"
    state.mkdir(mode=0o700, parents=True)
    return state


def test_no_daemon(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the daemon down it says how to start it, and looks at the rest by itself."""
    code, found = _findings(capsys)

    assert (code, [one["check"] for one in found]) == (1, ["daemon", "accounts"])
    assert "keyfob serve" in found[0]["next_step"]
    assert list(place.iterdir()) == []


def test_a_daemon_that_listens_elsewhere(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon that holds the files and is not found at the socket is named with its process, not called dead."""
    with lock_state_directory(_state(place)):
        _, found = _findings(capsys, "daemon")

    assert f"Process {os.getpid()} is a daemon with these files" in found[-1]["detail"]
    assert len(_findings(capsys, "daemon")[1]) == 1


def test_a_taken_port(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that a stranger took is named before the start fails because of it."""
    monkeypatch.chdir(place)
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        monkeypatch.setenv("KEYFOB_APP_PORT", str(port))

        _, found = _findings(capsys, "door")

    assert [(one["level"], one["about"]) for one in found] == [("trouble", "app")]
    assert f":{port}" in found[0]["next_step"]


def test_open_files(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever other users may read or plant is named, with the command that closes it."""
    state, config = _state(place), place / ".config/keyfob"
    config.mkdir(parents=True)
    (state / "keyfob.db").touch(0o644)
    (state / "keyfob.db-wal").symlink_to("/etc/hostname")
    (config / "key").write_text("ab" * 32)
    (config / "key").chmod(0o640)
    state.chmod(0o750)
    config.chmod(0o777)

    _, found = _findings(capsys)

    said = {one["about"] or one["check"]: (one["level"], one["next_step"]) for one in found}
    assert said[str(config)] == ("warning", f"chmod go-w {config}")
    assert said[str(state)] == ("warning", f"chmod 700 {state}")
    assert said[str(state / "keyfob.db")] == ("warning", f"chmod 600 {state / 'keyfob.db'}")
    assert said[str(state / "keyfob.db-wal")][0] == "trouble"
    assert said["key"][0] == "trouble"
    assert f"chmod 600 {config / 'key'}" in said["key"][1]


def test_a_key_that_is_gone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a database a key may be missing; with one, the old key has to come back."""
    assert _findings(capsys, "key")[1][0]["level"] == "ok"
    (_state(place) / "keyfob.db").touch(0o600)

    _, found = _findings(capsys, "key")

    assert found[0]["level"] == "trouble"
    assert "backup" in found[0]["next_step"]


@pytest.mark.parametrize(("command", "level"), [("/bin/sh -c 'touch ran'", "ok"), ("pass x", "trouble"), ("'", "")])
def test_a_key_command_is_not_run(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, level: str
) -> None:
    """A password manager is looked for, and not started; a command line that cannot be read is told."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("KEYFOB_KEY_SOURCE", "command")
    monkeypatch.setenv("KEYFOB_KEY_COMMAND", command)

    _, found = _findings(capsys, "key")

    assert found[0]["level"] == (level or "trouble")
    assert not (place / "ran").exists()


@pytest.mark.parametrize("text", ["browser_prot = 1", 'notify_command = "\'"', 'database_url = "postgres://x/y"'])
def test_settings_that_stop_a_start(place: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """What would stop the daemon's start is told, once, and the doctor goes on."""
    config = place / ".config/keyfob/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(text)

    code, found = _findings(capsys, "settings")

    assert (code, [one["level"] for one in found]) == (1, ["trouble"])


def test_a_full_disk(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little room for the database is trouble before it is full, and a warning before that."""
    real = os.statvfs(place)
    for free, level in ((5, "trouble"), (100, "warning"), (5000, "ok")):
        blocks = free * 1_000_000 // real.f_frsize
        seen = os.statvfs_result((real.f_bsize, real.f_frsize, 9**9, blocks, blocks, 99, 99, 99, 0, 255))
        monkeypatch.setattr(os, "statvfs", lambda _path, seen=seen: seen)

        assert [one["level"] for one in _findings(capsys, "disk")[1]] == [level]


def test_a_clock_that_is_behind(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A machine that starts in 1970, or was set back, is told by the files that are from later."""
    database = _state(place) / "keyfob.db"
    database.touch(0o600)
    os.utime(database, (NOW + 4000, NOW + 4000))

    code, found = _findings(capsys, "clock")

    assert code == 1
    assert found[0]["detail"] == f"{database} was written 4000 s in this clock's future."


@pytest.mark.parametrize(
    ("shown", "level"),
    [
        ("LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nNRestarts=0", "ok"),
        ("LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=disabled\nNRestarts=0", "warning"),
        ("LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nNRestarts=7", "warning"),
        ("LoadState=loaded\nActiveState=failed\nSubState=failed\nUnitFileState=enabled\nNRestarts=0", "trouble"),
        ("LoadState=not-found\nActiveState=inactive\nSubState=dead\nUnitFileState=\nNRestarts=0", "ok"),
    ],
)
def test_the_service(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shown: str, level: str
) -> None:
    """Where systemd runs for the user, a service that failed, restarts again and again, or is not enabled is told."""
    systemctl = place / "bin/systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text(f'#!/bin/sh\necho "{shown}"\n')
    systemctl.chmod(0o700)
    monkeypatch.setenv("PATH", str(systemctl.parent))

    assert [one["level"] for one in _findings(capsys, "service")[1]] == [level]
