"""`keyfob token` and `keyfob exec`: one token, quickly, and only where it was asked for."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.cli.main import load, main

from .scripted_daemon import ScriptedDaemon

KEYFOB = [sys.executable, "-m", "broker.cli"]
ASK = "GET /v1/accounts/work/token"
TOKEN = {
    "account": "work",
    "access_token": "tok-1",
    "token_type": "Bearer",
    "expires_at": "2030-01-01T00:00:00Z",
    "expires_in": 59,
    "scope": "read",
    "resource": None,
    "audience": None,
}
# Each of these costs what a whole start may cost, or belongs to the daemon.
TOO_DEAR = {
    "asyncio",
    "dataclasses",
    "datetime",
    "email",
    "http",
    "http.client",
    "importlib.metadata",
    "inspect",
    "logging",
    "pathlib",
    "ssl",
    "subprocess",
    "tomllib",
    "typing",
    "urllib.parse",
}


def test_token(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the bare token and a newline appear on stdout; stderr is empty."""
    daemon.answers(ASK, TOKEN)

    assert main(["token", "work"]) == 0

    assert capsys.readouterr() == ("tok-1\n", "")


def test_header(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """--header is ready for curl -H."""
    daemon.answers(ASK, TOKEN)

    assert main(["token", "work", "--header"]) == 0

    assert capsys.readouterr().out == "Authorization: Bearer tok-1\n"


def test_json_header(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """--json-header is an object of headers, as programs take it that ask a command for them."""
    daemon.answers(ASK, TOKEN)

    assert main(["token", "work", "--json-header"]) == 0

    assert json.loads(capsys.readouterr().out) == {"Authorization": "Bearer tok-1"}


def test_json(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """--json has the members of the API."""
    daemon.answers(ASK, TOKEN)

    assert main(["token", "work", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == TOKEN


def test_id_token(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """--id-token asks for the ID token, which comes in the access token's place."""
    daemon.answers(f"{ASK}?id_token=true", {**TOKEN, "access_token": "e.y.J"})

    assert main(["token", "work", "--id-token"]) == 0

    assert capsys.readouterr().out == "e.y.J\n"


def test_options(daemon: ScriptedDaemon) -> None:
    """What is asked on the command line reaches the daemon."""
    daemon.answers(f"{ASK}?min_ttl=300&scope=a%20b&resource=https%3A%2F%2Fr&audience=the%20bank", TOKEN)

    argv = ["token", "work", "--min-ttl", "5m", "--scope", "a", "--scope", "b", "--resource", "https://r"]
    argv += ["--audience", "the bank"]
    assert main(argv) == 0


@pytest.mark.parametrize(
    "argv",
    [
        ["token"],
        ["token", ""],
        ["token", "a", "--min-ttl", "soon"],
        ["token", "a", "--header", "--json"],
        ["token", "a", "--header", "--json-header"],
    ],
)
def test_usage(argv: list[str]) -> None:
    """What cannot be meant is a usage error, and nobody is asked."""
    assert main(argv) == 2


@pytest.mark.parametrize("token", ["a\nb", "a\x1b[2J", "a b", "", None, 7])
def test_unprintable_token(daemon: ScriptedDaemon, token: object, capsys: pytest.CaptureFixture[str]) -> None:
    """What could not stand in a header is never printed as a token."""
    daemon.answers(ASK, {**TOKEN, "access_token": token})

    assert main(["token", "work"]) == 1

    assert capsys.readouterr().out == ""


def test_start_is_light(daemon: ScriptedDaemon) -> None:
    """The command imports nothing dear and nothing of the daemon: it runs at every `git fetch`."""
    daemon.answers(ASK, TOKEN)
    code = (
        "import sys; before = set(sys.modules); from broker.cli import main; code = main(['token', 'work'])\n"
        "print(*sorted(set(sys.modules) - before), file=sys.stderr); sys.exit(code)"
    )

    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False, cwd=_root())

    assert (done.returncode, done.stdout) == (0, "tok-1\n")
    imported = set(done.stderr.split())
    assert imported & TOO_DEAR == set()
    ours = {name for name in imported if name.startswith("broker.")}
    assert ours == {
        "broker.cli",
        "broker.cli.connect",
        "broker.cli.main",
        "broker.cli.terminal",
        "broker.cli.token",
        "broker.client",
        "broker.client_errors",
        "broker.client_places",
        "broker.client_wire",
    }
    assert imported & {"argparse", "collections", "enum", "json", "re", "selectors", "socket", "threading"} == set()


def test_its_plain_form_is_read_as_any_other(daemon: ScriptedDaemon) -> None:
    """Without a parser the options are what a parser makes of none, and what is no plain name goes to the parser."""
    daemon.answers(ASK, TOKEN)
    parser, module = load("token")
    assert vars(parser.parse_args(["work"])) == {**module.PLAIN, "account": "work"}

    for words in (["--help"], ["-x"], [""], [" "], [], ["work", "more"]):
        with contextlib.suppress(SystemExit):
            assert main(["token", *words]) in (0, 2)
    assert daemon.requests == []


def test_exec(daemon: ScriptedDaemon) -> None:
    """The command runs with the token in its environment, its arguments untouched, its exit code ours."""
    daemon.answers(ASK, TOKEN)
    script = "import os, sys; print(os.environ['ACCESS_TOKEN'], sys.argv[1:]); sys.exit(42)"

    done = _run("exec", "work", "--", sys.executable, "-c", script, "--env", "--", "x")

    assert (done.returncode, done.stdout) == (42, "tok-1 ['--env', '--', 'x']\n")


def test_exec_with_another_variable(daemon: ScriptedDaemon) -> None:
    """--env names the variable, and then only that one is set."""
    daemon.answers(ASK, TOKEN)
    script = "import os; print(os.environ['MY_TOKEN'], os.environ.get('ACCESS_TOKEN'))"

    done = _run("exec", "work", "--env", "MY_TOKEN", "--", sys.executable, "-c", script)

    assert done.stdout == "tok-1 None\n"


@pytest.mark.parametrize("descriptor", range(3, 10))
def test_exec_with_a_file_descriptor(daemon: ScriptedDaemon, descriptor: int) -> None:
    """--fd has the command read the token and then the end of the file; the environment does not hold it."""
    daemon.answers(ASK, TOKEN)

    done = _run("exec", "work", "--fd", str(descriptor), "--", "sh", "-c", f"cat <&{descriptor}; env")

    assert (done.returncode, done.stdout.splitlines()[0], done.stdout.count("tok-1")) == (0, "tok-1", 1)


def test_exec_with_both(daemon: ScriptedDaemon) -> None:
    """--env beside --fd sets the variable as well."""
    daemon.answers(ASK, TOKEN)

    done = _run("exec", "work", "--env", "T", "--fd", "3", "--", "sh", "-c", 'read -r line <&3; echo "$line $T"')

    assert done.stdout == "tok-1 tok-1\n"


def test_exec_with_a_token_that_fits_no_pipe(daemon: ScriptedDaemon) -> None:
    """It ends with words and without the command, and does not hang."""
    daemon.answers(ASK, {**TOKEN, "access_token": "t" * (1 << 21)})

    done = _run("exec", "work", "--fd", "3", "--", "echo", "ran")

    assert (done.returncode, done.stdout, "--env" in done.stderr) == (1, "", True)


def test_exec_keeps_the_app_key(daemon: ScriptedDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app key, which opens more than this one token, is used and not handed on; other variables are."""
    daemon.answers(ASK, TOKEN)
    monkeypatch.setenv("KEYFOB_APP_KEY", "kf_secret")
    monkeypatch.setenv("KEYFOB_APP_KEY_FILE", str(tmp_path / "key"))

    done = _run("exec", "work", "--", "env")

    assert "ACCESS_TOKEN=tok-1" in done.stdout.splitlines()
    assert "kf_secret" not in done.stdout
    assert f"KEYFOB_APP_KEY_FILE={tmp_path / 'key'}" in done.stdout.splitlines()
    assert daemon.requests[0].headers["authorization"] == "Bearer kf_secret"


def test_exec_leaves_signals_alone(daemon: ScriptedDaemon) -> None:
    """SIGPIPE, which Python ignores, does its work again in the command."""
    daemon.answers(ASK, TOKEN)

    done = _run("exec", "work", "--", "sh", "-c", "kill -PIPE $$; echo survived")

    assert done.stdout == ""


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["exec", "work", "--", "no-such-command-anywhere"], 127),
        (["exec", "work", "--", os.devnull], 126),
        (["exec", "work"], 2),
        (["exec", "work", "--"], 2),
        (["exec", "work", "--env", "A=B", "--", "true"], 2),
        (["exec", "work", "true"], 2),
        (["exec", "work", "--fd", "2", "--", "true"], 2),
        (["exec", "work", "--fd", "10", "--", "true"], 2),
        (["exec", "work", "--fd", "x", "--", "true"], 2),
    ],
)
def test_exec_that_cannot(daemon: ScriptedDaemon, argv: list[str], code: int) -> None:
    """A command that cannot be run ends as it would under a shell; a missing one is a usage error."""
    daemon.answers(ASK, TOKEN)

    done = _run(*argv)

    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("keyfob: ")
    assert "tok-1" not in done.stderr


def test_exec_without_a_token(daemon: ScriptedDaemon) -> None:
    """Where there is no token the command does not run at all."""
    daemon.refuses(ASK, 409, "login_needed")

    done = _run("exec", "work", "--", "echo", "ran")

    assert (done.returncode, done.stdout) == (3, "")


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*KEYFOB, *argv], capture_output=True, text=True, check=False)


def _root() -> Path:
    return Path(__file__).parents[2]
