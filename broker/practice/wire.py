"""One request to the practice provider: its form, its faults, its refusals and its line in the event log.

Every endpoint is a plain function from a ``Call`` to an answer, wrapped by ``endpoint`` in ``app``.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from broker.practice import sabotage
from broker.practice.clients import Client
from broker.practice.events import Event
from broker.practice.faults import Fault
from broker.practice.grants import fingerprint
from broker.practice.kinds import GROUPS
from broker.practice.refusal import Refusal
from broker.practice.shape import Shape
from broker.practice.state import Practice

_BIGGEST_REQUEST = 65_536  # bytes; no honest OAuth request comes near
_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"
RFC = Shape()

Answer = dict[str, Any] | Response


@dataclass(slots=True)
class Call:
    """One request, and what is to be written down about it.

    Attributes:
        practice: the provider's state.
        request: as it came.
        body: of the request.
        endpoint: the name that faults and events use.
        faults: that happen to it.
        result: for the event log, as are the next four.
        client: client id.
        grant: grant id.
        refresh_token: fingerprint of the one that came in.
        issued_refresh_token: fingerprint of the one that goes out.
        shaped: the answer is put into the provider's own shape.
        resource: what a token is asked for.
    """

    practice: Practice
    request: Request
    body: bytes
    endpoint: str = ""
    faults: tuple[Fault, ...] = ()
    result: str = "ok"
    client: str = ""
    grant: str = ""
    refresh_token: str = ""
    issued_refresh_token: str = ""
    shaped: bool = False
    resource: str = ""

    @property
    def shape(self) -> Shape:
        """How this provider speaks."""
        return self.practice.settings.shape

    def form(self) -> dict[str, str]:
        """Return the fields of a form request, strictly: RFC 6749 3.2 and appendix B.

        Raises:
            Refusal: ``invalid_request``: another content type, a repeated field, a query, or bytes that are no UTF-8.
        """
        if self.request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            raise Refusal("invalid_request", f"the body must be {_FORM}")
        if self.request.url.query:
            raise Refusal("invalid_request", "this endpoint takes its parameters in the body only")
        return parameters(self.body)

    def json_fields(self) -> dict[str, str]:
        """Return the members of a JSON request, all of them text.

        Raises:
            Refusal: ``invalid_request``: another content type, or not an object of texts.
        """
        if self.request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
            raise Refusal("invalid_request", f"the body must be {_JSON}")
        try:
            fields = json.loads(self.body)
        except ValueError as exc:
            raise Refusal("invalid_request", "the body is no JSON") from exc
        if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
            raise Refusal("invalid_request", "the body must be an object of texts")
        return fields

    def token_form(self) -> dict[str, str]:
        """Return a token request in RFC 6749's words; raises as ``form`` and ``Shape.asked`` do."""
        fields = self.json_fields() if self.shape.body == "json" else self.form()
        return self.shape.asked(fields, self.request.headers, at_refresh=self.request.url.path == "/refresh")

    def authenticate(self, form: Mapping[str, str], taken: tuple[str, ...] = ()) -> Client:
        """Return the client, written down; takes and raises as ``ClientBook.authenticate`` does."""
        self.client = form.get("client_id", "")
        client = self.practice.clients.authenticate(form, self.request.headers.get("authorization", ""), taken)
        self.client = client.id
        return client

    def spoiled(self) -> frozenset[str]:
        """Return the names of the content faults that happen to this call."""
        return frozenset(fault.kind.name for fault in self.faults if fault.kind.stage == "content")

    def event(self) -> Event:
        """Return the line for the event log."""
        return Event(
            self.practice.clock(),
            self.endpoint,
            self.result,
            self.client,
            self.grant,
            self.refresh_token,
            self.issued_refresh_token,
            tuple(fault.spec for fault in self.faults),
            self.resource,
        )


def target(fields: Mapping[str, str]) -> str:
    """Return the ``resource`` of a request, or empty text.

    Raises:
        Refusal: ``invalid_target``: it is no absolute URI, or has a fragment (RFC 8707 2).
    """
    resource = fields.get("resource", "")
    if resource and ("#" in resource or not urlsplit(resource).scheme):
        raise Refusal("invalid_target", "resource must be an absolute URI without a fragment")
    return resource


def parameters(encoded: bytes) -> dict[str, str]:
    """Read form-encoded parameters; empty ones count as left out (RFC 6749 3.1 and 3.2).

    Raises:
        Refusal: ``invalid_request``: a repeated parameter, or bytes that are no UTF-8.
    """
    try:
        pairs = parse_qsl(encoded.decode(), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as exc:
        raise Refusal("invalid_request", "the parameters cannot be decoded") from exc
    names = [name for name, _ in pairs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise Refusal("invalid_request", f"repeated: {', '.join(repeated)}")
    return {name: value for name, value in pairs if value}


Handler = Callable[[Call], Answer]
Namer = Callable[[Call], str]


def endpoint(practice: Practice, name: str | Namer, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Return a Starlette endpoint: take the faults, carry out, write down, spoil the answer.

    Args:
        practice: the provider's state.
        name: of the endpoint, or how to tell it from the request.
        handler: carries the request out.
    """

    async def serve(request: Request) -> Response:
        body = await _read(request)
        if body is None:
            return Response("The request is too big.\n", 413, {"Connection": "close"}, "text/plain")
        call = Call(practice, request, body)
        call.endpoint = name if isinstance(name, str) else name(call)
        stages = ("instead", "answer") if call.endpoint == "authorize" else ("instead", "answer", "content")
        generation = practice.faults.generation
        call.faults = practice.faults.take(call.endpoint, stages)
        response = _answer(call, handler)
        practice.log.add(call.event())
        for fault in call.faults:
            if fault.kind.stage == "answer":
                response = await sabotage.spoil(response, fault, practice, generation)
        response.headers.setdefault("date", formatdate(practice.clock(), usegmt=True))
        return response

    return serve


def _answer(call: Call, handler: Handler) -> Response:
    if call.faults and call.faults[0].kind.stage == "instead":
        _note_refresh_token(call)
        call.result = "not processed"
        return sabotage.instead(call.faults[0], call.practice.clock())
    try:
        answer = handler(call)
    except Refusal as refusal:
        call.result = refusal.result
        status, body = (call.shape if call.shaped else RFC).refused(refusal.error, refusal.description, refusal.status)
        return _rendered(call, body, status, refusal.headers)
    if isinstance(answer, Response):
        return answer
    return _rendered(call, answer if call.shaped else sabotage.content(answer, call.faults))


def _rendered(
    call: Call, body: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    if call.shaped and call.shape.codec == "form":
        return Response(urlencode(body), status, {"Cache-Control": "no-store", **(headers or {})}, _FORM)
    return json_response(body, status, headers)


def _note_refresh_token(call: Call) -> None:
    """Write down which refresh token was spared by a fault, so that a test can count the attempts with it."""
    try:
        form = call.token_form() if call.endpoint in GROUPS["token"] else call.form()
    except Refusal:
        return  # there is nothing to note in what is no form; the fault answers in any case
    call.client = form.get("client_id", "")
    call.refresh_token = fingerprint(form.get("refresh_token", ""))


def json_response(payload: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return JSON that nobody may keep (RFC 6749 5.1); NaN passes, because a fault may ask for it."""
    return Response(
        json.dumps(payload),
        status,
        {"Cache-Control": "no-store", "Pragma": "no-cache", **(headers or {})},
        "application/json",
    )


async def _read(request: Request) -> bytes | None:
    """Return the body, or None where it is too big to be honest, or breaks off: then nobody hears the answer."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _BIGGEST_REQUEST:
                return None
    except ClientDisconnect:  # killed while it sent, as the crash lane does to Keyfob
        return None
    return body
