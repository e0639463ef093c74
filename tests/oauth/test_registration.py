"""Keyfob registers itself (funkwhale.md; security.md R39)."""

import asyncio
import json
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest

from broker.core.login import Registered
from broker.core.secret import Secret
from broker.errors import InvalidRequest, KeyfobError, LoginFailed, ProviderUnavailable
from broker.oauth import registered
from broker.oauth.http import Reply
from broker.oauth.registration import metadata, register
from broker.providers.catalog import resolve
from broker.providers.model import Provider, ProviderConfig
from broker.providers.rules import Endpoints, Registration, RevocationRules
from tests.oauth.loopback import CLIENT, Loopback, headers_of, http

URIS = ("http://127.0.0.1/callback/pod", "urn:ietf:wg:oauth:2.0:oob")
MADE = {"client_id": "c" * 40, "client_secret": "s", "redirect_uris": " ".join(URIS), "scopes": "read write"}


def pod(server: Loopback) -> Provider:
    """Return a Funkwhale pod at the server."""
    return resolve(ProviderConfig("pod", "funkwhale", server.url, {}, {}, private=False, created_at=0.0))


def ask(server: Loopback, provider: Provider | None = None) -> Registered:
    """Register at the server."""
    return asyncio.run(register(CLIENT, provider or pod(server), redirect_uris=URIS, scope=("a", "b")))


def test_the_preset_says_what_is_sent(server: Loopback) -> None:
    """Field names and shapes are the preset's, and no credential goes along."""
    server.default = http("201 Created", MADE)
    assert ask(server) == Registered("c" * 40, Secret("s"), "client_secret_basic", URIS, ("read", "write"))
    assert server.head().startswith("POST /api/v1/oauth/apps/ ")
    assert json.loads(server.form()) == {"name": "Keyfob", "redirect_uris": " ".join(URIS), "scopes": "read write"}
    assert "authorization" not in headers_of(server.head())


def test_a_form_is_sent_where_the_preset_says_so(server: Loopback) -> None:
    """The other body, other names, and a public client."""
    rules = Registration(body="form", fields={"client_name": "{name}", "scope": "{scope}"}, client_id="id")
    server.default = http("200 OK", {"id": "x"})
    assert ask(server, replace(pod(server), registration=rules)) == Registered("x", None, "none", URIS)
    assert parse_qsl(server.form()) == [("client_name", "Keyfob"), ("scope", "a b")]


def test_the_authentication_that_was_registered_is_used(server: Loopback) -> None:
    """What the provider says about its client is applied exactly (R39)."""
    server.default = http("201 Created", {**MADE, "token_endpoint_auth_method": "client_secret_post"})
    assert ask(server).auth_method == "client_secret_post"


@pytest.mark.parametrize(
    ("token", "revocation", "asked"),
    [
        (("client_secret_basic", "none"), (), "none"),
        (("client_secret_basic", "none"), ("client_secret_basic", "none"), "none"),
        (("client_secret_post", "client_secret_basic", "none"), ("client_secret_basic",), "client_secret_post"),
        (("client_secret_post", "client_secret_basic"), (), "client_secret_post"),
        (("client_secret_basic", "client_secret_post"), (), "client_secret_basic"),
        (("none",), ("client_secret_basic",), "none"),
        (("client_secret_basic", "none"), ("private_key_jwt",), "none"),
    ],
)
def test_the_way_to_authenticate_is_one_that_can_also_revoke(
    token: tuple[str, ...], revocation: tuple[str, ...], asked: str
) -> None:
    """The first that can do both, if need be with its secret in another place; where none can, the first.

    ``none`` goes before the others; of these the server's own order counts.
    """
    provider = Provider(
        "p",
        "P",
        "generic",
        endpoints=Endpoints(revocation="https://as.example/revoke"),
        auth_methods=token,
        revocation=RevocationRules(auth_methods=revocation),
    )
    assert metadata(provider, URIS, ())["token_endpoint_auth_method"] == asked


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (http("400 Bad Request", {"error": "invalid_redirect_uri", "error_description": "no"}), LoginFailed, "no."),
        (http("403 Forbidden", "<html>"), LoginFailed, "HTTP 403"),
        (http("302 Found", Location="/login"), LoginFailed, "HTTP 302"),
        (http("429 Too Many Requests", Retry_After="60"), ProviderUnavailable, "no further registration"),
        (http("500 Oops", "<html>", X_RateLimit_Remaining="0"), ProviderUnavailable, "no further registration"),
        (http("500 Oops", "<html>"), ProviderUnavailable, "HTTP 500"),
        (b"", ProviderUnavailable, "could not register"),
        (http("201 Created", "<html>"), ProviderUnavailable, "unusable"),
        (http("201 Created", {}), LoginFailed, "client id"),
        (http("201 Created", {**MADE, "client_id": "a\nb"}), LoginFailed, "client id"),
        (http("201 Created", {**MADE, "client_secret": 5}), LoginFailed, "secret"),
        (http("201 Created", {**MADE, "redirect_uris": URIS[0]}), LoginFailed, "redirect URIs"),
        (http("201 Created", {**MADE, "redirect_uris": ["https://evil.example"]}), LoginFailed, "redirect URIs"),
    ],
)
def test_what_is_no_registration_says_what_to_do(
    server: Loopback, answer: bytes, error: type[KeyfobError], said: str
) -> None:
    """Refusals, throttles, outages and wrong answers are told apart, each with the next step."""
    server.default = answer
    with pytest.raises(error, match=said) as caught:
        ask(server)
    assert caught.value.hint


def test_a_provider_without_rules_is_not_asked(server: Loopback) -> None:
    """Where no program can register, a person has to."""
    with pytest.raises(InvalidRequest, match="does not let programs") as caught:
        ask(server, replace(pod(server), registration=None, register_url="https://pod.example/apps"))
    assert "https://pod.example/apps" in caught.value.hint
    assert not server.requests


def test_a_port_that_goes_without_saying_is_the_same_server() -> None:
    """An origin is scheme, host and port, and 443 is that of https (RFC 6454 4)."""
    there = "https://as.example.org"
    provider = resolve(
        ProviderConfig(
            "theirs",
            "generic",
            "",
            {},
            {"issuer": there, "endpoints": {"registration": f"{there}/register"}},
            private=False,
            created_at=0.0,
        )
    )
    for uri, known in ((f"{there}:443/c-1", True), ("https://AS.example.org/c-1", True), (f"{there}:444/c-1", False)):
        said = {"client_id": "c-1", "registration_access_token": "manage-1", "registration_client_uri": uri}
        answer = Reply(200, {}, json.dumps(said).encode(), 0.0)
        read = registered.read(provider, Registration(kind="rfc7591"), answer, asked={}, redirect_uris=())
        assert (read.client.management is not None) is known
