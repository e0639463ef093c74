"""The practice provider's judgement of what clients sign: every claim counts, and each assertion once."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from broker.core.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

    from tests.practice.conftest import Walk

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
KEY = ECKey.generate_key("P-256", {"kid": "k1"})
RSA = RSAKey.generate_key(2048, {"kid": "k2"})
SECRET = Secret("a secret of thirty-two characters")


class Signer:
    """A client that registered its public keys at a provider, and can sign well or badly."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        jwks = {"keys": [KEY.as_dict(private=False), RSA.as_dict(private=False)]}
        grants = ["client_credentials", GRANT]
        registered = walk.http.post(
            "/register", json={"token_endpoint_auth_method": "private_key_jwt", "jwks": jwks, "grant_types": grants}
        )
        assert registered.status_code == 201, registered.text
        self.registered = registered.json()
        self.id: str = self.registered["client_id"]

    def claims(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 -- any claim, right or wrong
        """Return the claims of a good assertion, changed; ``None`` leaves one out."""
        now = int(self.walk.clock.now)
        good = {"iss": self.id, "sub": self.id, "aud": self.walk.server.url, "iat": now, "exp": now + 60}
        wanted = {**good, "jti": secrets.token_urlsafe(), **changes}
        return {name: value for name, value in wanted.items() if value is not None}

    def signed(self, key: Any = KEY, alg: str = "ES256", kid: str = "k1", **changes: Any) -> str:  # noqa: ANN401 -- as above
        """Sign an assertion."""
        return jwt.encode({"alg": alg, "kid": kid}, self.claims(**changes), key, algorithms=[alg])

    def ask(self, assertion: str, **changes: str | None) -> httpx2.Response:
        """Ask for a token of the client's own."""
        form: dict[str, str | None] = {
            "grant_type": "client_credentials",
            "client_assertion_type": TYPE,
            "client_assertion": assertion,
        }
        return self.walk.token(**form | changes)

    def grant(self, assertion: str, **changes: str | None) -> httpx2.Response:
        """Ask by the assertion itself."""
        return self.walk.token(**{"grant_type": GRANT, "assertion": assertion, **changes})


def test_a_client_proves_itself_by_its_key(start: Callable[..., Walk]) -> None:
    """ES256 and RS256, for the issuer or the token endpoint, with or without the client id beside it."""
    signer = Signer(start())
    good = [
        signer.ask(signer.signed()),
        signer.ask(signer.signed(RSA, "RS256", "k2"), client_id=signer.id),
        signer.ask(signer.signed(aud=f"{signer.walk.server.url}/token")),
    ]
    assert [answer.status_code for answer in good] == [200, 200, 200]
    assert "client_secret" not in signer.registered
    assert [event.client for event in signer.walk.server.log.all("client_credentials")] == [signer.id] * 3


CHANGES: dict[str, dict[str, Any]] = {
    "another audience": {"aud": "https://elsewhere.example"},
    "a list of audiences": {"aud": ["{issuer}"]},
    "no audience": {"aud": None},
    "expired": {"exp": 1_800_000_000},
    "for too long": {"exp": 1_800_000_066},
    "no end": {"exp": None},
    "an end that is no number": {"exp": "1800000060"},
    "from the future": {"iat": 1_800_000_006},
    "no beginning": {"iat": None},
    "no id": {"jti": None},
    "another subject": {"sub": "somebody-else"},
    "another issuer": {"iss": "keyfob-machine"},
    "an issuer that nobody knows": {"iss": "nobody"},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_every_claim_counts(start: Callable[..., Walk], changes: dict[str, Any]) -> None:
    """Whatever is wrong with it, the client is not believed, and is told why."""
    signer = Signer(start())
    changed: dict[str, Any] = {
        name: [signer.walk.server.url] if value == ["{issuer}"] else value for name, value in changes.items()
    }
    answer = signer.ask(signer.signed(**changed))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.json()["error_description"].startswith("the client assertion: ")


def test_an_assertion_is_good_once(start: Callable[..., Walk]) -> None:
    """The second use is refused; the same id of another client, or after its end, is another assertion."""
    signer = Signer(start())
    assertion = signer.signed(jti="once")
    assert signer.ask(assertion).status_code == 200
    repeated = signer.ask(assertion)
    assert (repeated.status_code, repeated.json()["error"]) == (401, "invalid_client")
    assert "used before" in repeated.json()["error_description"]
    other = Signer(signer.walk)
    assert other.ask(other.signed(jti="once")).status_code == 200
    signer.walk.clock.now += 61
    assert signer.ask(signer.signed(jti="once")).status_code == 200


def test_only_the_clients_own_key_counts(start: Callable[..., Walk]) -> None:
    """A stranger's key, an unknown kid, the wrong algorithm, no signature, and text that is none are refused."""
    signer = Signer(start())
    header, claims, signature = signer.signed().split(".")
    none = urlsafe_b64encode(b'{"alg":"none","kid":"k1"}').rstrip(b"=").decode()
    by_secret = OctKey.import_key(SECRET.reveal())
    for assertion in (
        signer.signed(ECKey.generate_key("P-256")),
        signer.signed(kid="k2"),
        signer.signed(kid="unknown"),
        signer.signed(by_secret, "HS256"),
        f"{none}.{claims}.",
        f"{header}.{claims}.{signature[::-1]}",
        f"{header}.{claims}",
        "no assertion",
    ):
        answer = signer.ask(assertion)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), assertion


def test_one_proof_is_enough(start: Callable[..., Walk]) -> None:
    """An assertion beside a secret or a header, of another client, or of an unknown kind is refused."""
    signer = Signer(start())
    beside = signer.walk.http.post(
        "/token",
        data={"grant_type": "client_credentials", "client_assertion_type": TYPE, "client_assertion": signer.signed()},
        headers={"Authorization": "Basic eDp5"},
    )
    assert (beside.status_code, beside.json()["error"]) == (400, "invalid_request")
    for changes in ({"client_secret": "s"}, {"client_assertion_type": None}, {"client_assertion_type": "saml"}):
        answer = signer.ask(signer.signed(), **changes)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), changes
    assert signer.ask(signer.signed(), client_id="keyfob-machine").json()["error"] == "invalid_client"
    assert signer.walk.token(grant_type="client_credentials", client_id=signer.id).json()["error"] == "invalid_client"


def test_a_secret_may_sign(start: Callable[..., Walk]) -> None:
    """client_secret_jwt: HS256 by the client's secret, under the same claims; another secret does not do."""
    signer = Signer(start(client_secret=SECRET))
    machine = {"iss": "keyfob-machine", "sub": "keyfob-machine"}
    good, bad = OctKey.import_key(SECRET.reveal()), OctKey.import_key(SECRET.reveal()[::-1])
    assert signer.ask(signer.signed(good, "HS256", "", **machine)).status_code == 200
    assert signer.ask(signer.signed(bad, "HS256", "", **machine)).status_code == 401
    assert signer.ask(signer.signed(KEY, "ES256", "k1", **machine)).status_code == 401


def test_the_grant_is_for_its_subject(start: Callable[..., Walk]) -> None:
    """The token is the subject's, narrow as asked, without a refresh token (RFC 7523 2.1, RFC 7521 4.1)."""
    signer = Signer(start())
    answer = signer.grant(signer.signed(sub="grace"), scope="openid read")
    assert answer.status_code == 200, answer.text
    assert "refresh_token" not in answer.json()
    assert answer.json()["scope"] == "openid read"
    assert signer.walk.userinfo(answer.json()["access_token"]).status_code == 200
    its_own = signer.grant(signer.signed(), client_id=None)
    assert signer.walk.userinfo(its_own.json()["access_token"]).status_code == 403


def test_a_bad_grant_is_invalid_grant(start: Callable[..., Walk]) -> None:
    """What is wrong with the assertion is the grant's fault, as RFC 7523 3.1 says; each is good once here too."""
    signer = Signer(start())
    used = signer.signed(jti="once")
    assert signer.grant(used).status_code == 200
    for assertion in (used, signer.signed(aud="https://elsewhere.example"), signer.signed(sub=None), "none"):
        answer = signer.grant(assertion)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), assertion
    missing = signer.walk.token(grant_type=GRANT)
    assert missing.json()["error"] == "invalid_request"
    other = signer.grant(signer.signed(), **signer.walk.machine())
    assert other.json()["error"] == "invalid_grant"
    assert len(signer.walk.server.log.all("jwt_bearer")) == 7


@pytest.mark.parametrize(
    "jwks",
    [None, {"keys": []}, {"keys": ["k"]}, {"keys": [{"kty": "oct", "k": "AA"}]}, {"keys": [KEY.as_dict(private=True)]}],
)
def test_registration_wants_public_keys(start: Callable[..., Walk], jwks: Any) -> None:  # noqa: ANN401 -- whatever a client sends
    """A client with a key names it when it registers, and only its public half."""
    wanted = {"token_endpoint_auth_method": "private_key_jwt", "jwks": jwks, "grant_types": ["client_credentials"]}
    answer = start().http.post("/register", json=wanted)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")


def test_the_metadata_says_so(start: Callable[..., Walk]) -> None:
    """Methods, algorithms and the grant are announced (RFC 8414 2)."""
    document = start().http.get("/.well-known/oauth-authorization-server").json()
    assert {"private_key_jwt", "client_secret_jwt"} < set(document["token_endpoint_auth_methods_supported"])
    assert document["token_endpoint_auth_signing_alg_values_supported"] == ["ES256", "RS256", "HS256"]
    assert GRANT in document["grant_types_supported"]
