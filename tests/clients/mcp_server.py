"""An MCP server behind a bearer check, made with the SDK itself: who has no token that lives gets 401.

Imported by the tests beside it.
"""

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
from mcp.server.mcpserver import MCPServer

from broker.testing import PracticeBroker
from tests.clients.serving import serving_asgi

METADATA = "/.well-known/oauth-protected-resource/mcp"


@contextlib.contextmanager
def serving(keyfob: PracticeBroker) -> Iterator[str]:
    """Serve a tool ``who`` as long as the block lasts; yield the URL."""
    server = MCPServer("practice")

    @server.tool()
    def who() -> str:
        return "ada"

    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        app = _guarded(server.streamable_http_app(), keyfob, url)
        with serving_asgi(app, listening):
            yield url


def _guarded(app: Any, keyfob: PracticeBroker, url: str) -> Any:  # noqa: ANN401 -- ASGI
    """Let through who has a token that the provider knows, and tell others where to get one (RFC 9728)."""

    async def call(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 -- as above
        if scope["type"] != "http":
            await app(scope, receive, send)
        elif scope["path"] == METADATA:
            said = {"resource": url, "authorization_servers": [keyfob.provider_url]}
            await _answer(send, 200, (b"content-type", b"application/json"), json.dumps(said).encode())
        elif await _known(keyfob, dict(scope["headers"]).get(b"authorization", b"")):
            await app(scope, receive, send)
        else:
            await _answer(send, 401, (b"www-authenticate", b"Bearer"), b"")

    return call


async def _known(keyfob: PracticeBroker, authorization: bytes) -> bool:
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.get(keyfob.api_url, headers={b"Authorization": authorization})
    return answer.status_code == httpx2.codes.OK


async def _answer(send: Any, status: int, header: tuple[bytes, bytes], body: bytes) -> None:  # noqa: ANN401 -- ASGI
    await send({"type": "http.response.start", "status": status, "headers": [header]})
    await send({"type": "http.response.body", "body": body})
