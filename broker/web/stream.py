"""Server-sent events: what happened, for as long as somebody reads.

Called by the API, which tells all, and by the browser door, which tells what changed.
"""

import json
from collections.abc import AsyncIterator, Callable

from starlette.responses import StreamingResponse

from broker.events import Event, Subscription
from broker.usecases.context import Context
from broker.web import render

# A stream that says nothing for longer is cut by some clients.
HEARTBEAT = 15.0


def answer(lines: AsyncIterator[str]) -> StreamingResponse:
    """Return the answer that says these lines as they come."""
    headers = {**render.ANSWER_HEADERS, "x-accel-buffering": "no"}
    return StreamingResponse(lines, headers=headers, media_type="text/event-stream")


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
