"""Ways in which a program calls an API with an auth object: each library, sync and async, in one form.

Imported by the tests beside it and by those in ``tests/clients``.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import httpx2
import requests

from broker.integrations import httpx2 as of_httpx2
from broker.integrations import requests as of_requests

PIECES = (b'{"a"', b":1}")


@dataclass(frozen=True)
class Answer:
    """What came back, and what came before it."""

    status: int
    before: tuple[int, ...]


@dataclass(frozen=True)
class Caller:
    """One way to call.

    Attributes:
        name: for people.
        auth: the auth class.
        error: what it raises where there is no token.
        known_as: the library's own class of errors, which programs catch.
        send: sends a request: method, URL, body (bytes, or None, or ``"stream"``), auth; follows redirects.
    """

    name: str
    auth: Callable[..., Any]
    error: type[Exception]
    known_as: type[Exception]
    send: Callable[[str, str, bytes | str | None, Any], Answer]


def pieces() -> Iterator[bytes]:
    """Yield a body that cannot be sent twice."""
    yield from PIECES


async def pieces_in_time() -> AsyncIterator[bytes]:
    """Yield the same, asynchronously."""
    for piece in PIECES:
        yield piece


def httpx_callers(library: ModuleType, integration: ModuleType) -> list[Caller]:
    """Return the two ways of httpx or of its twin."""

    def told(response: Any) -> Answer:  # noqa: ANN401 -- of either library
        return Answer(response.status_code, tuple(before.status_code for before in response.history))

    def send(method: str, url: str, body: bytes | str | None, auth: object) -> Answer:
        with library.Client(auth=auth, trust_env=False, follow_redirects=True) as client:
            return told(client.request(method, url, content=pieces() if body == "stream" else body))

    def send_async(method: str, url: str, body: bytes | str | None, auth: object) -> Answer:
        async def sent() -> Answer:
            async with library.AsyncClient(auth=auth, trust_env=False, follow_redirects=True) as client:
                return told(await client.request(method, url, content=pieces_in_time() if body == "stream" else body))

        return asyncio.run(sent())

    auth, error = integration.KeyfobAuth, integration.TokenUnavailable
    return [
        Caller(library.__name__, auth, error, library.HTTPError, send),
        Caller(f"{library.__name__}-async", auth, error, library.HTTPError, send_async),
    ]


def _send(method: str, url: str, body: bytes | str | None, auth: Any) -> Answer:  # noqa: ANN401 -- an auth object
    with requests.Session() as session:
        session.trust_env = False
        response = session.request(method, url, data=pieces() if body == "stream" else body, auth=auth)
    return Answer(response.status_code, tuple(before.status_code for before in response.history))


REQUESTS = Caller(
    "requests", of_requests.KeyfobAuth, of_requests.TokenUnavailable, requests.exceptions.RequestException, _send
)
CALLERS = [*httpx_callers(httpx2, of_httpx2), REQUESTS]
