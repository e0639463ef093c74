"""The network: the real HTTP client of Keyfob speaks its bytes into it, and providers answer - or something else.

Used by ``engine``. Replaced is the socket and nothing above it: ``broker.oauth.http`` writes a real request, keeps its
own deadline, reads a real answer byte by byte, and judges by itself what was sent and what is lost. What was written
reaches the provider even where the program that wrote it is killed a moment later, as it is with a kernel's buffers.
"""

import asyncio
import copy
import functools
import json
import random
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qsl

import httpcore2

from broker.oauth.addresses import Attempt, CheckedBackend
from broker.oauth.http import Http
from tests.sim.loop import Clocks
from tests.sim.provider import Answer, Provider

# What can happen to a request, beside arriving and being answered. The provider has acted in the first group only.
AFTER = ("answer lost", "answer cut", "answer late", "connection reset")
BEFORE = (
    "refused",
    "no route",
    "request lost",
    "503",
    "503 later",
    "429",
    "429 date",
    "page",
    "empty",
    "204",
    "portal",
)
THROTTLES = ("503 later", "429", "429 date")
# Longer than Keyfob waits (20 s) for a whole answer.
TOO_LATE = 45.0


class Observer(Protocol):
    """Who watches the wire."""

    def sent(self, provider: Provider, form: dict[str, str]) -> None:
        """A whole token request has left the engine."""

    def arrived(self, provider: Provider, answer: Answer, fate: str) -> None:
        """The provider has acted on it, and this is what the network does with the answer."""

    def throttled(self, provider: Provider, form: dict[str, str], seconds: float) -> None:
        """The provider's wish to be left alone has reached the engine."""

    def ended(self, provider: Provider, form: dict[str, str]) -> None:
        """The engine waits no longer for that answer."""

    def io(self) -> None:
        """The engine does something with the world outside: a moment at which it may be killed."""


@dataclass(slots=True)
class Link:
    """The way to one provider.

    Attributes:
        provider: who is at the end of it.
        fates: what happens to requests now: fate -> how likely it is.
        retry_after: what a throttled answer asks for, in seconds.
    """

    provider: Provider
    fates: dict[str, float] = field(default_factory=dict)
    retry_after: float = 60.0

    def draw(self, rng: random.Random) -> str:
        """Choose what happens to the next request; empty is nothing special."""
        for fate, part in self.fates.items():
            if rng.random() < part:
                return fate
        return ""


@dataclass(slots=True)
class Network:
    """Every link, by port.

    Attributes:
        links: port -> link.
        clocks: the real time is the providers'.
        rng: for delays and fates.
        watch: sees everything.
    """

    links: dict[int, Link]
    clocks: Clocks
    rng: random.Random
    watch: Observer


@functools.cache
def _real_http() -> Http:
    """Return one real client to copy from: to load the certificates of the system costs more than a simulated day."""
    return Http()


class SimulatedHttp(Http):
    """Keyfob's way out, with a wire of ours instead of a socket.

    Args:
        network: where the bytes go.
        alive: whether the engine that owns it still runs.
    """

    def __init__(self, network: Network, alive: Callable[[], bool]) -> None:
        self.__dict__.update(copy.copy(_real_http().__dict__))
        self._clock = network.clocks.wall
        self._network = network
        self._alive = alive

    async def _backend(self, target: SplitResult, private: bool, attempt: Attempt) -> CheckedBackend:  # noqa: FBT001 -- as the real one
        del target, private
        # The seam: the socket, nothing above it.
        return CheckedBackend(["127.0.0.1"], attempt, _Backend(self._network, self._alive))


class _Backend(httpcore2.AsyncNetworkBackend):
    """Opens connections."""

    def __init__(self, network: Network, alive: Callable[[], bool]) -> None:
        self._network = network
        self._alive = alive

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- the interface of httpcore2
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        del host, timeout, local_address, socket_options
        network = self._network
        link = network.links[port]
        fate = link.draw(network.rng)
        await asyncio.sleep(network.rng.uniform(0.001, 0.05))
        if fate == "refused":
            raise httpcore2.ConnectError("refused") from ConnectionRefusedError()
        if fate == "no route":
            await asyncio.sleep(TOO_LATE)
        return _Stream(network, link, fate, self._alive)


class _Stream(httpcore2.AsyncNetworkStream):
    """One connection: one request, one answer, or what became of it."""

    def __init__(self, network: Network, link: Link, fate: str, alive: Callable[[], bool]) -> None:
        self._network = network
        self._link = link
        self._fate = fate
        self._alive = alive
        self._written = b""
        self._form: dict[str, str] | None = None
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._ended = False

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 -- as above
        del timeout
        self._network.watch.io()
        if not self._alive():
            raise asyncio.CancelledError
        self._written += buffer
        head, separator, body = self._written.partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        length = next((int(line[16:]) for line in lines if line.startswith("content-length: ")), 0)
        if separator and len(body) >= length and self._form is None:
            self._form = dict(parse_qsl(body.decode(), keep_blank_values=True))
            self._submit(head.split(b" ", 2)[1].decode(), self._form)
            self._network.watch.io()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 -- as above
        del max_bytes, timeout
        found = await asyncio.shield(self._answer)
        if found:
            self._answer = asyncio.get_running_loop().create_future()
            self._answer.set_result(b"")
            self._network.watch.io()
        return found

    async def aclose(self) -> None:
        if self._form is not None and not self._ended:
            self._ended = True
            self._network.watch.ended(self._link.provider, self._form)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 -- as above
    ) -> httpcore2.AsyncNetworkStream:
        raise NotImplementedError("the simulated providers are on this machine")

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 -- the interface of httpcore2
        del info

    def _submit(self, path: str, form: dict[str, str]) -> None:
        network, loop = self._network, asyncio.get_running_loop()
        network.watch.sent(self._link.provider, form)
        if self._fate != "request lost":
            loop.call_later(network.rng.uniform(0.005, 0.5), self._arrive, path, form)

    def _arrive(self, path: str, form: dict[str, str]) -> None:
        """The request is at the provider, or at what stands before it."""
        network, provider = self._network, self._link.provider
        if self._fate in BEFORE:
            self._reply(self._instead(), 0.02, form if self._fate in THROTTLES else None)
            return
        now = network.clocks.real()
        answer = provider.revocation(form, now) if path == "/revoke" else provider.token(form, now)
        fate = self._fate or ("" if self._alive() else "nobody there")
        network.watch.arrived(provider, answer, fate)
        raw = _http(answer.status, json.dumps(answer.fields).encode(), "application/json")
        delay = network.rng.choice([network.rng.uniform(0.01, 1.0), network.rng.uniform(0.01, 15.0)])
        match self._fate:
            case "answer lost":
                pass
            case "connection reset":
                self._reply(b"", delay)
            case "answer cut":
                self._reply(raw[: len(raw) - network.rng.randint(1, 60)], delay)
            case "answer late":
                self._reply(raw, TOO_LATE)
            case _:
                self._reply(raw, delay)

    def _instead(self) -> bytes:
        """Return what is answered without the provider having acted."""
        wait = self._link.retry_after
        match self._fate:
            case "503":
                return _http(503, b"down for maintenance", "text/plain")
            case "503 later":
                return _http(503, b"", "text/plain", f"Retry-After: {wait:.0f}\r\n")
            case "429":
                return _http(429, b"{}", "application/json", f"Retry-After: {wait:.0f}\r\n")
            case "429 date":
                now = self._network.clocks.real()
                when, date = formatdate(now + wait, usegmt=True), formatdate(now, usegmt=True)
                return _http(429, b"", "text/plain", f"Retry-After: {when}\r\nDate: {date}\r\n")
            case "page":
                return _http(200, b"<html>Welcome to the hotel</html>", "text/html")
            case "empty":
                return _http(200, b"{}", "application/json")
            case "204":
                return b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
            case _:
                return _http(302, b"", "text/html", "Location: http://127.0.0.1:1/hotel\r\n")

    def _reply(self, raw: bytes, delay: float, throttled: dict[str, str] | None = None) -> None:
        def deliver() -> None:
            if not self._answer.done() and self._alive():
                self._answer.set_result(raw)
                if throttled is not None:
                    self._network.watch.throttled(self._link.provider, throttled, self._link.retry_after)

        asyncio.get_running_loop().call_later(delay, deliver)


def _http(status: int, body: bytes, kind: str, more: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode() + body
