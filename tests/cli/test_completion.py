"""The completion scripts know every verb, action, flag and account."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from broker.cli.main import VERBS, main

from .scripted_daemon import ScriptedDaemon

BASH = shutil.which("bash")


@pytest.fixture
def bash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The script, and a `keyfob` on the PATH."""
    assert main(["completion", "bash"]) == 0
    (tmp_path / "bin").mkdir()
    (tmp_path / "script").write_text(capsys.readouterr().out)
    command = tmp_path / "bin/keyfob"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m broker.cli "$@"\n')
    command.chmod(0o700)
    return tmp_path


@pytest.mark.skipif(BASH is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["to"], {"token"}),
        (["a"], {"accounts", "app", "approvals", "approve", "audit"}),
        (["token", ""], {"work", "home"}),
        (["token", "h"], {"home"}),
        (["token", "--h"], {"--header", "--help"}),
        (["token", "work", "--min"], {"--min-ttl"}),
        (["app", "r"], {"remove", "rotate", "revoke"}),
        (["app", "add", "x", "--exp"], {"--expires"}),
        (["app", "add", "x", "--account", "w"], {"work"}),
        (["setup", "k"], {"kubectl"}),
        (["setup", "git", ""], {"work", "home"}),
        (["setup", "git", "h"], {"home"}),
        (["setup", "git", "work", "--pr"], {"--print"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
        (["login", "--fl"], {"--flow"}),
    ],
)
def test_bash(daemon: ScriptedDaemon, bash: Path, typed: list[str], offered: set[str]) -> None:
    """A real bash offers what fits at that place."""
    daemon.answers("GET /v1/accounts", {"accounts": [{"account": "work"}, {"account": "home"}]})
    words = " ".join(f"'{word}'" for word in ["keyfob", *typed])
    code = f"PATH={bash}/bin:$PATH; source {bash}/script; COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _keyfob"

    done = subprocess.run(
        [str(BASH), "-c", f'{code}; printf "%s\\n" "${{COMPREPLY[@]}}"'], capture_output=True, text=True, check=True
    )

    assert set(done.stdout.split()) - {"--help"} == offered - {"--help"}
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_verb(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each script offers each verb and, deep down, a flag of an action."""
    assert main(["completion", shell]) == 0

    script = capsys.readouterr().out
    assert [verb for verb in VERBS if verb not in script] == []
    assert "proxy-only" in script


@pytest.mark.parametrize(("shell", "option"), [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")])
def test_syntax(shell: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each script is sound to its own shell, where that is installed."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here")
    main(["completion", shell])
    (tmp_path / "script").write_text(capsys.readouterr().out)

    done = subprocess.run([program, option, str(tmp_path / "script")], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
