"""A pushed authorization request on the wire (RFC 9126): what is sent, and what is made of the answer."""

import asyncio
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest

from broker.core.login import Client
from broker.core.secret import Secret
from broker.errors import LoginFailed, ProviderUnavailable
from broker.oauth import par
from broker.oauth.par import Pushed
from broker.providers.model import Provider
from broker.providers.rules import Endpoints, TokenRequest
from tests.oauth.loopback import CLIENT, Loopback, headers_of, http

PUBLIC = Client("u", "p", "id", "none", "given", has_secret=False, created_at=0.0)
GOOD = {"request_uri": "urn:ietf:params:oauth:request_uri:abc", "expires_in": 60}
OPEN = "client_id=id&scope=a+b&state=a-secret-state&response_type=code&code_challenge=x"


def push(
    server: Loopback,
    *,
    client: Client = PUBLIC,
    secret: Secret | None = None,
    authorization: str = "https://p.example/a",
    token: TokenRequest | None = None,
) -> Pushed:
    """Push a request at the server."""
    endpoints = Endpoints(authorization=authorization, pushed_authorization=f"{server.url}/par")
    provider = Provider(name="p", title="P", preset="generic", endpoints=endpoints, token=token or TokenRequest())
    joint = "&" if "?" in authorization else "?"
    url = f"{authorization}{joint}{OPEN}"
    return asyncio.run(par.push(CLIENT, provider, client, secret, authorization_url=url))


def test_the_whole_request_is_pushed_and_a_reference_comes_back(server: Loopback) -> None:
    """What would have stood in the address goes into the body; the browser's address holds nothing of it."""
    server.default = http("201 Created", GOOD)
    pushed = push(server)
    assert server.head().startswith("POST /par ")
    assert dict(parse_qsl(server.form())) == dict(parse_qsl(OPEN))
    assert pushed.url == "https://p.example/a?client_id=id&request_uri=urn%3Aietf%3Aparams%3Aoauth%3Arequest_uri%3Aabc"
    assert pushed.expires_in == 60


def test_what_belongs_to_the_endpoint_stays_there(server: Loopback) -> None:
    """A query of the endpoint's own is no part of the request (RFC 6749 3.1)."""
    server.default = http("201 Created", GOOD)
    pushed = push(server, authorization="https://p.example/a?tenant=t")
    assert dict(parse_qsl(server.form())) == dict(parse_qsl(OPEN))
    assert pushed.url.startswith("https://p.example/a?tenant=t&client_id=id&request_uri=")


def test_the_client_proves_itself_and_is_named(server: Loopback) -> None:
    """As at the token endpoint (RFC 9126 2.1); the request's own client_id stays, as it is one of its parameters."""
    server.default = http("201 Created", GOOD)
    push(server, client=replace(PUBLIC, auth_method="client_secret_basic"), secret=Secret("s3cret"))
    assert headers_of(server.head())["authorization"].startswith("Basic ")
    assert dict(parse_qsl(server.form()))["client_id"] == "id"
    assert "s3cret" not in server.form()


def test_it_is_a_form_whatever_the_token_endpoint_wants(server: Loopback) -> None:
    """RFC 9126 2.1: the words of token requests are no part of it."""
    server.default = http("201 Created", GOOD)
    push(server, token=TokenRequest(body="json", params={"v": "1"}, headers={"X-Version": "2"}))
    assert dict(parse_qsl(server.form())) == dict(parse_qsl(OPEN))
    headers = headers_of(server.head())
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert "x-version" not in headers


@pytest.mark.parametrize(
    ("answer", "error", "why"),
    [
        (
            http("400 Bad Request", {"error": "invalid_scope", "error_description": "no"}),
            LoginFailed,
            "invalid_scope: no",
        ),
        (http("401 Unauthorized", {"error": "invalid_client"}), LoginFailed, "invalid_client"),
        (http("429 Too Many Requests", b"", Retry_After="9"), ProviderUnavailable, "throttling"),
        (http("500 Oops", b"<html>"), ProviderUnavailable, "HTTP 500"),
        (http("404 Not Found", b""), ProviderUnavailable, "HTTP 404"),
        (http("302 Found", b"", Location="https://evil.example/"), ProviderUnavailable, "a redirect"),
        (http("201 Created", b"no json"), LoginFailed, "no JSON"),
        (http("201 Created", b"[]"), LoginFailed, "no JSON"),
        (http("201 Created", b'{"request_uri": "a", "request_uri": "b", "expires_in": 1}'), LoginFailed, "no JSON"),
        (http("201 Created", {"expires_in": 60}), LoginFailed, "without a request_uri"),
        (http("201 Created", {**GOOD, "request_uri": "x" * 2049}), LoginFailed, "without a request_uri"),
        (http("201 Created", {**GOOD, "request_uri": "a b"}), LoginFailed, "without a request_uri"),
        (http("201 Created", {**GOOD, "expires_in": -1}), LoginFailed, "for how long"),
        (http("201 Created", {**GOOD, "expires_in": 1.5}), LoginFailed, "for how long"),
        (http("201 Created", {"request_uri": "urn:x"}), LoginFailed, "for how long"),
    ],
)
def test_anything_else_ends_the_login(answer: bytes, error: type[Exception], why: str) -> None:
    """Strictly read: what is no reference with a lifetime is none, whatever its status."""
    with Loopback(answer=answer) as server, pytest.raises(error, match=why):
        push(server)


def test_an_error_that_repeats_the_state_does_not_show_it() -> None:
    """Some servers echo what they refuse."""
    echo = http("400 Bad Request", {"error": "invalid_request", "error_description": "bad state a-secret-state"})
    with Loopback(answer=echo) as server, pytest.raises(LoginFailed) as failed:
        push(server)
    assert "a-secret-state" not in str(failed.value)
