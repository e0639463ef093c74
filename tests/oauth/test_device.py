"""The device flow's two requests: what is sent, and what of the answers is believed (RFC 8628, security.md R38)."""

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import pytest

from broker.core.login import Client
from broker.core.secret import Secret
from broker.oauth import device, wire
from broker.providers.model import Provider
from broker.providers.rules import DeviceRules, Endpoints, TokenRequest
from tests.oauth.loopback import CLIENT, Loopback, headers_of, http

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
PUBLIC = Client("u", "p", "id", "none", "given", has_secret=False, created_at=0.0)
BASIC = replace(PUBLIC, auth_method="client_secret_basic", has_secret=True)
CODES: dict[str, Any] = {
    "device_code": "dc-1",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://id.example/device",
    "verification_uri_complete": "https://id.example/device?user_code=WDJB-MJHT",
    "expires_in": 900,
    "interval": 7,
}


def provider(server: Loopback, **rules: Any) -> Provider:  # noqa: ANN401 -- Provider's fields
    """Make a provider whose device endpoints are the server's."""
    ends = Endpoints(token=f"{server.url}/token", device_authorization=f"{server.url}/device_authorization")
    return Provider(**{"name": "p", "title": "P", "preset": "generic", "endpoints": ends, **rules})


def codes(answer: object, **changes: Any) -> device.Codes | wire.NoToken:  # noqa: ANN401 -- JSON
    """Ask a server for codes that answers with this."""
    body = {key: value for key, value in {**CODES, **changes}.items() if value is not ...} if answer is None else answer
    with Loopback(answer=body if isinstance(body, bytes) else http("200 OK", body)) as server:
        return asyncio.run(device.authorize(CLIENT, provider(server), PUBLIC, None, scope=(), resource=None))


def good(**changes: Any) -> device.Codes:  # noqa: ANN401 -- JSON
    """Return codes that must be good."""
    found = codes(None, **changes)
    assert isinstance(found, device.Codes), found
    return found


def poll(
    server: Loopback,
    asked: Provider | None = None,
    client: Client = PUBLIC,
    secret: Secret | None = None,
    resource: str | None = None,
    scope: tuple[str, ...] = (),
) -> device.Polled:
    """Poll once."""
    return asyncio.run(
        device.poll(
            CLIENT,
            asked or provider(server),
            client,
            secret,
            token_endpoint=f"{server.url}/token",
            device_code=Secret("dc-1"),
            scope=scope,
            resource=resource,
        )
    )


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_a_request_for_codes(server: Loopback) -> None:
    """Client id, scope and resource, in the provider's own words; nothing else."""
    server.default = http("200 OK", CODES)
    by = provider(server, scope_separator=",", scope_parameter="scopes")
    asked = device.authorize(CLIENT, by, PUBLIC, None, scope=("a", "b"), resource="https://api.example")
    assert isinstance(asyncio.run(asked), device.Codes)
    assert server.head().startswith("POST /device_authorization ")
    assert parse_qsl(server.form()) == [("client_id", "id"), ("scopes", "a,b"), ("resource", "https://api.example")]


def test_offline_access_needs_consent(server: Loopback) -> None:
    """OpenID Connect Core 11: without prompt=consent the refresh token is left out, and nobody is told."""
    server.default = http("200 OK", CODES)
    asked = device.authorize(CLIENT, provider(server), PUBLIC, None, scope=("openid", "offline_access"), resource=None)
    asyncio.run(asked)
    assert ("prompt", "consent") in parse_qsl(server.form())


def test_a_poll(server: Loopback) -> None:
    """The grant type, the device code and who asks (RFC 8628 3.4); the resource again where there is one (RFC 8707)."""
    server.default = http("400 Bad Request", {"error": "authorization_pending"})
    assert poll(server, resource="https://api.example") == device.Undecided()
    assert server.head().startswith("POST /token ")
    assert parse_qsl(server.form()) == [
        ("device_code", "dc-1"),
        ("grant_type", GRANT),
        ("resource", "https://api.example"),
        ("client_id", "id"),
    ]


def test_a_poll_in_the_providers_own_words(server: Loopback) -> None:
    """Another endpoint, another name of the code, another name or none of the grant: as its rules say."""
    server.default = http("400 Bad Request", {"error": "slow_down"})
    ends = Endpoints(token=f"{server.url}/token", device_token=f"{server.url}/device/token")
    rules = {"token": TokenRequest(grant_field="kind"), "endpoints": ends}
    assert poll(server, provider(server, device=DeviceRules(grant="dev", code_field="code"), **rules)) == (
        device.TooFast()
    )
    assert server.head().startswith("POST /device/token ")
    assert parse_qsl(server.form()) == [("code", "dc-1"), ("kind", "dev"), ("client_id", "id")]
    poll(server, provider(server, device=DeviceRules(grant=""), **rules))
    assert parse_qsl(server.form()) == [("device_code", "dc-1"), ("client_id", "id")]


def test_scopes_in_the_providers_own_words(server: Loopback) -> None:
    """Twitch calls them otherwise here than in an authorization request, and wants them again at each poll."""
    server.default = http("200 OK", CODES)
    by = provider(server, device=DeviceRules(scope_parameter="scopes", scope_at_poll=True))
    asyncio.run(device.authorize(CLIENT, by, PUBLIC, None, scope=("a", "b"), resource=None))
    poll(server, by, scope=("a", "b"))
    poll(server, by)
    assert [dict(parse_qsl(server.form(number))).get("scopes") for number in range(3)] == ["a b", "a b", None]
    assert all(b"scope=" not in sent for sent in server.requests)


@pytest.mark.parametrize("sends_secret", [True, False])
def test_a_confidential_client(server: Loopback, sends_secret: bool) -> None:  # noqa: FBT001 -- both
    """It authenticates at both endpoints (RFC 8628 3.1, 3.4), unless the provider wants its id alone."""
    server.default = http("200 OK", CODES)
    by = provider(server, device=DeviceRules(client_secret=sends_secret))
    asyncio.run(device.authorize(CLIENT, by, BASIC, Secret("s3cret-of-it"), scope=(), resource=None))
    poll(server, by, BASIC, Secret("s3cret-of-it"))
    for number in (0, 1):
        assert ("authorization" in headers_of(server.head(number))) is sends_secret
        assert (("client_id", "id") in parse_qsl(server.form(number))) is (number == 0 or not sends_secret)
        assert b"s3cret" not in server.requests[number]


# --- the codes --------------------------------------------------------------------------------------------------------


def test_good_codes() -> None:
    """All that the person and the polls need, and the secret half is a secret."""
    found = good()
    assert found.prompt.user_code == "WDJB-MJHT"
    assert found.prompt.verification_uri == "https://id.example/device"
    assert found.prompt.verification_uri_complete == "https://id.example/device?user_code=WDJB-MJHT"
    assert (found.prompt.interval, found.expires_in) == (7, 900)
    assert "dc-1" not in repr(found)


@pytest.mark.parametrize(
    ("changes", "interval", "life", "complete"),
    [
        ({"interval": ...}, 5, 900, True),
        ({"interval": None}, 5, 900, True),
        ({"interval": "10"}, 10, 900, True),
        ({"interval": 0}, 1, 900, True),
        ({"expires_in": "1800"}, 7, 1800, True),
        ({"expires_in": 1e9}, 7, 3600, True),
        ({"verification_uri_complete": ...}, 7, 900, False),
        ({"verification_uri_complete": None}, 7, 900, False),
        ({"verification_uri_complete": "javascript:alert(1)"}, 7, 900, False),
        ({"verification_uri_complete": "http://id.example/device"}, 7, 900, False),
        ({"verification_uri": ..., "verification_url": "https://id.example/device"}, 7, 900, True),
    ],
)
def test_what_may_be_left_out(changes: dict[str, Any], interval: float, life: float, complete: bool) -> None:  # noqa: FBT001 -- a column
    """The interval is 5 s by default and never nothing, a code lives an hour at the most, a bad extra is left out."""
    found = good(**changes)
    assert (found.prompt.interval, found.expires_in) == (interval, life)
    assert (found.prompt.verification_uri_complete is not None) is complete


def test_http_is_for_this_machine_only() -> None:
    """The practice provider's address is shown; a plain one elsewhere is not (R38)."""
    assert good(verification_uri="http://127.0.0.1:9/device").prompt.verification_uri == "http://127.0.0.1:9/device"
    assert isinstance(codes(None, verification_uri="http://id.example/device"), wire.Faulty)


@pytest.mark.parametrize(
    "changes",
    [
        {"device_code": ...},
        {"device_code": ""},
        {"device_code": 7},
        {"device_code": "two words"},
        {"user_code": ...},
        {"user_code": ""},
        {"user_code": " AB"},
        {"user_code": "A\x1b[2JB"},
        {"user_code": "A\u202eB"},
        {"user_code": "A" * 65},
        {"verification_uri": ...},
        {"verification_uri": "device"},
        {"verification_uri": "https://user@id.example/"},
        {"verification_uri": "https://id.example/\nX"},
        {"verification_uri": "file:///etc/passwd"},
        {"verification_uri": ["https://id.example/device"]},
        {"expires_in": ...},
        {"expires_in": 0},
        {"expires_in": -1},
        {"expires_in": True},
        {"expires_in": "soon"},
        {"interval": -5},
        {"interval": "x"},
        {"interval": 86400},
    ],
)
def test_what_is_not_shown_to_anybody(changes: dict[str, Any]) -> None:
    """Codes that are not in order begin no login."""
    assert isinstance(codes(None, **changes), wire.Faulty)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http("200 OK", {"error": "unauthorized_client"}), wire.Refused),
        (http("400 Bad Request", {"error": "invalid_scope", "error_description": "no"}), wire.Refused),
        (http("429 Too Many Requests", CODES), wire.Throttled),
        (http("503 Down", CODES), wire.Faulty),
        (http("302 Found", CODES, Location="https://elsewhere.example/"), wire.Faulty),
        (http("504 Gateway", CODES), wire.Lost),
        (http("200 OK", b"<html>"), wire.Faulty),
        (http("200 OK", [CODES]), wire.Faulty),
        (http("200 OK", b'{"device_code": "a", "device_code": "b"}'), wire.Faulty),
        (http("200 OK", {"access_token": "at"}), wire.Faulty),
    ],
)
def test_no_codes(answer: bytes, kind: type[object]) -> None:
    """Refusals, throttles, outages and nonsense are told apart as at the token endpoint."""
    assert isinstance(codes(answer), kind)


def test_nobody_answers() -> None:
    """A provider that is not there has been sent nothing."""
    with Loopback() as server:
        gone = provider(server)
    assert isinstance(
        asyncio.run(device.authorize(CLIENT, gone, PUBLIC, None, scope=(), resource=None)), wire.Unreachable
    )


# --- the polls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (http("400 Bad Request", {"error": "authorization_pending"}), device.Undecided()),
        (http("400 Bad Request", {"error": "slow_down"}), device.TooFast()),
        (http("403 Forbidden", {"error": "access_denied"}), device.Denied()),
        (http("400 Bad Request", {"error": "expired_token"}), device.CodeExpired()),
        (http("200 OK", {"error": "authorization_pending"}), device.Undecided()),
        (http("428 Precondition Required", {"error": "authorization_pending"}), device.Undecided()),
        (http("400 Bad Request", {"error": "invalid_grant"}), wire.Refused("invalid_grant", "", 400)),
        (http("429 Slow", b"", Retry_After="30"), wire.Throttled("it answered HTTP 429", 30)),
    ],
)
def test_what_a_poll_brings(server: Loopback, answer: bytes, outcome: device.Polled) -> None:
    """RFC 8628 3.5's four words are told apart from every other answer, whatever the status that carries them."""
    server.default = answer
    assert poll(server) == outcome


def test_a_token_is_kept_raw(server: Loopback) -> None:
    """The answer with the token is passed on whole: what comes of it is decided where it can be kept."""
    server.default = http("200 OK", {"access_token": "at", "token_type": "Bearer", "refresh_token": "rt"})
    outcome = poll(server)
    assert isinstance(outcome, wire.Answered)
    assert outcome.refresh_token is not None
    assert outcome.refresh_token.reveal() == "rt"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("400 Bad Request", device.Undecided()),
        ("410 Gone", device.CodeExpired()),
        ("418 Teapot", device.Denied()),
        ("429 Slow", device.TooFast()),
        ("404 Not Found", wire.Refused("invalid_grant", "", 404)),
    ],
)
def test_bare_statuses(server: Loopback, status: str, outcome: device.Polled) -> None:
    """Where a provider answers polls by status alone, its rules say what each means."""
    meaning = {
        "400": "authorization_pending",
        "404": "invalid_grant",
        "410": "expired_token",
        "418": "access_denied",
        "429": "slow_down",
    }
    server.default = http(status, b"")
    assert poll(server, provider(server, device=DeviceRules(status_errors=meaning))) == outcome
