"""The libraries of two clouds, which know nothing of Keyfob: they go on when a token ends, and say what helps.

The programs under ``programs`` run with an interpreter of their own, in which Keyfob is not installed.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.clients.program import Program
from tests.e2e.home import until
from tests.web.facade import Facade
from tests.web.house import running

# Seconds that a token lives: the walk waits for the end of one.
TTL = 5
API = "https://management.example.org/.default"
WAYS = ["App Service", "IMDS", "Default", "metadata", "external account"]
# What each library calls it when it has no token.
NO_TOKEN = {
    "App Service": "azure.identity._exceptions.CredentialUnavailableError",
    "IMDS": "azure.identity._exceptions.CredentialUnavailableError",
    "Default": "azure.core.exceptions.ClientAuthenticationError",
    "metadata": "google.auth.exceptions.RefreshError",
    "external account": "google.auth.exceptions.OAuthError",
}


class Walk(Facade):
    """A daemon by the real clock, as the libraries go by, and a program that asks there."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self.place = place

    def clock(self) -> float:
        """Tell the time."""
        return time.time()

    def key_for(self, way: str, *grants: str | dict[str, str]) -> str:
        """Make the app ``job``, with a key of the kind that goes that way."""
        return self.app("job", *grants, capability=way in ("IMDS", "metadata"))

    def program(self, way: str, key: str, **more: str) -> Program:
        """Run a program that finds its cloud as one does that is deployed there."""
        url, api = self.house.app_url, f"{self.practice.url}/userinfo"
        there = url.removeprefix("http://")
        environ = {
            "App Service": {"IDENTITY_ENDPOINT": f"{url}/azure/token", "IDENTITY_HEADER": key},
            "IMDS": {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"{url}/imds/{key}"},
            "Default": {"IDENTITY_ENDPOINT": f"{url}/azure/token", "IDENTITY_HEADER": key},
            "metadata": dict.fromkeys(("GCE_METADATA_HOST", "GCE_METADATA_IP"), f"{there}/google/{key}"),
            "external account": {"CLIENT_SECRET": key},
        }[way]
        environ |= {"HOME": str(self.place), "NO_GCE_CHECK": "false"} | more
        if way == "metadata":
            return Program("google_metadata", api, environ=environ)
        if way == "external account":
            return Program("google_auth", url, api, environ=environ)
        kind = "DefaultAzureCredential" if way == "Default" else "ManagedIdentityCredential"
        return Program("azure_identity", kind, API, api, environ=environ)

    def no_token_is_left(self, token: str) -> None:
        """Wait until the provider takes a token no more, and the daemon has none."""
        until("the token ends", lambda: self.practice.worth(token) is None)
        owner = self.house.owner.http
        until("no token is left", lambda: owner.get("/v1/accounts/work/token").status_code in (409, 503))


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    """Run a daemon with an account whose tokens live for seconds."""
    found = Walk(tmp_path)
    settings = PracticeSettings(ttl=TTL, auto_approve=True)
    # Until their own clock ends a token that nobody takes, some ask again and again, as fast as Keyfob refuses.
    with practice_in_thread(settings) as found.practice, running(tmp_path, app_rate="0") as found.house:
        found.house.log_in("work", found.practice.url)
        yield found


@pytest.mark.parametrize("way", WAYS)
def test_an_expiry_in_the_middle_and_a_login_that_is_needed(walk: Walk, way: str) -> None:
    """A program outlives its token; and when the login has ended, its own exception holds the command and the page."""
    program = walk.program(way, walk.key_for(way, "work"))
    try:
        first = program.asks()
        assert first.get("status") == 200, first
        until("the token ends", lambda: walk.practice.worth(first["token"]) is None)

        second = program.asks()

        assert second.get("status") == 200, second
        assert second["token"] != first["token"]
        walk.practice.revoke_grants()
        walk.no_token_is_left(second["token"])
        words = program.ends(2 * TTL)
    finally:
        program.close()
    assert f"keyfob login work - or in a browser: {walk.house.browser_url}/login/" in words


@pytest.mark.parametrize("way", WAYS)
def test_what_is_refused(walk: Walk, way: str) -> None:
    """What was not granted, a key that was replaced, and Keyfob locked: each is said in the library's own exception."""
    program = walk.program(way, walk.key_for(way, {"account": "work", "mode": "proxy"}))
    try:
        refused = program.asks()
        assert refused["error"] == NO_TOKEN[way], refused
        code = refused["words"].partition("keyfob approve ")[2][:9]
        walk.house.owner.ask("POST", "/v1/approvals/{id}", 200, path={"id": code}, json={"decision": "allow"})
        token = program.asks()["token"]

        walk.house.owner.ask("POST", "/v1/lock", 200, json={})
        until("the token ends", lambda: walk.practice.worth(token) is None)
        assert "Keyfob is locked" in program.ends(2 * TTL)
        walk.house.owner.ask("POST", "/v1/unlock", 200, json={})
        assert program.asks()["status"] == 200

        token = program.asks()["token"]
        walk.house.owner.ask("POST", "/v1/apps/{app}/rotate", 200, path={"app": "job"}, json={})
        until("the token ends", lambda: walk.practice.worth(token) is None)
        assert "This app key is not known, was replaced, or has expired." in program.ends(2 * TTL)
    finally:
        program.close()


@pytest.mark.parametrize("way", ["App Service", "IMDS"])
def test_an_outage_is_no_hang(walk: Walk, way: str) -> None:
    """Azure's libraries try for minutes after some statuses; whoever waits here hears at once what it is."""
    program = walk.program(way, walk.key_for(way, "work"))
    try:
        token = program.asks()["token"]
        walk.practice.set_faults(["refresh:status=503"])
        walk.no_token_is_left(token)
        began = time.monotonic()
        assert "the login is kept" in program.ends(2 * TTL)
        assert time.monotonic() - began < 2 * TTL
    finally:
        program.close()


def test_one_account_of_several(walk: Walk) -> None:
    """An identity is chosen as in Azure, with its library's own variable."""
    walk.house.log_in("home", walk.practice.url)
    key = walk.key_for("Default", "work", "home")
    for environ, expected in (({}, "AZURE_CLIENT_ID"), ({"AZURE_CLIENT_ID": "home"}, "")):
        program = walk.program("Default", key, **environ)
        try:
            said = program.asks()
        finally:
            program.close()
        assert expected in said["words"] if expected else said["status"] == 200


def test_a_metadata_server_that_is_not_found(walk: Walk) -> None:
    """With a wrong key in the address there is no metadata server, as far as google-auth can tell."""
    walk.key_for("metadata", "work")
    program = walk.program("metadata", "wrong")
    try:
        assert program.asks()["error"] == "google.auth.exceptions.DefaultCredentialsError"
    finally:
        program.close()
