"""Targets: bytes at the doors, and app keys. The doors are real, and so is the store; the transport is in memory.

Used by ``targets``, and ``callers`` for the house.
"""

import asyncio
import atexit
import functools
import random
import re
import socket
import tempfile
from pathlib import Path
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from broker.errors import KeyfobError
from broker.events import Events
from broker.oauth.idtoken import Jwks
from broker.store.keys import FileKey
from broker.store.store import Store
from broker.usecases import apps, login, providers
from broker.usecases.context import Context
from broker.usecases.newlogin import NewLogin
from broker.usecases.providers import NewProvider
from broker.web import render
from broker.web.asgi import app_door, browser_door
from broker.web.body import Fields, Query
from broker.web.doors import configured
from broker.web.guards import AppGuard
from broker.web.protocol import GuardedProtocol
from tests.fuzz.canned import NOW, Answering, answer
from tests.fuzz.target import CANARY, PATIENCE, Target, picked, repeated, run

HOSTS = frozenset({"127.0.0.1:8401"})
CORP = {"endpoints": {"authorization": "https://corp.example/auth", "token": "https://corp.example/token"}}


class House:
    """Doors in memory, with a store, an app without grants, a login in a browser and one that is pasted."""

    def __init__(self, ctx: Context, key: str, begun: str, pasted: str) -> None:
        self.ctx, self.key, self.begun, self.pasted = ctx, key, begun, pasted
        echo = AppGuard(cast("Any", _echo), ctx, None, frozenset())
        apps = (cast("Any", echo), app_door(ctx, "app", HOSTS), browser_door(ctx, HOSTS))
        self.doors = tuple(configured(app) for app in apps)
        for door in self.doors:
            door.load()


@functools.cache
def house() -> House:
    """Return the one house of this process."""
    place = tempfile.TemporaryDirectory(prefix="kf-fuzz-")
    atexit.register(place.cleanup)

    async def build() -> House:
        root = Path(place.name)
        store = await Store.open(f"sqlite:///{root / 'state' / 'keyfob.db'}", key=FileKey(root / "key"), now=NOW)
        ctx = Context(
            store=store,
            http=Answering(answer(b"{}", 404)),
            jwks=Jwks(),
            events=Events(),
            clock=lambda: NOW,
            rng=random.Random(1),  # noqa: S311 -- jitter
            browser_url="http://127.0.0.1:8400",
        )
        await providers.add(ctx, NewProvider(name="corp", overrides=CORP, client_id="c"))
        key = await apps.add(ctx, "job", [], None)
        begun = await login.begin(ctx, NewLogin("corp", "me"))
        pasted = await login.begin(ctx, NewLogin("corp", "it", flow="paste"))
        return House(ctx, key.reveal(), begun.id, pasted.id)

    return run(build())


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Read body and query as the API does, and answer what they are."""
    request = Request(scope, receive)
    try:
        Query(request, "scope", "min_ttl").words("scope")
        fields = await Fields.read(request)
        response: Response = render.answer({"text": fields.text("text")})
    except KeyfobError as exc:
        response = render.problem(exc)
    await response(scope, receive, send)


class Line(asyncio.Transport):
    """One connection in memory; ``peer`` is a real Unix socket where the caller is one of this user."""

    def __init__(self, peer: socket.socket | None) -> None:
        super().__init__({"socket": peer} if peer else {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 8401)})
        self.written = bytearray()
        self.closed = False
        self.cut = False
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        """Keep what is answered."""
        self.written += data

    def is_closing(self) -> bool:
        """Tell whether somebody has hung up."""
        return self.closed

    def close(self) -> None:
        """Hang up."""
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(cast("GuardedProtocol", self.protocol).connection_lost, None)

    def abort(self) -> None:
        """Hang up at once."""
        self.cut = True
        self.close()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Learn who listens."""
        self.protocol = protocol

    def pause_reading(self) -> None:
        """Everything has been read already."""

    def resume_reading(self) -> None:
        """The same."""


async def talk(door: Config, pieces: list[bytes], *, unix: bool) -> Line:
    """Send bytes to a door, hang up where the request is not whole, and return the line when all is quiet."""
    ours, theirs = socket.socketpair() if unix else (None, None)
    state, line = ServerState(), Line(theirs)
    protocol = GuardedProtocol(door, state, {})
    try:
        line.protocol = protocol
        protocol.connection_made(line)
        for piece in pieces:
            if not line.closed:
                protocol.data_received(piece)
        if protocol._receiving:  # noqa: SLF001 -- whether somebody still waits for bytes that will not come
            line.abort()
        while state.tasks:
            done, _ = await asyncio.wait(state.tasks, timeout=PATIENCE)
            assert done, "nobody answers"
            await asyncio.sleep(0)
        line.close()
        await asyncio.sleep(0)
        return line
    finally:
        for end in (ours, theirs):
            if end is not None:
                end.close()


STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def _request(data: bytes) -> None:
    which, data = picked(data, (0, 1, 2))
    cut, data = data[0] if data else 0, data[1:]
    there = house()
    data = data.replace(b"KEY", there.key.encode()).replace(b"LOGIN", there.begun.encode())
    data = data.replace(b"PASTED", there.pasted.encode())
    line = run(talk(there.doors[which], [data[:cut], data[cut:]], unix=which == 0))
    written = bytes(line.written)
    while written:
        head, ended, rest = written.partition(b"\r\n\r\n")
        found = STATUS.match(head)
        assert found, head
        assert ended, head
        status = int(found[1])
        if status == 100:
            written = rest
            continue
        assert status < 500, head
        lines = [text.partition(b": ") for text in head.lower().split(b"\r\n")[1:]]
        headers = {name: value for name, _, value in lines}
        assert len(headers) == len(lines), "a header comes twice"
        assert headers[b"cache-control"].startswith((b"no-store", b"public")), head
        assert headers[b"x-content-type-options"] == b"nosniff", head
        length = int(headers.get(b"content-length", b"0"))
        # An answer to HEAD has a length and no body.
        bodiless = b"HEAD" in data and (not rest or rest.startswith(b"HTTP/1.1 "))
        assert bodiless or line.cut or len(rest) >= length, head
        written = rest if bodiless else rest[length:]


def scope_of(headers: list[tuple[bytes, bytes]], query: bytes = b"") -> Scope:
    """Return the beginning of a request, as an ASGI server tells it."""
    return {
        "type": "http",
        "method": "GET",
        "path": "/v1/accounts",
        "raw_path": b"/v1/accounts",
        "query_string": query,
        "client": None,
        "server": None,
        "headers": headers,
        "state": {},
    }


def _authorization(data: bytes) -> None:
    there = house()
    said: list[bytes] = []

    async def reached(scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        assert there.key.encode() in data, "somebody came in without a key"
        assert scope["state"]["caller"].name == "job"

    async def send(message: Any) -> None:  # noqa: ANN401 -- ASGI's own
        said.append(message.get("body", b""))

    lines = [(b"host", b"127.0.0.1:8401"), *((b"authorization", line) for line in data.split(b"\n"))]
    guard = AppGuard(reached, there.ctx, HOSTS, frozenset())
    run(guard(scope_of(lines), cast("Any", None), send))
    assert CANARY.encode() not in b"".join(said)


def _http(door: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    return door + b"\r\n".join((*lines, b"", b"")) + body


SOCKET, PORT, BROWSER = b"\0\xff", b"\x01\xff", b"\x02\xff"
HOST = b"Host: 127.0.0.1:8401"
KEY = b"Authorization: Bearer KEY"
TOKEN = b"GET /v1/accounts/me/token?scope=a&min_ttl=5 HTTP/1.1"
REQUESTS = (
    _http(SOCKET, b"POST / HTTP/1.1", b"Host: localhost", b"Content-Length: 14", body=b'{"text":"a\\u"}'),
    _http(
        SOCKET,
        b"POST /?scope=a%20b HTTP/1.1",
        b"Host: localhost",
        b"Transfer-Encoding: chunked",
        body=b"2\r\n{}\r\n0\r\n\r\n",
    ),
    _http(SOCKET, b"POST / HTTP/1.1", b"Host: localhost", b"Expect: 100-continue", b"Content-Length: 2", body=b"{}"),
    _http(PORT, TOKEN, HOST, KEY),
    _http(PORT, TOKEN, HOST, KEY, body=_http(b"", b"GET /healthz HTTP/1.1", HOST)),
    _http(PORT, b"GET /v1/apps/job HTTP/1.1", HOST, KEY, b"Connection: close"),
    _http(
        PORT,
        b"POST /v1/accounts/me/token/rejected HTTP/1.1",
        HOST,
        KEY,
        b"Content-Length: 20",
        body=b'{"access_token":"a"}',
    ),
    _http(PORT, b"HEAD /healthz HTTP/1.0", HOST),
    _http(BROWSER, b"GET /login/LOGIN HTTP/1.1", HOST, b"Sec-Fetch-Site: none", b"Cookie: kf_login_x=a; b"),
    _http(BROWSER, b"GET /callback/corp?code=a&state=b&state=c HTTP/1.1", HOST),
    _http(BROWSER, b"GET /ui/logins/PASTED HTTP/1.1", HOST, b"Upgrade: websocket", b"Connection: upgrade"),
    _http(BROWSER, b"GET /ui/static/style.css HTTP/1.1", HOST),
)
REQUEST_WORDS = (
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: localhost\r\n",
    b"Authorization: Bearer ",
    b"\r\n\r\n",
    b"Upgrade: h2c\r\n",
    b" HTTP/1.1\r\n",
    b" HTTP/0.9\r\n",
    b"Expect: 100-continue\r\n",
    b"/../",
    b"%2f",
    b"%0d%0a",
    b"%ff",
    b"//",
    b"CONNECT ",
    b"OPTIONS * ",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"Sec-Fetch-Site: cross-site\r\n",
    b"http://evil.example/",
)
DOORS = (
    Target(
        "request",
        "requests at the three doors: heads, lengths, targets, pipelines, cookies",
        _request,
        (),
        REQUESTS,
        (
            repeated(PORT, b"a"),
            repeated(PORT + b"GET /", b"%"),
            repeated(PORT + b"GET / HTTP/1.1\r\n", b"a:\r\n"),
            repeated(BROWSER + b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8401\r\nCookie: ", b"a;", b"\r\n\r\n"),
            repeated(SOCKET + b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
            repeated(BROWSER + b"GET /callback/corp?", b"a&", b" HTTP/1.1\r\nHost: 127.0.0.1:8401\r\n\r\n"),
        ),
        REQUEST_WORDS,
        examples=100,
    ),
    Target(
        "authorization",
        "the Authorization header of the app port",
        _authorization,
        (),
        (
            f"Bearer kf_{CANARY}".encode(),
            b"bearer  kf_x",
            b"Basic a2Y6eA==",
            b"Bearer kf_a\nBearer kf_b",
            b"",
            b"Bearer",
        ),
        (repeated(b"Bearer kf_", b"a"), repeated(b"Bearer", b" ")),
        (b"Bearer ", b"kf_", b"\n"),
        examples=40,
    ),
)
