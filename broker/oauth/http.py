"""The way out: one request to one checked address, one whole answer or a plain statement of what is not known.

Called by every module of this room that talks to a provider.
"""

import asyncio
import contextlib
import functools
import math
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit

import httpcore2

from broker.core import ratelimit
from broker.core.secret import Secret
from broker.errors import CannotStart, InvalidRequest
from broker.oauth import outgoing
from broker.oauth.addresses import (
    AddressRefused,
    Attempt,
    CheckedBackend,
    SpecialAddress,
    addresses_of,
    checked_addresses,
)
from broker.oauth.failures import FAILURES, Unfit, why
from broker.oauth.sockets import Sockets
from broker.oauth.trust import system_trust
from broker.providers.urls import is_loopback, split

# Metadata, key sets and token replies are a few KiB; more is a mistake or an attack (security.md M20).
BODY_CAP = 256 * 1024
# A refresh that takes longer is an outage; leases and shutdown are built around this number.
DEADLINE = 20.0
# An error page that dawdles tells nothing more than its status did.
ERROR_PAGE_DEADLINE = 3.0
_REQUESTS = ("GET", "POST", "PUT", "DELETE")


class NotSent(Exception):
    """Surely nothing of the request reached the server: it was refused here, or no connection came about.

    Args:
        reason: safe to show; names the host at the most.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotAllowed(NotSent):
    """Not sent, because the address is special-purpose and nobody allowed that: waiting does not help."""


class Throttling(NotSent):
    """Not sent, because its answers said that the server takes no more for a while.

    Args:
        reason: as above.
        retry_after: in how many seconds it does again.
    """

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class AnswerLost(Exception):
    """The request was sent, at least in part, and no complete usable answer came: nobody knows what it did.

    Args:
        reason: safe to show; names the host at the most.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        status: HTTP status.
        headers: by lower-case name; several of one name are joined with a comma.
        body: as sent; empty where an error's page was too large, encoded, or did not arrive whole.
        received_at: epoch seconds.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    received_at: float

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, from ``Retry-After`` in either form (RFC 9110 10.2.3), or None where it says none."""
        return ratelimit.retry_after(self.headers, self.received_at)

    @property
    def ahead(self) -> float:
        """By how many seconds our clock is ahead of the server's, or behind it; 0 where the server does not tell."""
        return self.received_at - ratelimit.server_time(self.headers, self.received_at)


class Rates(Protocol):
    """Who knows how much the servers still take (``usecases.book``)."""

    def wait(self, url: str) -> float:
        """Return the seconds for which an address is not to be asked; 0 where it may be."""

    def heard(self, url: str, reply: Reply, sent_at: float) -> None:
        """Take in an answer of that address to a request that was sent then, epoch seconds."""


@functools.cache
def _usual_trust() -> ssl.SSLContext:
    """Read the certificates that are trusted, once: that takes as long as it takes to import half of the stack."""
    return system_trust()


class Http:
    """Sends requests to providers. Keeps nothing between them: no connection, no cookie, no redirect.

    A connection per request costs a handshake every quarter of an hour and buys certainty: a server that has just
    closed an idle connection cannot make us wonder whether a refresh token was spent (security.md 4.1 step 3).

    Args:
        ca_file: certificates to trust beside the system's.
        proxy: ``http://`` or ``https://`` URL of a proxy for everything but this machine itself; it then resolves
            names, and the check of addresses is its duty. No proxy variable of the environment is read.
        deadline: seconds for a whole exchange, from resolving the name to the last byte.
        clock: the wall clock, for dates in answers and in what Keyfob signs.

    Raises:
        CannotStart: the certificates cannot be read, or the proxy is no URL.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        proxy: str = "",
        deadline: float = DEADLINE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._deadline = deadline
        self._clock = clock
        self._own_trust: ssl.SSLContext | None = None
        if ca_file is not None:
            self._own_trust = system_trust()
            try:
                self._own_trust.load_verify_locations(cafile=ca_file)
            except (OSError, ssl.SSLError) as exc:
                raise CannotStart(
                    f"The CA file {ca_file} cannot be used: {exc.strerror or exc}.",
                    "Give a PEM file with --ca-file or KEYFOB_CA_FILE.",
                ) from exc
        self._proxy = _proxy(proxy) if proxy else None
        # Set once, by whoever has it.
        self.rates: Rates | None = None

    @property
    def _tls(self) -> ssl.SSLContext:
        return self._own_trust or _usual_trust()

    def now(self) -> float:
        """Return what time it is by the wall clock, epoch seconds."""
        return self._clock()

    async def send(
        self,
        method: str,
        url: str,
        *,
        private: bool,
        form: Mapping[str, str | Secret] | None = None,
        json: object | None = None,
        headers: Mapping[str, str | Secret] | None = None,
        basic: tuple[str, str | Secret] | None = None,
    ) -> Reply:
        """Send one request, once, and return the whole answer.

        Args:
            method: ``GET``, ``POST``, ``PUT`` or ``DELETE``.
            url: https, or http on this machine.
            private: special-purpose addresses (RFC 6890) are allowed.
            form: body as ``application/x-www-form-urlencoded``.
            json: body as JSON; it may hold secrets.
            headers: beside those that every request has.
            basic: user and password, already encoded as the receiver wants them.

        Raises:
            NotSent: surely nothing was sent; ``NotAllowed``, because the address may not be asked; ``Throttling``,
                because it takes no more for a while.
            AnswerLost: it was sent, and no complete, plain answer of at most 256 KiB came within the deadline.
        """
        if method not in _REQUESTS:
            raise ValueError(method)
        # A request with somebody's token counts for that somebody, not for the address.
        rates = None if headers and "Authorization" in headers else self.rates
        sent_at = self._clock()
        if rates is not None and (wait := rates.wait(url)) > 0:
            raise Throttling(f"it takes no request for another {math.ceil(wait)} s", wait)
        reply = await self._send(method, url, private=private, form=form, json=json, headers=headers, basic=basic)
        if rates is not None:
            rates.heard(url, reply, sent_at)
        return reply

    async def _send(
        self,
        method: str,
        url: str,
        *,
        private: bool,
        form: Mapping[str, str | Secret] | None,
        json: object | None,
        headers: Mapping[str, str | Secret] | None,
        basic: tuple[str, str | Secret] | None,
    ) -> Reply:
        try:
            target = split(url, what="address")
        except InvalidRequest as exc:
            raise NotSent(exc.detail.rstrip(".")) from exc
        content, sent_headers = outgoing.written(form, json, headers, basic)
        if method == "POST" and content is None:
            content = b""  # its length has to be told (RFC 9110 8.6)
        attempt = self.attempt(target.scheme, target.hostname or "")
        try:
            async with asyncio.timeout(self._deadline):
                return await self._exchange(method, url, target, private, sent_headers, content, attempt)
        except SpecialAddress as exc:
            raise NotAllowed(str(exc)) from exc
        except AddressRefused as exc:
            raise NotSent(str(exc)) from exc
        except FAILURES as exc:
            if attempt.status >= 300:  # noqa: PLR2004 -- HTTP: nothing was done as asked, and the status says enough
                return Reply(attempt.status, attempt.headers, b"", self._clock())
            reason = why(exc, attempt.proxy or target.hostname or "", self._deadline)
            raise (AnswerLost(reason) if attempt.sent else NotSent(reason)) from exc

    async def aclose(self) -> None:
        """Release what is held: nothing is kept between requests."""

    async def _exchange(
        self,
        method: str,
        url: str,
        target: SplitResult,
        private: bool,  # noqa: FBT001 -- private method; the name stands at the only call
        headers: list[tuple[bytes, bytes]],
        content: bytes | None,
        attempt: Attempt,
    ) -> Reply:
        async with (
            await self._connection(url, target, private, attempt) as connection,
            connection.stream(method, url, headers=headers, content=content) as response,
        ):
            attempt.status = response.status
            attempt.headers = _joined(response.headers)
            patience = ERROR_PAGE_DEADLINE if response.status >= 300 else None  # noqa: PLR2004 -- HTTP
            async with asyncio.timeout(patience):
                body = await _body(response, attempt.headers)
        return Reply(attempt.status, attempt.headers, body, self._clock())

    async def _connection(
        self,
        url: str,
        target: SplitResult,
        private: bool,  # noqa: FBT001 -- as above
        attempt: Attempt,
    ) -> httpcore2.AsyncHTTPConnection | httpcore2.AsyncConnectionPool:
        if self._proxy is not None and self.by_proxy(target.hostname or ""):
            proxy = urlsplit(self._proxy[1])
            leads_to = await addresses_of(proxy.hostname or "", proxy.port or 0)
            return self.connections(CheckedBackend(leads_to, attempt, Sockets()), by_proxy=True)
        return httpcore2.AsyncHTTPConnection(
            httpcore2.URL(url).origin,
            ssl_context=self._tls if target.scheme == "https" else None,
            network_backend=await self._backend(target, private, attempt),
        )

    async def _backend(self, target: SplitResult, private: bool, attempt: Attempt) -> CheckedBackend:  # noqa: FBT001 -- as above
        """Return what connects to the server itself."""
        port = target.port or (443 if target.scheme == "https" else 80)
        return CheckedBackend(await checked_addresses(target.hostname or "", port, private=private), attempt, Sockets())

    def by_proxy(self, host: str) -> bool:
        """Whether requests to a host go through the configured proxy."""
        return self._proxy is not None and not is_loopback(host)

    def attempt(self, scheme: str, host: str) -> Attempt:
        """Return what is known about a request before it is begun."""
        if self._proxy is None or not self.by_proxy(host):
            return Attempt(layers=int(scheme == "https"))
        proxy = urlsplit(self._proxy[1])
        # Only what is written inside the inner TLS connection has been sent to the server.
        return Attempt(layers=2 if proxy.scheme == "https" else 1, proxy=f"the proxy {proxy.netloc}")

    def connections(
        self,
        backend: httpcore2.AsyncNetworkBackend,
        *,
        by_proxy: bool,
        kept_for: float | None = None,
    ) -> httpcore2.AsyncConnectionPool:
        """Return a pool of connections with our certificates; the backend decides where they lead.

        Args:
            backend: connects.
            by_proxy: through the configured proxy.
            kept_for: for how many seconds one is kept that is not used.
        """
        if self._proxy is None or not by_proxy:
            return httpcore2.AsyncConnectionPool(
                ssl_context=self._tls, max_connections=None, keepalive_expiry=kept_for, network_backend=backend
            )
        auth, proxy_url = self._proxy
        return httpcore2.AsyncHTTPProxy(
            proxy_url,
            proxy_auth=auth,
            ssl_context=self._tls,
            proxy_ssl_context=self._tls if proxy_url.startswith("https:") else None,
            max_connections=None,
            keepalive_expiry=kept_for,
            network_backend=backend,
        )


def _joined(headers: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    return MappingProxyType(joined)


async def _body(response: httpcore2.Response, headers: Mapping[str, str]) -> bytes:
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise Unfit("it answered in a compressed form that was not asked for")
    chunks: list[bytes] = []
    size = 0
    async with contextlib.aclosing(response.aiter_stream()) as stream:
        async for chunk in stream:
            size += len(chunk)
            if size > BODY_CAP:
                raise Unfit("its answer is larger than 256 KiB")
            chunks.append(chunk)
    return b"".join(chunks)


def _proxy(url: str) -> tuple[tuple[str, str] | None, str]:
    """Return the credentials and the bare URL of a proxy."""
    hint = "Give it as http://host:port with KEYFOB_HTTP_PROXY."
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise CannotStart("The proxy is not a URL.", hint) from exc
    if parts.scheme not in ("http", "https") or not host:
        raise CannotStart("The proxy is not an http:// or https:// URL.", hint)
    auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    netloc = f"[{host}]" if ":" in host else host
    return auth, f"{parts.scheme}://{netloc}:{port or (443 if parts.scheme == 'https' else 8080)}"
