"""What of a server's word about itself is believed (security.md R21 to R23)."""

from typing import Any

import pytest

from broker.errors import InvalidRequest
from broker.providers.discovery import merge, read_document, strangers, well_known_urls

ISSUER = "https://as.example/realms/a"


def document(**fields: object) -> dict[str, Any]:
    """Return metadata of the issuer."""
    return {"issuer": ISSUER, "token_endpoint": "https://as.example/token", **fields}


def test_the_places_come_in_a_fixed_order() -> None:
    """OpenID Connect appends, RFC 8414 inserts, some append that too (R21)."""
    assert well_known_urls(ISSUER) == [
        ("openid", "https://as.example/realms/a/.well-known/openid-configuration"),
        ("oauth", "https://as.example/.well-known/oauth-authorization-server/realms/a"),
        ("oauth", "https://as.example/realms/a/.well-known/oauth-authorization-server"),
    ]


@pytest.mark.parametrize("issuer", ["https://as.example", "https://as.example/"])
def test_without_a_path_there_are_two(issuer: str) -> None:
    """A final slash does not double."""
    assert [url for _, url in well_known_urls(issuer)] == [
        "https://as.example/.well-known/openid-configuration",
        "https://as.example/.well-known/oauth-authorization-server",
    ]


@pytest.mark.parametrize(
    "issuer", ["http://as.example", "https://as.example?x", "https://as.example/#x", "https://a@as.example", "as"]
)
def test_what_is_no_issuer_has_no_places(issuer: str) -> None:
    """Https, no query, no fragment, no user (R21)."""
    with pytest.raises(InvalidRequest):
        well_known_urls(issuer)


def test_a_document_becomes_preset_values() -> None:
    """Everything that the flows use, and nothing else."""
    read = read_document(
        "openid",
        ISSUER,
        document(
            authorization_endpoint="https://login.example/authorize",
            jwks_uri="https://as.example/jwks",
            userinfo_endpoint="",
            revocation_endpoint=None,
            registration_endpoint="https://as.example/register",
            device_authorization_endpoint="https://as.example/device",
            authorization_response_iss_parameter_supported=True,
            id_token_signing_alg_values_supported=["RS256", "none", 5],
            token_endpoint_auth_methods_supported=["client_secret_post"],
            token_endpoint_auth_signing_alg_values_supported=["RS256", 7],
            revocation_endpoint_auth_methods_supported=["client_secret_basic", None],
            scopes_supported=["openid", "email", "offline_access"],
            grant_types_supported=["authorization_code", "password"],
            code_challenge_methods_supported=["plain", "S256"],
            introspection_endpoint="https://as.example/introspect",
            pushed_authorization_request_endpoint="https://as.example/par",
            require_pushed_authorization_requests=True,
            client_id_metadata_document_supported=True,
        ),
    )
    assert read == {
        "issuer": ISSUER,
        "endpoints": {
            "authorization": "https://login.example/authorize",
            "token": "https://as.example/token",
            "jwks": "https://as.example/jwks",
            "registration": "https://as.example/register",
            "device_authorization": "https://as.example/device",
            "introspection": "https://as.example/introspect",
            "pushed_authorization": "https://as.example/par",
        },
        "require_par": True,
        "client_id_metadata": True,
        "grants": ["authorization_code", "password"],
        "pkce_methods": ["plain", "S256"],
        "iss_parameter": True,
        "id_token_algs": ["RS256", "none"],
        "auth_methods": ["client_secret_post"],
        "auth_algs": ["RS256"],
        "revocation": {"auth_methods": ["client_secret_basic"]},
        "scopes": ["openid", "offline_access"],
    }


def test_a_flag_is_a_yes_or_nothing() -> None:
    """A promise in other words than `true` is none."""
    read = read_document("oauth", ISSUER, document(require_pushed_authorization_requests="true"))
    assert "require_par" not in read


def test_a_form_of_registration_of_its_own_is_known_by_its_name() -> None:
    """Servers of the social web announce theirs; RFC 7591's counts where both are there."""
    own = {"app_registration_endpoint": "https://as.example/api/v1/apps"}
    read = read_document("oauth", ISSUER, document(**own))
    assert read["endpoints"]["registration"] == "https://as.example/api/v1/apps"
    assert read["registration"]["kind"] == "own"
    assert set(read["registration"]["fields"]) == {"client_name", "redirect_uris", "scopes"}
    both = read_document("oauth", ISSUER, document(**own, registration_endpoint="https://as.example/register"))
    assert both["endpoints"]["registration"] == "https://as.example/register"
    assert "registration" not in both


@pytest.mark.parametrize(
    ("now", "found"),
    [
        ({}, []),
        ({"token_endpoint": "https://as.example/other"}, []),
        ({"token_endpoint": "https://moved.example/token"}, ["moved.example"]),
        ({"token_endpoint": "https://pinned.example/token"}, ["pinned.example"]),
        ({"revocation_endpoint": "https://evil.example/revoke"}, ["evil.example"]),
        ({"revocation_endpoint": "https://pinned.example/revoke"}, []),
        ({"jwks_uri": "https://elsewhere.example/jwks"}, []),
    ],
)
def test_new_hosts_of_secrets_are_strangers(now: dict[str, str], found: list[str]) -> None:
    """A host that was there before is known; a token endpoint that moves is not, wherever it goes (R23)."""
    before = read_document("oauth", ISSUER, document(userinfo_endpoint="https://pinned.example/me"))
    assert strangers(before, read_document("oauth", ISSUER, document(**now))) == found


def test_plain_oauth_asks_for_no_scope_by_itself() -> None:
    """What a plain OAuth server offers is for the person to choose."""
    assert "scopes" not in read_document("oauth", ISSUER, document(scopes_supported=["openid", "admin"]))
    assert read_document("openid", ISSUER, document())["scopes"] == ["openid"]


@pytest.mark.parametrize("said", [None, "", 5, "https://as.example/realms/A", ISSUER + "/", "https://evil.example"])
def test_another_issuer_is_refused(said: object) -> None:
    """Byte-identical, or no value of it is used (R22)."""
    with pytest.raises(InvalidRequest, match="to the letter"):
        read_document("openid", ISSUER, document(issuer=said))


def test_an_issuer_with_another_slash_is_offered() -> None:
    """The commonest slip comes with its correction."""
    with pytest.raises(InvalidRequest) as caught:
        read_document("openid", ISSUER, document(issuer=ISSUER + "/"))
    assert f"'{ISSUER}/'" in caught.value.hint


def test_a_foreign_issuers_text_is_not_shown_when_it_is_odd() -> None:
    """A hostile document does not get to write on our page."""
    with pytest.raises(InvalidRequest) as caught:
        read_document("openid", ISSUER, document(issuer="\x1b[2J" + "x" * 5000))
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://as.example/token",
        "https://user:pw@as.example/token",
        "https://as.example/token#x",
        "ftp://as.example/",
        "/token",
        5,
        ["https://as.example/token"],
        "http://127.0.0.1:8080/token",
        "https://localhost/token",
        "https://[::1]/token",
    ],
)
@pytest.mark.parametrize("field", ["token_endpoint", "jwks_uri", "revocation_endpoint"])
def test_an_endpoint_that_secrets_must_not_go_to_spoils_the_document(field: str, url: object) -> None:
    """Https, no user, and not this machine for a server elsewhere (R23)."""
    with pytest.raises(InvalidRequest, match=field):
        read_document("openid", ISSUER, document(**{field: url}))


def test_a_server_on_this_machine_may_name_this_machine() -> None:
    """Loopback issuers have loopback endpoints."""
    read = read_document(
        "oauth", "http://127.0.0.1:1", {"issuer": "http://127.0.0.1:1", "token_endpoint": "http://[::1]:1/"}
    )
    assert read["endpoints"] == {"token": "http://[::1]:1/"}


def test_a_merge_fills_gaps_only() -> None:
    """What the first says stays."""
    first = {"issuer": "i", "endpoints": {"token": "a"}, "scopes": ["x"]}
    second = {"issuer": "i", "endpoints": {"token": "b", "jwks": "c"}, "scopes": ["y"], "iss_parameter": True}
    assert merge(first, second) == {
        "issuer": "i",
        "endpoints": {"token": "a", "jwks": "c"},
        "scopes": ["x"],
        "iss_parameter": True,
    }
