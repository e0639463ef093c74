"""An MCP server with OAuth of its own: the SDK's server, resource metadata and bearer check, at the practice provider.

Imported by the tests beside it. It takes tokens for itself only (RFC 8707), and wants ``notes:write`` for one tool.
"""

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import Context, MCPServer
from pydantic import AnyHttpUrl
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.practice.server import PracticeServer
from broker.practice.settings import CONFIDENTIAL_CLIENT
from tests.clients.serving import serving_asgi

READ, WRITE = "notes:read", "notes:write"
STEPS = 5
# What is behind a host is part of the resource, and of where it is described.
PATH = "/team/mcp"


class Notes:
    """The server.

    Attributes:
        url: where it is, and what its tokens are for.
        heard: method and session id of each request that came with a good token.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.heard: list[tuple[str, str]] = []


class _Introspection(TokenVerifier):
    """Asks the provider what a token is worth (RFC 7662), as a resource does that shares nothing with it."""

    def __init__(self, practice: PracticeServer) -> None:
        self._practice = practice

    async def verify_token(self, token: str) -> AccessToken | None:
        auth = (CONFIDENTIAL_CLIENT, self._practice.client_secret.reveal())
        async with httpx2.AsyncClient(trust_env=False, auth=auth) as http:
            found = (await http.post(f"{self._practice.url}/introspect", data={"token": token})).json()
        if not found["active"]:
            return None
        return AccessToken(
            token=token,
            client_id=found["client_id"],
            scopes=found["scope"].split(),
            expires_at=found["exp"],
            resource=found.get("aud"),
            subject=found["sub"],
        )


@contextlib.contextmanager
def serving(practice: PracticeServer) -> Iterator[Notes]:
    """Serve as long as the block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        notes = Notes(f"http://127.0.0.1:{listening.getsockname()[1]}{PATH}")
        auth = AuthSettings(
            issuer_url=AnyHttpUrl(practice.url),
            resource_server_url=AnyHttpUrl(notes.url),
            required_scopes=[READ],
            validate_token_resource=True,
        )
        server = MCPServer("notes", token_verifier=_Introspection(practice), auth=auth)
        _add_tools(server)
        app = _watched(server.streamable_http_app(streamable_http_path=PATH), notes, practice)
        with serving_asgi(app, listening):
            yield notes


def _add_tools(server: Any) -> None:  # noqa: ANN401 -- the SDK may not be there for mypy
    @server.tool()
    def read() -> str:
        return "a note"

    @server.tool()
    def write() -> str:
        return "written"

    @server.tool()
    async def count(ctx: Context) -> str:
        """Tell how far it is, and at the end something to whoever listens at the event stream."""
        for step in range(STEPS):
            await ctx.report_progress(step, STEPS)
        await ctx.session.send_tool_list_changed()
        return "counted"


def _watched(app: ASGIApp, notes: Notes, practice: PracticeServer) -> ASGIApp:
    """Write down what is let in, and refuse a token with too little scope as MCP has it (RFC 6750 3.1)."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") != PATH:
            await app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        came = [await receive()]
        if b'"name":"write"' in came[0].get("body", b""):
            known = practice.worth(headers.get(b"authorization", b"").decode().removeprefix("Bearer "))
            if known is not None and WRITE not in known.scopes:
                await _refuse(send)
                return

        async def once_more() -> Message:
            return came.pop() if came else await receive()

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                notes.heard.append((scope["method"], headers.get(b"mcp-session-id", b"").decode()))
            await send(message)

        await app(scope, once_more, told)

    return call


async def _refuse(send: Send) -> None:
    said = f'Bearer error="insufficient_scope", scope="{WRITE}", error_description="Writing needs more"'
    body = json.dumps({"error": "insufficient_scope"}).encode()
    headers = [(b"www-authenticate", said.encode()), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
