"""The proxy: a request at an app door goes to the account's API, and its answer comes back as it comes.

Put behind the app doors by ``asgi``. What may pass is decided by ``usecases.forward``; here are bytes and headers only.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from broker.core import below
from broker.core.policy import Ask, Denied
from broker.core.rules import Passage
from broker.errors import InvalidRequest, KeyfobError, ProviderUnavailable
from broker.oauth.http import AnswerLost, NotAllowed, NotSent
from broker.usecases import audit, forward, locking
from broker.usecases.context import Context
from broker.usecases.forward import Errand, Forwarded
from broker.usecases.streams import Stream
from broker.web import passing, peers, refusals, render
from broker.web.api import caller_of
from broker.web.body import seconds_of
from broker.web.guards import check_unlocked, is_own_door
from broker.web.told import printable

log = logging.getLogger(__name__)

ROUTES = ("/proxy/{account}", "/proxy/{account}/{path:path}")
# How routes, logs and documents call it.
TEMPLATE = "/proxy/{account}/{path}"
# A body of no more bytes is kept until the answer's head is there, so that it can be sent again with another token.
KEPT = 64 * 1024
# Names for how many seconds a request may be held until a rate limit opens.
HOLD = "X-Keyfob-Wait"
# What can be told in an answer (RFC 9110 15); an interim answer is not one.
STATUSES = range(200, 600)


class _Told(Exception):
    """An answer of Keyfob's own, with a status that its error does not have by itself."""

    def __init__(self, error: KeyfobError, status: int, **headers: str) -> None:
        super().__init__(error.detail)
        self.error = error
        self.response = render.problem(error, status)
        self.response.headers.update(headers)


class _Gone(Exception):
    """The caller hung up, or takes nothing more."""


class Proxy:
    """The proxy at one app door.

    Args:
        ctx: the collaborators.
        told: makes an answer of an error.
    """

    def __init__(self, ctx: Context, told: Callable[[Request, Exception], Response]) -> None:
        self._ctx = ctx
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, and its answer back."""
        scope["state"]["route"] = TEMPLATE
        request = Request(scope, receive)
        exchange = _Exchange(self._ctx, request, receive, send)
        try:
            await exchange.run()
        except _Gone:
            scope["state"]["hang_up"]()
        except Exception as exc:
            if exchange.begun:
                if not isinstance(exc, _Told | KeyfobError):
                    log.exception("the proxy broke in the middle of an answer")
                # A neat end would say that this was all.
                scope["state"]["hang_up"]()
                return
            response = exc.response if isinstance(exc, _Told) else self._told(request, exc)
            await _worded(request, response)(scope, receive, send)


class _Exchange:
    """One request and its answer."""

    def __init__(self, ctx: Context, request: Request, receive: Receive, send: Send) -> None:
        self._ctx = ctx
        self._request = request
        self._receive = receive
        self._send = send
        self._idle = ctx.streams.idle or None
        self._over = False
        self.begun = False

    async def run(self) -> None:
        """Do it.

        Raises:
            KeyfobError, _Told: it was not sent, or not answered.
            _Gone: nobody is there any more to tell.
        """
        request, streams = self._request, self._ctx.streams
        locking.watch(self._ctx)
        check_unlocked(self._ctx)
        _check_method(request)
        body = _Body(self._receive, streams.body_limit) if passing.has_body(request.scope) else None
        errand = Errand(
            _ask(request),
            _raw(request.scope),
            request.scope["query_string"],
            passing.sent_on(request.scope["headers"]),
            body,
            _hold(request),
        )
        _check_length(request, streams.body_limit)
        request.scope["state"]["stream_body"](request.scope, self._idle)
        gone = False
        try:
            async with asyncio.timeout(None) as limit:

                def cut() -> None:
                    limit.reschedule(asyncio.get_running_loop().time())

                async def watch() -> None:
                    """Wait until the caller hangs up."""
                    nonlocal gone
                    if body is not None:
                        await body.left.wait()
                    while (await self._receive())["type"] != "http.disconnect":
                        pass  # what is left of a body that nobody takes any more
                    if not self._over:
                        gone = True
                        cut()

                stream = Stream(caller_of(request).name, cut)
                with streams.entered(stream):
                    watching = asyncio.create_task(watch())
                    try:
                        await self._answer(errand, stream)
                    finally:
                        watching.cancel()
        except TimeoutError as exc:
            if not limit.expired():
                raise
            if gone:
                raise _Gone from exc
            raise ProviderUnavailable("The request was broken off.", "Try again later.", retry_after=2.0) from exc

    async def _answer(self, errand: Errand, stream: Stream) -> None:
        request, ctx = self._request, self._ctx
        caller = caller_of(request)
        try:
            outcome = await forward.forward(ctx, caller, errand, peers.asker_of(request), stream)
            if isinstance(outcome, Forwarded):
                await self._pass_back(outcome)
                return
        except NotSent as exc:
            hint = "" if isinstance(exc, NotAllowed) else "Try again later."  # its reason says what helps
            raise _Told(ProviderUnavailable(f"The API was not reached: {exc.reason}.", hint), 502) from exc
        except AnswerLost as exc:
            hint = "Nobody knows what became of the request; look before you send it again."
            raise _Told(ProviderUnavailable(f"The API did not answer: {exc.reason}.", hint), 502) from exc
        if isinstance(outcome, Denied):
            audit.refused(ctx, caller, outcome.account, outcome.reason)
        self._over = True
        told = _worded(request, render.problem(refusals.refusal(outcome)))
        await told(request.scope, self._receive, self._send)

    async def _pass_back(self, forwarded: Forwarded) -> None:
        answer = forwarded.answer
        try:
            if answer.status not in STATUSES:
                raise AnswerLost(f"its status {answer.status} is none that can be passed on")
            headers = [
                (name, self._led_back(value, forwarded) if name.lower() == b"location" else value)
                for name, value in passing.sent_back(answer.status, answer.headers)
            ]
            await self._tell({"type": "http.response.start", "status": answer.status, "headers": headers})
            self.begun = True
            async with contextlib.aclosing(answer.chunks()) as chunks:
                async for chunk in chunks:
                    await self._tell({"type": "http.response.body", "body": chunk, "more_body": True})
            self._over = True
            await self._tell({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await answer.aclose()

    def _led_back(self, location: bytes, forwarded: Forwarded) -> bytes:
        """Return where a redirection leads, for the caller.

        Raises:
            _Told: to Keyfob's own doors, where a program that follows it would show its key and act for the API.
        """
        request, account = self._request, self._request.path_params["account"]
        here = f"/proxy/{account}"
        try:
            back = below.redirected(location.decode("latin-1"), forwarded.way.base, forwarded.target, here)
        except below.Unfit as exc:
            raise _led_astray(str(exc), account) from exc
        if not back.startswith("/") and is_own_door(request.scope, back):
            raise _led_astray("it redirects to Keyfob itself", account)
        return back.encode("latin-1")

    async def _tell(self, message: Message) -> None:
        """Send a part of the answer; wait until the caller takes it."""
        try:
            async with asyncio.timeout(self._idle):
                await self._send(message)
        except TimeoutError as exc:
            raise _Gone from exc


class _Body:
    """The body of a request: streamed, and kept while it is small.

    Attributes:
        left: nobody reads it here any more: it is over, or not wanted.
    """

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._kept: bytearray | None = bytearray()
        self._whole = False
        self.left = asyncio.Event()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield it as it comes."""
        size = 0
        try:
            while not self._whole:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                chunk = message.get("body", b"")
                size += len(chunk)
                if self._limit and size > self._limit:
                    raise _too_large(self._limit)
                self._keep(chunk, size)
                self._whole = not message.get("more_body", False)
                if chunk:
                    yield chunk
        finally:
            self.left.set()

    def _keep(self, chunk: bytes, size: int) -> None:
        if size > KEPT:
            self._kept = None
        if self._kept is not None:
            self._kept += chunk

    def again(self) -> AsyncIterator[bytes] | None:
        """Return it once more, where it came whole and was kept."""
        return _once(bytes(self._kept)) if self._whole and self._kept is not None else None


async def _once(whole: bytes) -> AsyncIterator[bytes]:
    if whole:
        yield whole


def _worded(request: Request, told: Response) -> Response:
    """Return what Keyfob itself says in the form that the caller's protocol has for it."""
    return refusals.rpc(told) if passing.speaks_rpc(request.scope["method"], request.scope["headers"]) else told


def _check_method(request: Request) -> None:
    """Refuse what is no request for something below a path.

    Raises:
        _Told: with what to do.
    """
    scope = request.scope
    if scope["method"] in ("CONNECT", "TRACE"):
        raise _Told(
            InvalidRequest(f"The proxy sends no {scope['method']}.", "Use another method."), 405, allow=passing.ALLOW
        )
    if passing.wants_upgrade(scope["headers"]):
        problem = InvalidRequest(
            "The proxy passes on requests and answers only: no WebSocket, and no other protocol.",
            "Use the API's HTTP endpoints; or take the token itself, with a grant that is not for the proxy only.",
        )
        # What comes after such a head may be of that protocol already.
        raise _Told(problem, 501, connection="close")
    if passing.names_other_method(scope["headers"]):
        raise InvalidRequest("The proxy goes by the request's own method.", "Send that method itself, not in a header.")
    if passing.is_oddly_framed(scope["headers"]):
        hint = "Send its Content-Length, or Transfer-Encoding: chunked and nothing else."
        raise InvalidRequest("Servers disagree on where such a body ends.", hint)
    if scope["http_version"] != "1.1":
        raise _Told(InvalidRequest("The proxy speaks HTTP/1.1.", "Ask in that version."), 505)


def _hold(request: Request) -> float:
    """Return for how many seconds a request may be held until a rate limit opens.

    Raises:
        InvalidRequest: its header holds something else.
    """
    return seconds_of(HOLD, request.headers.get(HOLD, "0"))


def _check_length(request: Request, limit: int) -> None:
    length = request.headers.get("content-length", "0")
    if limit and int(length) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> _Told:
    hint = "The owner allows more with the setting proxy_body_limit."
    return _Told(InvalidRequest(f"The body is larger than {limit} bytes.", hint), 413)


def _led_astray(why: str, account: str) -> _Told:
    hint = f"Look where that API is: keyfob proxy-url {account}"
    return _Told(ProviderUnavailable(f"The API's answer is not passed on: {why}.", hint), 502)


def _raw(scope: Scope) -> bytes:
    """Return what is below the base, as it came: the guard has let no encoded slash through."""
    parts: list[bytes] = scope["raw_path"].split(b"/", 3)
    return parts[3] if len(parts) > 3 else b""  # noqa: PLR2004 -- "", "proxy", account, rest


def _ask(request: Request) -> Ask:
    scope = request.scope
    try:
        path = below.decoded(_raw(scope))
        below.check_query(scope["query_string"])
    except below.Unfit as exc:
        raise InvalidRequest(f"This is not sent on: {exc}.", "Write the path plainly, below the API's base.") from exc
    return Ask(printable(request.path_params["account"]), passage=Passage(scope["method"], path))
