"""Lock and passphrase as a person meets them: first unlock, lock, restart, the wrong word; hidden memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.practice.server import PracticeServer
from tests.e2e.home import Home

PHRASE = "gr\u00fcne Wolken \u00fcber Wien"
SOURCE = {"KEYFOB_KEY_SOURCE": "passphrase"}


@pytest.fixture
def phrase(home: Home) -> Path:
    """Return a file with the passphrase."""
    file = home.place / "phrase"
    file.write_text(f"{PHRASE}\n")
    file.chmod(0o600)
    return file


def test_a_life_with_a_passphrase(home: Home, practice: PracticeServer, phrase: Path) -> None:
    """The daemon starts locked and says so; unlocked it serves; locked again it does not; a restart waits anew."""
    daemon = home.serve(**SOURCE)
    status = home.run("status", "--json").json()
    assert (status["state"], status["key"]["new"]) == ("locked", True)
    assert "keyfob unlock" in status["reasons"][0]
    assert home.run("unlock").code == 2
    assert home.run("unlock", "--passphrase-file", str(phrase)).code == 0
    home.log_in(practice.url)
    token = home.token()
    assert "made of your passphrase" in home.run("backup", str(home.place / "copy.db")).err

    assert home.run("lock").code == 0
    refused = home.run("token", "me")
    assert (refused.code, refused.out) == (7, "")
    assert "keyfob unlock" in refused.err
    assert home.run("accounts", "--json").json()["accounts"][0]["account"] == "me"
    assert home.run("unlock", "--passphrase-file", str(phrase)).code == 0
    assert home.token() == token
    daemon.stop()

    daemon = home.serve(**SOURCE)
    assert home.run("token", "me").code == 7
    told = home.run("doctor", **SOURCE)
    assert told.code == 1
    assert "keyfob unlock" in told.out
    wrong = home.place / "wrong"
    wrong.write_text("another passphrase")
    refused = home.run("unlock", "--passphrase-file", str(wrong))
    assert refused.code == 7
    assert "not the passphrase" in refused.err
    daemon.stop()

    daemon = home.serve(**SOURCE)
    soon = home.run("unlock", "--passphrase-file", str(wrong))
    assert soon.code in (5, 7)  # the second that it has to wait may be over by now
    for secret in ("Wolken", "another passphrase"):
        assert secret not in home.said
    assert not home.key.exists()


def test_a_key_file_that_is_put_back(home: Home, practice: PracticeServer) -> None:
    """`keyfob unlock` opens a daemon that started without its key, and nobody restarts it."""
    daemon = home.serve()
    home.log_in(practice.url)
    token = home.token()
    daemon.stop()
    home.key.rename(home.place / "elsewhere")
    home.serve()
    refused = home.run("unlock")
    assert refused.code == 7
    assert "does not exist" in refused.err

    (home.place / "elsewhere").rename(home.key)

    assert home.run("unlock").code == 0
    assert home.token() == token


def test_the_daemon_hides_its_memory(home: Home) -> None:
    """No core dump, and /proc shows nobody but root what the process holds: also to the user whose it is."""
    daemon = home.serve()
    limits = Path(f"/proc/{daemon.pid}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    # The kernel gives what belongs to a process that cannot be dumped to root (proc(5)).
    assert Path(f"/proc/{daemon.pid}/mem").stat().st_uid == 0
    assert home.run("healthcheck").code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_same_user_reads_no_memory() -> None:
    """Asked by the very user whose process it is, the kernel shows its environment before, and refuses it after."""
    program = (
        "import ctypes, os, subprocess, sys\n"
        "from broker.daemon import hide_memory\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n"  # a process that changed its user is hidden already
        "look = ['/bin/cat', f'/proc/{os.getpid()}/environ']\n"
        "before = subprocess.run(look, capture_output=True).returncode\n"
        "hide_memory()\n"
        "print(before, subprocess.run(look, capture_output=True).returncode)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)

    assert done.stdout == "0 1\n", done
