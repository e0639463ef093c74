"""The address that is checked is the address that is connected to; and what was written there is remembered.

Called by ``http`` and ``upstream``.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpcore2

from broker.oauth.failures import ProxyFailed, why
from broker.providers.urls import is_loopback, is_own, is_special

# With several addresses, one that does not answer must leave time for the next.
CONNECT_PATIENCE = 5.0


class SpecialAddress(Exception):
    """A name leads to a special-purpose address, and nobody allowed that; the text says where and how."""


class AddressRefused(Exception):
    """The address is not one that may be asked; the text is safe to show."""


@dataclass(slots=True)
class Attempt:
    """What is known about one request under way.

    Attributes:
        layers: how many TLS layers have to stand before what is written is the request itself.
        proxy: how the proxy is named in a message, while it is the one that is spoken with; empty then, or without one.
        sent: whether any of the request was written.
        status: the status that came, or 0.
        headers: the headers that came.
    """

    layers: int = 0
    proxy: str = ""
    sent: bool = False
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


async def addresses_of(host: str, port: int) -> list[str]:
    """Resolve ``host``, once.

    Raises:
        AddressRefused: the name does not resolve.
    """
    name = host.encode("ascii") if host.isascii() else host  # a str goes through the IDNA codec: half a megabyte
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise AddressRefused(f"the name {host} cannot be resolved") from exc
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def checked_addresses(host: str, port: int, *, private: bool) -> list[str]:
    """Resolve ``host``, once, and return its addresses if all of them may be asked (security.md R24).

    Raises:
        SpecialAddress: one is special-purpose and that was not allowed.
        AddressRefused: the name does not resolve, or not to this machine though it is one of it.
    """
    addresses = await addresses_of(host, port)
    for text in addresses:
        address = ipaddress.ip_address(text)
        if is_loopback(host):
            # A name for this machine has to lead to this machine.
            if not is_own(address):
                raise AddressRefused(f"the name {host} does not lead to this machine")
        elif is_special(address) and not private:
            raise SpecialAddress(
                f"{host} is at the special-purpose address {address}; allow that with --private (on the page: tick "
                "'private network')"
            )
    return addresses


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to the addresses that were checked, whatever name the request has.

    Args:
        addresses: tried in order.
        attempt: learns when the request is written.
        inner: connects to one.
    """

    def __init__(self, addresses: list[str], attempt: Attempt, inner: httpcore2.AsyncNetworkBackend) -> None:
        self._addresses = addresses
        self._attempt = attempt
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- the interface of httpcore2
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first checked address that answers."""
        del host  # it was looked up when it was checked
        *early, last = self._addresses
        for address in early:
            try:
                stream = await self._inner.connect_tcp(address, port, CONNECT_PATIENCE, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
            return _Stream(stream, self._attempt, self._attempt.layers)
        with _proxy_named(self._attempt, timeout):
            stream = await self._inner.connect_tcp(last, port, timeout, local_address, socket_options)
        return _Stream(stream, self._attempt, self._attempt.layers)


@contextlib.contextmanager
def _proxy_named(attempt: Attempt, timeout: float | None) -> Iterator[None]:
    """Let nobody look for the fault at the server where it is the proxy that has not been reached."""
    try:
        yield
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as exc:
        if not attempt.proxy:
            raise
        raise ProxyFailed(why(exc, attempt.proxy, timeout or 0.0)) from exc


class LookedUpBackend(httpcore2.AsyncNetworkBackend):
    """Looks a name up at each new connection, for connections that are kept.

    Args:
        look_up: tells where a name and port lead, if that may be asked.
        attempt: makes what is known about a connection.
    """

    def __init__(self, look_up: Callable[[str, int], Awaitable[list[str]]], attempt: Callable[[], Attempt]) -> None:
        self._look_up = look_up
        self._attempt = attempt
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- the interface of httpcore2
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of a name that answers."""
        backend = CheckedBackend(await self._look_up(host, port), self._attempt(), self._inner)
        return await backend.connect_tcp(host, port, timeout, local_address, socket_options)


class _Stream(httpcore2.AsyncNetworkStream):
    """A connection that notes when the first byte of the request itself is about to be written."""

    def __init__(self, inner: httpcore2.AsyncNetworkStream, attempt: Attempt, layers: int) -> None:
        self._inner = inner
        self._attempt = attempt
        self._layers = layers

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 -- the interface of httpcore2
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 -- the same
        if self._layers <= 0:
            self._attempt.sent = True
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 -- the same
    ) -> httpcore2.AsyncNetworkStream:
        if self._layers == 1:
            self._attempt.proxy = ""  # from here on it is the server
        try:
            with _proxy_named(self._attempt, timeout):
                inner = await self._inner.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            # httpcore closes it after errors, but not when the deadline strikes in the middle of a handshake.
            await self._inner.aclose()
            raise
        return _Stream(inner, self._attempt, self._layers - 1)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 -- the same
        return self._inner.get_extra_info(info)
