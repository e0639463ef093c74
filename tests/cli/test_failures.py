"""What a person reads when the daemon refuses: a next step that is one, and no other."""

import pytest

from broker.cli.main import main

from .scripted_daemon import ScriptedDaemon


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        (["provider", "discover", "mv"], "POST /v1/providers/mv/discover"),
        (["refresh", "work"], "POST /v1/accounts/work/refresh"),
    ],
)
def test_a_yes_is_asked_for_where_it_is_wanted(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str], verb: list[str], line: str
) -> None:
    """A provider that moved wants its own command; ``refresh --confirm`` is named for an account only."""
    detail = "It is at another host now. Confirm it: keyfob provider discover mv --confirm"
    daemon.refuses(line, 409, "confirm_needed", detail)
    daemon.refuses(line, 409, "confirm_needed", "Its answer was lost.", account="work")

    assert main(verb) == 1
    assert "keyfob refresh" not in capsys.readouterr().err
    assert main(verb) == 1
    assert "Run: keyfob refresh work --confirm" in capsys.readouterr().err
