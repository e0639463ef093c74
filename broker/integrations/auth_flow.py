"""The authentication flow that httpx and httpx2 share: both let an ``Auth`` see each request and its answer.

Called by ``httpx`` and ``httpx2`` beside it, which name their library's types. anyio comes with either library.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, MutableMapping
from functools import partial
from typing import Generic, Protocol, TypeVar

import anyio.to_thread

from broker.client import Client, ClientError, Token
from broker.integrations.bearer import REFUSED, Bearer, header, sentence

AUTHORIZATION = "Authorization"


class _Request(Protocol):
    @property
    def headers(self) -> MutableMapping[str, str]: ...


class _Response(Protocol):
    @property
    def status_code(self) -> int: ...

    @property
    def request(self) -> _Request: ...


Q = TypeVar("Q", bound=_Request)
R = TypeVar("R", bound=_Response)
T = TypeVar("T")


class AuthFlow(Generic[Q, R]):
    """Ask before each request; where the API answers 401, report the token and try once more with another.

    Args:
        account: the account's name.
        client: the client to ask through, which stays open; by default one of its own, as the environment says.
        min_ttl: seconds that a token must still live; the daemon's default fits an ordinary request.
        scope: scopes that it must carry.
        resource: the resource that it must be for (RFC 8707).
        audience: the name of whom it must be for (RFC 8693 2.1).
    """

    def __init__(
        self,
        account: str,
        client: Client | None = None,
        *,
        min_ttl: float | None = None,
        scope: str | Iterable[str] | None = None,
        resource: str | None = None,
        audience: str | None = None,
    ) -> None:
        self._bearer = Bearer(account, client, min_ttl=min_ttl, scope=scope, resource=resource, audience=audience)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._bearer.account!r})"

    def sync_auth_flow(self, request: Q) -> Generator[Q, R, None]:
        """Be the flow of a ``Client``."""
        token = self._told(request, self._bearer.token)
        request.headers[AUTHORIZATION] = header(token)
        response = yield request
        if _refused(response, token):
            other = self._told(request, partial(self._bearer.another, token.access_token))
            if other is not None and self._replayable(request):
                request.headers[AUTHORIZATION] = header(other)
                yield request

    async def async_auth_flow(self, request: Q) -> AsyncGenerator[Q, R]:
        """Be the flow of an ``AsyncClient``: the daemon is asked in a thread, and nothing else waits for it."""
        token = await self._asked(request, self._bearer.token)
        request.headers[AUTHORIZATION] = header(token)
        response = yield request
        if _refused(response, token):
            other = await self._asked(request, partial(self._bearer.another, token.access_token))
            if other is not None and self._replayable(request):
                request.headers[AUTHORIZATION] = header(other)
                yield request

    async def _asked(self, request: Q, ask: Callable[[], T]) -> T:
        # Abandoned when it is cancelled: a question may wait for a refresh, and nobody is left who wants to know.
        return await anyio.to_thread.run_sync(partial(self._told, request, ask), abandon_on_cancel=True)

    def _told(self, request: Q, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except ClientError as exc:
            raise self._unavailable(sentence(exc), request) from exc

    def _unavailable(self, said: str, request: Q) -> Exception:
        """Return the library's own kind of error."""
        raise NotImplementedError

    def _replayable(self, request: Q) -> bool:
        """Tell whether the whole body is at hand: a stream that was read cannot be sent again."""
        raise NotImplementedError


def _refused(response: _Response, token: Token) -> bool:
    """Tell whether who answered 401 has seen the token: behind a redirect to another host nobody has."""
    return response.status_code == REFUSED and response.request.headers.get(AUTHORIZATION) == header(token)
