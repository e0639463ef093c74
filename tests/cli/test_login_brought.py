"""`keyfob login` with what a person brings along: a token made by hand, another program's refresh token."""

import os
import signal
import threading
import time

import pytest

from broker.cli.login import FLOWS
from broker.cli.main import main
from broker.providers import catalog
from broker.providers.flows import offered

from .conftest import Feed
from .scripted_daemon import ScriptedDaemon


@pytest.fixture
def logins(daemon: ScriptedDaemon) -> ScriptedDaemon:
    """A daemon that takes what is brought at once."""
    daemon.answers("POST /v1/logins", {"id": "L1", "state": "done", "account": "pod"}, status=201)
    daemon.answers("GET /v1/accounts/pod", {"account": "pod", "provider": "p", "state": "active"})
    return daemon


def test_a_refresh_token_of_another_program_is_brought(logins: ScriptedDaemon, feed: Feed) -> None:
    """It comes from a file or stdin, and never from the command line."""
    feed("the-refresh-token\n")
    flow = ("--flow", "refresh-token", "--refresh-token-file", "-")

    assert main(["login", "pod", "--provider", "p", "--client-id", "theirs", *flow]) == 0

    assert logins.requests[0].body == {
        "account": "pod",
        "provider": "p",
        "client_id": "theirs",
        "flow": "refresh-token",
        "refresh_token": "the-refresh-token",
    }


@pytest.mark.parametrize(
    "argv",
    [
        ["--flow", "refresh-token"],
        ["--refresh-token-file", "x"],
        ["--flow", "token", "--refresh-token-file", "x"],
        ["--flow", "refresh-token", "--token-file", "x"],
        ["--flow", "refresh-token", "--refresh-token-file", "-", "--client-secret-file", "-"],
    ],
)
def test_the_file_goes_with_its_flow(logins: ScriptedDaemon, argv: list[str], feed: Feed) -> None:
    """Options that do not go together are a usage error before anything is asked."""
    feed("x")

    assert main(["login", "pod", "--provider", "p", *argv]) == 2

    assert logins.requests == []


def test_every_flow_that_is_named_is_taken() -> None:
    """What the daemon proposes after ``Use one of:`` is what the command knows."""
    assert {flow for preset in catalog.presets().values() for flow in offered(catalog.described(preset))} <= set(FLOWS)


def test_an_end_needs_a_unit(logins: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever writes 90 means days as often as seconds: it is asked, and not taken for a minute and a half."""
    feed("x")
    words = ["login", "pod", "--provider", "p", "--flow", "token", "--token-file", "-", "--expires"]

    assert main([*words, "90"]) == 2
    assert main(["app", "add", "job", "--account", "pod", "--expires", "90"]) == 2

    assert "90d" in capsys.readouterr().err
    assert logins.requests == []
    assert main([*words, "90s"]) == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"renewal": None, "expires_at": "2000-01-01T00:00:00Z"}, "nothing can renew this login. Its token ends"),
        ({"renewal": None}, "When it ends was not said."),
        ({"renewal": "refresh_token"}, ""),
        ({"renewal": None, "state": "static"}, ""),
    ],
)
def test_a_login_that_nothing_can_renew_is_told(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str], more: dict[str, str | None], said: str
) -> None:
    """On the terminal as on the page: a person should not find out when the token has ended."""
    daemon.answers("POST /v1/logins", {"id": "L1", "state": "done", "account": "pod"}, status=201)
    daemon.answers("GET /v1/accounts/pod", {"account": "pod", "provider": "p", "state": "active", **more})

    assert main(["login", "pod", "--provider", "p"]) == 0

    err = capsys.readouterr().err
    assert said in err
    assert ("No refresh token came" in err) == bool(said)


def test_a_file_with_two_lines_is_told(logins: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """There is a token, and something else."""
    feed("the-token\nanother\n")

    assert main(["login", "pod", "--provider", "p", "--flow", "token", "--token-file", "-"]) == 2

    assert "more than one line in stdin" in capsys.readouterr().err
    assert logins.requests == []


def test_sigterm_cancels_the_login(daemon: ScriptedDaemon) -> None:
    """A script that is ended leaves no login that somebody else could still finish."""
    pending = {"id": "L1", "state": "pending", "provider": "p", "start_url": "http://127.0.0.1:8400/login/L1"}
    daemon.answers("POST /v1/logins", pending, status=201)
    daemon.answers("GET /v1/logins/L1?wait=20", pending)
    daemon.answers("DELETE /v1/logins/L1", status=204)
    daemon.hang.set()
    before = signal.getsignal(signal.SIGTERM)

    def end() -> None:
        while not any("wait=" in line for line in daemon.lines()):
            time.sleep(0.002)  # real seconds; it takes a few of these
        os.kill(os.getpid(), signal.SIGTERM)

    ending = threading.Thread(target=end)
    ending.start()
    assert main(["login", "work", "--provider", "p", "--no-browser"]) == 143
    ending.join()

    assert daemon.lines()[-1] == "DELETE /v1/logins/L1"
    assert signal.getsignal(signal.SIGTERM) is before
