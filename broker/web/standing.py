"""Answers a request for a token from what the same request was answered before, while that stands.

Put before the guard of each app door by ``asgi``. The guard judges nothing but the request's head and who is connected:
the same head, byte for byte, from the same user passes again as it did. What else is to be looked at each time is
looked at here; where anything is different, the request goes the whole way.

Programs ask before each use of a token, so nearly every answer is one of those. Nothing is left out for it: whether the
grant, the account, the key of the store or anything else in the database has changed is known from
:meth:`Store.mark`, time limits from ``Ready.until``; the rate is checked and the hand-out counted as ever.
"""

import asyncio
import contextlib
import hashlib
import os
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.core.policy import App, Caller
from broker.usecases import audit, locking
from broker.usecases.context import Context, Since
from broker.usecases.outcomes import Ready
from broker.web import render
from broker.web.protocol import whole

ROUTE = "/v1/accounts/{account}/token"
BEGIN, END = ROUTE.split("{account}")
# To find out takes milliseconds. What takes longer waits for a provider, and everybody does that for himself.
PATIENCE = 1.0
# What only whoever traces requests wants to tell them apart by, so it is another one each time: W3C Trace Context and
# Baggage, B3, Sentry, Datadog, and what proxies and frameworks number requests with. Nothing here reads any of it.
UNREAD = frozenset(
    b"traceparent tracestate baggage b3 x-b3-traceid x-b3-spanid x-b3-parentspanid sentry-trace x-datadog-trace-id"
    b" x-datadog-parent-id x-datadog-tags x-request-id x-correlation-id".split()
)


@dataclass(frozen=True, slots=True)
class Written:
    """An answer as it goes out.

    Attributes:
        second: for which one; from one to the next only ``expires_in`` is another.
        start: its head, as ASGI has it.
        body: likewise.
        wire: both, as they go over the connection.
    """

    second: float
    start: Message = field(repr=False)
    body: Message = field(repr=False)
    wire: bytes = field(repr=False)


@dataclass(slots=True)
class Standing:
    """One answer.

    Attributes:
        ready: what was answered.
        caller: whom.
        plain: whether the bare token was wanted.
        written: what was written down.
    """

    ready: Ready
    caller: Caller
    plain: bool
    written: Written | None = field(default=None, repr=False)


class StandingAnswers:
    """Answers again, or lets pass.

    Args:
        app: the guarded door.
        ctx: the collaborators.
        door: its name.
        anyone: whoever has a key may come; else only programs of our own user.
    """

    def __init__(self, app: ASGIApp, ctx: Context, door: str, *, anyone: bool) -> None:
        self._app, self._ctx, self._door = app, ctx, door.encode()
        self._open, self._uid = anyone, os.getuid()
        self._coming: dict[bytes, asyncio.Event] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer again, or let pass and remember."""
        if not self._is_asked(scope):
            await self._app(scope, receive, send)
            return
        key = self._name(scope)
        answer = self._again(scope, key)
        if answer is None and (coming := self._coming.get(key)) is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await coming.wait()  # many ask at once, and one is on its way to find out
            answer = self._again(scope, key)
        if answer is not None:
            await send(answer.start)
            await send(answer.body)
        elif key in self._coming:
            await self._app(scope, receive, send)
        else:
            await self._find_out(scope, receive, send, key)

    def again(self, scope: Scope) -> bytes | None:
        """Return the answer that stands as it goes over the connection, counted; None where there is none."""
        answer = self._again(scope, self._name(scope)) if self._is_asked(scope) else None
        return None if answer is None else answer.wire

    def _is_asked(self, scope: Scope) -> bool:
        """Whether a token is asked for, by one whom the guard would let pass as the last one."""
        path = scope["path"] if scope["type"] == "http" and scope["method"] == "GET" else ""
        return bool(path.startswith(BEGIN) and path.endswith(END) and self._is_own(scope))

    def _again(self, scope: Scope, key: bytes) -> Written | None:
        """Return the answer that stands, counted; None where there is none."""
        ctx = self._ctx
        locking.watch(ctx)
        kept: tuple[Standing, float] | None = ctx.recall(ctx.standing, key)
        if kept is None:
            return None
        found, now = kept
        caller = found.caller
        if isinstance(caller, App) and ctx.limits.wait_of(caller.name, now - ctx.schedule.moved):
            return None
        audit.handed_out(ctx, caller, found.ready.account, now)
        scope["state"]["route"], scope["state"]["caller"], scope["state"]["again"] = ROUTE, caller, True
        return _written(found, now)

    async def _find_out(self, scope: Scope, receive: Receive, send: Send, key: bytes) -> None:
        """Go the whole way, and keep what comes of it where that stands: before it is sent, which may take long."""
        since, coming = self._ctx.since(), asyncio.Event()
        self._coming[key] = coming

        async def found(message: Message) -> None:
            if not coming.is_set():
                self._keep(scope, key, since)
                self._came(key, coming)
            await send(message)

        try:
            await self._app(scope, receive, found)
        finally:
            self._came(key, coming)

    def _keep(self, scope: Scope, key: bytes, since: Since | None) -> None:
        ready, plain = scope["state"].get("standing") or (None, False)
        ctx, found, until, account = self._ctx, None, 0.0, ""
        if ready is not None:
            found, until, account = Standing(ready, scope["state"]["caller"], plain), ready.until, ready.account.uuid
        ctx.keep(ctx.standing, key, found, since, until, account)

    def _came(self, key: bytes, coming: asyncio.Event) -> None:
        """Let those go on who wait for this one."""
        if not coming.is_set():
            del self._coming[key]
            coming.set()

    def _name(self, scope: Scope) -> bytes:
        """Name a request by all that is read of it; the name says nothing of the key. No part holds a line feed.

        Most connections say the same again and again, so the last one's name is kept with them.
        """
        last: list[Any] = scope["state"].setdefault("last", [])
        said = [scope["raw_path"], scope["query_string"], scope["headers"]]
        if last[:3] != said:
            read = chain.from_iterable(header for header in said[2] if header[0] not in UNREAD)
            parts = (self._door, *said[:2], *read)
            last[:] = [*said, hashlib.sha256(b"\n".join(parts)).digest()]
        return cast("bytes", last[3])

    def _is_own(self, scope: Scope) -> bool:
        """Whether whoever is connected is whom the guard would let pass: at a port anybody with a key."""
        return self._open or (scope["state"].get("peer") or (0, None))[1] == self._uid


def _written(kept: Standing, now: float) -> Written:
    expires_at = kept.ready.facts.expires_at
    second = 0.0 if expires_at is None else (expires_at - now) // 1
    if kept.written is None or kept.written.second != second:
        response = render.token(replace(kept.ready, now=now), plain=kept.plain)
        status, headers, body = response.status_code, response.raw_headers, bytes(response.body)
        start = {"type": "http.response.start", "status": status, "headers": headers}
        kept.written = Written(
            second, start, {"type": "http.response.body", "body": body}, whole(status, headers, body)
        )
    return kept.written
