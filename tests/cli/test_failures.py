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


def test_a_registration_that_was_refused_leads_to_one_by_hand(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """What Keyfob tried, why it could not, the three steps as for every client made by hand, and when it tries."""
    members = {"provider": "p", "redirect_uri": "http://127.0.0.1:8400/callback/p", "client_secret": "none"}
    why = "P allows no further registration before noon."
    daemon.answers("GET /v1/providers", {"providers": []})
    daemon.refuses(
        "POST /v1/logins", 503, "provider_unavailable", f"{why} Wait.", **members, registration=why, retry_after=3554
    )

    assert main(["login", "work", "--resource", "https://p.example/mcp"]) == 5

    assert capsys.readouterr().err.splitlines() == [
        f"keyfob: Keyfob tried to register itself, and could not: {why} Make a client there, once.",
        "  1. Make one: in the provider's settings for developers",
        "  2. Give it exactly this redirect URI: http://127.0.0.1:8400/callback/p",
        "  3. Run: keyfob login work --provider p --resource https://p.example/mcp --client-id ID",
        "  What to choose there: keyfob provider show p",
        "  Or try again in 59 min; Keyfob then tries again, too.",
    ]
