"""A device login with the real command, daemon and provider as processes: the person is somewhere else."""

import re
import signal
from collections.abc import Iterator

import httpx2
import pytest

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.e2e.home import Home, Running, until

SAID = r"open (\S+) and type the code ([A-Z]{4}-[A-Z]{4})"
SCOPES = ["openid", "profile", "offline_access"]
# The practice provider may be asked every second here, so that no test waits for five.
EVERY_SECOND = 'device_authorization:json={"interval": 1}'


@pytest.fixture
def provider() -> Iterator[PracticeServer]:
    """Run a provider that lets devices ask often, and asks the person."""
    with practice_in_thread(PracticeSettings(faults=(EVERY_SECOND,))) as server:
        yield server


def begin(home: Home, provider: PracticeServer, *words: str, **environ: str) -> Running:
    """Begin a login and name no flow unless told to."""
    return home.begin("login", "me", "--provider", "practice", "--base-url", provider.url, *words, **environ)


def decide(waiting: Running, decision: str) -> None:
    """Go where the command says, type the code that it shows, and decide."""
    where, code = shown(waiting)
    assert "Keyfob asks for access" in httpx2.get(where, params={"user_code": code}).text
    assert answer(where, code, decision).status_code == 200


def shown(waiting: Running) -> tuple[str, str]:
    """Return the address and the code that a waiting command shows."""
    found = re.search(SAID, waiting.says(SAID))
    assert found is not None
    return found[1], found[2]


def answer(where: str, code: str, decision: str) -> httpx2.Response:
    """Decide on the provider's page."""
    form = {"ticket": code, "user": "grace", "scope": SCOPES, "decision": decision}
    return httpx2.post(where, data=form)


def test_the_person_allows_it_elsewhere(home: Home, provider: PracticeServer) -> None:
    """Over SSH nobody has to name the flow: a code is shown, and once it was allowed the account hands out tokens."""
    home.serve()
    port = home.run("status", "--json").json()["doors"]["browser"].rpartition(":")[2]
    waiting = begin(home, provider, SSH_CONNECTION="192.0.2.1 50000 192.0.2.2 22")
    decide(waiting, "allow")

    done = waiting.end()
    assert (done.code, done.out) == (0, ""), done
    assert "Logged in as grace: account 'me'." in done.err
    assert f"ssh -L {port}:127.0.0.1:{port} " in done.err
    token = home.token("me")
    assert httpx2.get(f"{provider.url}/userinfo", headers={"Authorization": f"Bearer {token}"}).is_success


def test_the_person_refuses(home: Home, provider: PracticeServer) -> None:
    """The no ends the command with 1 and its reason; nothing is kept."""
    home.serve()
    waiting = begin(home, provider, "--flow", "device")
    decide(waiting, "deny")

    done = waiting.end()
    assert (done.code, done.out) == (1, "")
    assert "access was refused there" in done.err
    assert "Try again: keyfob login me --provider practice" in done.err
    assert home.run("accounts", "--json").json() == {"accounts": []}


def test_the_code_expires(home: Home, provider: PracticeServer) -> None:
    """Nobody comes, and the code runs out: the command says so by itself."""
    provider.set_faults(['device_authorization:json={"interval": 1, "expires_in": 2}'])
    home.serve()

    done = begin(home, provider, "--flow", "device").end()

    assert done.code == 1
    assert "the code expired" in done.err


def test_the_daemon_dies_and_comes_back(home: Home, provider: PracticeServer) -> None:
    """The code stays good: the daemon that comes next goes on asking, and the login ends well."""
    daemon = home.serve()
    waiting = begin(home, provider, "--flow", "device")
    where, code = shown(waiting)
    daemon.kill()
    waiting.end(signal.SIGKILL)  # it has lost its daemon; what it began lives there
    assert answer(where, code, "allow").status_code == 200

    home.serve()
    with home.door() as door:

        def there() -> bool:
            return bool(door.get("/v1/accounts/me").json().get("state") == "active")

        until("the account is there", there)
    assert home.token("me")


def test_ctrl_c_gives_the_code_up(home: Home, provider: PracticeServer) -> None:
    """Whoever changes their mind is not logged in by a code that is entered afterwards."""
    home.serve()
    waiting = begin(home, provider, "--flow", "device")
    where, code = shown(waiting)

    done = waiting.end(signal.SIGINT)

    assert done.code == 130
    assert "nothing was kept" in done.err
    asked = len(provider.log.all("device_code"))
    answer(where, code, "allow")
    assert home.run("accounts", "--json").json() == {"accounts": []}
    assert len(provider.log.all("device_code")) == asked


def test_a_page_for_whoever_opens_the_start_address(home: Home, provider: PracticeServer) -> None:
    """The browser port shows code and link, sends nobody anywhere, and belongs to the browser that came first."""
    home.serve()
    with home.door() as door:
        body = {"provider": "practice", "base_url": provider.url, "account": "me", "flow": "device"}
        begun = door.post("/v1/logins", json=body).json()
    with httpx2.Client() as first, httpx2.Client() as second:
        page = first.get(begun["start_url"])
        assert page.status_code == 200
        assert begun["user_code"] in page.text
        assert begun["verification_uri"] in page.text
        assert first.get(begun["start_url"]).status_code == 200
        assert second.get(begun["start_url"]).status_code == 403


def test_a_flow_that_is_not_there(home: Home, provider: PracticeServer) -> None:
    """The error names what the provider does offer."""
    home.serve()
    home.run("provider", "add", "pages", "--issuer", provider.url, "--client-id", "keyfob")
    with home.door() as door:
        flows = door.get("/v1/providers/pages").json()["flows"]
    assert flows == [
        "browser",
        "paste",
        "device",
        "client-credentials",
        "jwt-bearer",
        "token-exchange",
        "refresh-token",
    ]
    endpoints = ("--authorization-endpoint", f"{provider.url}/authorize", "--token-endpoint", f"{provider.url}/token")
    home.run("provider", "add", "plain", *endpoints, "--client-id", "keyfob")

    done = home.run("login", "--provider", "plain", "--flow", "device")

    assert done.code == 2
    assert "offers no login by device" in done.err
    assert "--flow browser, --flow paste" in done.err
