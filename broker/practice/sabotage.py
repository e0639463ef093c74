"""What a fault does to an answer.

Called by ``wire`` only; the content faults of ID tokens, redirects and metadata are carried out where those are made.
"""

import gzip
import json
from collections.abc import AsyncIterator, Iterable
from email.utils import formatdate
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from broker.practice.faults import Fault
from broker.practice.state import Practice

_PORTAL = "<!doctype html><title>Welcome</title><h1>Welcome to the hotel network</h1><p>Please sign in.</p>"
_GARBAGE = b'{"access_token": "\xff\xfe\x00 and then the line broke'
_HELD_STEP = 0.01  # seconds between two looks whether a held answer may go; short against every client deadline
_JSON = "application/json"


class HangUp(Response):
    """Closes the connection without an answer, or after the first half of one.

    Args:
        half_of: an answer whose head and first half are sent before.
    """

    def __init__(self, half_of: Response | None = None) -> None:
        super().__init__()
        self.half_of = half_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Speak ASGI: close the transport that ``server.HangUpProtocol`` put in the scope, and wait until it is."""
        if (half := self.half_of) is not None:
            await send({"type": "http.response.start", "status": half.status_code, "headers": half.raw_headers})
            await send({"type": "http.response.body", "body": half.body[: len(half.body) // 2], "more_body": True})
        scope["state"]["hang_up"]()
        while (await receive())["type"] != "http.disconnect":
            pass


def instead(fault: Fault, now: float) -> Response:
    """Return what takes the answer's place."""
    value, no_store = fault.value, {"Cache-Control": "no-store"}
    match fault.kind.name:
        case "status":
            return Response(f"practice fault: status {value}\n", value, no_store, "text/plain")
        case "html":
            return Response(_PORTAL, value, no_store, "text/html")
        case "empty":
            return Response(None, 204)
        case "body":
            return Response(value, 200, no_store, _JSON)
        case "error":
            return Response(json.dumps({"error": value, "error_description": "practice fault"}), 400, no_store, _JSON)
        case "invalid_client":
            return Response('{"error": "invalid_client", "error_description": "practice fault"}', 401, no_store, _JSON)
        case "throttle":
            return _throttled(f"{value:g}")
        case "throttle_date":
            return _throttled(formatdate(now + value, usegmt=True))
        case "redirect":
            return Response(None, 307, {"Location": value})
        case "refuse":
            return HangUp()
    raise AssertionError(fault.kind.name)  # a kind of this stage without a case: the tests walk all of them


def _throttled(retry_after: str) -> Response:
    body = json.dumps({"detail": "Request was throttled."})  # no OAuth error: throttles sit in front of the server
    return Response(body, 429, {"Retry-After": retry_after, "Cache-Control": "no-store"}, _JSON)


def content(payload: dict[str, Any], faults: Iterable[Fault]) -> dict[str, Any]:
    """Return a JSON answer with its fields spoiled."""
    spoiled = dict(payload)
    for fault in faults:
        match fault.kind.name:
            case "json":
                spoiled |= fault.value
            case "without":
                spoiled.pop(fault.value, None)
            case "no_refresh_token":
                spoiled.pop("refresh_token", None)
            case "no_id_token":
                spoiled.pop("id_token", None)
            case "empty_refresh_token":
                spoiled["refresh_token"] = ""
            case "null_refresh_token":
                spoiled["refresh_token"] = None
            case "expires_in" | "token_type" as field:
                spoiled[field] = fault.value
    return spoiled


async def spoil(response: Response, fault: Fault, practice: Practice, generation: int) -> Response:
    """Return an answer after one fault of the stage ``answer`` happened to it.

    Args:
        response: the answer so far.
        fault: what happens to it.
        practice: the provider's state.
        generation: of the fault plan when the request came; ``hold`` waits until it is another.
    """
    if isinstance(response, HangUp | StreamingResponse):
        return response  # nothing is left that could be spoiled further
    match fault.kind.name:
        case "drop":
            return HangUp()
        case "cut":
            return HangUp(half_of=response)
        case "delay":
            await practice.pause(fault.value)
            return response
        case "hold":
            await _hold(practice, generation)
            return response
        case "drip":
            headers = {**dict(response.headers), "content-length": str(len(response.body))}
            return StreamingResponse(_drip(bytes(response.body), fault.value, practice), response.status_code, headers)
        case "garbage":
            return Response(_GARBAGE, response.status_code, media_type=_JSON)
        case "answer":
            return Response(fault.value, response.status_code, media_type=_JSON)
        case "used_up":
            told = {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{fault.value:g}"}
            response.headers.update(told)
            return response
    return _dressed(response, fault)


def _dressed(response: Response, fault: Fault) -> Response:
    """Return an answer in another form than was asked for."""
    match fault.kind.name:
        case "form":
            fields = urlencode(json.loads(bytes(response.body) or b"{}"))
            return Response(fields, response.status_code, media_type="application/x-www-form-urlencoded")
        case "gzip":
            packed = gzip.compress(bytes(response.body))
            return Response(packed, response.status_code, {"Content-Encoding": "gzip"}, _media_type(response))
        case "big":
            padded = b" " * (1024 * fault.value) + bytes(response.body)
            return Response(padded, response.status_code, media_type=_media_type(response))
    raise AssertionError(fault.kind.name)  # as above


def _media_type(response: Response) -> str:
    return response.headers.get("content-type", _JSON)


async def _hold(practice: Practice, generation: int) -> None:
    while practice.faults.generation == generation and not practice.stopping.is_set():
        await practice.pause(_HELD_STEP)


async def _drip(body: bytes, seconds: float, practice: Practice) -> AsyncIterator[bytes]:
    for index in range(len(body)):
        await practice.pause(seconds)
        yield body[index : index + 1]
