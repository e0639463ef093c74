"""The authentication flow that httpx and httpx2 share: both let an ``Auth`` see each request and its answer.

Called by ``httpx`` and ``httpx2`` beside it, which name their library's types. anyio comes with either library.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, MutableMapping
from functools import partial
from typing import Generic, Protocol, TypeVar

import anyio.to_thread

from broker.client import ClientError, Token
from broker.integrations.bearer import AUTHORIZATION, REFUSED, BearerAuth, header, sentence


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


class AuthFlow(BearerAuth, ABC, Generic[Q, R]):
    """Ask before each request; where the API answers 401, report the token and try once more with another."""

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

    @abstractmethod
    def _unavailable(self, said: str, request: Q) -> Exception:
        """Return the library's own kind of error."""

    @abstractmethod
    def _replayable(self, request: Q) -> bool:
        """Tell whether the whole body is at hand: a stream that was read cannot be sent again."""


def _refused(response: _Response, token: Token) -> bool:
    """Tell whether who answered 401 has seen the token: behind a redirect to another host nobody has."""
    return response.status_code == REFUSED and response.request.headers.get(AUTHORIZATION) == header(token)
