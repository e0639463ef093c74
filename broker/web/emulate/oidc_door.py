"""The socket of oidc-agent: one request a connection, read within a deadline and a cap, answered, and closed.

Opened and closed by ``daemon``, beside the other doors. The wire form is oidc-agent's and has no frames. A client sends
a public key in base64, is sent another, and then sends ``LENGTH:NONCE:CIPHERTEXT``; or it sends a JSON object as it is.
The answer has the form of the request, and goes out in one piece: one stock client reads once only, the other one reads
on after each piece of exactly 4096 bytes, so the end of the connection has to tell it that there is no more.
"""

import asyncio
import contextlib
import functools
import json
import logging
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from broker.errors import InvalidRequest
from broker.oauth import strict
from broker.usecases import audit
from broker.usecases.context import Context
from broker.web import peers
from broker.web.doors import BACKLOG, CLOSING
from broker.web.emulate import oidc_agent
from broker.web.protocol import RECEIVE_DEADLINE

if TYPE_CHECKING:
    from broker.web.emulate.oidc_envelope import Envelope

log = logging.getLogger(__name__)

DOOR = "oidc-agent socket"
# An account, scopes and an audience of 2 KiB at the most: all of it fits well.
MOST_REQUEST = 16 * 1024
MOST_DIGITS = 5
# In base64: a public key of 32 bytes, a nonce of 24; a ciphertext is 16 bytes longer than its text.
KEY_CHARS, NONCE_CHARS, SEAL = 44, 32, 16
# What is not encrypted does not say how long it is. Who sends it in pieces has a moment for the next one, and not many.
NEXT_PIECE = 0.25
MOST_PIECES = 64
# Each asks once and is gone; these are many at the same moment.
MOST_CONNECTIONS = 128


class OidcDoor:
    """The listening socket, and who is connected.

    Args:
        ctx: the collaborators.
        sock: bound, and listening.
    """

    def __init__(self, ctx: Context, sock: socket.socket) -> None:
        self._ctx = ctx
        self._socket = sock
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()
        # Of those, whose request is not there yet, the oldest first.
        self._reading: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def open(self) -> None:
        """Begin to accept."""
        self._server = await asyncio.start_unix_server(
            self._arrived, sock=self._socket, backlog=BACKLOG, limit=MOST_REQUEST
        )

    async def close(self) -> None:
        """Accept nothing more, let answers end, and cut what hangs; nothing where it was never opened."""
        if self._server is None:
            return
        self._server.close()
        for line in self._reading.values():
            line.cancel()
        if self._lines:
            _, hanging = await asyncio.wait(self._lines, timeout=CLOSING)
            for line in hanging:
                line.cancel()
            if hanging:
                await asyncio.wait(hanging)

    def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peers.peer_of(writer.transport)
        if peer is None or peer[1] != os.getuid():
            # Fail closed: a peer that the kernel cannot name is nobody (CVE-2021-3560).
            audit.unauthorized(self._ctx, DOOR, "Only the user whose daemon this is may use this socket.")
            writer.transport.abort()
            return
        if len(self._lines) >= MOST_CONNECTIONS:
            if not self._reading:
                writer.transport.abort()
                return
            self._reading.pop(next(iter(self._reading))).cancel()
        line = asyncio.create_task(self._line(reader, writer, peer), name="oidc-agent client")
        self._lines.add(line)
        self._reading[writer] = line
        line.add_done_callback(functools.partial(self._gone, writer))

    def _gone(self, writer: asyncio.StreamWriter, line: asyncio.Task[None]) -> None:
        """Whatever became of a connection, it ends. It may have been cut before it began."""
        self._lines.discard(line)
        self._reading.pop(writer, None)
        writer.transport.abort()

    async def _line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: tuple[int, int]) -> None:
        try:
            answer = await self._answer(reader, writer, peer)
            if answer:
                writer.write(answer)
                writer.close()
                async with asyncio.timeout(CLOSING):
                    await writer.wait_closed()
        except OSError:  # it has hung up, or does not read: a TimeoutError is one, too
            log.debug("%s: a client did not wait for its answer", DOOR)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: tuple[int, int]) -> bytes:
        """Return what goes out; nothing where nobody asked."""
        envelope = None
        try:
            async with asyncio.timeout(RECEIVE_DEADLINE):
                asked, envelope = await read_request(reader, writer.write)
        except (asyncio.IncompleteReadError, TimeoutError):
            log.info("%s: a client sent no whole request", DOOR)
            return b""
        except InvalidRequest as exc:
            log.info("%s: %s", DOOR, exc.detail)
            told = oidc_agent.failure(exc)
        else:
            self._reading.pop(writer, None)
            told = await oidc_agent.answer(self._ctx, asked, peer)
        text = json.dumps(told).encode()
        return text if envelope is None else envelope.seal(text)


async def read_request(
    reader: asyncio.StreamReader, send: Callable[[bytes], None]
) -> "tuple[dict[str, Any], Envelope | None]":
    """Return what a client asks, and the envelope that the answer goes into where the request came in one.

    Args:
        reader: what comes from the client.
        send: sends our public key to it.

    Raises:
        InvalidRequest: it is nothing that a client of oidc-agent sends; no part of it is repeated.
        asyncio.IncompleteReadError: it ended too soon.
    """
    first = await reader.readexactly(1)
    if first == b"{":
        return await _plain(reader, first), None
    from broker.web.emulate.oidc_envelope import Envelope  # noqa: PLC0415 -- see there

    envelope = Envelope(first + await reader.readexactly(KEY_CHARS - 1))
    send(envelope.public_key)
    length = await _length(reader)
    # In base64 every three bytes, and what is left of them, are four characters.
    sealed = await reader.readexactly(NONCE_CHARS + 1 + 4 * -(-(length + SEAL) // 3))
    nonce, _, ciphertext = sealed.partition(b":")
    return _object(envelope.open(nonce, ciphertext)), envelope


async def _length(reader: asyncio.StreamReader) -> int:
    """Read how long the encrypted text is, with the colon behind it."""
    digits = b""
    while (character := await reader.readexactly(1)) != b":":
        digits += character
        if not digits.isdigit() or len(digits) > MOST_DIGITS:
            raise InvalidRequest("The request does not say how long it is.")
    if not digits or int(digits) > MOST_REQUEST:
        raise InvalidRequest(f"The request is larger than {MOST_REQUEST // 1024} KiB, or nothing.")
    return int(digits)


async def _plain(reader: asyncio.StreamReader, text: bytes) -> dict[str, Any]:
    """Read a JSON object that says nothing of its length: it is whole when it can be read."""
    for _ in range(MOST_PIECES):
        if text.rstrip().endswith(b"}"):
            with contextlib.suppress(InvalidRequest):
                return _object(text)
        try:
            async with asyncio.timeout(NEXT_PIECE):
                piece = await reader.read(MOST_REQUEST)
        except TimeoutError:
            break
        text += piece
        if not piece or len(text) > MOST_REQUEST:
            break
    if len(text) > MOST_REQUEST:
        raise InvalidRequest(f"The request is larger than {MOST_REQUEST // 1024} KiB.")
    return _object(text)


def _object(text: bytes) -> dict[str, Any]:
    try:
        return strict.loads(text)
    except ValueError as exc:
        raise InvalidRequest(f"The request is not a JSON object: {exc}.") from exc
