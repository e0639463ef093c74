"""`keyfob app`: the programs with a key of their own, what each may have, and what would never work."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.cli.main import main

from .conftest import Show
from .scripted_daemon import ScriptedDaemon

FIXED = 1_900_000_000.0
ADD = ["app", "add", "backup", "--account", "work"]
GRANT = ["app", "grant", "backup", "--account", "work"]


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(FIXED + seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a certain moment."""
    monkeypatch.setattr(time, "time", lambda: FIXED)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
def test_a_key_that_nobody_got(daemon: ScriptedDaemon) -> None:
    """A key that could not be written anywhere is lost: the way to another one is said."""
    daemon.answers("POST /v1/apps", {"name": "backup", "key": "kf_abc"}, status=201)
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "broker.cli", *ADD]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert done.returncode == 1
    assert "keyfob app rotate backup" in done.stderr


def test_app_add(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """The key is on stdout, alone; what was granted reaches the daemon under the API's names."""
    daemon.answers("POST /v1/apps", {"name": "backup", "key": "kf_abc"}, status=201)
    for account in ("work", "home"):
        daemon.answers(f"GET /v1/accounts/{account}", {"account": account, "scope": "read", "resource": "https://r"})

    argv = ["app", "add", "backup", "--account", "work", "--account", "home", "--scope", "read", "--expires", "30d"]
    assert main([*argv, "--resource", "https://r", "--proxy-only"]) == 0

    out, err = capsys.readouterr()
    assert out == "kf_abc\n"
    assert "kf_abc" not in err
    same = {"mode": "proxy", "scope": ["read"], "resource": "https://r", "expires_at": _at(30 * 86_400)}
    assert daemon.requests[-1].body == {
        "name": "backup",
        "grants": [{"account": "work", **same}, {"account": "home", **same}],
    }


def test_a_share_of_the_rate_limits(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """It reaches the daemon as a number, is told as it was kept, and is refused where it is none."""
    daemon.answers("PUT /v1/apps/backup/grants/work", {"account": "work", "mode": "token", "rate_share": 30})

    assert main([*GRANT, "--rate-share", "30"]) == 0
    assert daemon.requests[-1].body == {"mode": "token", "rate_share": 30}
    assert "all its scopes, with 30 % of a rate limit, without an end" in capsys.readouterr().err
    for wrong in ("0", "101", "+5", "1.5", "many"):
        assert main([*GRANT, "--rate-share", wrong]) == 2
        assert "no whole number from 1 to 100" in capsys.readouterr().err


def test_rules_of_a_grant(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Rules reach the daemon in the order of the command line, and are told as it kept them."""
    kept = {"account": "work", "mode": "proxy", "rules": ["read-only", "POST /v1/*"]}
    daemon.answers("PUT /v1/apps/backup/grants/work", kept)

    assert main([*GRANT, "--proxy-only", "--rule", "post /v1/*", "--read-only"]) == 0

    assert daemon.requests[-1].body == {"mode": "proxy", "rules": ["read-only", "post /v1/*"]}
    assert "through the proxy only, by the rules read-only, POST /v1/*" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_key_for_an_address(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    """It is asked for by name, at the first as at every other, and the person hears where it belongs."""
    key = {"name": "backup", "key": "kf_cap_abc"}
    daemon.answers("POST /v1/apps", key, status=201)
    daemon.answers("POST /v1/apps/backup/rotate", key)
    for argv in (ADD, ["app", "rotate", "backup"]):
        assert main([*argv, "--capability", *flags]) == 0
        out, err = capsys.readouterr()

        assert daemon.requests[-1].body["capability"] is True
        if flags:
            assert json.loads(out) == key
        else:
            assert out == "kf_cap_abc\n"
            assert "It belongs in the address" in err
    assert main(["app", "rotate", "backup"]) == 0
    assert daemon.requests[-1].body == {}


def test_app_add_json(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints name and key."""
    daemon.answers("POST /v1/apps", {"name": "backup", "key": "kf_abc"}, status=201)

    assert main(["app", "add", "backup", "--account", "work", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {"name": "backup", "key": "kf_abc"}
    assert daemon.requests[0].body["grants"] == [{"account": "work", "mode": "token"}]


def test_where_the_token_file_is(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """The kind is the access token unless another is named; the path is said beside the key, and after a grant."""
    path = "/run/user/1000/keyfob/tokens/backup/work"
    kept = {"account": "work", "mode": "token", "token_file": "id_token", "token_file_path": path}
    daemon.answers("POST /v1/apps", {"name": "backup", "key": "kf_abc", "grants": [kept]}, status=201)
    daemon.answers("PUT /v1/apps/backup/grants/work", kept | {"token_file": "access_token"})

    assert main(["app", "add", "backup", "--account", "work", "--token-file", "id_token"]) == 0
    out, err = capsys.readouterr()
    assert out == "kf_abc\n"
    assert f"The ID token of account 'work' is kept in {path}\n" in err
    assert main(["app", "grant", "backup", "--account", "work", "--token-file"]) == 0
    assert f"The access token of account 'work' is kept in {path}\n" in capsys.readouterr().err

    assert daemon.requests[0].body["grants"] == [{"account": "work", "mode": "token", "token_file": "id_token"}]
    assert daemon.requests[1].body == {"mode": "token", "token_file": "access_token"}


def test_app_list_and_show(daemon: ScriptedDaemon, screen: Show) -> None:
    """Apps are listed with their accounts, and shown with every grant."""
    grants = [{"account": "work", "mode": "token"}, {"account": "home", "mode": "proxy"}]
    app = {"name": "backup", "grants": grants, "created_at": _at(-60), "last_used_at": None}
    daemon.answers("GET /v1/apps", {"apps": [app]})
    daemon.answers("GET /v1/apps/backup", app)

    lines = screen("app", "list") + screen("app", "show", "backup")

    assert lines[:2] == ["APP     ACCOUNTS   CREATED   LAST USED", "backup  work home  60 s ago  -"]
    assert "grants 2 account  home" in lines


def test_app_changes(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Granting, revoking, rotating and removing go to the app's own addresses."""
    daemon.answers("GET /v1/accounts/work", {"account": "work", "scope": "a b", "resource": None})
    daemon.answers("PUT /v1/apps/backup/grants/work", {})
    daemon.answers("DELETE /v1/apps/backup/grants/work", status=204)
    daemon.answers("POST /v1/apps/backup/rotate", {"name": "backup", "key": "kf_new"})
    daemon.answers("DELETE /v1/apps/backup", status=204)

    assert main(["app", "grant", "backup", "--account", "work", "--scope", "a", "b"]) == 0
    assert main(["app", "revoke", "backup", "--account", "work"]) == 0
    assert main(["app", "rotate", "backup"]) == 0
    assert main(["app", "remove", "backup"]) == 0

    assert capsys.readouterr().out == "kf_new\n"
    assert daemon.requests[1].body == {"mode": "token", "scope": ["a", "b"]}
    assert len(daemon.requests) == 5


def test_grant_is_told_whole(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grant replaces the one before, its end included: what holds now is said, and not only what was typed."""
    monkeypatch.setattr(time, "time", lambda: FIXED)
    later = _at(10 * 86_400)
    daemon.answers("GET /v1/accounts/work", {"account": "work", "scope": "a", "resource": None})
    told = []
    for kept in ({"scope": "", "expires_at": None}, {"scope": "a", "expires_at": later}):
        daemon.forget("PUT /v1/apps/backup/grants/work")
        daemon.answers(
            "PUT /v1/apps/backup/grants/work", {"account": "work", "mode": "token", "resource": None, **kept}
        )
        assert main(["app", "grant", "backup", "--account", "work"]) == 0
        told.append(capsys.readouterr().err)

    assert told == [
        "App 'backup' may use account 'work' now: all its scopes, without an end.\n",
        "App 'backup' may use account 'work' now: the scopes a, ends in 10 d.\n",
    ]


@pytest.fixture
def granting(daemon: ScriptedDaemon) -> ScriptedDaemon:
    """A daemon with an account whose token carries two scopes."""
    account = {"account": "work", "provider": "p", "scope": "read write", "resource": None}
    daemon.answers("GET /v1/accounts/work", account)
    daemon.answers("GET /v1/providers/p", {"narrower_tokens": False, "other_resources": False})
    daemon.answers("POST /v1/apps", {"name": "backup", "key": "kf_abc"}, status=201)
    daemon.answers("PUT /v1/apps/backup/grants/work", {})
    return daemon


@pytest.mark.parametrize("verb", [ADD, GRANT])
@pytest.mark.parametrize(
    ("options", "why", "step"),
    [
        (["--scope", "read", "--proxy-only"], "carries more than app 'backup' may have: 'write'", "leave --scope out"),
        (["--scope", "read"], "carries more than app 'backup' may have: 'write'", "leave --scope out"),
        (["--scope", "read", "--token-file", "id_token"], "carries more than app", "has no scope and no resource"),
        (["--resource", "https://r"], "is not for resource 'https://r'", "leave --resource out"),
    ],
)
def test_grant_that_cannot_work(
    granting: ScriptedDaemon,
    verb: list[str],
    options: list[str],
    why: str,
    step: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A grant with which every request would be refused is made, and the person is warned, with the reason."""
    assert main([*verb, *options]) == 0

    out, err = capsys.readouterr()
    assert out == ("kf_abc\n" if verb == ADD else "")
    warning, hint = err.splitlines()[-2:]
    assert warning.startswith("Warning: with this grant, every request is refused as things are: ")
    assert why in warning
    assert step in hint
    assert granting.lines()[-1].startswith(("POST /v1/apps", "PUT /v1/apps"))


def test_scope_of_an_account_that_tells_none(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the provider does not say what the token carries, a narrower grant cannot be kept to."""
    daemon.answers("GET /v1/accounts/work", {"account": "work", "provider": "p", "scope": "", "resource": None})
    daemon.answers("GET /v1/providers/p", {"narrower_tokens": False, "other_resources": True})
    daemon.answers("PUT /v1/apps/backup/grants/work", {})

    assert main([*GRANT, "--scope", "read"]) == 0

    assert "may carry more than app 'backup' may have" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--scope", "read", "write"], ["--scope", "write read more"]])
def test_grant_that_works(granting: ScriptedDaemon, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A grant of all that the account has comes without a warning."""
    assert main([*GRANT, *options]) == 0

    assert granting.lines()[-1] == "PUT /v1/apps/backup/grants/work"
    assert "Warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--scope", "read"], ["--resource", "https://r"], ["--resource", "https://r", "--scope", "read"]]
)
def test_grant_that_the_provider_makes_work(
    granting: ScriptedDaemon, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where narrower tokens and tokens for other resources can be had, less than the account has is no doubt."""
    granting.forget("GET /v1/providers/p")
    granting.answers("GET /v1/providers/p", {"narrower_tokens": True, "other_resources": True})

    assert main([*GRANT, *options]) == 0

    assert granting.lines()[-1] == "PUT /v1/apps/backup/grants/work"
    assert "Warning" not in capsys.readouterr().err


def test_grant_of_no_account(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is made where the account does not exist."""
    daemon.refuses("GET /v1/accounts/work", 404, "unknown_account", "No account is called 'work'.")

    assert main([*ADD, "--scope", "read"]) == 1

    assert daemon.lines() == ["GET /v1/accounts/work"]
    assert capsys.readouterr().out == ""


def test_expired(daemon: ScriptedDaemon, screen: Show) -> None:
    """An app, or what it was granted, whose time is over says so in the list and when it is shown."""
    grants = [
        {"account": "work", "mode": "token", "expires_at": _at(-86_400 * 3)},
        {"account": "home", "mode": "token", "expires_at": _at(86_400 * 3)},
        {"account": "lab", "mode": "token", "expires_at": None},
    ]
    old = {"name": "old", "grants": grants, "created_at": _at(-60), "expires_at": None}
    over = {"name": "over", "grants": [], "created_at": _at(-60), "expires_at": _at(-1)}
    daemon.answers("GET /v1/apps", {"apps": [old, over]})
    daemon.answers("GET /v1/apps/old", old)

    lines = screen("app", "list") + screen("app", "show", "old")

    assert lines[1].startswith("old             work (expired) home lab  60 s ago")
    assert lines[2].startswith("over (expired)  -")
    assert f"grants 1 expires at  {_at(-86_400 * 3)}  (expired 3 d ago)" in lines
    assert f"grants 2 expires at  {_at(86_400 * 3)}  (in 3 d)" in lines
