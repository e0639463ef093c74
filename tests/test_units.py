"""The shipped units and the Dockerfile: hardened as promised, and in step with the code."""

import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from broker import daemon, sdnotify
from broker.cli import service_units
from broker.settings import Settings, read, variable

ROOT = Path(__file__).parent.parent
USER = ROOT / "systemd/keyfob.service"
USER_SOCKET = ROOT / "systemd/keyfob.socket"
SYSTEM = ROOT / "systemd/system/keyfob.service"
ANALYZE = shutil.which("systemd-analyze")


def offline() -> bool:
    """Whether this machine's systemd-analyze can judge a file (systemd 250 and newer)."""
    if ANALYZE is None:
        return False
    shown = subprocess.run([ANALYZE, "--help"], capture_output=True, text=True, check=False, timeout=20)
    return "--offline" in shown.stdout


needs_analyze = pytest.mark.skipif(not offline(), reason="systemd-analyze security --offline is not to be had here")


def settings_of(text: str) -> dict[str, list[str]]:
    """The lines of a unit, by key, in order."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def score(path: Path) -> float:
    """The exposure that systemd computes: 0 is best, 10 worst."""
    command = [str(ANALYZE), "security", "--offline=true", "--no-pager", str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert found, told
    return float(found[1])


@needs_analyze
@pytest.mark.parametrize(("path", "limit"), [(USER, 2.5), (SYSTEM, 1.5)], ids=["user", "system"])
def test_hardening(path: Path, limit: float) -> None:
    """By systemd's own count the shipped units are as little exposed as was promised."""
    assert score(path) <= limit


@needs_analyze
def test_hardening_survives_the_filling_in(tmp_path: Path) -> None:
    """The units with a machine's own paths in them are as hard as the shipped ones."""
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": service_units.RUNTIME}
    units = service_units.user_units(tmp_path / "keyfob", read(environ), environ, sandbox=True)
    for name, text in units.items():
        (tmp_path / name).write_text(text)
    assert score(tmp_path / service_units.SERVICE) == score(USER)


@needs_analyze
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """No key is misspelled: systemd would only warn, and the protection would be missing."""
    program = tmp_path / "keyfob"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    for name, text in (("a", service_units.system_unit(program)), ("b", USER.read_text())):
        home = text.replace("%h/.local/bin/keyfob", str(program)).replace("WantedBy=default", "WantedBy=multi-user")
        path = tmp_path / f"keyfob-{name}.service"
        path.write_text(home.replace("keyfob.socket", "sockets.target"))
        done = subprocess.run(
            [str(ANALYZE), "verify", str(path)], capture_output=True, text=True, check=False, timeout=60
        )
        assert path.name not in done.stderr


@pytest.mark.parametrize("path", [USER, SYSTEM], ids=["user", "system"])
def test_a_stop_leaves_time_for_a_refresh(path: Path) -> None:
    """A stop waits longer than the daemon lets a refresh land, and a hung daemon is noticed within 30 s."""
    unit = settings_of(path.read_text())
    assert int(unit["TimeoutStopSec"][0]) > daemon.DRAIN
    assert (unit["Type"], unit["NotifyAccess"], unit["WatchdogSec"]) == (["notify"], ["main"], ["30"])


def test_the_app_socket_is_the_owners() -> None:
    """The socket that systemd opens is the one that the daemon knows by name, and nobody else may open it."""
    unit = settings_of(USER_SOCKET.read_text())
    assert unit["FileDescriptorName"][0] in sdnotify.DOORS
    assert (unit["SocketMode"], unit["DirectoryMode"]) == (["0600"], ["0700"])
    runtime = read({"HOME": "/home/x", "XDG_RUNTIME_DIR": "%t"})
    assert unit["ListenStream"] == [str(runtime.socket)]


def test_the_sandbox_opens_what_the_daemon_writes() -> None:
    """State, configuration (the key is made there) and runtime directory are writable, and made beforehand."""
    unit = settings_of(USER.read_text())
    known = read({"HOME": "/h", "XDG_RUNTIME_DIR": "%t"})
    needed = {str(known.state_dir), str(known.key_file.parent), str(known.config.parent)}
    opened = {word.removeprefix("-").replace("%h", "/h") for word in unit["ReadWritePaths"][0].split()}
    assert opened == needed | {str(known.runtime_dir)}
    assert set(unit["ExecStartPre"][0].replace("%h", "/h").split()[4:]) == needed


def test_what_needs_user_namespaces_stands_apart() -> None:
    """The part that can be left out holds whatever fails without namespaces, and none of what always works."""
    kept = settings_of(service_units.BLOCK.sub("", USER.read_text()))
    dropped = set(settings_of(USER.read_text())) - set(kept)
    assert {"PrivateUsers", "CapabilityBoundingSet", "ReadWritePaths"} <= dropped
    assert not [key for key in kept if key.startswith(("Private", "Protect"))]
    assert {"NoNewPrivileges", "SystemCallFilter", "MemoryDenyWriteExecute", "UMask"} <= set(kept)


@pytest.mark.parametrize("path", [SYSTEM, ROOT / "Dockerfile"], ids=["system", "Dockerfile"])
def test_every_variable_is_a_setting(path: Path) -> None:
    """No unit and no image sets a variable that the daemon does not read."""
    known = {variable(spec.name) for spec in fields(Settings)}
    found = set(re.findall(r"KEYFOB_[A-Z_]+(?==)", path.read_text()))
    assert found
    assert found <= known


def test_the_image_runs_as_nobody_in_particular() -> None:
    """The image has a numeric user that is not root, a health check without a shell, and exposes no port."""
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert '["/app/bin/keyfob", "healthcheck"]' in text
    assert "EXPOSE" not in text
