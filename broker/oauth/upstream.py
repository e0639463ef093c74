"""The way out for the proxy: one request to an account's API with its token, streamed both ways as it is.

Called by ``usecases.forward``. It shares certificates, the configured proxy and the check of addresses with ``http``,
and is the opposite of it in all else: connections are kept, nothing is taken in whole, and no answer is judged. No
redirect is followed, no cookie kept, nothing decompressed.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import SplitResult

import httpcore2

from broker.core.secret import Secret
from broker.oauth.addresses import (
    AddressRefused,
    Attempt,
    LookedUpBackend,
    SpecialAddress,
    addresses_of,
    checked_addresses,
)
from broker.oauth.failures import FAILURES, why
from broker.oauth.http import AnswerLost, Http, NotAllowed, NotSent

Headers = list[tuple[bytes, bytes]]

# A local proxy should tell soon that nobody is there.
CONNECT = 10.0
# Servers close an idle connection after 5 s (uvicorn, Node) or later. One that is given up sooner cannot be closed at
# the very moment at which the next request, perhaps one that must not be sent twice, is written to it.
KEPT_FOR = 4.0
# These may be sent again where no answer came (RFC 9110 9.2.2); of PUT and DELETE an API may see it otherwise.
REPEATABLE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Sending:
    """A request to an API.

    Attributes:
        method: any but CONNECT.
        base: whose scheme, host and port it goes to.
        target: path and query, as they go over the wire.
        private: special-purpose addresses (RFC 6890) are allowed.
        headers: end-to-end ones of the caller's, and how long the body is; neither Host nor credentials.
        token: the account's.
        body: its chunks; None for none.
        wait: seconds in which the answer's head has to come.
        idle: seconds in which each further part has to come, and each part of the body to be taken; None for no limit.
    """

    method: str
    base: SplitResult
    target: bytes = field(repr=False)
    private: bool
    headers: Headers = field(repr=False)
    token: Secret
    body: AsyncIterator[bytes] | None
    wait: float
    idle: float | None


class Answer:
    """An answer whose head is there. It has to be closed, which ends the connection where the body is not over.

    Attributes:
        status: HTTP status.
        headers: as they came.
    """

    def __init__(self, response: httpcore2.Response, host: str, idle: float | None) -> None:
        self.status: int = response.status
        self.headers: Headers = response.headers
        self._response = response
        self._host = host
        self._idle = idle

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield the body as it comes, encoded as it is; not a byte more is read than is asked for here.

        Raises:
            AnswerLost: it did not come to its end.
        """
        try:
            async with aclosing(self._response.aiter_stream()) as stream:
                async for chunk in stream:
                    yield chunk
        except FAILURES as exc:
            raise AnswerLost(why(exc, self._host, self._idle or 0.0)) from exc

    async def aclose(self) -> None:
        """Give the connection back, or end it."""
        await self._response.aclose()


class Upstream:
    """Keeps connections to APIs for the next request."""

    def __init__(self) -> None:
        # Whoever may not ask special-purpose addresses gets no connection that was made for somebody who may.
        self._pools: dict[tuple[bool, bool], httpcore2.AsyncConnectionPool] = {}

    async def send(self, http: Http, sending: Sending) -> Answer:
        """Send a request, and return its answer once the head of that is there.

        Raises:
            NotSent: surely nothing was sent; ``NotAllowed``, because the address may not be asked.
            AnswerLost: it was sent, at least in part, and no answer began.
        """
        try:
            return await self._send(http, sending)
        except AnswerLost as exc:
            # Whoever was waited for in vain is not waited for again.
            late = isinstance(exc.__cause__, TimeoutError | httpcore2.TimeoutException)
            if late or sending.body is not None or sending.method not in REPEATABLE:
                raise
            return await self._send(http, sending)

    async def _send(self, http: Http, sending: Sending) -> Answer:
        host = sending.base.hostname or ""
        # The read limit is looked up by httpcore2 each time: at first for the head, then for each part of the body.
        limits = {"connect": CONNECT, "pool": CONNECT, "write": sending.idle, "read": sending.wait}
        request = httpcore2.Request(
            sending.method,
            httpcore2.URL(
                scheme=sending.base.scheme, host=host, port=sending.base.port, target=sending.target.decode("ascii")
            ),
            headers=[
                (b"Host", sending.base.netloc.encode("ascii")),
                (b"Authorization", b"Bearer " + sending.token.reveal().encode("latin-1")),
                *sending.headers,
            ],
            content=sending.body,
            extensions={"timeout": limits},
        )
        try:
            response = await self._pool(http, host, sending).handle_async_request(request)
        except SpecialAddress as exc:
            raise NotAllowed(str(exc)) from exc
        except AddressRefused as exc:
            raise NotSent(str(exc)) from exc
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout, httpcore2.ProxyError) as exc:
            raise NotSent(why(exc, host, CONNECT)) from exc
        except FAILURES as exc:
            raise AnswerLost(why(exc, host, sending.wait)) from exc
        limits["read"] = sending.idle
        return Answer(response, host, sending.idle)

    def _pool(self, http: Http, host: str, sending: Sending) -> httpcore2.AsyncConnectionPool:
        by_proxy = http.by_proxy(host)
        pool = self._pools.get((sending.private, by_proxy))
        if pool is None:
            if by_proxy:  # which is asked for a name and may be anywhere, as for everything else
                backend = LookedUpBackend(addresses_of, partial(http.attempt, sending.base.scheme, host))
            else:
                backend = LookedUpBackend(partial(checked_addresses, private=sending.private), Attempt)
            pool = http.connections(backend, by_proxy=by_proxy, kept_for=KEPT_FOR)
            self._pools[sending.private, by_proxy] = pool
        return pool

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()
        self._pools.clear()
