"""Assertions: who they are from and for, how long they are good, and by which key (RFC 7523 3, security.md R20)."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from broker.core.login import Client
from broker.core.secret import Secret
from broker.errors import InvalidRequest
from broker.oauth import assertion, wire
from broker.oauth.reply import HIDDEN
from broker.providers.model import Provider
from broker.providers.rules import Endpoints, RevocationRules, TokenRequest
from tests.oauth.loopback import CLIENT, Loopback, headers_of, http

NOW = 1_800_000_000.75
ENDPOINTS = Endpoints(token="https://id.example/token", revocation="https://id.example/revoke")
PROVIDER = Provider(name="p", title="P", preset="generic", issuer="https://id.example", endpoints=ENDPOINTS)
BY_KEY = Client("u", "p", "the-client", "private_key_jwt", "given", has_secret=True, created_at=0.0)
BY_SECRET = replace(BY_KEY, auth_method="client_secret_jwt")
KEY = assertion.new_key("ES256")
SECRET = Secret("a secret of thirty-two characters")
GOOD = {"access_token": "at", "token_type": "Bearer", "expires_in": 60}


def opened(signed: object, jwks: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Verify an assertion by the only key of a set, as the provider does; return header and claims."""
    assert isinstance(signed, Secret)
    (jwk,) = jwks["keys"]
    key = RSAKey.import_key(jwk) if jwk["kty"] == "RSA" else ECKey.import_key(jwk)
    token = jwt.decode(signed.reveal(), key, algorithms=[jwk["alg"]])
    return token.header, token.claims


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_a_key_proves_its_client(algorithm: str) -> None:
    """Header and claims are what RFC 7523 3 wants, and the public half is enough to see that."""
    key = assertion.new_key(algorithm)
    jwks = assertion.public_jwks(key)

    fields = assertion.client_fields(PROVIDER, BY_KEY, key, NOW)

    header, claims = opened(fields.pop("client_assertion"), jwks)
    assert fields == {"client_id": "the-client", "client_assertion_type": assertion.CLIENT_ASSERTION}
    assert header == {"alg": algorithm, "kid": jwks["keys"][0]["kid"], "typ": "JWT"}
    once = claims.pop("jti")
    assert len(once) >= 22
    assert claims == {
        "iss": "the-client",
        "sub": "the-client",
        "aud": "https://id.example",
        "iat": 1_800_000_000,
        "exp": 1_800_000_060,
    }


def test_a_secret_signs_and_is_not_sent() -> None:
    """client_secret_jwt: the provider can verify it by its own copy, and nobody can read it from the request."""
    fields = assertion.client_fields(PROVIDER, BY_SECRET, SECRET, NOW)

    signed = fields["client_assertion"]
    assert isinstance(signed, Secret)
    assert SECRET.reveal() not in signed.reveal()
    token = jwt.decode(signed.reveal(), OctKey.import_key(SECRET.reveal()), algorithms=["HS256"])
    assert token.header == {"alg": "HS256", "typ": "JWT"}
    assert (token.claims["iss"], token.claims["aud"]) == ("the-client", "https://id.example")


def test_no_assertion_is_like_another() -> None:
    """Each has an id of its own, so a provider that takes each once takes all of them."""
    ids = {opened(_one(), assertion.public_jwks(KEY))[1]["jti"] for _ in range(50)}

    assert len(ids) == 50


def _one() -> object:
    return assertion.client_fields(PROVIDER, BY_KEY, KEY, NOW)["client_assertion"]


@pytest.mark.parametrize(
    ("provider", "audience"),
    [
        (PROVIDER, "https://id.example"),
        (replace(PROVIDER, issuer=""), "https://id.example/token"),
        (replace(PROVIDER, token=TokenRequest(assertion_audience="token_endpoint")), "https://id.example/token"),
        (replace(PROVIDER, base_url="https://pod.example"), "https://id.example"),
    ],
)
def test_the_audience_is_one_text(provider: Provider, audience: str) -> None:
    """The issuer, as the only value; the token endpoint where there is none, or where the provider's file says so."""
    fields = assertion.client_fields(provider, BY_KEY, KEY, NOW)

    assert opened(fields["client_assertion"], assertion.public_jwks(KEY))[1]["aud"] == audience


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_the_public_half_is_public(algorithm: str) -> None:
    """It holds nothing of the private key, and its name is the thumbprint of RFC 7638."""
    key = assertion.new_key(algorithm)

    (public,) = assertion.public_jwks(key)["keys"]

    private = json.loads(key.reveal())
    hidden = {private[name] for name in private.keys() & {"d", "p", "q", "dp", "dq", "qi"}}
    assert hidden
    assert not hidden & set(public.values())
    assert (public["use"], public["alg"]) == ("sig", algorithm)
    kind = ECKey if algorithm == "ES256" else RSAKey
    assert public["kid"] == kind.import_key(public).thumbprint()


@pytest.mark.parametrize(
    ("announced", "chosen"),
    [((), "ES256"), (("RS256", "ES256"), "ES256"), (("PS256", "RS256"), "RS256"), (("HS256", "RS256"), "RS256")],
)
def test_the_algorithm_is_one_that_the_provider_takes(announced: tuple[str, ...], chosen: str) -> None:
    """ES256, and RS256 where only that is announced."""
    assert assertion.algorithm(replace(PROVIDER, auth_algs=announced)) == chosen


def test_no_algorithm_in_common_is_told() -> None:
    """Where the provider takes none of ours, no key is made for it, and the message names what it takes."""
    with pytest.raises(InvalidRequest, match=r"EdDSA, ES512 only"):
        assertion.algorithm(replace(PROVIDER, auth_algs=("EdDSA", "ES512")))
    with pytest.raises(InvalidRequest, match="HS256"):
        assertion.check_secret(replace(PROVIDER, auth_algs=("ES256",)), SECRET)


def test_a_grant_names_subject_audience_and_scope() -> None:
    """The assertion of RFC 7523 2.1 is from the client, for whom and at whom the account says."""
    jwks = assertion.public_jwks(KEY)

    def made(subject: str, audience: str, scope: str) -> dict[str, Any]:
        signed = assertion.grant(PROVIDER, BY_KEY, KEY, subject=subject, audience=audience, scope=scope, now=NOW)
        claims = opened(signed, jwks)[1]
        assert (claims["exp"] - claims["iat"], claims["iss"]) == (60, "the-client")
        return claims

    asked = made("ada", "https://other.example", "a b")
    assert (asked["sub"], asked["aud"], asked["scope"]) == ("ada", "https://other.example", "a b")
    plain = made("", "", "")
    assert (plain["sub"], plain["aud"], "scope" in plain) == ("the-client", "https://id.example", False)


# --- on the wire ------------------------------------------------------------------------------------------------------


def test_the_form_proves_the_client_and_nothing_else_does(server: Loopback) -> None:
    """A refresh by a client with a key: no secret, no header, and the key stays here (R19)."""
    server.default = http("200 OK", GOOD)
    asyncio.run(
        wire.refresh(
            CLIENT,
            PROVIDER,
            BY_KEY,
            KEY,
            token_endpoint=server.url + "/token",
            refresh_token=Secret("the-rt"),
            redirect_uri="http://127.0.0.1:8400/callback/p",
        )
    )

    form = dict(parse_qsl(server.form()))
    assert set(form) == {"grant_type", "refresh_token", "client_id", "client_assertion_type", "client_assertion"}
    assert "authorization" not in server.head().lower()
    assert json.loads(KEY.reveal())["d"].encode() not in server.requests[0]


def test_the_client_is_named_in_the_providers_own_words(server: Loopback) -> None:
    """Where the client id has another name, it has that beside an assertion, and no second one."""
    server.default = http("200 OK", GOOD)
    provider = replace(PROVIDER, token=TokenRequest(client_id_field="app_id", grant_field="kind"))
    asyncio.run(
        wire.client_credentials(
            CLIENT, provider, BY_KEY, KEY, token_endpoint=server.url, scope=(), audience="", resource=None
        )
    )

    form = dict(parse_qsl(server.form()))
    assert set(form) == {"kind", "app_id", "client_assertion_type", "client_assertion"}
    assert (form["kind"], form["app_id"]) == ("client_credentials", "the-client")


@pytest.mark.parametrize(("client", "proof"), [(BY_KEY, KEY), (BY_SECRET, SECRET)])
def test_what_signs_is_never_a_password(server: Loopback, client: Client, proof: Secret) -> None:
    """Where a revocation takes HTTP Basic only, a client that signs is told so, and nothing is sent."""
    provider = replace(
        PROVIDER, endpoints=Endpoints(revocation=server.url + "/revoke"), revocation=RevocationRules(auth="basic")
    )
    why = asyncio.run(wire.revoke(CLIENT, provider, client, proof, token=Secret("the-at"), hint="access_token"))

    assert why == "only a client with a secret may revoke there"
    assert server.requests == []


def test_the_grant_needs_no_other_proof(server: Loopback) -> None:
    """jwt-bearer sends the assertion, scope and resource; the client is named in it alone (RFC 7521 4.1)."""
    server.default = http("200 OK", GOOD)
    asyncio.run(
        wire.jwt_bearer(
            CLIENT,
            replace(PROVIDER, scope_separator=","),
            BY_KEY,
            KEY,
            token_endpoint=server.url + "/token",
            subject="ada",
            audience="",
            scope=("a", "b"),
            resource="https://api.example",
        )
    )

    form = dict(parse_qsl(server.form()))
    _, claims = opened(Secret(form.pop("assertion")), assertion.public_jwks(KEY))
    assert form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "scope": "a,b",
        "resource": "https://api.example",
    }
    assert (claims["sub"], claims["scope"]) == ("ada", "a,b")


@pytest.mark.parametrize(
    ("announced", "beside"),
    [
        ((), False),
        (("client_secret_basic", "client_secret_post"), False),
        (("none", "private_key_jwt"), False),
        (("private_key_jwt", "client_secret_basic"), True),
    ],
)
def test_the_client_proves_itself_beside_the_grant_where_that_is_wanted(
    server: Loopback,
    announced: tuple[str, ...],
    beside: bool,  # noqa: FBT001 -- a column
) -> None:
    """A second assertion of the same key, where the server knows the client's method and takes no client without."""
    server.default = http("200 OK", GOOD)
    where: dict[str, Any] = {"token_endpoint": server.url + "/token", "subject": "ada", "audience": ""}
    by = replace(PROVIDER, auth_methods=announced)
    asyncio.run(wire.jwt_bearer(CLIENT, by, BY_KEY, KEY, **where, scope=(), resource=None))

    form = dict(parse_qsl(server.form()))
    assert (form.keys() >= {"client_id", "client_assertion", "client_assertion_type"}) is beside
    if beside:
        _, granted = opened(Secret(form["assertion"]), assertion.public_jwks(KEY))
        _, proven = opened(Secret(form["client_assertion"]), assertion.public_jwks(KEY))
        assert (granted["sub"], proven["sub"], form["client_id"]) == ("ada", "the-client", "the-client")
        assert granted["jti"] != proven["jti"]
    assert "authorization" not in headers_of(server.head())


def test_a_server_that_repeats_an_assertion_does_not_make_us_show_it(server: Loopback) -> None:
    """What was sent to prove the client is hidden in the server's error text, as any secret is."""

    def repeating(connection: Any) -> None:  # noqa: ANN401 -- a socket, as Loopback hands it on
        sent = dict(parse_qsl(server.form()))["client_assertion"]
        connection.sendall(http("400 Bad Request", {"error": "invalid_client", "error_description": f"bad {sent}"}))

    server.default = repeating
    outcome = asyncio.run(
        wire.client_credentials(
            CLIENT, PROVIDER, BY_KEY, KEY, token_endpoint=server.url, scope=(), audience="", resource=None
        )
    )

    assert outcome == wire.Refused("invalid_client", f"bad {HIDDEN}", 400)
