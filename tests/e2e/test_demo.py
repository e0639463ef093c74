"""``keyfob demo``: what it shows works when pasted, and nothing of it stays."""

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from broker.cli.demo import own_command
from tests.e2e.home import PATIENCE, Home, Running
from tests.loopback import NO_TLS

# The promise for a warm start: first token on the screen. A busy machine gets twice as long.
FIRST_TOKEN = 6.0


@pytest.fixture
def temporary(home: Home) -> Path:
    """Return the directory in which the demo makes its temporary place."""
    place = home.place / "t"
    place.mkdir()
    home.environ["TMPDIR"] = str(place)
    return place


@pytest.fixture
def taken_port() -> Iterator[int]:
    """Take one of the usual ports, so that the demo has to move (or find it taken by somebody else already)."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", 8400)))
        yield 8400


def shell(line: str, home: Home) -> str:
    """Paste a line into a shell of another terminal, somewhere else, and return what it prints."""
    environ = {"HOME": home.environ["HOME"], "PATH": "/usr/bin:/bin", "LANG": home.environ["LANG"]}
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        env=environ,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stdout


def in_session(session: int) -> list[int]:
    """Return the processes of a session that are alive."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, *numbers = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(numbers[2]) == session and state != "Z":
                found.append(int(entry.name))
    return found


def begun(home: Home) -> tuple[Running, str, str]:
    """Start the demo, and return it with the tail of the token that it shows and all that it said up to the events."""
    began = time.monotonic()
    demo = home.begin("demo")
    tail = demo.says(r"token that ends in …\S{4}")[-4:]
    assert time.monotonic() - began < FIRST_TOKEN
    demo.says("Ctrl-C ends the demo")
    return demo, tail, demo.err


def test_an_app_key_of_the_environment_is_not_the_demos(home: Home, temporary: Path) -> None:
    """Who works as an app in this terminal sees the demo as its owner all the same."""
    home.environ["KEYFOB_APP_KEY"] = "kf_app_of_another_keyfob"
    demo, tail, _ = begun(home)
    assert len(tail) == 4
    demo.end(signal.SIGINT)
    assert not list(temporary.iterdir())


def test_what_it_prints_works(home: Home, temporary: Path, taken_port: int) -> None:
    """Both keyfob lines do what they say, and every hand-out is shown live."""
    demo, tail, said = begun(home)

    command = re.search(r"^  (KEYFOB_SOCKET=.* token demo)$", said, re.MULTILINE)
    assert command, said
    token = shell(command[1], home)
    assert re.fullmatch(r"practice_at_[\w-]+\n", token)
    assert demo.says("handed out")
    assert token.endswith(f"{tail}\n")

    command = re.search(r"^  (KEYFOB_SOCKET=.* ui)$", said, re.MULTILINE)
    assert command, said
    web = re.fullmatch(r"(http://127\.0\.0\.1:(\d+)/ui/)#s=\S+\n", shell(f"{command[1]} --no-browser", home))
    assert web
    assert int(web[2]) != taken_port
    page = httpx2.get(web[1], trust_env=False, verify=NO_TLS)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert list(temporary.iterdir())
    demo.end(signal.SIGINT)


def test_the_command_can_be_pasted_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is told with its whole path, whatever the PATH and the directory of this terminal are."""
    program = tmp_path / "bin dir/keyfob"
    program.parent.mkdir()
    program.touch(mode=0o700)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.chdir(tmp_path)

    assert own_command("bin dir/keyfob") == f"'{program}'"


@pytest.mark.skipif(shutil.which("curl") is None, reason="the demo's curl line needs curl")
def test_the_curl_line(home: Home, temporary: Path) -> None:
    """The curl line brings the whole answer of the API."""
    demo, tail, said = begun(home)
    line = re.search(r"^  (curl .*)$", said, re.MULTILINE)
    assert line, said

    answer = json.loads(shell(line[1], home))

    assert answer["access_token"].endswith(tail)
    assert (answer["account"], answer["token_type"]) == ("demo", "Bearer")
    assert temporary.exists()
    demo.end(signal.SIGINT)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_stays(home: Home, temporary: Path, signum: signal.Signals) -> None:
    """Ctrl-C, or closing the terminal, ends it well; no process, file or socket of it is left, nor anything at home."""
    demo, _, _ = begun(home)
    session = demo.process.pid
    assert in_session(session)

    done = demo.end(signum)

    assert (done.code, done.out) == (0, ""), done
    assert in_session(session) == []
    assert list(temporary.iterdir()) == []
    assert [path.name for path in home.place.iterdir()] == [temporary.name]


def test_renews_by_itself(home: Home, temporary: Path) -> None:
    """With a short lifetime a renewal is seen soon: the token is a new one each time."""
    demo = home.begin("demo", "--ttl", "2")
    demo.says("Ctrl-C ends the demo")

    assert demo.says(r"demo: refreshed, token 2")

    assert temporary.exists()
    assert demo.end(signal.SIGINT).code == 0
    assert list(temporary.iterdir()) == []
