"""Targets: bodies, forms and queries, what a person pastes, and what the client of programs is answered.

Used by ``targets``.
"""

import base64
import json
import socket
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request

from broker.client import Client, ClientError
from broker.client_wire import Wire, peer_of_url
from broker.errors import InvalidRequest, Unauthorized
from broker.usecases import paste
from broker.web.body import Fields, Query
from broker.web.emulate import oauth
from broker.web.form import Form
from tests.fuzz.doors import house, scope_of
from tests.fuzz.target import CANARY, Target, repeated, run, text_of


def _sent(data: bytes) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    return Request(scope_of([]), receive)


def _form(data: bytes) -> None:
    form = run(Form.read(_sent(data)))
    assert form.text("text").isprintable() or any(ord(c) > 126 for c in form.text("text"))
    secret = form.secret("secret")
    assert CANARY not in f"{secret!r}"
    assert all(word == word.strip() != "" for word in form.words("words"))
    seconds = form.seconds("seconds")
    assert seconds is None or 0 <= seconds <= 1e9


def _client_of_header(data: bytes) -> None:
    name, key = oauth.of_header(Request(scope_of([(b"authorization", data)])))
    assert CANARY not in f"{key!r}"
    assert name is None or ":" not in name or b"%3" in base64.b64decode(data.split()[1])


def _body(data: bytes) -> None:
    fields = run(Fields.read(_sent(data)))
    assert fields.text("text").isprintable() or any(ord(c) > 126 for c in fields.text("text"))
    secret = fields.secret("secret")
    assert CANARY not in f"{secret!r}"
    for word in (*fields.words("words"), *fields.choices("choices")):
        assert isinstance(word, str)
    fields.flag("flag")
    moment = fields.time("time")
    assert moment is None or moment >= 0
    for inner in fields.objects("objects"):
        inner.text("text")
    fields.table("table")
    fields.texts("texts")
    fields.end()


def _query(data: bytes) -> None:
    query = Query(Request(scope_of([], data)), "text", "words", "seconds", "time", "count", "flag")
    query.text("text")
    query.words("words")
    seconds, moment = query.seconds("seconds"), query.time("time")
    assert seconds is None or 0 <= seconds <= 1e9
    assert moment is None or 0 <= moment < 1e11
    assert 1 <= query.count("count", 5, 100) <= 100
    query.flag("flag")


def _pasted(data: bytes) -> None:
    there = house()
    run(paste.finish(there.ctx, there.pasted, url=text_of(data)))


def _client(data: bytes) -> None:
    # Nobody listens at port 1: where the connection that is here already says nothing, that is the end of it.
    client = Client(url="http://127.0.0.1:1", key=CANARY)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
        client._wire = Wire(theirs)  # noqa: SLF001 -- the connection is kept from before, as it often is
        token = client.token("work")
    assert token.access_token.isprintable()


def _peer_url(data: bytes) -> None:
    url = text_of(data)
    peer = peer_of_url(url)
    assert "\r" not in peer.host + peer.base
    assert "\n" not in peer.host + peer.base
    assert urlsplit(url).netloc == peer.host


BODY = {
    "text": "a",
    "words": ["b"],
    "choices": "c",
    "flag": True,
    "time": "2030-01-01T00:00:00Z",
    "objects": [{"text": "d"}],
    "table": {"e": 1},
    "texts": {"f": "g"},
}
ADDRESS = b"http://127.0.0.1:8400/callback/corp"
SOUND = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n%b"


def _said(status: int, body: object, head: bytes = b"") -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return SOUND % (status, len(text), head, text)


CALLERS = (
    Target(
        "body",
        "JSON bodies of the API",
        _body,
        (InvalidRequest,),
        (
            json.dumps(BODY).encode(),
            b"",
            b'{"time":1e9,"secret":5}',
            b'{"time":"0001-01-01T00:00:00+23:59"}',
            b'{"unknown\\u001b":1}',
        ),
        (
            repeated(b'{"text":"', b"a", b'"}'),
            repeated(b'{"words":"', b"a ", b'"}'),
            repeated(b'{"a":[', b"1,", b"1]}"),
            repeated(b"{", b'"a":1,', b'"b":1}'),
        ),
        tuple(f'"{name}":'.encode() for name in (*BODY, "secret")),
        examples=200,
    ),
    Target(
        "oauth-form",
        "forms of OAuth clients",
        _form,
        (InvalidRequest,),
        (
            f"text=a&secret={CANARY}&words=b+c&seconds=5.5".encode(),
            f"secret={CANARY}&secret={CANARY}".encode(),
            f"secret={CANARY}%ff".encode(),
            b"text=%c2%9b&words=%20&text",
            b"{}",
        ),
        (repeated(b"", b"a&"), repeated(b"text=", b"%41"), repeated(b"words=", b"a+"), repeated(b"", b"a=b&")),
        (b"&text=", b"&secret=", b"&words=", b"&seconds=", b"%00", b"%f0%9f%94%91"),
        examples=200,
    ),
    Target(
        "oauth-client",
        "the Authorization header of OAuth clients",
        _client_of_header,
        (Unauthorized,),
        (
            b"Basic " + base64.b64encode(f"job:{CANARY}".encode()),
            b"Basic " + base64.b64encode(b"%6aob:%ff"),
            f"Bearer {CANARY}".encode(),
            b"Basic \xff",
            b"Digest a",
        ),
        (repeated(b"Basic ", b"QUFB"), repeated(b"Bearer ", b"a"), repeated(b"", b" ")),
        (b"Basic ", b"Bearer ", b"Og==", b"%3a"),
        examples=200,
    ),
    Target(
        "query",
        "queries of the API",
        _query,
        (InvalidRequest,),
        (
            b"text=a&words=b+c,d&seconds=5.5&time=2030-01-01T00:00:00Z&count=7&flag=true",
            b"time=1e9",
            b"time=-1",
            b"a=b",
            b"flag",
        ),
        (repeated(b"", b"a&"), repeated(b"text=", b"%41"), repeated(b"words=", b"a,"), repeated(b"seconds=", b"1")),
        (b"&text=", b"&words=", b"&seconds=", b"&time=", b"&count=", b"&flag=", b"+23:59"),
        examples=200,
    ),
    Target(
        "paste",
        "what a person pastes",
        _pasted,
        (InvalidRequest,),
        (
            ADDRESS + f"?code={CANARY}&state={CANARY}".encode(),
            ADDRESS + b"?error=x",
            b" " + ADDRESS + b"?state=%ff&state=\n",
            b"http://[",
            b"c0de",
        ),
        (repeated(ADDRESS + b"?", b"a&"), repeated(ADDRESS + b"?state=", b"%41"), repeated(b"", b" ")),
        (ADDRESS, b"?state=", b"&code=", b"http://["),
        examples=40,
    ),
    Target(
        "client",
        "what the client of programs is answered",
        _client,
        (ClientError,),
        (
            _said(200, {"access_token": "a", "expires_in": 5}),
            _said(409, {"code": "login_needed", "login_url": "x", "retry_after": 5}),
            _said(503, b"", b"Retry-After: 5\r\n"),
            _said(503, b"", b"Retry-After: \xb2\r\n"),
            _said(429, b'{"retry_after":1' + b"0" * 400 + b"}"),
            b"HTTP/1.1 100 Continue\r\n\r\n" + _said(423, {"code": "locked"}),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            b"HTTP/1.0 204 X\r\n\r\n",
        ),
        (
            repeated(b"", b"a"),
            repeated(b"HTTP/1.1 200 X\r\n", b"a: b\r\n"),
            repeated(b"HTTP/1.1 503 X\r\n\r\n", b"["),
            repeated(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
            repeated(b"", b"HTTP/1.1 100 X\r\n\r\n"),
        ),
        (
            b"Content-Length: ",
            b"Transfer-Encoding: chunked\r\n",
            b"Retry-After: ",
            b'"code":',
            b'"retry_after":',
            b"\r\n\r\n",
        ),
        examples=200,
    ),
    Target(
        "peer-url",
        "KEYFOB_URL",
        _peer_url,
        (ValueError,),
        (b"http://127.0.0.1:8401/base", b"http://[::1]", b"https://a", b"http://a:99999"),
        (repeated(b"http://", b"a"), repeated(b"http://", b"["), repeated(b"http://a/", b"/")),
        (b"http://", b"@", b":", b"[::1]"),
        examples=200,
    ),
)
