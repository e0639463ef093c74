"""The other side of the client: a small HTTP server that answers by script and keeps records.

Used by the tests of ``broker.client`` and of the verbs.
"""

import contextlib
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from broker import challenge


@dataclass(frozen=True)
class Request:
    """One request, as it came."""

    line: str
    headers: dict[str, str]
    body: Any


@dataclass
class ScriptedDaemon:
    """Answers ``METHOD /path?query`` with the next scripted reply; the last one is repeated.

    Attributes:
        where: path of the socket, or base URL.
        requests: all that came.
        connections: how many connections were accepted.
        key: the app key that it can prove to know; without one it answers such questions by script.
        otherwise: the bytes that answer what is not scripted, None to hang up.
    """

    where: str = ""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    key: str = ""
    otherwise: bytes | None = b"HTTP/1.1 404 Unforeseen\r\nContent-Length: 0\r\n\r\n"
    _replies: dict[str, list[bytes]] = field(default_factory=dict)
    # Set while requests to "/v1/logins/..." hang, as a long poll does.
    hang: threading.Event = field(default_factory=threading.Event)

    def answers(self, line: str, body: object = None, *, status: int = 200, **headers: str) -> None:
        """Script one more JSON reply."""
        content = b"" if body is None else json.dumps(body).encode()
        kind = "application/problem+json" if status >= 400 else "application/json"
        fields = {"Content-Type": kind, "Content-Length": str(len(content))}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.answers_raw(line, f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode() + content)

    def refuses(self, line: str, status: int, code: str, detail: str = "No.", **members: object) -> None:
        """Script a problem document."""
        self.answers(line, {"status": status, "code": code, "detail": detail, **members}, status=status)

    def answers_raw(self, line: str, raw: bytes) -> None:
        """Script the very bytes of a reply."""
        self._replies.setdefault(line, []).append(raw)

    def forget(self, line: str) -> None:
        """Drop what was scripted for these requests."""
        self._replies.pop(line, None)

    def lines(self) -> list[str]:
        """Return method and target of each request."""
        return [request.line for request in self.requests]

    def reply_to(self, request: Request) -> bytes:
        """Return what the script says; an unforeseen request is told so."""
        path, _, query = request.line.partition("?")
        if self.key and path.endswith("/healthz") and query:
            asked = dict(parse_qsl(query))
            nonce = bytes.fromhex(asked["nonce"])
            proof = challenge.proof(challenge.hash_key(self.key), nonce, asked["address"])
            content = json.dumps({"state": "ok", "proof": proof}).encode()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content
        replies = self._replies.get(request.line, [])
        if not replies:
            return self.otherwise or b""
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        return _plain(reply) if request.headers.get("accept") == "text/plain" else reply


def _plain(reply: bytes) -> bytes:
    """Return a token as the bare text that was asked for; anything else stays as it is scripted."""
    head, _, body = reply.partition(b"\r\n\r\n")
    with contextlib.suppress(ValueError):
        answer = json.loads(body) if head.startswith(b"HTTP/1.1 200") else None
        if isinstance(answer, dict) and isinstance(answer.get("access_token"), str):
            text = str(answer["access_token"]).encode()
            length = b"Content-Length: %d" % len(text)
            return b"\r\n".join((b"HTTP/1.1 200 OK", b"Content-Type: text/plain; charset=utf-8", length, b"", text))
    return reply


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    daemon: ClassVar[ScriptedDaemon]

    def setup(self) -> None:
        super().setup()
        self.daemon.connections += 1

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length) if length else self.chunks()
        body = json.loads(content) if content else None
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(f"{self.command} {self.path}", headers, body)
        self.daemon.requests.append(request)
        while self.daemon.hang.is_set() and "?wait=" in self.path:
            time.sleep(0.01)
        raw = self.daemon.reply_to(request)
        with contextlib.suppress(BrokenPipeError):  # whoever pressed Ctrl-C does not wait for the answer
            self.wfile.write(raw)
        # "Connection: close" in some other header ends the connection without telling the client.
        framed = b"Content-Length" in raw or b"chunked" in raw
        self.close_connection = not framed or b"Connection: close" in raw

    def chunks(self) -> bytes:
        """Return a body that came in pieces (RFC 9112 7.1), empty where there is none."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return b""
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 -- the names are http.server's

    def address_string(self) -> str:
        return "peer"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name is http.server's
        """Keep the tests' output clean."""


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class _TcpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True


@contextmanager
def scripted_daemon(socket: Path | None) -> Iterator[ScriptedDaemon]:
    """Serve on ``socket``, or on a free port where that is None."""
    daemon = ScriptedDaemon()
    handler = type("Handler", (_Handler,), {"daemon": daemon})
    server: socketserver.BaseServer
    if socket is None:
        server = tcp = _TcpServer(("127.0.0.1", 0), handler)
        daemon.where = f"http://127.0.0.1:{tcp.socket.getsockname()[1]}"
    else:
        server = _UnixServer(str(socket), handler)
        daemon.where = str(socket)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield daemon
    finally:
        daemon.hang.clear()
        server.shutdown()
        thread.join()
        server.server_close()
