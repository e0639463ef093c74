"""OAuth libraries that know nothing of Keyfob, at its token endpoint: they go on when a token ends, and say what helps.

The programs under ``programs`` run with an interpreter of their own, in which Keyfob is not installed.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.clients.program import Program
from tests.e2e.home import until
from tests.web.facade import Facade
from tests.web.house import running as daemon

# Seconds that a token lives: the walk waits for the end of one.
TTL = 5
LIBRARIES = ["authlib", "requests_oauthlib", "google_auth"]


@pytest.fixture
def facade(tmp_path: Path) -> Iterator[Facade]:
    """Run a daemon by the real clock, as the libraries do, with an account whose tokens live for seconds."""
    found = Facade()
    settings = PracticeSettings(ttl=TTL, auto_approve=True)
    # google-auth asks again and again while its own clock gives the token some time more, as fast as Keyfob refuses.
    with practice_in_thread(settings) as found.practice, daemon(tmp_path, app_rate="0") as found.house:
        found.house.log_in("work", found.practice.url)
        yield found


def program(facade: Facade, library: str, method: str, key: str, query: str = "") -> Program:
    """Run one that proves itself with a key; ``query`` is added to the endpoint's address."""
    environ = {
        "CLIENT_ID": "job",
        "CLIENT_SECRET": key,
        "AUTH_METHOD": method,
        "QUERY": query,
        "OAUTHLIB_INSECURE_TRANSPORT": "1",  # oauthlib wants that said where an endpoint has no TLS
    }
    return Program(library, facade.house.app_url, f"{facade.practice.url}/userinfo", environ=environ)


@pytest.mark.parametrize(
    ("library", "method"),
    [
        *((library, method) for library in LIBRARIES[:2] for method in ("client_secret_basic", "client_secret_post")),
        ("google_auth", "token exchange"),
    ],
)
def test_an_expiry_in_the_middle(facade: Facade, library: str, method: str) -> None:
    """A program that runs for longer than its token goes on with the next one, and the API takes both."""
    running = program(facade, library, method, facade.app("job", "work"))
    try:
        first = running.asks()
        assert (first["status"], first["expires_in"] <= TTL) == (200, True), first
        until("the token ends", lambda: facade.practice.worth(first["token"]) is None)

        second = running.asks()

        assert second["status"] == 200, second
        assert second["token"] != first["token"]
    finally:
        running.close()


@pytest.mark.parametrize("library", LIBRARIES[:2])
def test_one_account_of_several(facade: Facade, library: str) -> None:
    """The account in the endpoint's address is still known when the library fetches the next token by itself."""
    facade.house.log_in("home", facade.practice.url)
    key = facade.app("job", "work", "home")
    without = program(facade, library, "client_secret_basic", key)
    try:
        assert "Choose one: send account=NAME" in without.asks()["words"]
    finally:
        without.close()
    running = program(facade, library, "client_secret_basic", key, "?account=home")
    try:
        first = running.asks()
        until("the token ends", lambda: facade.practice.worth(first["token"]) is None)
        assert running.asks()["status"] == 200
    finally:
        running.close()


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_login_that_is_needed(facade: Facade, library: str) -> None:
    """Whoever reads the library's own exception knows what to do: the command is in it, and the page."""
    running = program(facade, library, "client_secret_basic", facade.app("job", "work"))
    try:
        token = running.asks()["token"]
        facade.practice.revoke_grants()
        until("the token ends", lambda: facade.practice.worth(token) is None)
        owner = facade.house.owner.http
        until("no token is left", lambda: owner.get("/v1/accounts/work/token").status_code == 409)

        words = running.ends(2 * TTL)
    finally:
        running.close()

    assert words.startswith(("invalid_grant: ", "(invalid_grant) ", "('Error code invalid_grant: ")), words
    assert f"keyfob login work - or in a browser: {facade.house.browser_url}/login/" in words


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_was_not_granted(facade: Facade, library: str) -> None:
    """The question to the owner reaches whoever reads the exception, and after the yes the same program goes on."""
    key = facade.app("job", {"account": "work", "mode": "proxy"})
    running = program(facade, library, "client_secret_basic", key)
    try:
        refused = running.asks()
        assert "unauthorized_client" in refused["words"], refused
        code = refused["words"].rpartition("/")[2]
        facade.house.owner.ask("POST", "/v1/approvals/{id}", 200, path={"id": code}, json={"decision": "allow"})

        assert running.asks()["status"] == 200
    finally:
        running.close()
