"""`keyfob git-credential`: which account a host means, and what git and the person hear where it is not clear."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.cli.main import main

from .conftest import Feed
from .scripted_daemon import ScriptedDaemon
from .test_token import TOKEN, TOO_DEAR

ROOT = Path(__file__).parents[2]
ASKED = "protocol=https\nhost=git.example.org\n\n"
REJECTED = "POST /v1/accounts/work/token/rejected"
PROVIDER = {"name": "forge", "base_url": "https://git.example.org", "issuer": "", "api_base": "", "git_username": ""}
ADDRESSES = {"base_url": "", "issuer": "", "authorization_endpoint": "", "api_base": ""}


def account(name: str = "work", **members: object) -> dict[str, Any]:
    """Return an account as the daemon lists it."""
    return {"account": name, "provider": "forge", "state": "active", "resource": None, "identity": None, **members}


def knows(daemon: ScriptedDaemon, *accounts: dict[str, Any], **provider: object) -> None:
    """Script what the daemon knows, and its tokens."""
    daemon.answers("GET /v1/accounts", {"accounts": [*accounts] or [account()]})
    daemon.answers("GET /v1/providers", {"providers": [{**PROVIDER, **provider}]})
    for one in accounts or [account()]:
        daemon.answers(f"GET /v1/accounts/{one['account']}/token", {**TOKEN, "expires_in": None})


def test_get(daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """The one account of the host, and nothing on stderr."""
    knows(daemon)
    feed(ASKED)

    assert main(["git-credential", "get"]) == 0

    assert capsys.readouterr() == ("username=oauth2\npassword=tok-1\n", "")


def test_username_of_the_provider(daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """What the provider insists on goes before what the URL says, and that before what is sent to anybody."""
    knows(daemon, git_username="x-token-auth")
    daemon.answers("GET /v1/providers", {"providers": [PROVIDER]})
    for _ in range(2):
        feed(f"username=ada\n{ASKED}")
        assert main(["git-credential", "get"]) == 0

    assert capsys.readouterr().out.split() == [
        "username=x-token-auth",
        "password=tok-1",
        "username=ada",
        "password=tok-1",
    ]


@pytest.mark.parametrize("member", ADDRESSES)
def test_every_address_of_a_provider(
    daemon: ScriptedDaemon, feed: Feed, member: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A host is the account's by its instance, its issuer, its login page or its API."""
    knows(daemon, **{**ADDRESSES, member: "https://git.example.org/v1"})
    feed(ASKED)

    assert main(["git-credential", "get"]) == 0

    assert "password=tok-1" in capsys.readouterr().out


def test_resource_of_an_account(daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """An account that was logged in for a resource belongs to the resource's host."""
    knows(daemon, account(resource="https://git.example.org/git"), **ADDRESSES)
    feed(ASKED)

    assert main(["git-credential", "get"]) == 0

    assert "password=tok-1" in capsys.readouterr().out


def test_unknown_host(daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """Git hears nothing and goes on; the person reads why."""
    knows(daemon)
    feed("protocol=https\nhost=evil.example\n\n")

    assert main(["git-credential", "get"]) == 0

    assert capsys.readouterr() == ("", "keyfob: No account belongs to evil.example; git goes on without.\n")


@pytest.mark.parametrize("chosen", ["home", "grace"])
def test_several_accounts(daemon: ScriptedDaemon, feed: Feed, chosen: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They are listed with how to choose, and nobody is guessed; the user name chooses by account or by person."""
    work, home = account(identity={"label": "ada"}), account("home", identity={"label": "grace"})
    knows(daemon, work, home, account("begun", state="pending"))
    feed(ASKED)

    assert main(["git-credential", "get"]) == 1

    said = (
        "keyfob: Several accounts belong to git.example.org: work (ada), home (grace). Choose one: git config --global "
    )
    assert capsys.readouterr() == ("", f"{said}credential.https://git.example.org.username work\n")
    feed(f"username={chosen}\n{ASKED}")
    assert main(["git-credential", "get"]) == 0
    assert daemon.lines()[-1] == "GET /v1/accounts/home/token"


def test_two_instances_of_one_host(daemon: ScriptedDaemon, feed: Feed) -> None:
    """Where git tells the path (credential.useHttpPath), it tells the instances of a host apart."""
    knows(daemon, account("a", provider="a"), account("b", provider="b"))
    providers = [{**PROVIDER, "name": name, "base_url": f"https://git.example.org/{name}"} for name in ("a", "b")]
    daemon.forget("GET /v1/providers")
    daemon.answers("GET /v1/providers", {"providers": providers})

    feed(f"path=b/org/repo.git\n{ASKED}")
    assert main(["git-credential", "get"]) == 0
    assert daemon.lines()[-1] == "GET /v1/accounts/b/token"
    feed(f"path=c/org/repo.git\n{ASKED}")
    assert main(["git-credential", "get"]) == 0
    assert daemon.lines()[-1] == "GET /v1/providers"


def test_named_account(daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """--account chooses among those of the host; the token goes to no other host unless the person names it."""
    knows(daemon, account(), account("home"))
    feed(ASKED)
    assert main(["git-credential", "--account", "home", "get"]) == 0
    assert capsys.readouterr().out == "username=oauth2\npassword=tok-1\n"

    elsewhere = ASKED.replace("git.example.org", "code.example.net")
    feed(elsewhere)
    assert main(["git-credential", "--account", "home", "get"]) == 1
    told = capsys.readouterr()
    assert (told.out, "keyfob git-credential --account home --host code.example.net" in told.err) == ("", True)

    feed(elsewhere)
    assert main(["git-credential", "--account", "home", "--host", "code.example.net", "get"]) == 0
    assert capsys.readouterr().out == "username=oauth2\npassword=tok-1\n"


def test_an_app_names_both(
    daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app may not list accounts: it is told what to name, and then nothing is asked but the token."""
    monkeypatch.setenv("KEYFOB_APP_KEY", "kf_abc")
    daemon.refuses("GET /v1/accounts", 403, "not_granted", "Only the owner may.")
    daemon.answers("GET /v1/accounts/work/token", TOKEN)
    feed(ASKED)
    assert main(["git-credential", "--account", "work", "get"]) == 4
    assert "--account NAME --host HOST - KEYFOB_APP_KEY is set" in capsys.readouterr().err

    feed(ASKED)
    assert main(["git-credential", "--account", "work", "--host", "git.example.org", "get"]) == 0
    assert daemon.lines()[1:] == ["GET /v1/accounts/work/token"]


def test_clear_text(daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """No token goes over a network without TLS, whoever named the host."""
    knows(daemon)
    for argv in ([], ["--account", "work", "--host", "git.example.org"]):
        feed(ASKED.replace("https", "http"))
        assert main(["git-credential", *argv, "get"]) == 1
        told = capsys.readouterr()
        assert (told.out, "in the clear" in told.err) == ("", True)
    assert [line for line in daemon.lines() if "token" in line] == []


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(409, "login_needed", 3), (403, "not_granted", 4), (503, "provider_unavailable", 5), (423, "locked", 7)],
)
def test_no_token(
    daemon: ScriptedDaemon, feed: Feed, status: int, code: str, exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Git is told to stop instead of asking for a password, and the person reads one line."""
    knows(daemon)
    daemon.forget("GET /v1/accounts/work/token")
    daemon.refuses("GET /v1/accounts/work/token", status, code, "Not now.", login_url="http://127.0.0.1:1/login/x")
    feed(ASKED)

    assert main(["git-credential", "get"]) == exit_code

    told = capsys.readouterr()
    assert told.out == "quit=1\n"
    assert (len(told.err.splitlines()), told.err.startswith("keyfob: Not now.")) == (1, True)


def test_daemon_down(feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 6, one line, and nothing for git: whether the host is an account's, nobody knows."""
    feed(ASKED)

    assert main(["git-credential", "get"]) == 6

    told = capsys.readouterr()
    assert (told.out, len(told.err.splitlines())) == ("", 1)


@pytest.mark.parametrize("secret", ["password=tok-1", "credential=tok-1\nauthtype=Bearer"])
def test_erase(daemon: ScriptedDaemon, feed: Feed, secret: str) -> None:
    """What the server refused is reported for the accounts of that host; the daemon knows whose it was."""
    knows(daemon, account(), account("elsewhere", provider="other"))
    daemon.answers_raw(REJECTED, b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
    feed(f"username=x-token-auth\n{secret}\n{ASKED}")

    assert main(["git-credential", "erase"]) == 0

    assert daemon.lines()[2:] == [REJECTED]
    assert daemon.requests[-1].body == {"access_token": "tok-1"}


def test_erase_among_several(daemon: ScriptedDaemon, feed: Feed) -> None:
    """One account that cannot be renewed does not keep the others from hearing of it; it is said in the end."""
    knows(daemon, account("old"), account())
    daemon.refuses("POST /v1/accounts/old/token/rejected", 409, "login_needed", "Log in: keyfob login old")
    daemon.answers_raw(REJECTED, b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
    feed(f"password=tok-1\n{ASKED}")

    assert main(["git-credential", "erase"]) == 3

    assert daemon.lines()[-1] == REJECTED


def test_erase_of_an_app(daemon: ScriptedDaemon, feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """With account and host named nothing else is asked; that a renewed token was refused, too, is said."""
    daemon.refuses(REJECTED, 429, "too_many_requests", "Look at its scope.")
    feed(f"password=tok-1\n{ASKED}")

    assert main(["git-credential", "--account", "work", "--host", "git.example.org", "erase"]) == 5

    assert daemon.lines() == [REJECTED]
    assert capsys.readouterr().err == "keyfob: Look at its scope.\n"


@pytest.mark.parametrize(
    ("action", "text"),
    [("store", f"password=tok-1\n{ASKED}"), ("erase", ASKED), ("get", "protocol=smtp\nhost=m\n\n"), ("later", ASKED)],
)
def test_nothing_to_do(
    daemon: ScriptedDaemon, feed: Feed, action: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is kept, an erase without a secret means nothing here, and actions of a later git are ignored."""
    feed(text)

    assert main(["git-credential", action]) == 0

    assert (daemon.lines(), capsys.readouterr()) == ([], ("", ""))


def test_capability(capsys: pytest.CaptureFixture[str]) -> None:
    """What git 2.46 asks before anything else."""
    assert main(["git-credential", "capability"]) == 0

    assert capsys.readouterr() == ("version 0\ncapability authtype\n", "")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--host", "h", "get"],
        ["--account", "a", "--host", "https://h", "get"],
        ["--account", "a", "--host", "h/", "get"],
        ["get", "--acount", "x"],
    ],
)
def test_usage(argv: list[str], feed: Feed) -> None:
    """What cannot be meant is a usage error."""
    feed(ASKED)

    assert main(["git-credential", *argv]) == 2


def test_carriage_return(feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    """A CR inside a value is refused as it came: nothing on the way takes it for the end of a line."""
    feed("protocol=https\nhost=git.example.org\rhost=evil.example\n\n")

    assert main(["git-credential", "get"]) == 2

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("action", ["get", "erase", "store"])
def test_too_much(feed: Feed, action: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A request that goes on and on is refused as a whole: its beginning alone could mean something else."""
    feed(f"path={'a' * (1 << 16)}\n{ASKED}")

    assert main(["git-credential", action]) == 2

    assert capsys.readouterr().out == ""


def test_start_is_light(daemon: ScriptedDaemon) -> None:
    """It imports nothing dear and nothing of the daemon."""
    knows(daemon)
    code = (
        "import sys; before = set(sys.modules); from broker.cli import main; code = main(['git-credential', 'get'])\n"
        "print(*sorted(set(sys.modules) - before), file=sys.stderr); sys.exit(code)"
    )

    done = subprocess.run(
        [sys.executable, "-S", "-c", code], input=ASKED, capture_output=True, text=True, check=True, cwd=ROOT
    )

    imported = set(done.stderr.split())
    assert imported & TOO_DEAR == set()
    assert {name for name in imported if name.startswith("broker.") and not name.startswith("broker.cli.")} == {
        "broker.cli",
        "broker.client",
        "broker.client_errors",
        "broker.client_places",
        "broker.client_wire",
        "broker.integrations",
        "broker.integrations.git",
        "broker.integrations.places",
        "broker.integrations.text",
        "broker.integrations.whose",
    }
