"""The command as a whole: help, guesses, exit codes, and no traceback ever."""

import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from broker import __version__
from broker.cli import main as entry
from broker.cli import status
from broker.cli.main import OVERVIEW, VERBS, main
from broker.errors import CannotStart

from .scripted_daemon import ScriptedDaemon, scripted_daemon

KEYFOB = [sys.executable, "-m", "broker.cli"]


def test_entry_point() -> None:
    """`broker.cli:main`, which the installed command names, is the function."""
    assert entry is main


def test_overview_names_every_verb() -> None:
    """Nothing can be done with Keyfob that --help does not show."""
    shown = set(re.findall(r"^  ([a-z-]+)", OVERVIEW.partition("Examples")[0], re.MULTILINE))

    assert shown == set(VERBS)


def test_overview_fits(capsys: pytest.CaptureFixture[str]) -> None:
    """--help is one screen, on stdout, and ends well."""
    assert main(["--help"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 60


def test_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a word it is the overview too, but on stderr and as a usage error."""
    assert main([]) == 2

    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == ("", OVERVIEW.splitlines()[0])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version is one line for scripts."""
    assert main(["--version"]) == 0

    assert capsys.readouterr().out == f"keyfob {__version__}\n"


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("demo", "serve", "practice", "service")])
def test_help_of_a_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb explains itself, also as `keyfob help VERB`."""
    assert main([verb, "--help"]) == 0
    first = capsys.readouterr().out
    assert main(["help", verb]) == 0

    assert capsys.readouterr().out == first
    assert first.startswith(f"usage: keyfob {verb}")


@pytest.mark.parametrize(
    ("argv", "guess"),
    [
        (["tokne", "work"], "'token'"),
        (["tokn", "work"], "'token'"),
        (["acounts"], "'accounts'"),
        (["acconuts"], "'accounts'"),
        (["logn"], "'login'"),
        (["lgoin"], "'login'"),
        (["token", "work", "--scop", "a"], "'--scope'"),
        (["--verson"], "'--version'"),
        (["token", "work", "--headr"], "'--header'"),
        (["token", "work", "--min-tll=5"], "'--min-ttl'"),
        (["app", "ad", "x"], "'add'"),
        (["login", "--flow", "past"], "'paste'"),
        (["app", "add", "x", "--account", "a", "--expire", "3d"], "'--expires'"),
    ],
)
def test_near_misses(argv: list[str], guess: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped word is a usage error that names what was probably meant."""
    assert main(argv) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert f"Did you mean {guess}?" in err


@pytest.mark.parametrize(
    "argv", [["users"], ["remove"], ["sasl"], ["grep"], ["--verbose"], ["token", "work", "--quiet"], ["app", "audit"]]
)
def test_far_misses(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A word that is like no other is not explained with something silly."""
    assert main(argv) == 2

    assert "Did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["frobnicate"], "There is no command 'frobnicate'."),
        (["--frobnicate"], "There is no option '--frobnicate'."),
        (["exec", "work"], "There is no command to run."),
        (["show"], "The following arguments are required: ACCOUNT."),
        (["show", "work", "--frob"], "Unrecognized arguments: --frob."),
        (["login", "work", "--timeout", "x"], "Argument --timeout: 'x' is not a length of time such as"),
    ],
)
def test_our_sentences_begin_with_a_capital(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong with a command line is said in a sentence."""
    assert main(argv) == 2

    assert capsys.readouterr().err.startswith(f"keyfob: {said}")


@pytest.mark.parametrize("detail", ["c1 is busy.", "keyfob.sock is in the way.", "http://127.0.0.1:1 is busy."])
def test_names_keep_their_letters(
    detail: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence that begins with a name shows it as it is: people copy it."""
    _verb(monkeypatch, CannotStart(detail))

    assert main(["status"]) == 2

    assert capsys.readouterr().err == f"keyfob: {detail}\n"


def test_abbreviations_are_refused() -> None:
    """An option has one spelling, so that a later one cannot change what a script meant."""
    assert main(["token", "work", "--head"]) == 2


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "invalid_request", 2),
        (401, "unauthorized", 4),
        (403, "not_granted", 4),
        (404, "unknown_account", 1),
        (409, "login_needed", 3),
        (409, "misconfigured", 1),
        (409, "confirm_needed", 1),
        (423, "locked", 7),
        (429, "too_many_requests", 5),
        (500, "internal_error", 1),
        (503, "provider_unavailable", 5),
    ],
)
def test_exit_codes(
    daemon: ScriptedDaemon, status: int, code: str, exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refusal ends with the exit code of the contract; stdout stays empty, stderr has detail and hint."""
    daemon.refuses("GET /v1/accounts/work/token", status, code, "It is so.", hint="Do this.")

    assert main(["token", "work"]) == exit_code

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("keyfob: It is so.\n")


def test_too_fast_names_the_wait(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A program that asks too fast is told so, and for how long to wait."""
    said = "App 'job' asks too fast: more than 50 requests a second, after 200 at once."
    daemon.refuses("GET /v1/accounts/work/token", 429, "too_many_requests", said, retry_after=1)

    assert main(["token", "work"]) == 5

    assert capsys.readouterr().err == f"keyfob: {said}\n  Try again in 1 s.\n"


def test_login_needed_names_the_way(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 3 comes with the command and the address that help."""
    url = "http://127.0.0.1:8400/login/abc"
    daemon.refuses("GET /v1/accounts/work/token", 409, "login_needed", "The login has ended.", login_url=url)

    assert main(["token", "work"]) == 3

    assert capsys.readouterr().err == f"keyfob: The login has ended.\n  Run: keyfob login work\n  Or open: {url}\n"


def test_the_login_that_helps_may_be_another_accounts(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the daemon names the account to log in to, no other command stands beside that."""
    url, said = "http://127.0.0.1:8400/login/abc", "Account 'me' needs a login. Log in there: keyfob login me"
    daemon.refuses("GET /v1/accounts/bill/token", 409, "login_needed", said, login_url=url)

    assert main(["token", "bill"]) == 3

    assert capsys.readouterr().err == f"keyfob: {said}\n  Or open: {url}\n"


def test_first_login_under_way(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the first login is still open, its address is named once; the daemon knows the provider of the name."""
    url = "http://127.0.0.1:8400/login/abc"
    said = f"The first login is not finished. Finish it in a browser: {url}"
    daemon.refuses("GET /v1/accounts/work/token", 409, "login_needed", said, login_url=url)

    assert main(["token", "work"]) == 3

    assert capsys.readouterr().err == (f"keyfob: {said}\n  Or begin it anew: keyfob login work\n")


def test_not_granted_names_the_key(
    daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An owner who forgot an app key in the environment learns that it is the reason."""
    monkeypatch.setenv("KEYFOB_APP_KEY", "kf_x")
    daemon.refuses("GET /v1/accounts", 403, "not_granted", approval_url="http://127.0.0.1:8400/ui/a")

    assert main(["accounts"]) == 4

    err = capsys.readouterr().err
    assert "KEYFOB_APP_KEY is set" in err
    assert "http://127.0.0.1:8400/ui/a" in err


def test_retry_after(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """An unreachable provider comes with the time of the next try."""
    daemon.refuses("GET /v1/accounts/work/token", 503, "provider_unavailable", retry_after=42)

    assert main(["token", "work"]) == 5

    assert "Try again in 42 s." in capsys.readouterr().err


def test_daemon_not_running(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 6 names both ways to start the daemon."""
    assert main(["token", "work"]) == 6

    err = capsys.readouterr().err
    assert "keyfob serve" in err
    assert "keyfob service install" in err


def test_browser_port_is_no_app_port(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever takes the browser port for the app port is told so, and where the right number stands."""
    page = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
    only_get = b"HTTP/1.1 405 No\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nNo."
    with scripted_daemon(None) as browser_port:
        browser_port.answers_raw("GET /v1/accounts/work/token", page)
        browser_port.answers_raw("POST /v1/accounts/work/refresh", only_get)
        monkeypatch.setenv("KEYFOB_URL", browser_port.where)
        codes = [main(["token", "work"]), main(["refresh", "work"])]

    assert codes == [1, 1]
    problem, hint, *again = capsys.readouterr().err.splitlines()
    assert problem == f"keyfob: What answers at {browser_port.where} is not Keyfob's app port."
    assert "8401" in hint
    assert "keyfob status" in hint
    assert again == [problem, hint]


def test_a_look_alike_at_the_app_port(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 4: what listens there was not shown the key, and the next step is to see who it is, not to drop the key."""
    with scripted_daemon(None) as other:
        other.otherwise = b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"proof": "0"}'
        monkeypatch.setenv("KEYFOB_URL", other.where)
        monkeypatch.setenv("KEYFOB_APP_KEY", "kf_x")
        code, token_said = main(["token", "work"]), capsys.readouterr().err
        main(["doctor"])

    problem = f"What answers at {other.where} did not prove that it is your Keyfob. The app key was not sent."
    hint = "Look who listens there. keyfob status, run without KEYFOB_URL, tells where the app port is."
    assert (code, token_said) == (4, f"keyfob: {problem}\n  {hint}\n")
    doctor_said = capsys.readouterr().out
    assert problem in doctor_said
    assert "Unset" not in doctor_said
    assert "kf_x" not in f"{other.requests}"


def test_one_number_for_two_ports(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The same number for both ports is a mistake of the person, not another program's."""
    assert main(["serve", "--browser-port", "18000", "--app-port", "18000"]) == 2

    assert capsys.readouterr().err == (
        "keyfob: The browser port and the app port are both 18000.\n"
        "  Give each a number of its own: --browser-port N --app-port N (0 takes any free port).\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_control_characters_stay_outside(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing that a provider says can move the cursor, clear the screen or turn the text around."""
    daemon.refuses("GET /v1/accounts/work/token", 400, "invalid_request", "a\x1b[2Jb\r\n\u202ec\x9b31m", hint="d\x07")

    main(["token", "work"])

    assert capsys.readouterr().err == "keyfob: a·[2Jb···c·31m\n  d·\n"


def test_our_own_errors(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An error that a verb raises itself is shown with its hint and ends with its exit code."""
    _verb(monkeypatch, CannotStart("Port 8400 is taken.", "Try --browser-port 0"))

    assert main(["status"]) == 2

    assert capsys.readouterr().err == "keyfob: Port 8400 is taken.\n  Try --browser-port 0\n"


def test_bug(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An unforeseen exception is one line without its text, which may hold anything."""
    _verb(monkeypatch, ZeroDivisionError("secret"))

    assert main(["status"]) == 1

    err = capsys.readouterr().err
    assert err.startswith("keyfob: This is a bug in Keyfob (ZeroDivisionError).\n")
    assert "KEYFOB_LOG=debug" in err
    assert "secret" not in err
    assert "Traceback" not in err


def test_bug_in_detail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """KEYFOB_LOG=debug shows the traceback of a bug."""
    monkeypatch.setenv("KEYFOB_LOG", "debug")
    _verb(monkeypatch, ZeroDivisionError("it"))

    assert main(["status"]) == 1

    assert "ZeroDivisionError: it" in capsys.readouterr().err


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends any verb with 130 and a clean line."""
    _verb(monkeypatch, KeyboardInterrupt())

    assert main(["status"]) == 130

    assert capsys.readouterr().err == "\n"


def test_reader_that_leaves(daemon: ScriptedDaemon) -> None:
    """`keyfob accounts --json | head -1` is no error that anybody sees."""
    daemon.answers("GET /v1/accounts", {"accounts": [{"account": f"a{number}"} for number in range(5000)]})
    read, write = os.pipe()
    os.close(read)

    done = subprocess.run([*KEYFOB, "accounts", "--json"], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)

    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
def test_full_disk(daemon: ScriptedDaemon) -> None:
    """A result that cannot be written is a failure, in words."""
    daemon.answers("GET /v1/accounts/work/token", {"access_token": "t"})

    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*KEYFOB, "token", "work"], stdout=full, stderr=subprocess.PIPE, check=False)

    assert done.returncode == 1
    assert done.stderr == b"keyfob: The result could not be written: No space left on device.\n"


def test_configuration_file_moves_the_socket(
    daemon: ScriptedDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verbs look where the configuration file puts the daemon."""
    daemon.answers("GET /v1/accounts", {"accounts": []})
    (tmp_path / "s.sock").rename(tmp_path / "keyfob.sock")
    config = tmp_path / ".config/keyfob/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'runtime_dir = "{tmp_path}"\n')
    config.chmod(0o600)
    monkeypatch.delenv("KEYFOB_SOCKET")

    assert main(["accounts"]) == 0


def test_configuration_file_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A KEYFOB_CONFIG that does not exist is a usage error for every verb."""
    monkeypatch.setenv("KEYFOB_CONFIG", str(tmp_path / "none.toml"))

    assert main(["accounts"]) == 2

    assert "none.toml does not exist" in capsys.readouterr().err


def _verb(monkeypatch: pytest.MonkeyPatch, exc: BaseException) -> None:
    """Let the verb `status` fail like this."""

    def run(_: Namespace) -> int:
        raise exc

    monkeypatch.setattr(status, "run", run)
