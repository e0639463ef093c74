"""Answers in pieces: server-sent events for as long as somebody reads, and lists that may be very long.

Called by the API, and by the browser door, which tells what changed.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.responses import Response, StreamingResponse

from broker.events import Event, Subscription
from broker.usecases.context import Context
from broker.web import render

# A stream that says nothing for longer is cut by some clients.
HEARTBEAT = 15.0
# Of a list, so much is written in one go, and the answer has a length and, should it break, an error where it has no
# more pieces than that. One of a hundred thousand accounts would weigh more than the rest of the process.
PIECE, PIECES = 50, 20


def answer(lines: AsyncIterator[str]) -> StreamingResponse:
    """Return the answer that says these lines as they come."""
    headers = {**render.ANSWER_HEADERS, "x-accel-buffering": "no"}
    return StreamingResponse(lines, headers=headers, media_type="text/event-stream")


async def listed(name: str, members: AsyncIterator[Mapping[str, Any]]) -> Response:
    """Return the answer with one member, a list; a long one goes out while it is being made."""
    pieces, first = _written(name, members), list[str]()
    async for piece in pieces:
        first.append(piece)
        if len(first) > PIECES:
            break
    else:
        return Response("".join(first), headers=render.ANSWER_HEADERS, media_type="application/json")

    async def rest() -> AsyncIterator[str]:
        yield "".join(first)
        async for piece in pieces:
            yield piece

    return StreamingResponse(rest(), headers=render.ANSWER_HEADERS, media_type="application/json")


async def _written(name: str, members: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[str]:
    several, opening = list[Mapping[str, Any]](), f'{{"{name}":['
    async for member in members:
        several.append(member)
        if len(several) == PIECE:
            yield opening + _joined(several)
            several, opening = [], ","
            await asyncio.sleep(0)  # whoever asks for a token meanwhile
    yield (opening + _joined(several) if several or opening != "," else "") + "]}"


def _joined(members: list[Mapping[str, Any]]) -> str:
    # In one go: to begin to write costs as much as half a member.
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"))[1:-1]


async def told(ctx: Context) -> AsyncIterator[str]:
    """Tell every event from now on."""
    with ctx.events.listen() as listener:
        yield ": listening\n\n"
        while not listener.closed:
            yield await _next_line(listener)


async def changed(ctx: Context, lasts: Callable[[], bool]) -> AsyncIterator[str]:
    """Tell which kinds of things happened, from now on, and nothing else: the page looks for itself.

    Args:
        ctx: the collaborators.
        lasts: whether the reader may still know; asked before each line.
    """
    with ctx.events.listen() as listener:
        yield ": listening\n\n"
        while not listener.closed:
            event = await listener.next(HEARTBEAT)
            if not lasts():
                return
            if event is None:
                yield ": still here\n\n"
                continue
            kinds = {event.kind}
            while (more := listener.ready()) is not None:  # what came together is one look at what is new
                kinds.add(more.kind)
            yield f"event: changed\ndata: {json.dumps(sorted(kinds))}\n\n"


async def _next_line(listener: Subscription) -> str:
    event = await listener.next(HEARTBEAT)
    if event is None:
        return ": still here\n\n"
    if listener.missed:
        missed, listener.missed = listener.missed, 0
        return f"event: missed\ndata: {json.dumps({'count': missed})}\n\n" + _as_line(event)
    return _as_line(event)


def _as_line(event: Event) -> str:
    return f"event: {event.kind}\ndata: {json.dumps(render.event(event), ensure_ascii=False)}\n\n"
