"""Keyfob for the Azure SDK: a ``TokenCredential``, and its asynchronous twin.

Imported by programs that use azure-core; that library itself is imported when a token is asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Self, TypeVar

from broker.client import Client, ClientError, Token
from broker.integrations.bearer import Bearer, sentence

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, AccessTokenInfo

__all__ = ["AsyncKeyfobCredential", "KeyfobCredential"]

# azure-core keeps a token until it has less than five minutes left, or until this moment where one is given: the
# first second there was, so that it asks before each request.
AT_ONCE = 1
# What it is told of a lifetime that nobody knows, in seconds: less than the five minutes.
UNKNOWN = 60
T = TypeVar("T")


class _Credential:
    """What both twins share.

    Args:
        account: the account's name.
        client: the client to ask through, which stays open; by default one of its own, as the environment says.
        min_ttl: seconds that a token must still live; the daemon's default fits an ordinary request.
        pass_scopes: ask Keyfob for a token with the scopes that azure-core asks with. By default the account's own
            hold, because ``https://host/.default`` is no scope that a login could have.
    """

    def __init__(
        self, account: str, client: Client | None = None, *, min_ttl: float | None = None, pass_scopes: bool = False
    ) -> None:
        self._bearer, self._pass_scopes = Bearer(account, client, min_ttl=min_ttl), pass_scopes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._bearer.account!r})"

    def _token(self, scopes: tuple[str, ...]) -> Token:
        return _told(lambda: self._bearer.token(self._scope(scopes)))

    def _another(self, refused: str, scopes: tuple[str, ...]) -> Token | None:
        return _told(lambda: self._bearer.another(refused, self._scope(scopes)))

    def _scope(self, scopes: tuple[str, ...]) -> str | None:
        return " ".join(scopes) or None if self._pass_scopes else None


class KeyfobCredential(_Credential):
    """A ``TokenCredential`` (and ``SupportsTokenInfo``) of azure-core for one account.

    Raises ``ClientAuthenticationError`` with the next step where there is no token; its ``__cause__`` is the error of
    ``broker.client``.
    """

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **more: object,
    ) -> AccessToken:
        """Return a token that is valid now; only the scopes can matter, see ``pass_scopes``."""
        del claims, tenant_id, enable_cae, more
        return _access_token(self._token(scopes))

    def get_token_info(self, *scopes: str, options: Mapping[str, object] | None = None) -> AccessTokenInfo:
        """Return the same with the wish to be asked again before the next request."""
        del options
        return _token_info(self._token(scopes))

    def another(self, refused: str, *scopes: str) -> AccessTokenInfo | None:
        """Report a token that an API refused; return another one, or None where none is to be had now."""
        token = self._another(refused, scopes)
        return None if token is None else _token_info(token)

    def close(self) -> None:
        """Close the connection, unless the client was brought; the next question opens another."""
        self._bearer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncKeyfobCredential(_Credential):
    """An ``AsyncTokenCredential`` for one account: the daemon is asked in a thread, and nothing else waits for it."""

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **more: object,
    ) -> AccessToken:
        """Return a token that is valid now; only the scopes can matter, see ``pass_scopes``."""
        del claims, tenant_id, enable_cae, more
        return _access_token(await asyncio.to_thread(self._token, scopes))

    async def get_token_info(self, *scopes: str, options: Mapping[str, object] | None = None) -> AccessTokenInfo:
        """Return the same with the wish to be asked again before the next request."""
        del options
        return _token_info(await asyncio.to_thread(self._token, scopes))

    async def another(self, refused: str, *scopes: str) -> AccessTokenInfo | None:
        """Report a token that an API refused; return another one, or None where none is to be had now."""
        token = await asyncio.to_thread(self._another, refused, scopes)
        return None if token is None else _token_info(token)

    async def close(self) -> None:
        """Close the connection, unless the client was brought; the next question opens another."""
        await asyncio.to_thread(self._bearer.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _told(ask: Callable[[], T]) -> T:
    from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415 -- see the docstring above

    try:
        return ask()
    except ClientError as exc:
        raise ClientAuthenticationError(sentence(exc)) from exc


def _access_token(token: Token) -> AccessToken:
    from azure.core.credentials import AccessToken  # noqa: PLC0415 -- as above

    return AccessToken(token.access_token, _expires_on(token))


def _token_info(token: Token) -> AccessTokenInfo:
    from azure.core.credentials import AccessTokenInfo  # noqa: PLC0415 -- as above

    return AccessTokenInfo(token.access_token, _expires_on(token), refresh_on=AT_ONCE)


def _expires_on(token: Token) -> int:
    if token.expires_at is None:
        return int(time.time()) + UNKNOWN
    return int(datetime.fromisoformat(token.expires_at).timestamp())
