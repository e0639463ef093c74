"""A Kubernetes API server as far as a credential is concerned: TLS, and an answer to whoever brings a good token."""

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

# What ``kubectl get --raw`` and ``kubectl proxy`` are asked for here: any path will do.
ANSWER = {"kind": "NamespaceList", "apiVersion": "v1", "metadata": {}, "items": []}
UNAUTHORIZED = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Unauthorized", "code": 401}


class Cluster:
    """The server.

    Attributes:
        url: where it is.
        welcomed: the tokens of the requests that were let in; ``refused`` those of the others.
    """

    def __init__(self, is_good: Callable[[str], bool]) -> None:
        self.is_good = is_good
        self.url = ""
        self.welcomed: list[str] = []
        self.refused: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: ClassVar[Cluster]

    def do_GET(self) -> None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        good = scheme == "Bearer" and self.cluster.is_good(token)
        (self.cluster.welcomed if good else self.cluster.refused).append(token)
        content = json.dumps(ANSWER if good else UNAUTHORIZED).encode()
        self.send_response(200 if good else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name is http.server's
        """Keep the walk's output clean."""


@contextlib.contextmanager
def cluster(context: ssl.SSLContext, is_good: Callable[[str], bool]) -> Iterator[Cluster]:
    """Serve on a free port."""
    served = Cluster(is_good)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": served}))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    served.url = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
