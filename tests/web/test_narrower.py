"""Narrower tokens through the API: what is asked, what the answer says, and what is refused."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from broker.practice.server import PracticeServer
from tests.loopback import NO_TLS
from tests.web.house import Door, House, running

TOKEN = "/v1/accounts/{account}/token"
API = "https://api.example.org/"
PRESETS = Path(__file__).parents[2] / "broker/providers/presets"
EXCHANGE = '    "urn:ietf:params:oauth:grant-type:token-exchange",\n'


@pytest.fixture(autouse=True)
def without_exchange(tmp_path: Path) -> None:
    """Put a preset of our own beside the practice provider's: the same, and it announces no token exchange."""
    text = (PRESETS / "practice.toml").read_text(encoding="utf-8")
    assert text.count(EXCHANGE) == 1
    own = tmp_path / ".config/keyfob/presets"
    own.mkdir(parents=True)
    for directory in (own, own.parent, own.parent.parent):
        directory.chmod(0o700)
    (own / "plain.toml").write_text(text.replace(EXCHANGE, ""), encoding="utf-8")
    (own / "plain.toml").chmod(0o600)


def logged_in(house: House, practice: PracticeServer, **refresh: bool) -> None:
    """Configure a provider with such a refresh, and log in there with three scopes."""
    body = {"name": "slim", "preset": "plain", "base_url": practice.url, "refresh": refresh}
    found = house.owner.ask("POST", "/v1/providers", 201, json=body)
    assert (found["narrower_tokens"], found["other_resources"]) == (
        bool(refresh.get("narrows")),
        bool(refresh.get("other_resources")),
    )
    login = {"account": "me", "provider": "slim", "scope": ["openid", "read", "write"]}
    begun = house.owner.ask("POST", "/v1/logins", 201, json=login)
    follow(begun["start_url"])
    ended = house.owner.ask("GET", "/v1/logins/{id}", 200, path={"id": begun["id"]}, params={"wait": 10})
    assert (ended["state"], ended["granted_scope"], ended["missing_scope"]) == ("done", "openid read write", "")


def follow(url: str) -> None:
    """Walk a login as a browser does."""
    with httpx2.Client(follow_redirects=True, trust_env=False, verify=NO_TLS, timeout=10) as browser:
        browser.get(url)


def token(door: Door, status: int = 200, **params: str) -> Any:  # noqa: ANN401 -- whatever the answer holds
    """Ask for a token."""
    return door.ask("GET", TOKEN, status, path={"account": "me"}, params=params)


def test_the_owner_and_an_app_ask_for_less(tmp_path: Path, practice: PracticeServer) -> None:
    """The answer says what the token carries and what it is for; each such token is got once."""
    with running(tmp_path) as house:
        logged_in(house, practice, narrows=True, other_resources=True)
        before = len(practice.log.all("refresh"))
        narrow = token(house.owner, scope="read")
        other = token(house.owner, scope="read,write", resource=API)
        assert (narrow["scope"], narrow["resource"]) == ("read", None)
        assert (set(other["scope"].split()), other["resource"]) == ({"read", "write"}, API)
        grants = [{"account": "me", "scope": ["read"]}]
        key = house.owner.ask("POST", "/v1/apps", 201, json={"name": "job", "grants": grants})["key"]
        app = house.app(key)
        with app.http:
            assert token(app)["access_token"] == narrow["access_token"]
            assert "was not granted the scope 'write'" in token(app, 403, scope="write")["detail"]
            assert "no resource but the account's own" in token(app, 403, resource=API)["detail"]
        assert len(practice.log.all("refresh")) == before + 2
        whole = token(house.owner)
        assert set(whole["scope"].split()) == {"openid", "read", "write"}
        rejected = f"{TOKEN}/rejected"
        body = {"access_token": narrow["access_token"], "scope": ["read"]}
        assert house.owner.ask("POST", rejected, 429, path={"account": "me"}, json=body)["retry_after"] == 30
        stale = {"access_token": "an-older-one", "scope": ["read"]}
        answer = house.owner.ask("POST", rejected, 200, path={"account": "me"}, json=stale)
        assert answer["access_token"] == narrow["access_token"]


def test_where_less_cannot_be_had(tmp_path: Path, practice: PracticeServer) -> None:
    """The owner gets the whole token; an app that was granted less is refused with what would help."""
    with running(tmp_path) as house:
        logged_in(house, practice)
        assert set(token(house.owner, scope="read")["scope"].split()) == {"openid", "read", "write"}
        assert "--resource" in token(house.owner, 403, resource=API)["detail"]
        assert "keyfob login me --scope email" in token(house.owner, 403, scope="email")["detail"]
        grants = [{"account": "me", "scope": ["read"]}]
        key = house.owner.ask("POST", "/v1/apps", 201, json={"name": "job", "grants": grants})["key"]
        app = house.app(key)
        with app.http:
            refused = token(app, 403)
        assert refused["code"] == "not_granted"
        assert "gives no token with less scope beside the account's own" in refused["detail"]
        assert "keyfob login NAME --provider slim --scope read" in refused["detail"]


def test_an_audience(tmp_path: Path, practice: PracticeServer) -> None:
    """The answer names it, each is got once, and a report of a refused one is answered by another for the same."""
    with running(tmp_path) as house:
        house.log_in("me", practice.url)
        before = len(practice.log.all("token_exchange"))
        first = token(house.owner, audience="billing")
        assert (first["audience"], first["resource"]) == ("billing", None)
        assert token(house.owner, audience="billing")["access_token"] == first["access_token"]
        assert token(house.owner)["audience"] is None
        worth = practice.worth(first["access_token"])
        assert worth is not None
        assert worth.audience == "billing"
        body = {"access_token": "an-older-one", "audience": "billing"}
        again = house.owner.ask("POST", f"{TOKEN}/rejected", 200, path={"account": "me"}, json=body)
        assert again["access_token"] == first["access_token"]
        assert len(practice.log.all("token_exchange")) == before + 1


def test_no_audience_without_exchange(tmp_path: Path, practice: PracticeServer) -> None:
    """Where the provider announces no exchange nobody is asked, and the refusal says what would help."""
    with running(tmp_path) as house:
        logged_in(house, practice, narrows=True, other_resources=True)
        before = len(practice.log.all())
        detail = token(house.owner, 403, audience="billing")["detail"]
        assert "is not for audience 'billing', and Practice server" in detail
        assert "gives no token for an audience" in detail
        assert "token exchange (RFC 8693)" in detail
        assert len(practice.log.all()) == before


@pytest.mark.parametrize(
    "params",
    [
        {"scope": 'a"b'},
        {"scope": "a\\b"},
        {"resource": "api"},
        {"resource": f"{API}#part"},
        {"audience": "a\nb"},
        {"audience": " billing"},
        {"audience": "\u00fcber"},
        {"audience": "a" * 2049},
    ],
)
def test_what_cannot_be_a_scope_or_a_resource_or_a_name(tmp_path: Path, params: dict[str, str]) -> None:
    """It is refused before anybody is asked (RFC 6749 3.3, RFC 8707 2)."""
    with running(tmp_path) as house:
        assert token(house.owner, 400, **params)["code"] == "invalid_request"
