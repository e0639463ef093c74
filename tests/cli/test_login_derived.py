"""`keyfob login --from`: an account whose tokens are another one's, exchanged."""

import pytest

from broker.cli.main import main

from .scripted_daemon import ScriptedDaemon

DONE = {"id": "L1", "state": "done", "account": "bill", "provider": "p", "flow": "token-exchange"}
BILL = {"account": "bill", "provider": "p", "state": "active", "identity": None, "from": "work"}


def test_an_account_is_derived(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """--from is enough to mean token exchange, and the person reads whose tokens they are."""
    daemon.answers("POST /v1/logins", DONE, status=201)
    daemon.answers("GET /v1/accounts/bill", BILL)

    assert main(["login", "bill", "--from", "work", "--audience", "bank", "--scope", "a b"]) == 0

    assert daemon.requests[0].body == {
        "account": "bill",
        "flow": "token-exchange",
        "from": "work",
        "audience": "bank",
        "scope": ["a", "b"],
    }
    assert "account 'bill', derived from 'work'." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["new", "--from", "work", "--flow", "browser"], "--from goes with --flow token-exchange"),
        (["--from", "work", "--provider", "p"], "keyfob login NAME --from work"),
    ],
)
def test_from_what(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What does not go together is said before anybody is asked."""
    assert main(["login", *argv]) == 2

    assert said in capsys.readouterr().err
