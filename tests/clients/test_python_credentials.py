"""What only some Python libraries have: credentials in the hands of google-auth, the Azure SDK and the MCP SDK."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import google.auth.transport.requests
import httpx2
import pytest
from azure.core.credentials import AccessToken, AccessTokenInfo, SupportsTokenInfo, TokenCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline import Pipeline
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest
from azure.identity import ChainedTokenCredential
from google.auth.credentials import Credentials, TokenState
from mcp.client.auth import OAuthClientProvider, OAuthFlowError, OAuthTokenError, TokenStorage
from mcp.client.client import Client as McpClient
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientMetadata
from mcp.types import TextContent
from pydantic import AnyUrl

from broker.client import LoginNeeded
from broker.integrations.azure import AsyncKeyfobCredential, KeyfobCredential
from broker.integrations.azure_policy import KeyfobPolicy
from broker.integrations.google import KeyfobCredentials
from broker.integrations.httpx2 import KeyfobAuth, TokenUnavailable
from broker.integrations.mcp import KeyfobTokenStorage
from broker.testing import PracticeBroker
from tests.clients.mcp_server import serving

HOUR = 3600.0
SCOPE = "https://api.example/.default"


# --- google-auth ------------------------------------------------------------------------------------------------------


def test_google_refresh(keyfob: PracticeBroker) -> None:
    """Who calls ``refresh`` by hand gets a token with its end; a second call reports the first, and never too often."""
    credentials: Credentials = KeyfobCredentials(keyfob.account)
    request = google.auth.transport.requests.Request()
    assert credentials.token_state == TokenState.INVALID

    seen = []
    for _ in range(3):
        credentials.refresh(request)
        assert credentials.token_state == TokenState.FRESH
        seen.append(credentials.token)

    assert len(set(seen)) == 2
    assert seen[1] == seen[2]
    assert keyfob.events("refresh") == 1
    assert not any(str(token) in repr(credentials) for token in seen)


# --- Azure SDK --------------------------------------------------------------------------------------------------------


def test_azure_protocols() -> None:
    """Both credentials are what the SDK asks for."""
    assert isinstance(KeyfobCredential("work"), TokenCredential)
    assert isinstance(KeyfobCredential("work"), SupportsTokenInfo)
    assert isinstance(AsyncKeyfobCredential("work"), AsyncTokenCredential)


def test_azure_tokens(keyfob: PracticeBroker) -> None:
    """A token comes with its end; its other form asks to be asked for again at once; azure-identity takes it."""
    with KeyfobCredential(keyfob.account) as credential:
        token = credential.get_token(SCOPE, claims="{}", tenant_id="x", enable_cae=True)
        info = credential.get_token_info(SCOPE, options={"enable_cae": True})

        assert isinstance(token, AccessToken)
        assert isinstance(info, AccessTokenInfo)
        assert token.token == info.token == ChainedTokenCredential(credential).get_token(SCOPE).token
        assert 0 <= time.time() + HOUR - token.expires_on < 30
        assert info.refresh_on is not None
        assert info.refresh_on < time.time() - HOUR
        assert token.token not in repr(credential)


def test_azure_scopes(keyfob: PracticeBroker) -> None:
    """The SDK's scopes reach Keyfob where that is wished, and what the account does not have is refused."""
    wishing = KeyfobCredential(keyfob.account, keyfob.owner(), pass_scopes=True)

    assert wishing.get_token("openid").token
    with pytest.raises(ClientAuthenticationError, match="no-such-scope"):
        wishing.get_token("no-such-scope")


def test_azure_own_policy(keyfob: PracticeBroker) -> None:
    """With the SDK's own policy Keyfob is asked before each request, too, so that an expiry is never seen."""
    credential = KeyfobCredential(keyfob.account)
    policy: BearerTokenCredentialPolicy[Any, Any] = BearerTokenCredentialPolicy(credential, SCOPE)
    statuses = []
    with Pipeline(RequestsTransport(), [policy]) as pipeline:
        for _ in range(3):
            answer = pipeline.run(HttpRequest("GET", keyfob.api_url), enforce_https=False)
            statuses.append(answer.http_response.status_code)
            keyfob.pass_time(HOUR)

    assert statuses == [200, 200, 200]


def test_azure_stream_is_not_replayed(keyfob: PracticeBroker) -> None:
    """A body that is read while it is sent goes out once; the token is reported all the same."""

    def pieces() -> Iterator[bytes]:
        yield b"a"

    keyfob.end_token()
    policy = KeyfobPolicy(KeyfobCredential(keyfob.account), SCOPE)
    with Pipeline(RequestsTransport(), [policy]) as pipeline:
        answer = pipeline.run(HttpRequest("POST", keyfob.api_url, content=pieces()), enforce_https=False)

    assert answer.http_response.status_code == 401
    assert (keyfob.events("userinfo"), keyfob.events("refresh")) == (1, 1)


def test_azure_is_imported_late() -> None:
    """A program that only might use the SDK pays nothing for it."""
    look = "import sys, broker.integrations.azure; print([name for name in sys.modules if name.startswith('azure')])"
    assert subprocess.check_output([sys.executable, "-c", look], text=True) == "[]\n"


# --- MCP Python SDK ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def session(url: str, auth: httpx2.Auth) -> AsyncIterator[McpClient]:
    """Connect as a program does."""
    async with (
        create_mcp_http_client(auth=auth) as http,
        McpClient(streamable_http_client(url, http_client=http)) as mcp,
    ):
        yield mcp


async def who(client: McpClient) -> str:
    """Call the tool of the server."""
    found = (await client.call_tool("who")).content[0]
    assert isinstance(found, TextContent)
    return found.text


def causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield what an error is made of, however the SDK has wrapped it."""
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from causes(inner)
    else:
        yield exc


def test_mcp_session(keyfob: PracticeBroker) -> None:
    """One session goes on over a token that died early and several that ended."""

    async def walk(url: str) -> list[str]:
        async with session(url, KeyfobAuth(keyfob.account)) as client:
            said = [await who(client)]
            keyfob.end_token()
            said.append(await who(client))
            for _ in range(2):
                keyfob.pass_time(HOUR)
                said.append(await who(client))
            return said

    with serving(keyfob) as url:
        assert asyncio.run(walk(url)) == ["ada"] * 4
    assert keyfob.events("refresh") == 3


def test_mcp_login_needed(keyfob: PracticeBroker) -> None:
    """A login that is needed comes out of the SDK with the daemon's sentence."""

    async def walk(url: str) -> None:
        async with session(url, KeyfobAuth(keyfob.account)) as client:
            await who(client)
            keyfob.end_logins()
            await who(client)

    with serving(keyfob) as url, pytest.raises(ExceptionGroup) as caught:
        asyncio.run(walk(url))

    found = [exc for exc in causes(caught.value) if isinstance(exc, TokenUnavailable)]
    assert "Log in: keyfob login work" in str(found[0])


def provider(url: str, storage: TokenStorage, opened: list[str]) -> OAuthClientProvider:
    """Return the SDK's own auth, as a program makes it that only lets one choose the storage."""

    async def open_browser(address: str) -> None:
        opened.append(address)

    metadata = OAuthClientMetadata(redirect_uris=[AnyUrl("http://127.0.0.1:1/callback")])
    return OAuthClientProvider(url, metadata, storage, redirect_handler=open_browser)


def test_mcp_storage(keyfob: PracticeBroker) -> None:
    """With a storage alone a session works; a refused token ends it with a sentence, no browser, and the next works."""
    storage, opened = KeyfobTokenStorage(keyfob.account), list[str]()

    async def walk(url: str, meanwhile: Callable[[], None]) -> None:
        async with session(url, provider(url, storage, opened)) as client:
            assert await who(client) == "ada"
            meanwhile()
            await who(client)

    with serving(keyfob) as url:
        with pytest.raises(ExceptionGroup) as caught:
            asyncio.run(walk(url, keyfob.end_token))
        asyncio.run(walk(url, lambda: None))

    found = [exc for exc in causes(caught.value) if isinstance(exc, OAuthFlowError)]
    assert str(found[0]) == "The server refused the token of account 'work'. Keyfob has another: connect anew."
    assert opened == []


def test_mcp_storage_alone(keyfob: PracticeBroker) -> None:
    """A storage has an access token and no other, keeps nothing, and says why it has none."""

    async def walk() -> None:
        storage = KeyfobTokenStorage(keyfob.account)
        tokens = await storage.get_tokens()
        assert tokens.refresh_token is None
        assert tokens.expires_in is not None
        assert 0 <= HOUR - tokens.expires_in < 30
        assert tokens.access_token not in f"{storage!r}"
        with pytest.raises(OAuthFlowError, match="Keyfob has another"):
            await storage.set_tokens(tokens)
        with pytest.raises(OAuthFlowError, match="keyfob show work"):
            await storage.set_tokens(tokens)
        keyfob.end_logins()
        keyfob.pass_time(HOUR)
        with pytest.raises(OAuthTokenError, match="Log in: keyfob login work") as caught:
            await storage.get_tokens()
        assert isinstance(caught.value.__cause__, LoginNeeded)

    asyncio.run(walk())
