"""Keyfob for the MCP Python SDK: a ``TokenStorage`` that hands out access tokens and keeps nothing.

Imported by programs that let one choose where the SDK's ``OAuthClientProvider`` keeps its tokens. Who can choose the
HTTP client instead takes ``KeyfobAuth`` of ``httpx2`` beside it, which asks before each request and survives a 401; the
SDK asks a storage only once.
"""

from __future__ import annotations

import asyncio
from typing import NoReturn

from mcp.client.auth import OAuthFlowError, OAuthTokenError
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

from broker.client import Client, ClientError
from broker.integrations.bearer import Bearer, sentence

__all__ = ["KeyfobTokenStorage"]


class KeyfobTokenStorage:
    """The tokens of one account, without a refresh token: so the SDK never refreshes, and Keyfob alone does.

    The SDK begins a login of its own where a server refuses the token. That is stopped before a browser opens: what it
    wants to keep is refused with an ``OAuthFlowError`` that says the next step, and the token is reported.

    Args:
        account: the account's name.
        client: the client to ask through, which stays open; by default one of its own, as the environment says.
        min_ttl: seconds that a token must still live; the daemon's default fits an ordinary request.
        resource: the resource that it must be for (RFC 8707).
    """

    def __init__(
        self, account: str, client: Client | None = None, *, min_ttl: float | None = None, resource: str | None = None
    ) -> None:
        self._bearer = Bearer(account, client, min_ttl=min_ttl, resource=resource)
        self._handed_out: str | None = None

    def __repr__(self) -> str:
        return f"KeyfobTokenStorage({self._bearer.account!r})"

    async def get_tokens(self) -> OAuthToken:
        """Return a token that is valid now.

        Raises:
            OAuthTokenError: Keyfob has none; ``__cause__`` is the error of ``broker.client``.
        """
        try:
            token = await asyncio.to_thread(self._bearer.token)
        except ClientError as exc:
            raise OAuthTokenError(sentence(exc)) from exc
        self._handed_out = token.access_token
        return OAuthToken(access_token=token.access_token, expires_in=token.expires_in, scope=token.scope or None)

    async def get_client_info(self) -> None:
        """Return nothing: the client of this login is Keyfob's."""

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> NoReturn:
        """Refuse to keep a client: the SDK has one before it opens a browser, and goes no further.

        Raises:
            OAuthFlowError: always, with the next step.
        """
        del client_info
        await self._refuse()

    async def set_tokens(self, tokens: OAuthToken) -> NoReturn:
        """Refuse to keep tokens: whatever login they are from, it is not Keyfob's.

        Raises:
            OAuthFlowError: always, with the next step.
        """
        del tokens
        await self._refuse()

    async def _refuse(self) -> NoReturn:
        account, refused, self._handed_out = self._bearer.account, self._handed_out, None
        other = None
        if refused is not None:
            try:
                other = await asyncio.to_thread(self._bearer.another, refused)
            except ClientError as exc:
                raise OAuthTokenError(sentence(exc)) from exc
        if other is not None:
            raise OAuthFlowError(
                f"The server refused the token of account '{account}'. Keyfob has another: connect anew."
            )
        raise OAuthFlowError(
            f"The server wants another login than that of account '{account}', and logins are made with Keyfob alone. "
            f"Look at the scope and the server of the account: keyfob show {account}"
        )
