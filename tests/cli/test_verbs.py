"""The verbs that show and change accounts, providers and apps."""

import inspect
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.cli import healthcheck
from broker.cli.main import main
from broker.usecases import accounts

from .conftest import Show
from .scripted_daemon import ScriptedDaemon

FIXED = 1_900_000_000.0


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(FIXED + seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


WORK = {
    "account": "work",
    "provider": "practice",
    "state": "active",
    "reason": "",
    "since": _at(-7300),
    "identity": {"label": "Ada \x1b[2J", "subject": "1", "issuer": "http://127.0.0.1:1"},
    "scope": "read write",
    "expires_at": _at(2530),
    "next_refresh_at": _at(95),
    "last_used_at": _at(-200_000),
    "login_url": None,
    "resource": None,
}
HOME = {
    "account": "home",
    "provider": "funkwhale-pod",
    "state": "needs-login",
    "reason": "the provider says that the login has ended",
    "since": _at(-7300),
    "identity": None,
    "expires_at": None,
    "next_refresh_at": None,
    "next_step": "Log in again: keyfob login home",
}


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a certain moment."""
    monkeypatch.setattr(time, "time", lambda: FIXED)


def test_accounts(daemon: ScriptedDaemon, screen: Show, capsys: pytest.CaptureFixture[str]) -> None:
    """The table is aligned and plain, times are relative, and stderr says what a person should do."""
    daemon.answers("GET /v1/accounts", {"accounts": [WORK, HOME]})

    assert screen("accounts") == [
        "ACCOUNT  PROVIDER       STATE        IDENTITY  EXPIRES    NEXT REFRESH  LAST USED",
        "work     practice       active       Ada ·[2J  in 42 min  in 95 s       2 d ago",
        "home     funkwhale-pod  needs-login  -         -          -             -",
    ]
    assert capsys.readouterr().err.splitlines() == [
        "home: the provider says that the login has ended",
        "  needs-login for 2 h",
        "  Log in again: keyfob login home",
    ]


def test_first_login_under_way(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """The list and the single account say the same of a first login that is not finished."""
    pending = {"account": "pod", "state": "pending", "reason": "Not finished.", "next_step": "Finish it."}
    daemon.answers("GET /v1/accounts", {"accounts": [pending]})
    daemon.answers("GET /v1/accounts/pod", pending)

    assert main(["accounts"]) == 0
    assert main(["show", "pod"]) == 0

    advice = "pod: Not finished.\n  pending\n  Finish it.\n"
    assert capsys.readouterr().err == advice * 2


def test_accounts_json(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """--json is the API's answer, with every control character escaped."""
    daemon.answers("GET /v1/accounts", {"accounts": [WORK]})

    assert main(["accounts", "--json"]) == 0

    out = capsys.readouterr().out
    assert json.loads(out) == {"accounts": [WORK]}
    assert "\x1b" not in out


def test_no_accounts(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty list says how to begin, to the person and not to the script."""
    daemon.answers("GET /v1/accounts", {"accounts": []})

    assert main(["accounts"]) == 0

    out, err = capsys.readouterr()
    assert out == ""
    assert "keyfob login --provider" in err


def test_show(daemon: ScriptedDaemon, screen: Show) -> None:
    """One fact a line; what is empty is left out; times are told both ways."""
    daemon.answers("GET /v1/accounts/work", WORK)

    lines = screen("show", "work")

    assert lines[0].split() == ["account", "work"]
    assert f"expires at        {_at(2530)}  (in 42 min)" in lines
    assert "identity label    Ada ·[2J" in lines
    assert not any(line.startswith(("reason", "login url")) for line in lines)


def test_refresh(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A forced refresh says how long the new token lives."""
    daemon.answers("POST /v1/accounts/work/refresh", WORK)

    assert main(["refresh", "work"]) == 0

    said = "Account 'work' has a new token; it expires in 42 min.\n  Keyfob renews it by itself in 95 s.\n"
    assert capsys.readouterr() == ("", said)
    assert daemon.requests[0].body == {}


def test_refresh_that_fails(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """After a refresh that brought nothing, stderr tells the old token's end, the state and the next try."""
    failing = WORK | {"state": "refreshing-failed", "reason": "No way.", "since": _at(-300)}
    daemon.refuses("POST /v1/accounts/work/refresh", 503, "provider_unavailable", "No way.", retry_after=95)
    daemon.answers("GET /v1/accounts/work", failing)
    daemon.answers("GET /v1/accounts/work", failing | {"expires_at": _at(-180), "next_refresh_at": _at(-1)})

    assert (main(["refresh", "work"]), main(["refresh", "work", "--json"])) == (5, 5)

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "keyfob: No way.",
        "  Try again in 95 s.",
        "  The old token is served until it expires in 42 min.",
        "  The account: refreshing-failed for 5 min; Keyfob asks again in 95 s.",
        "keyfob: No way.",
        "  Try again in 95 s.",
        "  The old token expired 3 min ago.",
        "  The account: refreshing-failed for 5 min; Keyfob asks again now.",
    ]


def test_refresh_needs_confirmation(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a refresh may end the login it is not done before the person says so, and the way is named."""
    daemon.refuses("POST /v1/accounts/work/refresh", 409, "confirm_needed", "An answer was lost.", account="work")

    assert main(["refresh", "work"]) == 1

    assert "keyfob refresh work --confirm" in capsys.readouterr().err


def test_next_step_is_named_once(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """What the daemon's own words name already is not said again."""
    said = "An answer was lost. Confirm it: keyfob refresh work --confirm"
    daemon.refuses("POST /v1/accounts/work/refresh", 409, "confirm_needed", said)

    main(["refresh", "work"])

    assert capsys.readouterr().err == f"keyfob: {said}\n"


def test_refresh_confirmed(daemon: ScriptedDaemon) -> None:
    """--confirm says so."""
    daemon.answers("POST /v1/accounts/work/refresh", WORK)

    assert main(["refresh", "work", "--confirm"]) == 0

    assert daemon.requests[0].body == {"confirm": True}


@pytest.mark.parametrize(
    ("argv", "line", "status", "answer", "said"),
    [
        ([], "", 200, {"revoked": True, "detail": ""}, "revoked at the provider and forgotten here."),
        ([], "", 200, {"revoked": False, "detail": "it answered 503"}, "not revoked at the provider: it answered 503"),
        (["--local-only"], "?local_only=true", 204, None, "the provider was not told."),
        (
            [],
            "",
            200,
            {"revoked": True, "detail": "", "derived": ["bill", "other"]},
            "derived from it any more: bill, other",
        ),
    ],
)
def test_logout(
    daemon: ScriptedDaemon,
    argv: list[str],
    line: str,
    status: int,
    answer: object,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A logout says which half of it has happened."""
    daemon.answers(f"DELETE /v1/accounts/work{line}", answer, status=status)

    assert main(["logout", "work", *argv]) == 0

    assert said in capsys.readouterr().err


def test_logout_of_a_login_under_way(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A logout before the first login has ended cancels that, and does not speak of an account."""
    detail = "Its first login was cancelled; there was nothing to revoke."
    assert detail in inspect.getsource(accounts.log_out)
    daemon.answers("DELETE /v1/accounts/work", {"revoked": False, "detail": detail})

    assert main(["logout", "work"]) == 0

    assert capsys.readouterr().err == "The login of 'work' that was under way is cancelled; it had no account yet.\n"


def test_provider_add(daemon: ScriptedDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A provider of one's own goes to the daemon under the names of RFC 8414."""
    (tmp_path / "secret").write_text("s\n")
    uri = "http://127.0.0.1:8400/callback/mine"
    daemon.answers("POST /v1/providers", {"name": "mine", "redirect_uri": uri}, status=201)
    argv = ["provider", "add", "mine", "--authorization-endpoint", "https://a", "--token-endpoint", "https://t"]
    argv += ["--client-id", "C", "--client-secret-file", str(tmp_path / "secret"), "--private", "--scope", "a", "b"]
    argv += ["--grants", "client_credentials", "refresh_token"]

    assert main([*argv, "--token-endpoint-auth-method", "client_secret_post"]) == 0

    assert uri in capsys.readouterr().err
    assert daemon.requests[0].body == {
        "name": "mine",
        "authorization_endpoint": "https://a",
        "token_endpoint": "https://t",
        "client_id": "C",
        "client_secret": "s",
        "token_endpoint_auth_method": "client_secret_post",
        "scope": ["a", "b"],
        "grants": ["client_credentials", "refresh_token"],
        "private": True,
    }


def test_provider_remove_tells_what_became_of_the_registration(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """What Keyfob registered there is gone, or why not; with --local-only the provider is not told."""
    clients = [
        {"client_id": "one", "deleted": True, "detail": "Deleted at id.example."},
        {"client_id": "two", "deleted": False, "detail": "it could not be deleted at id.example: HTTP 503."},
    ]
    daemon.answers("DELETE /v1/providers/mine", {"clients": clients})
    daemon.answers("DELETE /v1/providers/mine?local_only=true", status=204)

    assert main(["provider", "remove", "mine"]) == 0
    assert main(["provider", "remove", "mine", "--local-only"]) == 0

    assert capsys.readouterr().err.splitlines() == [
        "Provider 'mine' is removed.",
        "Keyfob's registration one: Deleted at id.example.",
        "Keyfob's registration two: it could not be deleted at id.example: HTTP 503.",
        "Provider 'mine' is removed.",
    ]


def test_provider_discover_and_client_metadata(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A provider is asked again, new hosts are confirmed and told; a document to host is printed as it is."""
    moved = {"name": "mine", "issuer": "https://id.example", "token_endpoint": "https://new.example/token"}
    daemon.answers("POST /v1/providers/mine/discover", moved)
    document = {"client_id": "https://you.example/k.json", "client_name": "Keyfob"}
    daemon.answers("GET /v1/providers/mine/client-metadata?client_id=https%3A%2F%2Fyou.example%2Fk.json", document)

    assert main(["provider", "discover", "mine", "--confirm"]) == 0
    assert daemon.requests[0].body == {"confirm": True}
    assert "new.example" in capsys.readouterr().err
    assert main(["provider", "discover", "mine", "--json"]) == 0
    assert daemon.requests[1].body == {}
    assert json.loads(capsys.readouterr().out) == moved
    assert main(["provider", "client-metadata", "mine", "--client-id", "https://you.example/k.json"]) == 0
    assert json.loads(capsys.readouterr().out) == document


def test_provider_list_remove(daemon: ScriptedDaemon, screen: Show) -> None:
    """Providers are listed with where they are, and removed by name."""
    mine = {"name": "mine", "preset": "generic", "issuer": "https://id.example", "private": False}
    daemon.answers("GET /v1/providers", {"providers": [mine]})
    daemon.answers("DELETE /v1/providers/mine", status=204)

    assert screen("provider", "list")[1] == "mine      generic  https://id.example"
    assert main(["provider", "remove", "mine"]) == 0
    assert daemon.requests[-1].line == "DELETE /v1/providers/mine"


def test_provider_keys(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """A key's public half is printed as one line of JSON, ready to be pasted; whose it is stands beside it."""
    jwks = {"keys": [{"kty": "EC", "kid": "k", "use": "sig", "alg": "ES256"}]}
    keys = [{"client_id": "C", "jwks": jwks}, {"client_id": "", "jwks": jwks}]
    daemon.answers("POST /v1/providers", {"name": "mine", "keys": keys[1:]}, status=201)
    daemon.answers("GET /v1/providers/mine", {"name": "mine", "keys": keys})
    method = ["--token-endpoint-auth-method", "private_key_jwt"]

    assert main(["provider", "add", "mine", "--issuer", "https://id.example", *method]) == 0
    added = capsys.readouterr()
    assert main(["provider", "show", "mine"]) == 0
    shown = capsys.readouterr()

    assert json.loads(added.out) == jwks
    assert "client that is still to be named" in added.err
    assert daemon.requests[0].body["token_endpoint_auth_method"] == "private_key_jwt"
    assert shown.out.splitlines()[-2:] == [json.dumps(jwks), json.dumps(jwks)]
    assert "client 'C'" in shown.err


def test_status(daemon: ScriptedDaemon, screen: Show, capsys: pytest.CaptureFixture[str]) -> None:
    """Status says how the daemon is, why, and where its doors are."""
    status = {
        "version": "0.1.0",
        "pid": 42,
        "state": "degraded",
        "reasons": ["the store is slow"],
        "doors": {"socket": "/run/k.sock", "app": "http://127.0.0.1:8401", "browser": "http://127.0.0.1:8400"}
        | {"oidc": "/run/oidc.sock"},
        "key": {"source": "file", "locked": False, "new": False, "forgotten": False},
        "accounts": {"active": 2, "needs-login": 1, "static": 0},
        "scheduler": {"next_tick_at": _at(30), "due": 0},
    }
    daemon.answers("GET /v1/status", status)

    assert screen("status") == [
        "Keyfob 0.1.0 runs as process 42: degraded",
        "  the store is slow",
        "socket        /run/k.sock",
        "app port      http://127.0.0.1:8401",
        "browser port  http://127.0.0.1:8400",
        "oidc-agent    /run/oidc.sock",
        "key           file, open",
        "accounts      2 active, 1 needs-login",
        "refreshes     0 due, next look in 30 s",
    ]

    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == status


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (401, 1)])
def test_healthcheck(daemon: ScriptedDaemon, status: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A container's health check knows two answers only, whatever the daemon says."""
    daemon.answers("GET /healthz", {"state": "ok"}, status=status)

    assert main(["healthcheck"]) == code

    assert capsys.readouterr().out == ""


def test_healthcheck_without_a_daemon() -> None:
    """A daemon that does not run is ill, not a case of its own."""
    assert main(["healthcheck"]) == 1


def test_healthcheck_is_quick(daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that hangs is ill in time."""
    assert healthcheck.DEADLINE < 2
    monkeypatch.setattr(healthcheck, "DEADLINE", 0.05)
    daemon.answers_raw("GET /healthz", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")

    assert main(["healthcheck"]) == 1


@pytest.mark.parametrize("argv", [["app"], ["provider"], ["app", "add", "x"], ["app", "add", "x", "--account", ""]])
def test_usage(argv: list[str]) -> None:
    """An action, an app and its accounts have to be named."""
    assert main(argv) == 2


@pytest.mark.parametrize("length", ["30", "1.5h", "30 d", "d", "-3d", "1y", "nan", "inf"])
def test_lengths_of_time(daemon: ScriptedDaemon, length: str) -> None:
    """A length of time has one spelling; anything else is a usage error."""
    daemon.answers("POST /v1/apps", {"name": "x", "key": "kf_"}, status=201)

    code = main(["app", "add", "x", "--account", "a", f"--expires={length}"])

    assert code == (0 if length == "1.5h" else 2)
