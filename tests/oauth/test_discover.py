"""Asking an issuer what it is (security.md R21 to R24)."""

import asyncio
from typing import Any

import pytest

from broker.errors import InvalidRequest, ProviderUnavailable
from broker.oauth.discover import discover
from tests.oauth.loopback import CLIENT, Loopback, http

OIDC = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"


def ask(issuer: str) -> dict[str, Any]:
    """Discover an issuer."""
    return asyncio.run(discover(CLIENT, issuer, private=False))


def document(server: Loopback, path: str = "", **fields: object) -> dict[str, Any]:
    """Return metadata of an issuer at the server."""
    issuer = server.url + path
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        **fields,
    }


@pytest.fixture(autouse=True)
def _nothing_elsewhere(server: Loopback) -> None:
    server.default = http("404 Not Found", "<html>")


@pytest.mark.parametrize(
    ("issuer_path", "place"),
    [("", OIDC), ("", OAUTH), ("/realms/a", f"/realms/a{OIDC}"), ("/a", f"{OAUTH}/a"), ("/a", f"/a{OAUTH}")],
)
def test_metadata_is_found_in_every_place_in_use(server: Loopback, issuer_path: str, place: str) -> None:
    """Appended as OpenID Connect does, inserted as RFC 8414 does, and appended all the same (R21)."""
    server.routes = {place: http("200 OK", document(server, issuer_path))}
    found = ask(server.url + issuer_path)
    assert found["issuer"] == server.url + issuer_path
    assert found["endpoints"]["token"] == f"{server.url}{issuer_path}/token"


def test_two_documents_fill_each_others_gaps(server: Loopback) -> None:
    """They may differ: OpenID Connect's word counts, RFC 8414's fills what it leaves open."""
    server.routes = {
        OIDC: http("200 OK", document(server, jwks_uri=f"{server.url}/jwks", scopes_supported=["openid"])),
        OAUTH: http(
            "200 OK",
            document(
                server,
                token_endpoint=f"{server.url}/other",
                revocation_endpoint=f"{server.url}/revoke",
                authorization_response_iss_parameter_supported=True,
            ),
        ),
    }
    found = ask(server.url)
    assert found["endpoints"] == {
        "authorization": f"{server.url}/authorize",
        "token": f"{server.url}/token",
        "jwks": f"{server.url}/jwks",
        "revocation": f"{server.url}/revoke",
    }
    assert found["iss_parameter"] is True
    assert found["scopes"] == ["openid"]


@pytest.mark.parametrize("said", ["https://evil.example", "{url}/", "{url}/x", None, 5])
def test_a_document_of_another_issuer_is_not_used(server: Loopback, said: object) -> None:
    """Byte for byte the configured issuer, or nothing of it counts (R22)."""
    issuer = said.replace("{url}", server.url) if isinstance(said, str) else said
    server.routes = {OIDC: http("200 OK", document(server, issuer=issuer))}
    with pytest.raises(InvalidRequest, match="to the letter"):
        ask(server.url)


def test_a_foreign_document_does_not_spoil_a_good_one(server: Loopback) -> None:
    """The good one counts alone."""
    evil = document(server, issuer="https://evil.example", revocation_endpoint=f"{server.url}/evil")
    server.routes = {OIDC: http("200 OK", evil), OAUTH: http("200 OK", document(server))}
    assert "revocation" not in ask(server.url)["endpoints"]


@pytest.mark.parametrize("answer", [http("404 Not Found"), http("200 OK", "<html>"), http("301 Moved", Location="/x")])
def test_an_issuer_that_publishes_nothing_is_told_so(server: Loopback, answer: bytes) -> None:
    """Servers that answer every path with a page or a redirect publish nothing; the next step is named."""
    server.default = answer
    with pytest.raises(InvalidRequest, match="does not say where") as caught:
        ask(server.url)
    assert "endpoints yourself" in caught.value.hint


@pytest.mark.parametrize("answer", [b"", http("500 Oops"), http("503 Unavailable"), http("429 Too Many Requests")])
def test_an_issuer_that_is_down_is_an_outage(server: Loopback, answer: bytes) -> None:
    """What cannot be asked now may be asked later."""
    server.default = answer
    with pytest.raises(ProviderUnavailable, match="could not be asked"):
        ask(server.url)


def test_an_issuer_that_wants_to_be_left_alone_says_for_how_long(server: Loopback) -> None:
    """A throttle's wait is passed on, so that nobody has to guess when "later" is."""
    server.default = http("429 Too Many Requests", Retry_After="70")
    with pytest.raises(ProviderUnavailable) as caught:
        ask(server.url)
    assert caught.value.extra == {"retry_after": 70.0}


def test_a_document_without_a_token_endpoint_is_not_enough(server: Loopback) -> None:
    """Without that nothing can be done."""
    server.routes = {OIDC: http("200 OK", {"issuer": server.url})}
    with pytest.raises(InvalidRequest, match="does not say where"):
        ask(server.url)


def test_an_unreachable_issuer_is_named() -> None:
    """The message says which issuer and why."""
    with pytest.raises(ProviderUnavailable, match=r"keyfob\.invalid .*cannot be resolved"):
        ask("https://keyfob.invalid")


def test_an_issuer_in_the_clear_is_refused_unasked() -> None:
    """Plain http is for this machine only."""
    with pytest.raises(InvalidRequest, match="not encrypted"):
        ask("http://as.example")
