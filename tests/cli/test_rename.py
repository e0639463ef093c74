"""``keyfob rename``: what it asks of the daemon, and what it says."""

import json

import pytest

from broker.cli.main import main

from .scripted_daemon import ScriptedDaemon


def test_rename(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A rename says what programs have to know; --json is the account as the daemon tells it."""
    daemon.answers("PATCH /v1/accounts/work", {"account": "mail", "state": "active"})

    assert main(["rename", "work", "mail"]) == 0
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == (
        "",
        [
            "Account 'work' is called 'mail' now.",
            "  Programs keep what they may have of it, and ask for it by the new name: keyfob token mail",
        ],
    )
    assert main(["rename", "work", "mail", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["account"] == "mail"
    assert [request.body for request in daemon.requests] == [{"name": "mail"}] * 2


@pytest.mark.parametrize("argv", [["rename"], ["rename", "work"], ["rename", "work", ""], ["rename", "a", "b", "c"]])
def test_rename_needs_two_names(daemon: ScriptedDaemon, argv: list[str]) -> None:
    """What is missing or too much is a matter of usage, and nothing is asked of the daemon."""
    assert main(argv) == 2

    assert daemon.requests == []


def test_rename_that_is_refused(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is taken, and an account that is not there: the daemon's words, and an exit code."""
    daemon.refuses("PATCH /v1/accounts/work", 409, "conflict", "There is an account 'mail' already.")
    daemon.refuses("PATCH /v1/accounts/ghost", 404, "unknown_account", "No account is called 'ghost'.")

    assert (main(["rename", "work", "mail"]), main(["rename", "ghost", "mail"])) == (1, 1)

    err = capsys.readouterr().err
    assert "There is an account 'mail' already." in err
    assert "No account is called 'ghost'." in err
