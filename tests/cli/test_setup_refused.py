"""`keyfob setup` where it must not or cannot write: nothing is written then, and it is said why."""

from pathlib import Path

import pytest

from broker.cli import setup_files
from broker.cli.main import main
from broker.cli.setup_record import Record
from broker.errors import Conflict

from .scripted_daemon import ScriptedDaemon
from .setup_home import MAIL, WHERE, WORK, everything, former, setup

pytestmark = pytest.mark.usefixtures("forge_account")


@pytest.mark.parametrize(
    "argv",
    [
        ["msmtp", "work", *MAIL, "--user", "ada\npasswordeval evil"],
        ["msmtp", "work", *MAIL, "--user", 'ada" evil'],
        ["mbsync", "work", *MAIL, "--user", "ada\rPassCmd evil"],
        ["neomutt", "work", "--user", "ada'`evil`"],
        ["neomutt", "work", "--user", "ada\0"],
        ["rclone", "work", "--url", "https://dav.example.org/\n[evil]"],
        ["rclone", "work", "--url", "https://dav.example.org/'$(evil)'"],
        ["claude", "work", "--url", "ftp://mcp.example.org/"],
        ["claude", "work", "--url", "http://mcp.example.org/"],
        ["msmtp", "work", "--host", "mx example"],
        ["git", "work", "--host", 'git"]evil'],
        ["msmtp", "work", "--host", "mx", "--port", "0"],
    ],
)
def test_hostile_values(argv: list[str], tmp_path: Path) -> None:
    """What another program could read as more than a value is a usage error, and nothing is written."""
    assert main(["setup", *argv, "--yes"]) == 2

    assert everything(tmp_path) == set()


@pytest.mark.parametrize(
    "base_url", ['https://git.example.org"]\n[core]', "https://git.example.org$(evil)", "http://git.x"]
)
def test_hostile_provider(base_url: str, daemon: ScriptedDaemon, tmp_path: Path) -> None:
    """Neither does a provider's address, or the name of who is logged in, write more than itself."""
    daemon.forget("GET /v1/providers/forge")
    daemon.answers("GET /v1/providers/forge", {"name": "forge", "base_url": base_url})
    daemon.forget("GET /v1/accounts/work")
    daemon.answers("GET /v1/accounts/work", {**WORK, "identity": {"label": "ada@x\nevil"}})

    assert setup("git", "--yes") != 0
    assert setup("msmtp", "--yes") == 2

    assert everything(tmp_path) == set()


@pytest.mark.parametrize(
    ("status", "code", "exit_code"), [(404, "unknown_account", 1), (423, "locked", 7), (403, "not_granted", 4)]
)
def test_refused(
    status: int, code: str, exit_code: int, daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the daemon refuses is said with its exit code."""
    daemon.forget("GET /v1/accounts/work")
    daemon.refuses("GET /v1/accounts/work", status, code, "Not that.")

    assert setup("git", "--yes") == exit_code

    assert "Not that." in capsys.readouterr().err


def test_daemon_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 6 for a setup; what was set up without an app is undone without the daemon."""
    assert setup("git", "--yes") == 0
    capsys.readouterr()
    monkeypatch.setenv("KEYFOB_SOCKET", str(tmp_path / "none"))

    assert setup("git", "--yes") == 6
    assert "keyfob: No daemon answers" in capsys.readouterr().err.splitlines()[0]
    assert main(["setup", "git", "work", "--undo", "--yes"]) == 0
    assert everything(tmp_path) == set()


def test_what_is_missing(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """An option that nothing tells is named; a login that is needed is, too."""
    assert main(["setup", "msmtp", "work"]) == 2
    assert "Add: --host HOST" in capsys.readouterr().err
    daemon.forget("GET /v1/accounts/work")
    daemon.answers("GET /v1/accounts/work", {**WORK, "identity": None, "state": "needs-login"})

    assert setup("msmtp") == 2
    err = capsys.readouterr().err
    assert "Add: --user USER" in err
    assert "needs a login first: keyfob login work" in err


def test_git_where_there_is_no_host(
    daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A provider without a host cannot serve git until one is named; and git has to be there."""
    daemon.forget("GET /v1/providers/forge")
    daemon.answers("GET /v1/providers/forge", {"name": "forge", "base_url": None})

    assert setup("git", "--yes") == 1
    assert "--host HOST" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "")
    assert setup("git", "--host", "code.example.net", "--yes") == 1
    assert "There is no git here" in capsys.readouterr().err


def test_changed_meanwhile(tmp_path: Path) -> None:
    """A file that became another after the person saw the difference is not written over."""
    path = former(tmp_path, "msmtp")
    seen = setup_files.Step(str(path), "older", "newer")

    with pytest.raises(Conflict):
        setup_files.write([seen], Record(tmp_path / "record"))

    assert path.read_text() == WHERE["msmtp"][2]


@pytest.mark.parametrize("file", ["", "taken/below"])
def test_no_place_for_a_file(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory, or a place where none can be made, is said by its name."""
    (tmp_path / "taken").write_text("")
    place = tmp_path / file

    assert setup("msmtp", "--file", str(place), "--yes") == 1

    assert str(place) in capsys.readouterr().err


def test_half_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the second file cannot be written, the first can be taken back."""
    assert setup("git", "--file", "/proc/keyfob/config", "--yes") == 1
    assert "/proc/keyfob/config cannot be written" in capsys.readouterr().err
    assert ".config/keyfob/setup/git-work.gitconfig" in everything(tmp_path)

    assert main(["setup", "git", "work", "--undo", "--yes"]) == 0
    assert everything(tmp_path) == set()


def test_no_id_token(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """An account without an ID token is told how it gets one."""
    daemon.forget("GET /v1/accounts/work")
    daemon.answers("GET /v1/accounts/work", {**WORK, "scope": "profile"})

    assert main(["setup", "kubectl", "work", "--id-token", "--yes"]) == 1

    assert "keyfob login work --scope openid profile" in capsys.readouterr().err


def test_encrypted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that its program has encrypted is left alone."""
    path = tmp_path / "rclone.conf"
    path.write_text("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nAAAA\n")
    before = path.read_bytes()

    assert main(["setup", "rclone", "work", "--url", "https://dav.example.org/", "--file", str(path), "--yes"]) == 1

    assert f"{path} is encrypted" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_nothing_to_undo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was never set up is no error; a memory that cannot be read is."""
    assert main(["setup", "git", "a/../b", "--undo"]) == 0
    assert "nothing to undo" in capsys.readouterr().err
    record = tmp_path / ".config/keyfob/setup/git-work.setup.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")

    assert main(["setup", "git", "work", "--undo"]) == 1
    assert str(record) in capsys.readouterr().err
    assert [*record.parent.iterdir()] == [record]
