"""A small git hosting service: git's own ``http-backend``, behind a look at who is there."""

import base64
import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from tests.clients.serving import serving

# What http-backend looks at, beside the request line (its manual, "ENVIRONMENT").
PASSED_ON = {
    "Content-Type": "CONTENT_TYPE",
    "Content-Encoding": "HTTP_CONTENT_ENCODING",
    "Git-Protocol": "GIT_PROTOCOL",
}


class Forge:
    """The service.

    Attributes:
        url: of its one repository's directory; ``{url}/work.git`` is the repository.
        welcomed: user name (or ``Bearer``) and token of each request that was let in.
        refused: the tokens of the others.
    """

    def __init__(self, git: str, root: Path, is_good: Callable[[str], bool]) -> None:
        self.git, self.root, self.is_good = git, root, is_good
        self.url = ""
        self.welcomed: list[tuple[str, str]] = []
        self.refused: list[str] = []

    def lets_in(self, authorization: str) -> bool:
        """Whether the header holds a token that is good now, as a password or as what it is."""
        scheme, _, value = authorization.partition(" ")
        user, token = "Bearer", value
        if scheme.lower() == "basic":
            user, _, token = base64.b64decode(value).decode().partition(":")
        if not token:
            return False
        if self.is_good(token):
            self.welcomed.append((user, token))
            return True
        self.refused.append(token)
        return False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    forge: ClassVar[Forge]

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if not self.forge.lets_in(self.headers.get("Authorization", "")):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="forge"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        head, _, content = self._backend(body).partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer  # noqa: N815 -- the names are http.server's

    def _backend(self, body: bytes) -> bytes:
        path, _, query = self.path.partition("?")
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.forge.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_USER": "ada",
            **{theirs: self.headers[name] for name, theirs in PASSED_ON.items() if name in self.headers},
        }
        return subprocess.run(
            [self.forge.git, "http-backend"], env=environ, input=body, capture_output=True, check=True
        ).stdout

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name is http.server's
        """Keep the walk's output clean."""


@contextlib.contextmanager
def forge(git: str, root: Path, is_good: Callable[[str], bool]) -> Iterator[Forge]:
    """Serve one empty repository on a free port."""
    subprocess.run([git, "init", "--quiet", "--bare", root / "work.git"], check=True)
    served = Forge(git, root, is_good)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"forge": served}))
    served.url = f"http://127.0.0.1:{server.server_port}"
    with serving(server):
        yield served
