"""`keyfob login --flow paste`: a person carries the code from a browser elsewhere to this terminal."""

import os
import pty
import sys
import threading

import pytest

from broker.cli.main import main

from .conftest import Feed
from .scripted_daemon import ScriptedDaemon

PENDING = {
    "id": "L1",
    "state": "pending",
    "provider": "p",
    "start_url": "http://127.0.0.1:8400/login/L1",
    "authorization_url": "https://id.example/authorize?x",
}
DONE = {"id": "L1", "state": "done", "account": "work"}
FINISH = "POST /v1/logins/L1/finish"


@pytest.fixture
def logins(daemon: ScriptedDaemon) -> ScriptedDaemon:
    """A daemon at which a paste login waits for what is pasted."""
    daemon.answers("POST /v1/logins", PENDING, status=201)
    daemon.answers("GET /v1/accounts/work", {"account": "work", "provider": "p", "state": "active"})
    daemon.answers("DELETE /v1/logins/L1", status=204)
    return daemon


@pytest.mark.parametrize(
    ("pasted", "body"),
    [
        ("the-code", {"code": "the-code"}),
        ("  the-code \n", {"code": "the-code"}),
        ("http://127.0.0.1:8400/callback/p?code=x&state=y", {"url": "http://127.0.0.1:8400/callback/p?code=x&state=y"}),
    ],
)
def test_paste(
    logins: ScriptedDaemon, pasted: str, body: dict[str, str], capsys: pytest.CaptureFixture[str], feed: Feed
) -> None:
    """--flow paste shows the provider's address and hands on a code, or the whole address of the page."""
    logins.answers(FINISH, DONE)
    feed(pasted)

    assert main(["login", "work", "--flow", "paste"]) == 0

    assert "https://id.example/authorize?x" in capsys.readouterr().err
    assert logins.requests[-2].body == body


def test_paste_nothing(logins: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty paste cancels the login."""
    feed("")

    assert main(["login", "work", "--flow", "paste"]) == 1

    assert "Nothing was pasted" in capsys.readouterr().err
    assert logins.lines()[-1] == "DELETE /v1/logins/L1"


def test_paste_that_the_provider_refuses(
    logins: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]
) -> None:
    """A paste login that ended without an account names a command that begins such a login again."""
    logins.refuses(FINISH, 400, "login_failed", "The provider refused the login: invalid_grant.")
    feed("the-code")

    assert main(["login", "work", "--provider", "p", "--flow", "paste"]) == 1

    said = capsys.readouterr().err.splitlines()
    assert said[-2:] == [
        "keyfob: The login did not succeed: The provider refused the login: invalid_grant.",
        "  Try again: keyfob login work --provider p --flow paste",
    ]


def test_nonsense_is_asked_again(
    logins: ScriptedDaemon, terminal_with: Feed, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal, nonsense and an empty line are asked again: the login is still waiting."""
    logins.refuses(FINISH, 400, "invalid_request", "That is no code. Copy the whole code.")
    logins.answers(FINISH, DONE)
    terminal_with("nonsense\n\nthe-code\n")

    assert main(["login", "work", "--flow", "paste"]) == 0

    err = capsys.readouterr().err
    assert "keyfob: That is no code. Copy the whole code.\n" in err
    assert err.count("> ") == 3
    assert [request.body for request in logins.requests if request.line == FINISH] == [
        {"code": "nonsense"},
        {"code": "the-code"},
    ]
    assert "DELETE /v1/logins/L1" not in logins.lines()


def test_end_of_input_ends_it(logins: ScriptedDaemon, terminal_with: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-D after nonsense cancels the login."""
    logins.refuses(FINISH, 400, "invalid_request", "That is no code.")
    terminal_with("nonsense\n\x04")

    assert main(["login", "work", "--flow", "paste"]) == 1

    assert "Nothing was pasted" in capsys.readouterr().err
    assert logins.lines()[-2:] == [FINISH, "DELETE /v1/logins/L1"]


@pytest.mark.parametrize(("status", "code", "exit_code"), [(400, "invalid_request", 2), (409, "conflict", 1)])
def test_nonsense_from_a_script(logins: ScriptedDaemon, feed: Feed, status: int, code: str, exit_code: int) -> None:
    """Without a terminal nobody can be asked again: the login is cancelled."""
    logins.refuses(FINISH, status, code, "No.")
    logins.answers("GET /v1/logins/L1", PENDING)
    feed("nonsense\nthe-code\n")

    assert main(["login", "work", "--flow", "paste"]) == exit_code

    lines = [line for line in logins.lines() if not line.startswith("GET")]
    assert lines[-2:] == [FINISH, "DELETE /v1/logins/L1"]


@pytest.mark.parametrize(("state", "code"), [("done", 0), ("failed", 1), ("expired", 1)])
def test_ended_login_is_not_asked_again(
    logins: ScriptedDaemon, terminal_with: Feed, capsys: pytest.CaptureFixture[str], state: str, code: int
) -> None:
    """On a terminal too, a login that is over ends the command: well, or with its reason and a command that works."""
    logins.refuses(FINISH, 409, "conflict", "This login is over.")
    logins.answers("GET /v1/logins/L1", {**DONE, "state": state, "reason": "It was cancelled."})
    terminal_with("the-code\n\n\x04")

    assert main(["login", "work", "--provider", "p", "--flow", "paste"]) == code

    assert logins.lines().count(FINISH) == 1
    if code:
        said = capsys.readouterr().err.splitlines()[-2:]
        assert said == [
            "keyfob: The login did not succeed: It was cancelled.",
            "  Try again: keyfob login work --provider p --flow paste",
        ]


def test_an_address_of_any_length_is_taken(
    logins: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch, terminal_with: Feed
) -> None:
    """A terminal cuts lines at 4095 characters, and a code may be longer. Keys can still be taken back."""
    logins.answers(FINISH, DONE)
    url = f"http://127.0.0.1:8400/callback/p?code={'x' * 9000}&state=y"
    typing = threading.Thread(target=terminal_with, args=[f"wrong\x15{url}zz\x7f\x7f\n"])
    monkeypatch.setattr(sys.stderr, "write", lambda text: typing.start() if text == "> " else None)

    assert main(["login", "work", "--flow", "paste"]) == 0

    typing.join()
    assert [request.body for request in logins.requests if request.line == FINISH] == [{"url": url}]


@pytest.mark.parametrize(
    ("ends_at", "said"),
    [
        ("http://127.0.0.1:8400/callback/p", "an address that begins with http://127.0.0.1:8400/callback/p?"),
        ("urn:ietf:wg:oauth:2.0:oob", "Paste the code that the provider shows then."),
    ],
)
def test_what_to_paste_is_said(
    daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str], ends_at: str, said: str
) -> None:
    """An address where the provider sends the browser to one, a code where it shows one, and never both."""
    daemon.answers("POST /v1/logins", {**PENDING, "redirect_uri": ends_at}, status=201)
    daemon.answers("DELETE /v1/logins/L1", status=204)
    feed("")

    assert main(["login", "work", "--flow", "paste"]) == 1

    err = capsys.readouterr().err
    assert said in err
    assert ("address bar" in err) == ends_at.startswith("http")


@pytest.mark.parametrize("begun", [b"", b"http://127.0.0.1:8400/cal"], ids=["nothing", "half a line"])
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_nobody_waits_for_ever(
    logins: ScriptedDaemon,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    begun: bytes,
    *,
    terminal: bool,
) -> None:
    """--timeout holds while a paste is waited for, at a terminal and at a pipe that nobody closes."""
    theirs, ours = pty.openpty()[::-1] if terminal else os.pipe()
    with os.fdopen(theirs) as typed:
        monkeypatch.setattr(sys, "stdin", typed)
        os.write(ours, begun)

        assert main(["login", "work", "--flow", "paste", "--timeout", "0.05"]) == 1

    os.close(ours)
    assert "Nobody logged in in time" in capsys.readouterr().err
    assert logins.lines()[-1] == "DELETE /v1/logins/L1"
