"""Who is logged in, where there is no ID token (security.md R29, funkwhale.md)."""

import asyncio
from dataclasses import replace

import pytest

from broker.core.account import Identity
from broker.core.secret import Secret
from broker.errors import ProviderUnavailable
from broker.oauth import identity
from broker.providers.model import Provider
from broker.providers.rules import Endpoints, IdentityRules
from tests.oauth.loopback import CLIENT, Loopback, headers_of, http

RULES = IdentityRules(url="", subject="id", label=("display.name", "username"))


def who(server: Loopback, rules: IdentityRules = RULES) -> Identity | None:
    """Ask the server."""
    rules = replace(rules, url=server.url + "/users/me/")
    provider = Provider(name="p", title="P", preset="x", base_url="https://pod.example", identity=rules)
    return asyncio.run(identity.who(CLIENT, provider, access_token=Secret("at")))


def test_only_subject_and_label_are_kept(server: Loopback) -> None:
    """The reply may hold other tokens: nothing else of it comes out."""
    server.default = http("200 OK", {"id": 42, "username": "ann", "tokens": {"listen": "marker"}})
    assert who(server) == Identity("https://pod.example", "42", "ann")
    assert headers_of(server.head())["authorization"] == "Bearer at"


def test_dots_step_into_objects_and_the_first_label_that_says_something_wins(server: Loopback) -> None:
    """Fields may be nested; empty ones are passed over; what is shown is cleaned."""
    server.default = http("200 OK", {"id": "1", "display": {"name": " Ann\x1b\u202e B "}, "username": "ann"})
    assert (who(server) or Identity("", "", "")).label == "Ann B"
    server.default = http("200 OK", {"id": "1", "display": {"name": ""}, "username": 7})
    assert (who(server) or Identity("", "", "")).label == "7"
    server.default = http("200 OK", {"id": "1", "display": []})
    assert (who(server) or Identity("", "", "")).label == "1"


def test_userinfo_is_asked_where_the_preset_names_nothing(server: Loopback) -> None:
    """The standard place is the default."""
    server.default = http("200 OK", {"sub": "s", "preferred_username": "ann"})
    provider = Provider(
        name="p", title="P", preset="x", issuer="https://as.example", endpoints=Endpoints(userinfo=server.url + "/me")
    )
    told = asyncio.run(identity.who(CLIENT, provider, access_token=Secret("at")))
    assert told == Identity("https://as.example", "s", "ann")


def test_a_provider_without_such_a_place_is_not_asked() -> None:
    """No identity is an answer too."""
    assert asyncio.run(identity.who(CLIENT, Provider("p", "P", "x"), access_token=Secret("at"))) is None


@pytest.mark.parametrize("subject", [None, "", True, 1.5, [], {"a": 1}, "x" * 256, "a\nb", "a\u202eb"])
def test_without_a_usable_subject_there_is_no_identity(server: Loopback, subject: object) -> None:
    """A person is never guessed at."""
    server.default = http("200 OK", {"id": subject, "username": "ann"})
    assert who(server) is None


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_token_that_is_not_accepted_is_told_from_an_outage(server: Loopback, status: str) -> None:
    """A refused token is the token's fault."""
    server.default = http(status, {})
    with pytest.raises(identity.IdentityRefused, match=status[:3]):
        who(server)


@pytest.mark.parametrize(
    "answer",
    [b"", http("500 Oops"), http("302 Found"), http("200 OK", "<html>"), http("200 OK", []), http("204 No Content")],
)
def test_anything_else_is_an_outage(server: Loopback, answer: bytes) -> None:
    """No proper answer says nothing about the token."""
    server.default = answer
    with pytest.raises(ProviderUnavailable, match="did not tell who"):
        who(server)


def test_a_throttle_says_how_long(server: Loopback) -> None:
    """The wait is passed on."""
    server.default = http("429 Too Many Requests", {}, Retry_After="12")
    with pytest.raises(ProviderUnavailable) as caught:
        who(server)
    assert caught.value.extra["retry_after"] == 12.0
