"""The MCP SDK's own client, which knows no OAuth here, through the proxy to a server that wants it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from mcp import MCPError
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.types import TextContent

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.practice.shape import Shape
from tests.clients.mcp_notes import READ, STEPS, WRITE, Notes, serving
from tests.e2e.home import PATIENCE, START_URL, Daemon, Home, browser, new_home, until
from tests.loopback import held_port

HOUR = 3600.0
# Seconds: a walk lives through an end of it.
SHORT = 4.0


@dataclass
class Desk:
    """A person's machine with an account ``work`` at an MCP server.

    Attributes:
        home: the home.
        practice: the server's authorization server.
        notes: the server.
        daemon: it runs.
        url: what ``keyfob proxy-url`` printed.
        key: of an app that may use the proxy only.
    """

    home: Home
    practice: PracticeServer
    notes: Notes
    daemon: Daemon
    url: str = ""
    key: str = ""

    def log_in(self, *options: str) -> None:
        """Log in, with a browser."""
        waiting = self.home.begin("login", "work", "--no-browser", *options)
        with browser() as person:
            assert person.get(waiting.says(START_URL)).status_code == 200
        assert waiting.end().code == 0

    def account(self) -> dict[str, Any]:
        """Return what ``keyfob show`` says."""
        found: dict[str, Any] = self.home.run("show", "work", "--json").json()
        return found

    def refreshes(self) -> int:
        """Return how often a token was renewed."""
        return len(self.practice.log.all("refresh"))

    def by_port(self) -> tuple[str, httpx2.AsyncClient]:
        """Return what a program is configured with: the URL, and its app key as a plain header."""
        return self.url, create_mcp_http_client(headers={"Authorization": f"Bearer {self.key}"})

    def by_socket(self) -> tuple[str, httpx2.AsyncClient]:
        """Return the same for a program of the owner's, at the socket."""
        there = httpx2.AsyncHTTPTransport(uds=str(self.home.socket))
        return "http://localhost/proxy/work/", httpx2.AsyncClient(transport=there, timeout=PATIENCE)


@pytest.fixture
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    """Log in at a server by its URL alone; tokens live for as long as the test says."""
    shape = Shape(scopes=(READ, WRITE))
    settings = PracticeSettings(auto_approve=True, ttl=getattr(request, "param", HOUR), shape=shape)
    with new_home() as home, practice_in_thread(settings) as practice, serving(practice) as notes, held_port() as port:
        # The same port after a restart, as the program has it in its configuration.
        home.environ["KEYFOB_APP_PORT"] = str(port)
        made = Desk(home, practice, notes, home.serve())
        made.log_in("--resource", notes.url)
        made.url = home.run("proxy-url", "work").out.strip()
        made.key = home.run("app", "add", "editor", "--account", "work", "--proxy-only").out.strip()
        yield made


@asynccontextmanager
async def session(way: tuple[str, httpx2.AsyncClient], **options: Any) -> AsyncIterator[Client]:  # noqa: ANN401 -- the SDK's
    """Connect as a program does that knows nothing but the URL and a header."""
    url, http = way
    async with http, Client(streamable_http_client(url, http_client=http), **options) as client:
        yield client


async def call(client: Client, tool: str) -> str:
    """Call a tool, and return what it says."""
    found = (await client.call_tool(tool)).content[0]
    assert isinstance(found, TextContent)
    return found.text


def test_login_by_the_url_alone(desk: Desk) -> None:
    """The resource's own document leads to the server, a registration, its scopes, and a token for it and no other."""
    account = desk.account()

    assert (account["resource"], account["state"]) == (desk.notes.url, "active")
    assert set(account["scope"].split()) >= {READ, "openid"}
    assert {event.resource for event in desk.practice.log.all("code")} == {desk.notes.url}
    assert len(desk.practice.log.all("register")) == 1
    assert account["client_id"].startswith("registered-")


@pytest.mark.parametrize("desk", [SHORT], indirect=True)
@pytest.mark.parametrize("way", [Desk.by_port, Desk.by_socket])
def test_session(desk: Desk, way: Callable[[Desk], tuple[str, httpx2.AsyncClient]]) -> None:
    """Tools, progress and the event stream work over the end of a token and a restart; at the end the session does."""
    steps: list[tuple[float, float | None, str | None]] = []
    news: list[str] = []

    async def step(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message))

    async def hear(message: Any) -> None:  # noqa: ANN401 -- the SDK's
        news.append(type(message).__name__)

    async def walk() -> None:
        async with session(way(desk), mode="legacy", message_handler=hear) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["read", "write", "count"]
            await asyncio.to_thread(until, "the event stream is open", lambda: "GET" in dict(desk.notes.heard))
            await client.call_tool("count", progress_callback=step)
            await asyncio.to_thread(until, "the event stream tells", lambda: "ToolListChangedNotification" in news)
            token = desk.home.token("work")
            await asyncio.to_thread(until, "the token ends", lambda: desk.practice.worth(token) is None)
            assert await call(client, "read") == "a note"
            await asyncio.to_thread(desk.daemon.stop)
            desk.daemon = await asyncio.to_thread(desk.home.serve)
            assert await call(client, "read") == "a note"

    asyncio.run(walk())

    assert steps == [(step, STEPS, None) for step in range(STEPS)]
    assert len({session for _, session in desk.notes.heard if session}) == 1
    assert "DELETE" in [method for method, _ in desk.notes.heard]
    assert desk.refreshes() >= 1


def test_without_sessions(desk: Desk) -> None:
    """The protocol without a handshake works as well."""

    async def walk() -> None:
        async with session(desk.by_port()) as client:
            assert client.protocol_version >= "2026"
            assert await call(client, "read") == "a note"

    asyncio.run(walk())
    assert {method for method, _ in desk.notes.heard} == {"POST"}


def test_eight_at_once(desk: Desk) -> None:
    """Eight programs whose token died at the same moment cause one refresh, and none of them notices."""

    async def one(ready: asyncio.Barrier, go: asyncio.Event) -> str:
        async with session(desk.by_port(), mode="legacy") as client:
            await call(client, "read")
            await ready.wait()
            await go.wait()
            return await call(client, "read")

    async def walk() -> list[str]:
        ready, go = asyncio.Barrier(9), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(one(ready, go)) for _ in range(8)]
            await ready.wait()
            await asyncio.to_thread(end_token)
            go.set()
        return [task.result() for task in running]

    def end_token() -> None:
        form = {"token": desk.home.token("work"), "client_id": desk.account()["client_id"]}
        with browser() as http:
            http.post(f"{desk.practice.url}/revoke", data=form).raise_for_status()

    assert asyncio.run(walk()) == ["a note"] * 8
    assert desk.refreshes() == 1


def test_login_needed(desk: Desk) -> None:
    """A login that ended is told in the client's own error, and after another the same session goes on."""

    async def walk() -> None:
        async with session(desk.by_port(), mode="legacy") as client:
            await call(client, "read")
            desk.practice.revoke_grants()
            with pytest.raises(MCPError, match="Log in: keyfob login work") as caught:
                await call(client, "read")
            assert START_URL.match(caught.value.error.data["login_url"])
            await asyncio.to_thread(desk.log_in)
            assert await call(client, "read") == "a note"

    asyncio.run(walk())


def test_more_scope(desk: Desk) -> None:
    """A tool that needs more says what, with one command or one click; after that the same call works."""
    assert WRITE not in desk.account()["scope"].split()

    async def walk() -> None:
        async with session(desk.by_port(), mode="legacy") as client:
            with pytest.raises(MCPError, match=f"keyfob login work --scope {WRITE}$") as caught:
                await call(client, "write")
            assert "wants the scope 'notes:write'" in caught.value.error.message
            assert "It says: Writing needs more." in caught.value.error.message
            assert desk.account()["needed_scope"] == WRITE
            with browser() as person:
                clicked = await asyncio.to_thread(person.get, caught.value.error.data["login_url"])
            assert clicked.status_code == 200
            assert await call(client, "write") == "written"

    asyncio.run(walk())

    account = desk.account()
    assert (account["needed_scope"], account["next_step"]) == (None, None)
    assert set(account["scope"].split()) >= {READ, WRITE}
    assert desk.refreshes() == 0
