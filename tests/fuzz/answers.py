"""Targets: whole HTTP answers of providers, read by Keyfob's own way out; and ID tokens with the keys that prove them.

Used by ``targets``.
"""

import json
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlsplit

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from broker.core.login import Client
from broker.core.secret import Secret
from broker.errors import InvalidRequest, LoginFailed, ProviderUnavailable
from broker.oauth import device, idtoken, par, wire
from broker.oauth.http import AnswerLost, NotSent, Reply
from broker.oauth.locate import locate_for
from broker.oauth.resource import protected
from broker.providers.model import Provider
from broker.providers.rules import Endpoints
from tests.fuzz.canned import NOW, Answering, answer
from tests.fuzz.replies import DEEP
from tests.fuzz.target import CANARY, Target, around, picked, repeated, run, text_of

HOME = "https://as.example"
API = "https://api.example/v1"
CLIENT = Client("u", "p", "c", "none", "given", has_secret=False, created_at=0.0)
PROVIDER = Provider(
    name="p",
    title="P",
    preset="generic",
    issuer=HOME,
    endpoints=Endpoints(
        authorization=f"{HOME}/auth",
        token=f"{HOME}/token",
        jwks=f"{HOME}/jwks",
        revocation=f"{HOME}/revoke",
        device_authorization=f"{HOME}/device",
        pushed_authorization=f"{HOME}/par",
    ),
    id_token_algs=idtoken.ALGORITHMS,
)
# Fixed, so that a finding can be shown again; they guard nothing.
SIGNERS: dict[str, ECKey | OKPKey | RSAKey] = {
    "ES256": ECKey.import_key(
        {
            "kty": "EC",
            "crv": "P-256",
            "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }
    ),  # RFC 7515 A.3.1
    "EdDSA": OKPKey.import_key(
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        }
    ),  # RFC 8037 A.1
}
CLAIMS: dict[str, Any] = {
    "iss": HOME,
    "sub": "ann-1",
    "aud": "c",
    "exp": NOW + 300,
    "iat": NOW,
    "nonce": "n",
    "name": "Ann",
}


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _signed(algorithm: str, **more: object) -> bytes:
    payload = json.dumps({**CLAIMS, **more}).encode()
    signed = f"{_b64(json.dumps({'alg': algorithm}).encode())}.{_b64(payload)}"
    signature = JWSRegistry.algorithms[algorithm].sign(signed.encode(), SIGNERS[algorithm])
    return f"{signed}.{_b64(signature)}".encode()


GENUINE = tuple(_signed(algorithm) for algorithm in SIGNERS)
KEYS = [key.as_dict(private=False) for key in SIGNERS.values()]
# RFC 7515 A.2.1: a key of another kind, for what its own import may do.
RSA = {"kty": "RSA", "e": "AQAB", "n": _b64(bytes(range(1, 256)) + b"\x01"), "use": "sig"}


def _verified(token: bytes, keys: bytes) -> idtoken.Claims:
    return run(
        idtoken.verify(
            Answering(answer(keys)),
            PROVIDER,
            idtoken.Jwks(),
            id_token=Secret(text_of(token)),
            client_id="c",
            nonce="n",
            access_token=Secret("a"),
            now=NOW,
        )
    )


def _id_token(data: bytes) -> None:
    try:
        idtoken.unverified(PROVIDER, Secret(text_of(data)), client_id="c")
    except LoginFailed as exc:
        assert CANARY not in f"{exc} {exc.detail}"  # noqa: PT017 -- the same bytes go on to the other reader
    claims = _verified(data, json.dumps({"keys": KEYS}).encode())
    # Only what was signed is believed; the signature of ECDSA may be written in more than one way.
    assert data.rpartition(b".")[0] in {token.rpartition(b".")[0] for token in SEALED}, "a forged token is believed"
    assert claims.subject == "ann-1"
    issued, expires = idtoken.life(Secret(text_of(data)))
    assert issued <= expires


SEALED = (*GENUINE, _signed("ES256", aud=["c"], azp="c", at_hash="x"), _signed("EdDSA", exp=1, phone=CANARY))


def _keys(data: bytes) -> None:
    token, data = picked(data, GENUINE)
    assert _verified(token, data).subject == "ann-1"


def _any_http(raw: bytes) -> None:
    reply = run(Answering(raw).send("GET", f"{HOME}/x", private=False))
    assert 100 <= reply.status <= 999
    assert reply.retry_after is None or reply.retry_after >= 0
    assert isinstance(reply.ahead, float)


def _retry_after(data: bytes) -> None:
    until, _, date = data.decode("latin-1").partition("\n")
    reply = Reply(429, {"retry-after": until, "date": date}, b"", NOW)
    assert reply.retry_after is None or 0 <= reply.retry_after < 1e12
    assert abs(reply.ahead) < 1e12


def _challenge(raw: bytes) -> None:
    found = run(protected(Answering(raw), API, private=False))
    if found is not None:
        said, asked = urlsplit(found.resource), urlsplit(API)
        assert (said.scheme, said.netloc.lower()) == (asked.scheme, asked.netloc), "it speaks for another one"
        assert asked.path.startswith(said.path.rstrip("/")), "it speaks for another one"


def _located(raw: bytes) -> None:
    assert run(locate_for(Answering(raw), API, private=False)).issuer


def _device(data: bytes) -> None:
    status, body = picked(data, (200, 400, 403, 429))
    way = Answering(answer(body, status))
    codes = run(device.authorize(way, PROVIDER, CLIENT, None, scope=("a",), resource=None))
    if isinstance(codes, device.Codes):
        assert codes.prompt.verification_uri.startswith(("https://", "http://127.", "http://localhost", "http://[::1]"))
        assert codes.prompt.user_code.isprintable()
        assert 0 < codes.expires_in <= device.LONGEST_LIFE
        assert 1 <= codes.prompt.interval <= device.LONGEST_INTERVAL
    polled = run(
        device.poll(
            way,
            PROVIDER,
            CLIENT,
            None,
            token_endpoint=f"{HOME}/token",
            device_code=Secret(CANARY),
            scope=(),
            resource=None,
        )
    )
    assert CANARY not in repr(polled)


def _pushed(data: bytes) -> None:
    status, body = picked(data, (201, 200, 400, 429, 503))
    url = f"{HOME}/auth?client_id=c&state={CANARY}"
    pushed = run(par.push(Answering(answer(body, status)), PROVIDER, CLIENT, None, authorization_url=url))
    assert pushed.url.startswith(f"{HOME}/auth?client_id=c&request_uri=")
    assert pushed.expires_in > 0


def _revoked(raw: bytes) -> None:
    why = run(wire.revoke(Answering(raw), PROVIDER, CLIENT, None, token=Secret(CANARY), hint="refresh_token"))
    assert why is None or (CANARY not in why and why.isprintable())


CHALLENGE = b'HTTP/1.1 401 X\r\nWWW-Authenticate: Bearer realm="a", resource_metadata="%b"\r\nContent-Length: 0\r\n\r\n'
RESOURCE = json.dumps(
    {"resource": API, "authorization_servers": [HOME], "issuer": HOME, "token_endpoint": HOME}
).encode()
HTTP = (
    answer(b"{}"),
    answer(b"<html>", 503, b"text/html"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.1 100 A\r\n\r\nHTTP/1.1 429 X\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\nx",
    b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
)
HTTP_WORDS = (
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"HTTP/1.1 ",
    b"\r\n\r\n",
    b"Retry-After: ",
    b"Date: ",
)
HEADERS = (
    repeated(b"HTTP/1.1 200 X\r\n", b"a: b\r\n", b"\r\n"),
    repeated(b"HTTP/1.1 200 X\r\na: ", b" "),
    repeated(b"HTTP/1.1 ", b"1"),
    repeated(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
)
CODES = {"device_code": CANARY, "user_code": "AB-CD", "verification_uri": f"{HOME}/d", "expires_in": 600, "interval": 5}
AFTER = (
    repeated(b"", b"1"),
    repeated(b"", b"("),
    repeated(b"Wed, ", b" "),
    repeated(b"Wed, 21 Oct ", b":"),
    repeated(b"", b"+"),
)

ANSWERS = (
    Target(
        "http-answer", "whole HTTP answers of providers", _any_http, (AnswerLost, NotSent), HTTP, HEADERS, HTTP_WORDS
    ),
    Target(
        "retry-after",
        "Retry-After and Date headers",
        _retry_after,
        (),
        (
            b"120\n",
            b"Wed, 21 Oct 2026 07:28:00 GMT\nWed, 21 Oct 2026 07:27:00 GMT",
            b"-5\n",
            b"0001-01-01\n",
            b"\xb2\n",
            b"1 Jan 0001 00:00:00 -2359\n",
            b"31 Dec 9999 23:59:59 +0000\n1 Jan 1 0:0:0 GMT",
        ),
        AFTER,
        (b"GMT", b"-0000", b"+2359", b"Jan", b":", b","),
        examples=300,
    ),
    Target(
        "www-authenticate",
        "what a protected resource says (RFC 9728), its challenge first",
        _challenge,
        (InvalidRequest,),
        (
            CHALLENGE % b"https://api.example/.well-known/x",
            CHALLENGE % b"http://127.0.0.1/",
            CHALLENGE % b"",
            answer(RESOURCE),
            b"HTTP/1.1 401 X\r\nWWW-Authenticate: Bearer resource_metadata=https://api.example/m, x\r\n\r\n",
        ),
        (
            *HEADERS,
            repeated(b'HTTP/1.1 401 X\r\nWWW-Authenticate: resource_metadata="', b"a"),
            repeated(b"HTTP/1.1 401 X\r\nWWW-Authenticate: ", b"a", b"\r\n\r\n"),
            repeated(b"HTTP/1.1 401 X\r\nWWW-Authenticate: ", b'a="', b"\r\n\r\n"),
        ),
        (b"resource_metadata=", *HTTP_WORDS, b'"resource":', b'"authorization_servers":'),
    ),
    Target(
        "locate",
        "what a site says of its authorization server",
        _located,
        (InvalidRequest, ProviderUnavailable),
        (answer(RESOURCE), answer(json.dumps({"issuer": HOME}).encode()), answer(b"{}"), answer(b"", 503)),
        HEADERS[1:3],
        (b'"issuer":', b'"authorization_servers":', b'"token_endpoint":', b"https://[", b"http://localhost"),
        examples=30,
    ),
    Target(
        "device",
        "device authorization answers and polls (RFC 8628)",
        _device,
        (),
        (
            b"\0" + json.dumps(CODES).encode(),
            b"\0" + json.dumps({**CODES, "interval": 0, "expires_in": "9"}).encode(),
            b"\x01" + json.dumps({"error": "slow_down"}).encode(),
            b'\x01{"error":"expired_token"}',
        ),
        around(b"\0", DEEP),
        (
            b'"user_code":',
            b'"verification_uri":',
            b'"expires_in":',
            b'"interval":',
            b'"error":',
            b"authorization_pending",
        ),
        examples=40,
    ),
    Target(
        "pushed",
        "answers to pushed authorization requests (RFC 9126)",
        _pushed,
        (LoginFailed, ProviderUnavailable),
        (b"\0" + json.dumps({"request_uri": "urn:x:y", "expires_in": 60}).encode(), b'\x02{"error":"invalid_request"}'),
        around(b"\0", DEEP),
        (b'"request_uri":', b'"expires_in":'),
        examples=40,
    ),
    Target("revocation", "answers to a revocation (RFC 7009)", _revoked, (), HTTP, (), HTTP_WORDS, examples=40),
    Target(
        "id-token",
        "ID tokens",
        _id_token,
        (LoginFailed, ProviderUnavailable),
        SEALED,
        (
            repeated(b"", b"."),
            repeated(b"a.", b"A", b".b"),
            repeated(b"", b"A", b".A.A"),
            repeated(GENUINE[0].rpartition(b".")[0] + b".", b"A"),
        ),
        (b".", b"eyJhbGciOiJub25lIn0", b"eyJhbGciOiJIUzI1NiJ9", b"="),
    ),
    Target(
        "jwks",
        "a provider's public keys",
        _keys,
        (LoginFailed, ProviderUnavailable),
        tuple(
            head + json.dumps({"keys": keys}).encode()
            for head in (b"\0", b"\x01")
            for keys in (KEYS, [RSA, *KEYS], [{"kty": "oct", "k": "AQAB"}], [{**KEYS[0], "kid": "1"}, 5])
        ),
        (
            *around(b"\0", DEEP),
            repeated(b'\0{"keys":[{"kty":"EC","crv":"P-256","x":"', b"A", b'","y":"A"}]}'),
            repeated(b'\0{"keys":[', b'{"kty":"EC"},', b"{}]}"),
        ),
        (b'"kty":', b'"crv":', b'"x":', b'"y":', b'"kid":', b'"alg":', b'"use":', b'"RSA"', b'"OKP"'),
    ),
)
