"""`keyfob login`: it starts the login, shows the way, waits, and cleans up after itself."""

import getpass
import json
import os
import pty
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from broker.cli.main import main

from .conftest import Feed
from .scripted_daemon import ScriptedDaemon

KEYFOB = [sys.executable, "-m", "broker.cli"]
START = "http://127.0.0.1:8400/login/L1"
ACCOUNT = {"account": "work", "provider": "p", "state": "active", "identity": {"label": "Ada", "subject": "1"}}
PENDING = {"id": "L1", "state": "pending", "start_url": START, "expires_at": "2030-01-01T00:00:00Z"}
DONE = {"id": "L1", "state": "done", "account": "work"}
POLL = "GET /v1/logins/L1?wait=20"
# What is asked for where nothing is said and a browser is at hand.
USUAL = ["browser", "device"]


@pytest.fixture
def logins(daemon: ScriptedDaemon) -> ScriptedDaemon:
    """A daemon at which a login succeeds at the second look."""
    daemon.answers("POST /v1/logins", PENDING, status=201)
    daemon.answers(POLL, {"id": "L1", "state": "pending"})
    daemon.answers(POLL, DONE)
    daemon.answers("GET /v1/accounts/work", ACCOUNT)
    daemon.answers("DELETE /v1/logins/L1", status=204)
    return daemon


def test_without_a_browser(logins: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """--no-browser shows the start address, waits, and says who logged in; stdout stays empty."""
    assert main(["login", "work", "--provider", "p", "--no-browser"]) == 0

    out, err = capsys.readouterr()
    assert out == ""
    assert START in err
    assert "Logged in as Ada: account 'work'." in err
    assert logins.lines() == ["POST /v1/logins", POLL, POLL, "GET /v1/accounts/work"]
    assert logins.requests[0].body == {"account": "work", "provider": "p", "flow": USUAL}


def test_without_a_browser_over_ssh(
    logins: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever sits at another machine gets the whole command with which the login works from there."""
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22")

    assert main(["login", "work", "--provider", "p", "--no-browser"]) == 0

    said = capsys.readouterr().err.splitlines()
    assert "From another machine: keyfob login work --provider p --flow paste" in said
    assert f"Or let its browser in:  ssh -L 8400:127.0.0.1:8400 {getpass.getuser()}@192.0.2.2" in said
    assert logins.requests[0].body["flow"] == USUAL


def test_json(logins: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints the account, under the name that the daemon chose."""
    assert main(["login", "--provider", "p", "--no-browser", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == ACCOUNT
    assert "account" not in logins.requests[0].body


def test_every_option(logins: ScriptedDaemon, tmp_path: Path) -> None:
    """What the person says reaches the daemon under the API's names; the secret comes from its file."""
    (tmp_path / "secret").write_text("  s3cret\n")
    argv = ["login", "work", "--provider", "https://id.example", "--base-url", "https://pod.example", "--no-browser"]
    argv += ["--scope", "openid", "a b", "--scope", "c", "--flow", "jwt-bearer", "--subject", "bot", "--audience", "A"]
    argv += ["--resource", "https://api.example", "--token-endpoint-auth-method", "private_key_jwt"]
    argv += ["--client-id", "C", "--client-secret-file"]
    logins.answers("GET /v1/providers", {"providers": [{"name": "id-example"}]})
    logins.forget("POST /v1/logins")
    logins.answers("POST /v1/logins", {**PENDING, "provider": "id-example"}, status=201)

    assert main([*argv, str(tmp_path / "secret")]) == 0

    assert logins.requests[1].body == {
        "account": "work",
        "provider": "https://id.example",
        "base_url": "https://pod.example",
        "scope": ["openid", "a", "b", "c"],
        "flow": "jwt-bearer",
        "subject": "bot",
        "audience": "A",
        "resource": "https://api.example",
        "token_endpoint_auth_method": "private_key_jwt",
        "client_id": "C",
        "client_secret": "s3cret",
    }


@pytest.mark.parametrize("known", [True, False])
def test_a_resource_tells_where_to_log_in(
    logins: ScriptedDaemon, capsys: pytest.CaptureFixture[str], *, known: bool
) -> None:
    """--resource alone is enough; of a provider that is new, the hosts beside its own are told, once."""
    found = {"name": "as", "issuer": "https://as.example", "token_endpoint": "https://tokens.example/token"}
    found |= {"introspection_endpoint": "https://as.example/i", "authorization_endpoint": "https://page.example/"}
    logins.answers("GET /v1/providers", {"providers": [found] if known else []})
    logins.answers("GET /v1/providers/as", found)
    logins.forget("POST /v1/logins")
    logins.answers("POST /v1/logins", {**PENDING, "provider": "as"}, status=201)

    assert main(["login", "work", "--resource", "https://mcp.example/mcp", "--no-browser"]) == 0

    said = "It sends codes and tokens to another host as well: tokens.example."
    assert (said in capsys.readouterr().err.splitlines()) is not known
    body = {"account": "work", "resource": "https://mcp.example/mcp", "flow": ["browser", "device"]}
    assert logins.requests[1].body == body


def test_more_scopes(logins: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """What was asked and what came is told where they differ; --only-scope reaches the daemon."""
    logins.forget("GET /v1/accounts/work")
    scopes = {"scope": "a", "asked_scope": "a b", "missing_scope": "b"}
    logins.answers("GET /v1/accounts/work", {**ACCOUNT, **scopes})

    assert main(["login", "work", "--no-browser", "--scope", "a b", "--only-scope"]) == 0

    assert logins.requests[0].body == {"account": "work", "scope": ["a", "b"], "only_scope": True, "flow": USUAL}
    said = capsys.readouterr().err.splitlines()
    assert "  asked: a b; granted: a" in said
    assert "  To ask again: keyfob login work --scope b" in said


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("2031-01-31", "2031-01-31T00:00:00Z"),
        ("2031-01-31T12:00:00+02:00", "2031-01-31T10:00:00Z"),
        ("2031-01-31T12:00:00Z", "2031-01-31T12:00:00Z"),
    ],
)
def test_token_that_ends(daemon: ScriptedDaemon, feed: Feed, said: str, sent: str) -> None:
    """--expires takes what a provider's page shows; a bare date is its first moment."""
    daemon.answers("POST /v1/logins", DONE, status=201)
    daemon.answers("GET /v1/accounts/work", ACCOUNT)
    feed("a-token")

    assert main(["login", "work", "--provider", "p", "--flow", "token", "--token-file", "-", "--expires", said]) == 0

    assert daemon.requests[0].body["expires_at"] == sent


def test_token_that_ends_in_so_many_days(daemon: ScriptedDaemon, feed: Feed) -> None:
    """--expires takes a length of time too."""
    daemon.answers("POST /v1/logins", DONE, status=201)
    daemon.answers("GET /v1/accounts/work", ACCOUNT)
    feed("a-token")

    assert main(["login", "work", "--provider", "p", "--flow", "token", "--token-file", "-", "--expires", "90d"]) == 0

    ends = datetime.fromisoformat(daemon.requests[0].body["expires_at"]).timestamp()
    assert abs(ends - time.time() - 90 * 86_400) < 60


def test_browser_is_opened(logins: ScriptedDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The person's browser gets the start address as its only argument; the address is shown as well."""
    browser, seen = tmp_path / "my browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > "{seen}.part"\nmv "{seen}.part" "{seen}"\n')
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", f"no-such-browser:'{browser}' --new-tab")

    assert main(["login", "work", "--provider", "p"]) == 0

    deadline = time.monotonic() + 5
    while not seen.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen.read_text() == f"--new-tab|{START}|"
    assert logins.requests[0].body["flow"] == USUAL


def test_login_fails(logins: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A refused login ends with 1, its reason and the next step."""
    logins.forget(POLL)
    logins.answers(POLL, {"id": "L1", "state": "failed", "reason": "Bob logged in, not Ada."})

    assert main(["login", "work", "--no-browser"]) == 1

    err = capsys.readouterr().err
    assert err.endswith("keyfob: The login did not succeed: Bob logged in, not Ada.\n  Try again: keyfob login work\n")


@pytest.mark.parametrize(
    ("words", "again"),
    [
        (["work"], "keyfob login work"),
        (["work", "--provider", "https://id.example"], "keyfob login work --provider id-example"),
        (["--provider", "https://id.example"], "keyfob login --provider id-example"),
        (
            ["work", "--provider", "p", "--scope", "a b", "c"],
            "keyfob login work --provider id-example --scope a b c",
        ),
        (
            ["work", "--resource", "https://r/", "--scope", "a", "--only-scope"],
            "keyfob login work --scope a --only-scope --resource https://r/",
        ),
        (["work", "--client-id", "C D"], "keyfob login work --client-id 'C D'"),
        (["work", "--client-id=-C"], "keyfob login work --client-id=-C"),
        (
            ["ci", "--flow", "jwt-bearer", "--subject", "bot", "--token-endpoint-auth-method", "private_key_jwt"],
            "keyfob login ci --token-endpoint-auth-method private_key_jwt --subject bot --flow jwt-bearer",
        ),
        (["bill", "--from", "w", "--audience", "A"], "keyfob login bill --audience A --from w --flow token-exchange"),
    ],
)
def test_next_try_works(
    daemon: ScriptedDaemon, words: list[str], again: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command for another try names the provider where no account knows it, and whatever else was asked for."""
    daemon.answers("GET /v1/providers", {"providers": [{"name": "id-example"}]})
    daemon.answers("POST /v1/logins", {**PENDING, "provider": "id-example"}, status=201)
    daemon.answers(POLL, {"state": "failed", "reason": "No.", "provider": "id-example"})

    assert main(["login", *words, "--no-browser"]) == 1

    assert capsys.readouterr().err.splitlines()[-1] == f"  Try again: {again}"


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("needed", ["--client-id ID --client-secret-file FILE"]),
        ("optional", ["--client-id ID", "   If it has a secret, add: --client-secret-file FILE"]),
        ("none", ["--client-id ID"]),
    ],
)
def test_a_client_has_to_be_made_by_hand(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str], secret: str, said: list[str]
) -> None:
    """Where to make it, what to paste there, and the command to run then, with all that was asked for."""
    uri = "http://127.0.0.1:8400/callback/forge-host"
    members = {"provider": "forge-host", "register_url": "https://forge.example/apps", "redirect_uri": uri}
    daemon.refuses("POST /v1/logins", 400, "invalid_request", **members, client_secret=secret)

    assert (
        main(["login", "work", "--provider", "forge", "--base-url", "https://forge.example", "--scope", "a", "b"]) == 2
    )

    assert capsys.readouterr().err.splitlines() == [
        "keyfob: Provider 'forge-host' does not know Keyfob yet: make a client there, once.",
        "  1. Make one: https://forge.example/apps",
        f"  2. Give it exactly this redirect URI: {uri}",
        f"  3. Run: keyfob login work --provider forge-host --scope a b {said[0]}",
        *(f"  {line}" for line in said[1:]),
        "  What to choose there: keyfob provider show forge-host",
    ]


def test_login_expires(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A login that nobody finished ends with 1."""
    daemon.answers("POST /v1/logins", PENDING, status=201)
    daemon.answers(POLL, {"state": "expired"})

    assert main(["login", "work", "--no-browser"]) == 1

    assert "the login has expired" in capsys.readouterr().err


def test_timeout(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """--timeout ends the waiting and the login with it."""
    daemon.answers("POST /v1/logins", PENDING, status=201)
    daemon.answers("GET /v1/logins/L1?wait=0", {"state": "pending"})
    daemon.answers("DELETE /v1/logins/L1", status=204)

    assert main(["login", "work", "--no-browser", "--timeout", "0.05"]) == 1

    assert daemon.lines()[-1] == "DELETE /v1/logins/L1"
    assert "--timeout" in capsys.readouterr().err


def test_interrupt(daemon: ScriptedDaemon) -> None:
    """Ctrl-C while waiting cancels the login at the daemon, in clean lines, and ends with 130."""
    daemon.hang.set()
    daemon.answers("POST /v1/logins", PENDING, status=201)
    daemon.answers("DELETE /v1/logins/L1", status=204)
    argv = [*KEYFOB, "login", "work", "--no-browser"]

    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 10
        while len(daemon.requests) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)

    assert (process.returncode, out) == (130, "")
    assert "The login was cancelled; nothing was kept." in err
    assert "Traceback" not in err
    assert daemon.lines() == ["POST /v1/logins", POLL, "DELETE /v1/logins/L1"]


def test_spinner_on_a_terminal_only(logins: ScriptedDaemon) -> None:
    """A terminal sees the spinner turn and vanish; stdout, which is none, gets the JSON alone."""
    logins.hang.set()
    ours, theirs = pty.openpty()
    argv = [*KEYFOB, "login", "work", "--no-browser", "--json"]

    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL) as process:
        os.close(theirs)
        seen = b""
        while b"Waiting" not in seen:
            seen += os.read(ours, 1024)
        logins.hang.clear()
        while b"Logged in" not in seen:
            seen += os.read(ours, 1024)
        out, _ = process.communicate(timeout=10)
    os.close(ours)

    assert process.returncode == 0
    assert json.loads(out) == ACCOUNT
    assert seen.index(b"\r\x1b[K") < seen.index(b"Logged in")


def test_token_flow(daemon: ScriptedDaemon, feed: Feed) -> None:
    """--flow token reads the token from stdin and is done at once."""
    daemon.answers("POST /v1/logins", {"id": "L1", "state": "done", "account": "pod"}, status=201)
    daemon.answers("GET /v1/accounts/pod", {**ACCOUNT, "account": "pod"})
    feed("five-words-joined-by-dashes\n")

    assert main(["login", "pod", "--provider", "funkwhale", "--flow", "token", "--token-file", "-"]) == 0

    assert daemon.requests[0].body == {
        "account": "pod",
        "provider": "funkwhale",
        "flow": "token",
        "access_token": "five-words-joined-by-dashes",
    }


def test_flow_as_oauth_writes_it(daemon: ScriptedDaemon) -> None:
    """A grant type's name means the flow of that name, and an error shows the names as they are written here."""
    daemon.answers("POST /v1/logins", {"id": "L1", "state": "done", "account": "pod"}, status=201)
    daemon.answers("GET /v1/accounts/pod", {**ACCOUNT, "account": "pod"})

    assert main(["login", "pod", "--provider", "p", "--flow", "client_credentials"]) == 0

    assert daemon.requests[0].body["flow"] == "client-credentials"


@pytest.mark.parametrize(
    "argv",
    [
        ["login"],
        ["login", "work", "--flow", "token"],
        ["login", "work", "--token-file", "x"],
        ["login", "work", "--flow", "implicit"],
        ["login", "work", "--client-secret-file", "/no/such/file"],
        ["login", "work", "--client-secret-file", "-", "--flow", "paste"],
        ["login", "work", "--timeout", "-1"],
        ["login", "work", "--expires", "90d"],
        ["login", "work", "--flow", "token", "--token-file", "-", "--expires", "soon"],
        ["login", "work", "--flow", "token", "--token-file", "-", "--expires", "2031-01-31T12:00:00"],
        ["login", "work", "--only-scope"],
    ],
)
def test_usage(daemon: ScriptedDaemon, argv: list[str], feed: Feed) -> None:
    """Options that do not go together are a usage error before anything is asked."""
    feed("")

    assert main(argv) == 2

    assert daemon.lines() == []


def test_secret_is_not_an_argument() -> None:
    """There is no option that takes a secret itself."""
    assert main(["login", "work", "--client-secret", "s"]) == 2
    assert main(["login", "work", "--token", "s"]) == 2
