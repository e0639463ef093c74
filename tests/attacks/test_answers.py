"""Hostile answers of a provider, at the token endpoint and in what it says about itself, and addresses of no provider.

A raw server says whatever bytes the table holds. A refresh token that a person brings along is tried there at once, so
each case is one request: nothing of the answer may become an account, and no other address may be asked.
"""

import gzip
import json
import socket
from collections.abc import Iterator

import pytest

from broker.practice.settings import PracticeSettings
from tests.attacks.ground import Ground, new_ground, trap, visited
from tests.attacks.hostile import Hostile
from tests.oauth.loopback import Loopback, http

KIB = 1024
# Another answer drips meanwhile; how that ends is seen by `test_slow`, much later.
pytestmark = pytest.mark.usefixtures("drip")
GOOD = {"access_token": "evil-token", "token_type": "Bearer", "expires_in": 600}


def said(**changes: object) -> bytes:
    """Write an answer that is right but for some members."""
    return http("200 OK", GOOD | changes)


def text(body: str, **headers: str) -> bytes:
    """Write an answer with a body that no JSON library would write."""
    return http("200 OK", body, Content_Type="application/json", **headers)


ANSWERS = {
    "a body of 257 KiB": text(" " * 257 * KIB + json.dumps(GOOD)),
    "chunks of 257 KiB": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    + (b"400\r\n" + b" " * KIB + b"\r\n") * 257
    + b"0\r\n\r\n",
    "a length that lies": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b" " * 300 * KIB,
    "gzip": http("200 OK", gzip.compress(json.dumps(GOOD).encode()), Content_Encoding="gzip"),
    "gzip, by another name": http("200 OK", gzip.compress(json.dumps(GOOD).encode()), Content_Encoding="x-gzip"),
    "stacked encodings": http("200 OK", json.dumps(GOOD), Content_Encoding=", ".join(["identity", "gzip"] * 99)),
    "a bomb": http("200 OK", gzip.compress(b" " * 64 * KIB * KIB), Content_Encoding="gzip"),
    "NaN": text('{"access_token":"evil-token","token_type":"Bearer","expires_in":NaN}'),
    "infinity": text('{"access_token":"evil-token","token_type":"Bearer","expires_in":-Infinity}'),
    "a name twice": text('{"access_token":"evil-token","access_token":"evil-2","token_type":"Bearer"}'),
    "a name twice, further in": text('{"access_token":"evil-token","token_type":"Bearer","x":{"a":1,"a":2}}'),
    "deep nesting": text("[" * 100_000 + "]" * 100_000),
    "deep nesting inside": text('{"access_token":"evil-token","token_type":"Bearer","x":' + '{"a":' * 50_000),
    "a number of 5000 digits": text('{"access_token":"evil-token","token_type":"Bearer","x":' + "9" * 5000 + "}"),
    "UTF-16": http("200 OK", json.dumps(GOOD).encode("utf-16")),
    "bytes that are no UTF-8": http("200 OK", b'{"access_token":"\xff","token_type":"Bearer"}'),
    "a mark before it": http("200 OK", b"\xff\xfe" + json.dumps(GOOD).encode()),
    "a list": text(json.dumps([GOOD])),
    "text": text('"evil-token"'),
    "nothing": http("200 OK"),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a page": http("200 OK", "<html>evil-token</html>", Content_Type="text/html"),
    "a token of no text": said(access_token=17),
    "a token in a list": said(access_token=["evil-token"]),
    "an empty token": said(access_token=""),
    "a token with a line break": said(access_token="evil\r\nX-Evil: 1"),
    "a token with a space": said(access_token="evil token"),
    "a token with NUL": said(access_token="evil\0"),
    "a token with an escape": said(access_token="evil\x1b[2J"),
    "a token with half a letter": text('{"access_token":"evil\\ud800","token_type":"Bearer"}'),
    "a token of other letters": said(access_token="évil"),
    "a token of 100 KiB": said(access_token="e" * 100 * KIB),
    "another kind of token": said(token_type="DPoP"),
    "no kind of token": said(token_type=["Bearer"]),
    "a header with a bare CR": b"HTTP/1.1 200 OK\r\nX: a\rSet: b\r\nContent-Length: 2\r\n\r\n{}",
    "a header with NUL": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    "a header of a megabyte": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1024 * KIB + b"\r\nContent-Length: 2\r\n\r\n{}",
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 76\r\n\r\n" + json.dumps(GOOD).encode(),
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "half an answer": said()[:-10],
    "interim answers without end": b"HTTP/1.1 103 Early\r\n\r\n" * 50_000,
}


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Run a daemon whose provider never changes a refresh token: what is lost here, Keyfob has lost."""
    with new_ground(settings=PracticeSettings(auto_approve=True, rotation="keep")) as found:
        yield found


@pytest.fixture(scope="module")
def hostile(ground: Ground) -> Iterator[Hostile]:
    """Run the raw server."""
    with Loopback() as server:
        yield Hostile(ground, server)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_hostile_answer_is_no_token(ground: Ground, hostile: Hostile, name: str) -> None:
    """It is told in words of ours, without anything of it, and the daemon goes on."""
    hostile.server.default = ANSWERS[name]

    answer = hostile.bring()
    ground.owner.delete(f"/v1/accounts/{hostile.name}", params={"local_only": "true"})  # one fault, one failure

    assert 400 <= answer.status_code < 600
    assert answer.status_code != 500
    assert "evil" not in answer.text.replace(hostile.name, "")
    assert "canary" not in answer.text
    assert answer.json()["detail"].isprintable()


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
def test_a_secret_is_not_sent_on(hostile: Hostile, status: str) -> None:
    """A redirect at the token endpoint is not followed: it would take the refresh token somewhere else."""
    with trap() as elsewhere:
        hostile.server.default = http(f"{status} X", Location=f"http://127.0.0.1:{elsewhere.getsockname()[1]}/token")

        assert hostile.bring().status_code >= 400
        assert not visited(elsewhere)


def test_a_right_answer_is_taken(ground: Ground, hostile: Hostile) -> None:
    """None of the refusals above is one of everything."""
    hostile.server.default = said(id_token="evil.evil.evil")

    assert hostile.bring().status_code == 201
    # Nobody asked for an ID token, and one that was not checked is none.
    assert ground.get(f"/v1/accounts/{hostile.name}/token?id_token=true").status_code >= 400
    assert ground.get(f"/v1/accounts/{hostile.name}/token").json()["access_token"] == GOOD["access_token"]
    assert ground.owner.delete(f"/v1/accounts/{hostile.name}", params={"local_only": "true"}).status_code == 204


@pytest.mark.parametrize("name", ["no_refresh_token", "empty_refresh_token", "null_refresh_token"])
def test_a_refresh_token_is_not_lost(ground: Ground, name: str) -> None:
    """An answer to a refresh that brings none, or an empty one, does not take the one that is there away."""
    ground.practice.set_faults([f"refresh:{name}*1"])
    assert ground.post("/v1/accounts/me/refresh").status_code == 200

    assert ground.get("/v1/accounts/me").json()["state"] == "active"


# What no provider may be at: schemes, credentials, fragments, and addresses of special networks (RFC 6890).
NOWHERE = [
    "http://provider.example",
    "ftp://provider.example",
    "file:///etc/passwd",
    "https://user:secret@provider.example",
    "https://provider.example/#fragment",
    "https://provider.example/?query",
    "https://provider.example\\@127.0.0.1",
    "https://provider.example\r\nX-Evil: 1",
    "https://10.0.0.1",
    "https://172.16.0.1",
    "https://192.168.1.1",
    "https://169.254.169.254",
    "https://100.64.0.1",
    "https://0.0.0.0",
    "https://224.0.0.1",
    "https://255.255.255.255",
    "https://[fd00::1]",
    "https://[fe80::1]",
    "https://[::ffff:10.0.0.1]",
    "https://[64:ff9b::10.0.0.1]",
    "https://[2002:0a00:0001::]",
    "https://2852039166",
    "https://0xa9fea9fe",
    "https://0251.0376.0251.0376",
    "https://169.254.43518",
    "http://10.0.0.1",
    "http://127.0.0.1.provider.example",
]


@pytest.mark.parametrize("url", NOWHERE)
def test_an_address_of_no_provider(ground: Ground, url: str) -> None:
    """Neither as issuer nor as token endpoint, without a person's --private, whatever form the number has."""
    secret = {"client_id": "x", "client_secret": "canary-of-a-client-secret"}
    as_issuer = ground.post("/v1/providers", json={"name": "nowhere", "issuer": url} | secret)
    endpoints = {"token_endpoint": f"{url}/token", "authorization_endpoint": "https://provider.example/authorize"}
    as_endpoint = ground.post("/v1/providers", json={"name": "nowhere", **endpoints} | secret)
    if as_endpoint.status_code == 201:  # a name may be written down; what it leads to is seen before anything is sent
        login = {"provider": "nowhere", "flow": "refresh-token", "refresh_token": "x", "client_id": "x"}
        as_endpoint = ground.post("/v1/logins", json=login)
        ground.owner.delete("/v1/providers/nowhere")

    for answer in (as_issuer, as_endpoint):
        assert answer.status_code in (400, 409, 503), answer.text
        assert "canary" not in answer.text
    assert ground.get("/v1/providers/nowhere").status_code == 404


def test_a_name_that_leads_to_this_machine(ground: Ground) -> None:
    """A foreign name that the resolver leads to this machine is not asked: it could be any service here."""
    name = socket.gethostname()
    with trap() as here:
        port = here.getsockname()[1]
        for url in (f"https://{name}:{port}", f"http://{name}:{port}"):
            assert ground.post("/v1/providers", json={"name": "nowhere", "issuer": url}).status_code in (400, 503)

        assert not visited(here)


DOCUMENT: dict[str, object] = {
    "issuer": "%U",
    "authorization_endpoint": "%U/authorize",
    "token_endpoint": "%U/token",
    "jwks_uri": "%U/jwks",
    "response_types_supported": ["code"],
    "code_challenge_methods_supported": ["S256"],
}
LIES: dict[str, dict[str, object]] = {
    "another issuer": {"issuer": "https://evil.example"},
    "an issuer that is longer": {"issuer": "%U/tenant"},
    "no issuer": {"issuer": None},
    "a token endpoint in a private network": {"token_endpoint": "https://10.0.0.1/token"},
    "a token endpoint in clear": {"token_endpoint": "http://evil.example/token"},
    "a token endpoint that is a file": {"token_endpoint": "file:///etc/passwd"},
    "a token endpoint with credentials": {"token_endpoint": "https://user@evil.example/token"},
    "a page that is a script": {"authorization_endpoint": "javascript:alert(1)"},
    "a page that is a file": {"authorization_endpoint": "file:///etc/passwd"},
    "a page with a line break": {"authorization_endpoint": "%U/authorize\r\nX: 1"},
    "weaker proofs only": {"code_challenge_methods_supported": ["plain"]},
    "an endpoint that is a list": {"token_endpoint": ["%U/token"]},
}


@pytest.mark.parametrize("name", LIES)
def test_a_document_that_lies(ground: Ground, name: str) -> None:
    """What a server says about itself is used as a whole or not at all: no login begins by it."""
    with Loopback() as server:
        text = json.dumps(DOCUMENT | LIES[name]).replace("%U", server.url)
        server.default = http("404 Not Found")
        for kind in ("openid-configuration", "oauth-authorization-server"):
            server.routes[f"/.well-known/{kind}"] = http("200 OK", text, Content_Type="application/json")
        answer = ground.post("/v1/providers", json={"name": "liar", "issuer": server.url})
        if answer.status_code == 201:  # it may be asked about itself all the same; no login begins there
            answer = ground.post("/v1/logins", json={"provider": "liar", "account": "x", "client_id": "x"})
            ground.owner.delete("/v1/providers/liar")

    assert answer.status_code in (400, 409, 503), answer.text
    assert answer.json()["detail"].isprintable()


@pytest.mark.parametrize("status", ["301", "302", "307"])
def test_a_document_is_not_fetched_elsewhere(ground: Ground, status: str) -> None:
    """A redirect of a discovery document is not followed, so no server leads Keyfob through this machine's network."""
    with Loopback() as server, trap() as elsewhere:
        server.default = http(f"{status} X", Location=f"http://127.0.0.1:{elsewhere.getsockname()[1]}/")

        assert ground.post("/v1/providers", json={"name": "nowhere", "issuer": server.url}).status_code >= 400
        assert not visited(elsewhere)
