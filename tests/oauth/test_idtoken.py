"""ID tokens, check by check (OpenID Connect Core 3.1.3.7; security.md M18, R25, R26, R29, R30)."""

import asyncio
import hashlib
import hmac
import json
import socket
import threading
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from broker.core.secret import Secret
from broker.errors import LoginFailed, ProviderUnavailable
from broker.oauth import idtoken
from broker.oauth.idtoken import Claims, Jwks
from broker.providers.model import Provider
from broker.providers.rules import Endpoints
from tests.oauth.loopback import CLIENT, Loopback, http

Signer = RSAKey | ECKey | OKPKey
NOW = 1_800_000_000.0
CLAIMS: dict[str, Any] = {
    "iss": "https://as.example",
    "sub": "ann-1",
    "aud": "id",
    "exp": NOW + 300,
    "iat": NOW,
    "nonce": "n",
    "preferred_username": "ann",
}
KEYS: dict[str, Signer] = {
    "ES256": ECKey.generate_key("P-256"),
    "EdDSA": OKPKey.generate_key("Ed25519"),
    "RS256": RSAKey.generate_key(2048),
}
KEYS["PS256"] = KEYS["RS256"]
OTHER = ECKey.generate_key("P-256")


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(claims: Mapping[str, Any] | bytes, alg: str = "ES256", key: Signer | None = None, **header: object) -> Secret:
    """Sign a token by hand, so that also what no library would sign can be signed."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{b64(json.dumps({'alg': alg, **header}).encode())}.{b64(payload)}"
    signature = JWSRegistry.algorithms[alg].sign(signed.encode(), key or KEYS[alg])
    return Secret(f"{signed}.{b64(signature)}")


def jwk(key: Signer, **extra: object) -> dict[str, Any]:
    """Return a public key as a provider shows it."""
    return {**key.as_dict(private=False), **extra}


def provider(server: Loopback, *algorithms: str) -> Provider:
    """Return a provider whose keys are at the server."""
    return Provider(
        name="p",
        title="P",
        preset="x",
        issuer="https://as.example",
        endpoints=Endpoints(jwks=server.url + "/jwks"),
        id_token_algs=algorithms or ("ES256",),
    )


def verify(server: Loopback, token: Secret, *, jwks: Jwks | None = None, **changes: Any) -> Claims:  # noqa: ANN401 -- any argument of verify
    """Verify a token with the keys at the server; what differs from the usual is named."""
    given: dict[str, Any] = {
        "id_token": token,
        "client_id": "id",
        "nonce": "n",
        "access_token": Secret("at"),
        "now": NOW,
        **changes,
    }
    who = given.pop("provider", None) or provider(server)
    return asyncio.run(idtoken.verify(CLIENT, who, jwks or Jwks(), **given))


@pytest.fixture
def keys(server: Loopback) -> Loopback:
    """Return a server that shows one key."""
    server.default = http("200 OK", {"keys": [jwk(KEYS["ES256"])]})
    return server


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA"])
def test_a_good_token_names_a_person(server: Loopback, alg: str) -> None:
    """Every accepted algorithm works, at_hash with the hash that belongs to it."""
    server.default = http("200 OK", {"keys": [jwk(OTHER, kid="o"), jwk(KEYS[alg], kid="k", use="sig", alg=alg)]})
    digest = hashlib.new("sha512" if alg == "EdDSA" else "sha256", b"at").digest()
    claims = {**CLAIMS, "at_hash": b64(digest[: len(digest) // 2]), "azp": "id", "aud": ["id"], "nbf": NOW}
    got = verify(server, sign(claims, alg, kid="k"), provider=provider(server, alg))
    assert got == Claims("https://as.example", "ann-1", "ann")


def test_no_announcement_means_rs256(server: Loopback) -> None:
    """What every OpenID provider supports is meant where none is named (OpenID Connect Core 15.1)."""
    server.default = http("200 OK", {"keys": [jwk(KEYS["RS256"])]})
    who = replace(provider(server), id_token_algs=())
    assert verify(server, sign(CLAIMS, "RS256"), provider=who).subject == "ann-1"
    with pytest.raises(LoginFailed, match="not accepted"):
        verify(server, sign(CLAIMS, "PS256"), provider=who)


WRONG: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example"},
    "nearly the issuer": {"iss": "https://as.example/"},
    "no issuer": {"iss": None},
    "another client": {"aud": "other"},
    "no audience": {"aud": None},
    "no client among many": {"aud": ["a", "b"]},
    "others as well": {"aud": ["id", "other"]},
    "others as well, vouched by itself": {"aud": ["id", "other"], "azp": "id"},
    "audience of another shape": {"aud": {"id": 1}},
    "issued to another": {"azp": "other"},
    "expired": {"exp": NOW - 61},
    "no expiry": {"exp": None},
    "expiry as text": {"exp": "2030"},
    "an expiry beyond all dates": {"exp": 10**30},
    "an expiry in centuries": {"exp": NOW + 2.0**33 + 1},
    "expiry as truth": {"exp": True},
    "issued long ago": {"iat": NOW - 601},
    "issued in future": {"iat": NOW + 601},
    "no time of issue": {"iat": None},
    "not valid yet": {"nbf": NOW + 61},
    "valid from truth on": {"nbf": True},
    "another nonce": {"nonce": "m"},
    "no nonce": {"nonce": None},
    "another access token": {"at_hash": b64(hashlib.sha256(b"other").digest()[:16])},
    "an at_hash that is none": {"at_hash": 5},
    "nobody": {"sub": ""},
    "no subject": {"sub": None},
    "a subject of another shape": {"sub": 5},
    "a subject too long": {"sub": "x" * 256},
    "a subject with controls": {"sub": "a\x1b"},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
def test_a_claim_that_is_wrong_or_missing_ends_the_login(keys: Loopback, changes: dict[str, Any]) -> None:
    """Every single check of R26 refuses by itself a token that is otherwise good; null stands for missing."""
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    with pytest.raises(LoginFailed, match="not believed"):
        verify(keys, sign(claims))


def test_a_refresh_needs_no_nonce(keys: Loopback) -> None:
    """The ID token of a refresh need not repeat it (OpenID Connect Core 12.2)."""
    claims = {name: value for name, value in CLAIMS.items() if name != "nonce"}
    assert verify(keys, sign(claims), nonce=None).subject == "ann-1"


def unsigned(alg: str) -> Secret:
    """Write a token that nobody signed."""
    return Secret(f"{b64(json.dumps({'alg': alg}).encode())}.{b64(json.dumps(CLAIMS).encode())}.")


@pytest.mark.parametrize("alg", ["none", "None", "NONE", ""])
def test_an_unsigned_token_is_refused_whatever_is_announced(keys: Loopback, alg: str) -> None:
    """Even a provider that announces "none" cannot make us accept it (M18)."""
    with pytest.raises(LoginFailed, match="not accepted"):
        verify(keys, unsigned(alg), provider=provider(keys, "ES256", alg))


def test_a_public_key_is_no_shared_secret(keys: Loopback) -> None:
    """The old trick, HMAC with the public key as its secret, is refused even where HS256 is announced."""
    head = f"{b64(json.dumps({'alg': 'HS256'}).encode())}.{b64(json.dumps(CLAIMS).encode())}"
    signature = hmac.new(KEYS["ES256"].as_pem(private=False), head.encode(), "sha256").digest()
    keys.default = http("200 OK", {"keys": [OctKey.generate_key().as_dict()]})
    with pytest.raises(LoginFailed, match="not accepted"):
        verify(keys, Secret(f"{head}.{b64(signature)}"), provider=provider(keys, "HS256"))


def test_a_key_in_the_token_is_not_used(keys: Loopback) -> None:
    """A token cannot bring the key that it is checked with."""
    for header in ({"jwk": jwk(OTHER)}, {"jku": keys.url + "/evil"}):
        with pytest.raises(LoginFailed, match="not by a key"):
            verify(keys, sign(CLAIMS, key=OTHER, **header))
    assert all("/evil" not in keys.head(n) for n in range(len(keys.requests)))


def test_an_extension_that_must_be_understood_is_refused(keys: Loopback) -> None:
    """``crit`` names what we do not know (RFC 7515 4.1.11)."""
    with pytest.raises(LoginFailed, match="does not know"):
        verify(keys, sign(CLAIMS, crit=["b64"], b64=False))


def test_a_token_changed_on_the_way_is_refused(keys: Loopback) -> None:
    """Claims and signature belong together."""
    head, _, signature = sign(CLAIMS).reveal().split(".")
    changed = b64(json.dumps({**CLAIMS, "sub": "eve"}).encode())
    with pytest.raises(LoginFailed, match="not by a key"):
        verify(keys, Secret(f"{head}.{changed}.{signature}"))


GARBAGE = {
    "one part": "abc",
    "five parts, encrypted": "a.b.c.d.e",
    "padding": "e30=.e30=.",
    "not base64": "!!.e30.",
    "another script": "é.e30.",
    "no JSON": f"{b64(b'x')}.e30.",
    "a list": f"{b64(b'[]')}.e30.",
    "names twice": b64(b'{"alg":"none","alg":"ES256"}') + ".e30.",
    "bits left over": b64(b'{"alg":"ES256"}') + ".e31.",
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_refused(keys: Loopback, text: str) -> None:
    """What cannot be read strictly is not read at all."""
    with pytest.raises(LoginFailed):
        verify(keys, Secret(text))
    assert not keys.requests


@pytest.mark.parametrize("payload", [b'{"sub": "a", "sub": "b"}', b'{"exp": NaN}', b"[]", b"\xff"])
def test_claims_are_strict_json_though_well_signed(keys: Loopback, payload: bytes) -> None:
    """A signature does not make a double claim acceptable (M21)."""
    with pytest.raises(LoginFailed):
        verify(keys, sign(payload))


def test_broken_and_foreign_keys_do_not_take_the_good_one_with_them(server: Loopback) -> None:
    """A key set may hold anything; what fits is found."""
    good = jwk(KEYS["ES256"], kid="k")
    others: Sequence[object] = [
        5,
        {},
        {"kty": "EC", "crv": "P-256", "kid": "k"},
        {"kty": "EC", "crv": "P-256", "x": 5, "y": [], "kid": "k"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "k"},
        {"kty": "oct", "k": "AA", "kid": "k"},
        {**good, "use": "enc"},
        {**good, "alg": "RS256"},
        good,
    ]
    server.default = http("200 OK", {"keys": others})
    assert verify(server, sign(CLAIMS, kid="k")).subject == "ann-1"


def test_a_short_rsa_key_is_not_trusted(server: Loopback) -> None:
    """Keys that can be factored prove nothing."""
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 -- that is what is tested
    numbers = short.public_key().public_numbers()
    server.default = http(
        "200 OK", {"keys": [{"kty": "RSA", "n": b64(numbers.n.to_bytes(128)), "e": b64(numbers.e.to_bytes(3))}]}
    )
    signed = f"{b64(json.dumps({'alg': 'RS256'}).encode())}.{b64(json.dumps(CLAIMS).encode())}"
    token = Secret(f"{signed}.{b64(short.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}")
    with pytest.raises(LoginFailed, match="not by a key"):
        verify(server, token, provider=provider(server, "RS256"))


def test_keys_are_fetched_once_and_again_after_an_hour(keys: Loopback) -> None:
    """Keys have a lifetime here, whatever way the clock moves (R25)."""
    jwks = Jwks()
    for now in (NOW, NOW + 1, NOW + 2):
        verify(keys, sign({**CLAIMS, "iat": now, "exp": now + 300}), jwks=jwks, now=now)
    assert len(keys.requests) == 1
    for number, now in enumerate((NOW + 3601, NOW), start=2):
        verify(keys, sign({**CLAIMS, "iat": now, "exp": now + 300}), jwks=jwks, now=now)
        assert len(keys.requests) == number


def test_unknown_keys_are_asked_for_once_in_five_minutes(keys: Loopback) -> None:
    """A rotated key is found at once; a flood of made-up ones is one request (R25)."""
    jwks = Jwks()
    verify(keys, sign(CLAIMS), jwks=jwks)
    keys.default = http("200 OK", {"keys": [jwk(OTHER, kid="new")]})
    assert verify(keys, sign(CLAIMS, key=OTHER, kid="new"), jwks=jwks).subject == "ann-1"
    assert len(keys.requests) == 2
    for kid in ("x", "y", "z"):
        with pytest.raises(LoginFailed):
            verify(keys, sign(CLAIMS, key=OTHER, kid=kid), jwks=jwks)
    assert len(keys.requests) == 2
    later = NOW + 301
    with pytest.raises(LoginFailed):
        verify(keys, sign({**CLAIMS, "iat": later}, kid="x"), jwks=jwks, now=later)
    assert len(keys.requests) == 3


@pytest.mark.parametrize("answer", [b"", http("500 Oops"), http("200 OK", "<html>"), http("302 Found")])
def test_keys_that_cannot_be_had_are_an_outage(server: Loopback, answer: bytes) -> None:
    """The token may be good: nobody can tell now."""
    server.default = answer
    with pytest.raises(ProviderUnavailable, match="keys of P"):
        verify(server, sign(CLAIMS))


@pytest.mark.parametrize("answer", [{}, {"keys": None}, {"keys": {}}, {"keys": []}])
def test_no_keys_mean_no_belief_and_are_not_remembered(server: Loopback, answer: object) -> None:
    """An empty key set signs nothing; a moment later, when the server has its keys, the same login can go on."""
    jwks = Jwks()
    server.default = http("200 OK", answer)
    with pytest.raises(ProviderUnavailable, match="keys of P cannot be had"):
        verify(server, sign(CLAIMS), jwks=jwks)
    server.default = http("200 OK", {"keys": [jwk(KEYS["ES256"])]})
    later = NOW + idtoken.RETRY_AFTER + 1  # a bit more than the pause: that counts from when the answer came
    assert verify(server, sign(CLAIMS), jwks=jwks, now=later).subject == "ann-1"


def changed_keys(server: Loopback) -> tuple[Jwks, threading.Event]:
    """Learn the old key, then let the server have another one, which it shows once the event is set."""
    jwks, shown = Jwks(), threading.Event()
    server.default = http("200 OK", {"keys": [jwk(KEYS["ES256"], kid="old")]})
    verify(server, sign(CLAIMS, kid="old"), jwks=jwks)
    answer = http("200 OK", {"keys": [jwk(OTHER, kid="new")]})

    def slowly(connection: socket.socket) -> None:
        assert shown.wait(5)
        connection.sendall(answer)

    server.default = slowly
    return jwks, shown


async def asked(server: Loopback, count: int) -> None:
    """Wait until so many requests have come."""
    async with asyncio.timeout(5):
        while len(server.requests) < count:  # noqa: ASYNC110 -- what is waited for happens in the server's thread
            await asyncio.sleep(0.002)


async def find_new(server: Loopback, jwks: Jwks, now: float = NOW) -> int:
    """Count the keys that fit the new key's id."""
    return len(await jwks.find(CLIENT, provider(server), {"alg": "ES256", "kid": "new"}, now))


def test_two_at_once_meet_a_new_key(server: Loopback) -> None:
    """Who meets the new key's id while it is being fetched waits for the same answer: one request, and both find it."""
    jwks, shown = changed_keys(server)

    async def story() -> None:
        both = asyncio.gather(find_new(server, jwks), find_new(server, jwks))
        await asked(server, 2)
        shown.set()
        assert list(await both) == [1, 1]

    asyncio.run(story())
    assert len(server.requests) == 2


def test_who_goes_away_does_not_take_the_keys_from_the_others(server: Loopback) -> None:
    """The one that began the fetch is cancelled, and the one that joined it finds the key all the same."""
    jwks, shown = changed_keys(server)

    async def story() -> None:
        first = asyncio.create_task(find_new(server, jwks))
        await asked(server, 2)
        second = asyncio.create_task(find_new(server, jwks))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        shown.set()
        assert await second == 1
        assert first.cancelled()

    asyncio.run(story())
    assert len(server.requests) == 2


def test_a_new_key_that_could_not_be_fetched_is_asked_for_again(server: Loopback) -> None:
    """A failed try refuses nobody's token and is made again soon, yet not at once: the outage is not hammered."""
    jwks, shown = changed_keys(server)
    good, server.default = server.default, http("503 Busy")
    for now in (NOW, NOW + 1, NOW + idtoken.RETRY_AFTER - 1):
        with pytest.raises(ProviderUnavailable, match="keys of P cannot be had: HTTP 503"):
            verify(server, sign(CLAIMS, key=OTHER, kid="new"), jwks=jwks, now=now)
    assert len(server.requests) == 2
    shown.set()
    server.default = good
    later = NOW + idtoken.RETRY_AFTER + 1
    assert verify(server, sign(CLAIMS, key=OTHER, kid="new"), jwks=jwks, now=later).subject == "ann-1"
    assert len(server.requests) == 3


def test_without_an_issuer_an_id_token_means_nothing(keys: Loopback) -> None:
    """An ID token from a provider without issuer cannot be checked."""
    with pytest.raises(LoginFailed, match="how to check"):
        verify(keys, sign(CLAIMS), provider=replace(provider(keys), issuer=""))


def test_a_token_without_a_name_is_shown_by_its_subject(keys: Loopback) -> None:
    """The label falls back to what is always there."""
    claims = {name: value for name, value in CLAIMS.items() if name != "preferred_username"}
    assert verify(keys, sign(claims)).label == "ann-1"
