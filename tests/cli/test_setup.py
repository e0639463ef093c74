"""`keyfob setup`: shown, written, not written twice, and taken back to the last byte."""

import importlib
import io
import json
import re
import stat
import sys
from pathlib import Path

import pytest

from broker.cli.main import main
from broker.integrations.setup.plan import Asked

from .conftest import Feed
from .scripted_daemon import ScriptedDaemon
from .setup_home import MCP, WHERE, WORK, everything, former, setup

pytestmark = pytest.mark.usefixtures("forge_account")


@pytest.mark.parametrize("tool", WHERE)
def test_there_and_back(tool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is written beside what is there, a second time changes nothing, and undone it is byte for byte as before."""
    path = former(tmp_path, tool)
    before, files = path.read_bytes(), everything(tmp_path)

    assert setup(tool, "--yes") == 0
    written = path.read_bytes()
    assert setup(tool) == 0
    told = capsys.readouterr()

    assert set(before.split()) - {b"{}"} < set(written.split())
    assert path.read_bytes() == written
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert "Nothing to change" in told.err
    assert f"+++ {path}" in told.err
    assert main(["setup", tool, "work", "--undo", "--yes"]) == 0
    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert everything(tmp_path) == files


@pytest.mark.parametrize("tool", WHERE)
def test_where_there_was_no_file(tool: str, tmp_path: Path) -> None:
    """It is made for the owner's eyes only, and undone it is gone again."""
    assert setup(tool, "--yes") == 0

    path = tmp_path / WHERE[tool][1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert main(["setup", tool, "work", "--undo", "--yes"]) == 0
    assert everything(tmp_path) == set()


@pytest.mark.parametrize("tool", ["git", "msmtp"])
def test_link(tool: str, tmp_path: Path) -> None:
    """A dotfile that is a link stays one: what it leads to is written."""
    kept = tmp_path / "dotfiles/rc"
    kept.parent.mkdir()
    kept.write_text(WHERE[tool][2])
    link = tmp_path / WHERE[tool][1]
    link.symlink_to("dotfiles/rc")

    assert setup(tool, "--yes") == 0
    assert link.readlink() == Path("dotfiles/rc")
    assert kept.read_text() != WHERE[tool][2]

    assert main(["setup", tool, "work", "--undo", "--yes"]) == 0
    assert link.readlink() == Path("dotfiles/rc")
    assert kept.read_text() == WHERE[tool][2]


def test_lines_of_ones_own(tmp_path: Path) -> None:
    """What a person adds outside the block afterwards stays, and no copy is kept, because nothing is lost."""
    path = former(tmp_path, "msmtp")
    assert setup("msmtp", "--yes") == 0
    path.write_text(f"# new\n{path.read_text()}account default : keyfob-work\n")

    assert main(["setup", "msmtp", "work", "--undo", "--yes"]) == 0

    assert path.read_text() == "# new\ndefaults\ntls on\naccount default : keyfob-work\n"
    assert everything(tmp_path) == {".msmtprc"}


def test_changed_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a person changed in the block goes with it, but a copy of the file is kept; a new setup does the same."""
    path = former(tmp_path, "msmtp")
    assert setup("msmtp", "--yes") == 0
    written = path.read_text()
    path.write_text(written.replace("mx.example.org", "mine.example.org"))

    assert setup("msmtp", "--yes") == 0
    assert path.read_text() == written
    path.write_text(written.replace("mx.example.org", "other.example.org"))
    (copy,) = tmp_path.glob(".msmtprc.keyfob-backup-*")
    assert "host mine.example.org" in copy.read_text()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    copy.unlink()  # the next may be made in the same second
    assert main(["setup", "msmtp", "work", "--undo", "--yes"]) == 0

    assert path.read_text() == "defaults\ntls on"
    (copy,) = tmp_path.glob(".msmtprc.keyfob-backup-*")
    assert "host other.example.org" in copy.read_text()
    assert f"Kept what was there: {copy}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        ("git", "[include]\n#\tpath = /own/git-work.gitconfig\n"),
        ("kubectl", "contexts:\n- context:\n    user: keyfob-work\n  name: x\nusers:\n- name: keyfob-work2\n"),
        ("rclone", "# [keyfob-work]\n"),
    ],
)
def test_entry_that_is_gone(tool: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person has taken out already is not taken out again, though its name is still in the file."""
    monkeypatch.setenv("PATH", "")
    asked = Asked(tool, "work", "/bin/keyfob", "/own", "/file", hosts=("https://x",), options={"url": "https://x/"})
    (*_, entry) = importlib.import_module(f"broker.integrations.setup.{tool}").plan(asked, "").changes

    assert entry.take(text) == text


def test_other_options(tmp_path: Path) -> None:
    """Set up anew with another server and in another file, the old place is as it was; undone, so is the new one."""
    path = former(tmp_path, "msmtp")
    assert setup("msmtp", "--yes") == 0
    assert main(["setup", "msmtp", "work", "--host", "b.example.org", "--yes"]) == 0
    assert path.read_text().count("\nhost ") == 1
    assert "host b.example.org\n" in path.read_text()

    assert setup("msmtp", "--file", str(tmp_path / "other"), "--yes") == 0
    assert path.read_text() == WHERE["msmtp"][2]
    assert "host mx.example.org\n" in (tmp_path / "other").read_text()

    assert main(["setup", "msmtp", "work", "--undo", "--yes"]) == 0
    assert everything(tmp_path) == {".msmtprc"}


@pytest.mark.parametrize("tool", ["git", "msmtp"])
def test_two_accounts(tool: str, daemon: ScriptedDaemon, tmp_path: Path) -> None:
    """Each has a part of its own, and goes in whatever order they came."""
    daemon.answers("GET /v1/accounts/other", {**WORK, "account": "other"})
    path = former(tmp_path, tool)
    path.write_text("# mine\n")
    assert setup(tool, "--yes") == 0
    alone = path.read_text()
    assert main(["setup", tool, "other", *WHERE[tool][0], "--yes"]) == 0

    assert main(["setup", tool, "work", "--undo", "--yes"]) == 0
    assert path.read_text() == re.sub(r"(keyfob-|token |git-|msmtp )work", r"\1other", alone)
    assert main(["setup", tool, "other", "--undo", "--yes"]) == 0

    assert path.read_text() == "# mine\n"
    assert everything(tmp_path) == {WHERE[tool][1]}


def test_damaged_marks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where one of the marks is gone nobody guesses what is whose."""
    path = former(tmp_path, "neomutt")
    assert setup("neomutt", "--yes") == 0
    path.write_bytes(path.read_bytes().replace(b"work: end", b"work: en"))
    damaged = path.read_bytes()

    assert setup("neomutt", "--yes") == 1
    assert main(["setup", "neomutt", "work", "--undo", "--yes"]) == 1

    assert path.read_bytes() == damaged
    assert "no longer a pair" in capsys.readouterr().err


@pytest.mark.parametrize("tool", ["git", "msmtp"])
def test_nobody_to_ask(
    tool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal nothing is written, and it is said what to pass; the difference is shown all the same."""
    path = former(tmp_path, tool)
    before = everything(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))

    assert setup(tool) == 2

    err = capsys.readouterr().err
    assert f"+++ {path}" in err
    assert "--yes" in err
    assert "--print" in err
    assert everything(tmp_path) == before
    assert path.read_bytes() == WHERE[tool][2].encode("latin-1")


def test_a_person_is_asked(tmp_path: Path, terminal_with: Feed) -> None:
    """Only a yes is a yes; it counts for undoing, too."""
    path = former(tmp_path, "msmtp")
    terminal_with("\n")
    assert setup("msmtp") == 1
    assert path.read_text() == WHERE["msmtp"][2]

    terminal_with("y\n")
    assert setup("msmtp") == 0
    written = path.read_text()

    terminal_with("n\n")
    assert main(["setup", "msmtp", "work", "--undo"]) == 1
    assert path.read_text() == written


@pytest.mark.parametrize("tool", WHERE)
def test_print(tool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --print the content is on stdout, and nothing is written, though a terminal may be there."""
    path = former(tmp_path, tool)
    before = everything(tmp_path)

    assert setup(tool, "--print") == 0

    out = capsys.readouterr().out
    assert f"# {path}\n" in out
    assert "keyfob" in out
    assert everything(tmp_path) == before
    assert path.read_bytes() == WHERE[tool][2].encode("latin-1")


def test_variables(capsys: pytest.CaptureFixture[str]) -> None:
    """What a program finds in its environment is printed in lines that a shell takes."""
    assert main(["setup", "oidc-agent", "work", "--print"]) == 0

    assert capsys.readouterr().out == "OIDC_SOCK=/run/keyfob/oidc.sock\n"


def test_git_of_two_accounts(daemon: ScriptedDaemon, tmp_path: Path) -> None:
    """Where several accounts belong to a host the user name says which; a host that is named gets this account's."""
    daemon.forget("GET /v1/accounts")
    daemon.answers("GET /v1/accounts", {"accounts": [WORK, {**WORK, "account": "other"}]})

    assert setup("git", "--host", "code.example.net", "--yes") == 0

    helper = f'\thelper =\n\thelper = "!{Path(sys.executable).with_name("keyfob")} git-credential'
    assert (tmp_path / ".config/keyfob/setup/git-work.gitconfig").read_text() == (
        f'[credential "https://git.example.org"]\n{helper}"\n\tusername = work\n'
        f'[credential "https://id.example.org:8443"]\n{helper}"\n\tusername = work\n'
        f'[credential "https://code.example.net"]\n{helper} --account work --host code.example.net"\n'
    )


def test_files_that_variables_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program's own variable for its file is heard."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "g"))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "x"))

    for tool in ("git", "claude", "neomutt"):
        assert setup(tool, "--yes") == 0

    assert {"g", "c/.claude.json", "x/neomutt/neomuttrc"} < everything(tmp_path)


def test_json_that_is_no_such_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not JSON, or has an entry of that name from somebody else, is left alone."""
    path = tmp_path / ".claude.json"
    for text in ("{", "[]", '{"mcpServers": []}', '{"mcpServers": {"keyfob-work": {"url": "https://x"}}}'):
        path.write_text(text)
        assert setup("claude", "--yes") == 1
        assert path.read_text() == text
    assert "--name NAME" in capsys.readouterr().err

    assert setup("claude", "--name", "mine", "--yes") == 0
    assert json.loads(path.read_text())["mcpServers"]["mine"]["url"] == MCP[1]


def test_json_in_a_form_of_its_own(tmp_path: Path) -> None:
    """Where the form of the rest cannot be kept a copy is, and undoing puts that back."""
    path = tmp_path / ".claude.json"
    path.write_text('{"theme":"dark","mcpServers":{}}')

    assert setup("claude", "--yes") == 0
    assert len([*tmp_path.glob(".claude.json.keyfob-backup-*")]) == 1

    assert main(["setup", "claude", "work", "--undo", "--yes"]) == 0
    assert path.read_text() == '{"theme":"dark","mcpServers":{}}'
    assert everything(tmp_path) == {".claude.json"}
