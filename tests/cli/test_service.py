"""``keyfob service``: the units fit this machine, nobody's edits are lost, and without systemd a person is told."""

import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.cli import main
from broker.cli.service import own_program
from broker.cli.service_units import SERVICE, SOCKET, is_ours
from broker.errors import CannotStart

from .scripted_daemon import ScriptedDaemon, scripted_daemon

# Stands for the user's systemd. It writes down what it is told; "start" puts the socket where programs look for it.
SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$STAGE/told"
case "$*" in
  *show-environment*) [ ! -e "$STAGE/no-manager" ] || { echo "Failed to connect to bus" >&2; exit 1; } ;;
  *is-active*) [ -e "$STAGE/active" ] || exit 3 ;;
  *"start keyfob.service") [ ! -e "$STAGE/broken" ] || exit 1
    : > "$STAGE/active"
    [ ! -e "$STAGE/waiting.sock" ] || exec /bin/mv "$STAGE/waiting.sock" "$XDG_RUNTIME_DIR/keyfob/keyfob.sock" ;;
  *StatusText*) [ ! -e "$STAGE/broken" ] || exec /bin/cat "$STAGE/broken" ;;
  *disable*) exec /bin/rm -f "$STAGE/active" ;;
esac
"""
SYSTEMD_RUN = """#!/bin/sh
[ ! -e "$STAGE/no-namespaces" ]
"""


class Stage:
    """A machine with a stand-in for systemd."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.units = root / ".config/systemd/user"
        self.program = root / "bin with space/keyfob"

    def told(self) -> list[str]:
        """What systemctl was told to do, questions apart."""
        path = self.root / "told"
        lines = path.read_text().splitlines() if path.exists() else []
        asked = ("is-active", "show")
        return [line.removeprefix("--user ") for line in lines if not line.split()[1].startswith(asked)]

    def set(self, name: str, text: str = "") -> None:
        """Change how the machine behaves."""
        (self.root / name).write_text(text)

    def unit(self, name: str = SERVICE) -> str:
        """The text of an installed unit."""
        return (self.units / name).read_text()


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A home, a keyfob command, and a user's systemd that works."""
    made = Stage(tmp_path)
    for path, text in (
        (made.program, "#!/bin/sh\n"),
        (tmp_path / "path/systemctl", SYSTEMCTL),
        (tmp_path / "path/systemd-run", SYSTEMD_RUN),
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o700)
    (tmp_path / "run/keyfob").mkdir(parents=True)
    monkeypatch.setenv("STAGE", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "argv", [str(made.program), "service"])
    return made


@pytest.fixture
def served(stage: Stage) -> Iterator[ScriptedDaemon]:
    """A daemon that answers as soon as systemd has started it."""
    with scripted_daemon(stage.root / "waiting.sock") as daemon:
        daemon.answers("GET /healthz", {"status": "ok"})
        yield daemon


def test_install(stage: Stage, served: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Both units are written, enabled and started; the daemon's answer is waited for; stdout stays empty."""
    assert main(["service", "install"]) == 0

    out, err = capsys.readouterr()
    assert stage.told() == [
        "daemon-reload",
        f"stop {SERVICE} {SOCKET}",
        f"enable --quiet {SOCKET} {SERVICE}",
        f"start {SOCKET}",
        f"start {SERVICE}",
    ]
    assert served.lines() == ["GET /healthz"]
    assert f'ExecStart="{stage.program}" serve' in stage.unit()
    assert "ListenStream=%t/keyfob/keyfob.sock" in stage.unit(SOCKET)
    assert out == ""
    assert f"Programs find it at {stage.root}/run/keyfob/keyfob.sock" in err


def test_units_are_private_files(stage: Stage, served: ScriptedDaemon) -> None:
    """A unit can carry a key command, so only its owner reads it; no draft stays behind."""
    main(["service", "install"])

    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in stage.units.iterdir()} == {
        SERVICE: 0o600,
        SOCKET: 0o600,
    }
    assert served.lines()


def test_install_again_disturbs_nobody(stage: Stage, served: ScriptedDaemon) -> None:
    """A second install finds everything as it should be and does not restart the daemon."""
    main(["service", "install"])
    stage.set("told")

    assert main(["service", "install"]) == 0
    assert not [line for line in stage.told() if line.startswith(("stop", "restart"))]
    assert len(served.lines()) == 2


def test_settings_of_the_shell_reach_the_service(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """KEYFOB_ variables become part of the unit, quoted, with their directories; client ones do not."""
    monkeypatch.setenv("KEYFOB_STATE_DIR", "~/100% mine")
    monkeypatch.setenv("KEYFOB_KEY_COMMAND", 'pass "show" keyfob')
    monkeypatch.setenv("KEYFOB_APP_KEY", "kf_not_for_units")

    assert main(["service", "install", "--print"]) == 0

    out, home = capsys.readouterr().out, stage.root
    assert f'Environment="KEYFOB_STATE_DIR={home}/100%% mine"' in out
    assert r'Environment="KEYFOB_KEY_COMMAND=pass \"show\" keyfob"' in out
    assert f'ExecStartPre=+mkdir -p -m 0700 "{home}/100%% mine" {home}/.config/keyfob\n' in out
    assert f'ReadWritePaths="-{home}/100%% mine" -{home}/.config/keyfob -%t/keyfob\n' in out
    assert "kf_not_for_units" not in out


def test_a_runtime_directory_of_ones_own_moves_the_socket(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the settings move the socket, systemd listens there."""
    monkeypatch.setenv("KEYFOB_RUNTIME_DIR", f"{stage.root}/r")

    main(["service", "install", "--print"])

    assert f"\nListenStream={stage.root}/r/keyfob.sock\n" in capsys.readouterr().out


def test_a_password_never_gets_into_a_unit(
    stage: Stage, served: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A proxy URL with a password in it is left out, and the person is told where it belongs."""
    monkeypatch.setenv("KEYFOB_HTTP_PROXY", "http://me:marker-password@127.0.0.1:3128")

    assert main(["service", "install"]) == 0

    assert "marker-password" not in stage.unit()
    assert "KEYFOB_HTTP_PROXY holds a password" in capsys.readouterr().err
    assert served.lines()


def test_print_changes_nothing(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """--print shows both units under the paths they would have, and touches neither disk nor systemd."""
    assert main(["service", "install", "--print"]) == 0

    out, err = capsys.readouterr()
    assert (f"# {stage.units / SOCKET}\n" in out, f"# {stage.units / SERVICE}\n" in out) == (True, True)
    assert (err, stage.units.exists(), stage.told()) == ("", False, [])


def test_print_shows_what_install_writes(
    stage: Stage, served: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was printed is, to the letter, what lies there after an install."""
    main(["service", "install", "--print"])
    printed = capsys.readouterr().out
    main(["service", "install"])

    assert stage.unit() in printed
    assert stage.unit(SOCKET) in printed
    assert served.lines()


def test_the_unit_for_a_machine(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """--system prints the hardened unit with this command in it, and warns of a command inside a home."""
    assert main(["service", "install", "--system"]) == 0

    out, err = capsys.readouterr()
    assert out.startswith(f"# /etc/systemd/system/{SERVICE}\n")
    assert f'\nExecStart="{stage.program}" serve\n' in out
    assert "DynamicUser=yes" in out
    assert "install Keyfob for all users first" in err


@pytest.mark.parametrize("how", ["no-manager", "no-systemd"])
def test_without_systemd(
    stage: Stage, how: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a container or on another system the units are written all the same, and the next steps are told; exit 0."""
    stage.set("no-manager")
    if how == "no-systemd":
        monkeypatch.setenv("PATH", str(stage.root / "empty"))

    assert main(["service", "install"]) == 0

    err = capsys.readouterr().err
    assert "Nothing was started" in err
    assert "systemctl --user enable --now keyfob.socket keyfob.service" in err
    assert f"{stage.program} serve" in err
    assert is_ours(stage.unit())
    assert stage.told() == []


def test_without_user_namespaces(stage: Stage, served: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the sandbox cannot hold, its lines are left out instead of keeping the daemon down; the rest stays."""
    stage.set("no-namespaces")

    assert main(["service", "install"]) == 0

    assert "PrivateUsers" not in stage.unit()
    assert "ReadWritePaths" not in stage.unit()
    assert "NoNewPrivileges=yes" in stage.unit()
    assert "[Install]" in stage.unit()
    assert "User namespaces are not to be had here" in capsys.readouterr().err
    assert served.lines()


@pytest.mark.parametrize("name", [SERVICE, SOCKET])
@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_an_edited_unit_is_left_alone(
    stage: Stage, served: ScriptedDaemon, name: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A unit with a line of somebody's own survives both verbs, which say what to do instead."""
    main(["service", "install"])
    mine = stage.unit(name) + "# mine\n"
    (stage.units / name).write_text(mine)
    stage.set("told")

    assert main(["service", verb]) == 1

    assert stage.unit(name) == mine
    assert "systemctl --user edit keyfob" in capsys.readouterr().err
    assert stage.told() == []
    assert served.lines()


def test_force_overwrites(stage: Stage, served: ScriptedDaemon) -> None:
    """--force puts a fresh unit over an edited one, and a file in place of a link, whose target stays."""
    stage.units.mkdir(parents=True)
    (stage.units / SERVICE).write_text("[Service]\nExecStart=/bin/false\n")
    stage.set("dotfile", "precious")
    (stage.units / SOCKET).symlink_to(stage.root / "dotfile")

    assert main(["service", "install", "--force"]) == 0

    assert is_ours(stage.unit())
    assert is_ours(stage.unit(SOCKET))
    assert (stage.root / "dotfile").read_text() == "precious"
    assert served.lines()


def test_a_link_is_not_ours(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """A unit that is a symbolic link (masked, or kept with somebody's dotfiles) is not replaced unasked."""
    stage.units.mkdir(parents=True)
    (stage.units / SERVICE).symlink_to("/dev/null")

    assert main(["service", "install"]) == 1
    assert "--force" in capsys.readouterr().err


def test_a_daemon_started_by_hand_keeps_its_socket(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """A start by systemd would take the socket from under a running daemon; install refuses and names the process."""
    with scripted_daemon(stage.root / "run/keyfob/keyfob.sock") as daemon:
        daemon.answers("GET /v1/status", {"pid": 4711})
        assert main(["service", "install"]) == 1

    assert "(process 4711)" in capsys.readouterr().err
    assert (stage.units.exists(), stage.told()) == (False, [])


def test_a_dead_socket_is_in_nobodys_way(stage: Stage, served: ScriptedDaemon) -> None:
    """The file that a killed daemon left behind does not keep the service from being installed."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stage.root / "run/keyfob/keyfob.sock"))

    assert main(["service", "install"]) == 0
    assert served.lines()


def test_a_service_that_does_not_start(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon's own last words are repeated, with where to read more; exit 1."""
    stage.set("broken", "Port 8400 is taken.\n")

    assert main(["service", "install"]) == 1

    err = capsys.readouterr().err
    assert "The service does not start: Port 8400 is taken." in err
    assert "journalctl --user -u keyfob.service" in err


def test_the_journal_is_asked_where_the_status_is_silent(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a status the last error line of the program's own log is repeated."""
    stage.set("broken")
    journalctl = stage.root / "path/journalctl"
    journalctl.write_text("#!/bin/sh\necho 'keyfob: an older one.'\necho 'keyfob: The key is gone.'\necho '  hint'\n")
    journalctl.chmod(0o700)

    assert main(["service", "install"]) == 1
    assert "The service does not start: The key is gone." in capsys.readouterr().err


def test_a_broken_configuration_is_told_before_anything_is_written(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting that cannot be stops the install with exit 2 and no unit."""
    config = stage.root / ".config/keyfob/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("app_port = 'many'\n")
    config.chmod(0o600)

    assert main(["service", "install"]) == 2
    assert "app_port" in capsys.readouterr().err
    assert not stage.units.exists()


def test_a_path_that_no_unit_can_hold(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line break in a setting cannot add a line to a unit."""
    monkeypatch.setenv("KEYFOB_KEY_COMMAND", "true\nExecStartPre=/bin/false")

    assert main(["service", "install"]) == 2
    assert "a character that a unit cannot hold" in capsys.readouterr().err
    assert not stage.units.exists()


def test_uninstall(stage: Stage, served: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Both units are stopped, disabled and removed; logins stay, and the person is told where."""
    main(["service", "install"])
    state = stage.root / ".local/state/keyfob"
    state.mkdir(parents=True)
    stage.set("told")

    assert main(["service", "uninstall"]) == 0

    assert stage.told() == [f"disable --now {SERVICE} {SOCKET}", "daemon-reload"]
    assert list(stage.units.iterdir()) == []
    assert state.is_dir()
    assert f"Kept, with your logins in it: {state}" in capsys.readouterr().err
    assert served.lines()


def test_uninstall_twice(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing is installed, uninstall says so and is content."""
    assert main(["service", "uninstall"]) == 0
    assert "nothing to remove" in capsys.readouterr().err
    assert stage.told() == []


def test_uninstall_without_a_manager(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no manager can be asked, the links of an earlier enable go too, and what still runs is mentioned."""
    stage.set("no-manager")
    main(["service", "install"])
    link = stage.units / "default.target.wants" / SERVICE
    link.parent.mkdir()
    link.symlink_to(stage.units / SERVICE)

    assert main(["service", "uninstall"]) == 0

    assert not os.path.lexists(link)
    assert not (stage.units / SERVICE).exists()
    assert "If a daemon runs, it still does" in capsys.readouterr().err


def test_a_link_to_the_command_is_kept(tmp_path: Path) -> None:
    """The unit names the link that pipx keeps across upgrades, not the environment behind it."""
    (tmp_path / "venv").mkdir()
    target, link = tmp_path / "venv/keyfob", tmp_path / "keyfob"
    target.write_text("#!/bin/sh\n")
    target.chmod(0o700)
    link.symlink_to(target)

    assert own_program(str(link)) == link


def test_a_command_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a keyfob command there is nothing to start, and the person is told to install one."""
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    with pytest.raises(CannotStart, match="not to be found"):
        own_program(str(tmp_path / "__main__.py"))
