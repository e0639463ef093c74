"""A web server that answers whoever brings a good token: as a cluster, a registry of images or crates, or a folder."""

import base64
import contextlib
import ssl
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from tests.clients.serving import serving

# Of a request's method and path, and the server's own address: content type and body, or nothing for 404.
Pages = Callable[[str, str, str], tuple[str, bytes] | None]
STATUS = {"PROPFIND": 207}  # RFC 4918 9.1


class Gate:
    """The server.

    Attributes:
        url: where it is.
        pages: what it has.
        users: who was let in: the user name, or ``Bearer`` where the token came as one.
        welcomed: with which tokens; ``refused`` those of the others.
    """

    def __init__(self, pages: Pages, is_good: Callable[[str], bool], challenge: str) -> None:
        self.pages, self.is_good, self.challenge = pages, is_good, challenge
        self.url = ""
        self.users: set[str] = set()
        self.welcomed: list[str] = []
        self.refused: list[str] = []

    def lets_in(self, authorization: str) -> bool:
        """Whether the header holds a token that is good now, as a password or as what it is."""
        user, _, token = authorization.partition(" ")
        if user == "Basic":
            user, _, token = base64.b64decode(token).decode().partition(":")
        if not token:
            return False
        if not self.is_good(token):
            self.refused.append(token)
            return False
        self.users.add(user)
        self.welcomed.append(token)
        return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gate: ClassVar[Gate]

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.gate.lets_in(self.headers.get("Authorization", "")):
            self._send(401, "application/json", b'{"kind": "Status"}', {"WWW-Authenticate": self.gate.challenge})
            return
        kind, body = self.gate.pages(self.command, self.path, self.gate.url) or ("", b"")
        self._send(STATUS.get(self.command, 200) if kind else 404, kind or "text/plain", body, {})

    do_GET = do_HEAD = do_PROPFIND = answer  # noqa: N815 -- the names are http.server's

    def _send(self, status: int, kind: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name is http.server's
        """Keep the walk's output clean."""


@contextlib.contextmanager
def gate(
    pages: Pages,
    is_good: Callable[[str], bool],
    *,
    context: ssl.SSLContext | None = None,
    challenge: str = 'Bearer realm="gate"',
) -> Iterator[Gate]:
    """Serve on a free port."""
    served = Gate(pages, is_good, challenge)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"gate": served}))
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    served.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
    with serving(server):
        yield served
