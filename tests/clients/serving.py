"""A small server of ours that runs as long as a walk needs it.

Used by ``forge``, ``gate`` and ``post``, and by the two MCP servers.
"""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn

from tests.e2e.home import until


@contextlib.contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[None]:
    """Serve in a thread until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def serving_asgi(app: Any, listening: socket.socket) -> Iterator[None]:  # noqa: ANN401 -- ASGI
    """Serve an ASGI app in a thread until the block ends."""
    running = uvicorn.Server(uvicorn.Config(app, ws="none", log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run, args=([listening],))
    thread.start()
    try:
        until("the server runs", lambda: running.started)
        yield
    finally:
        running.should_exit = True
        thread.join()
