"""Steering the provider while it runs: faults, the event log, the death of all grants.

Routed by ``app``; used by tests and by people with curl. Requests of web pages are refused.
"""

import json

from starlette.requests import Request
from starlette.responses import Response

from broker.errors import InvalidRequest
from broker.practice.state import Practice
from broker.practice.wire import json_response

_SHAPE = 'Send a list as ["status=503*2"]; an empty one ends all faults.'


class Control:
    """The endpoints under ``/practice/``.

    Args:
        practice: the provider's state.
    """

    def __init__(self, practice: Practice) -> None:
        self._practice = practice

    async def faults(self, request: Request) -> Response:
        """GET: the specs in force. POST a JSON list of specs: they replace them."""
        if refused := _from_web_page(request):
            return refused
        if request.method == "POST":
            try:
                self._practice.set_faults(_specs(await request.body()))
            except InvalidRequest as exc:
                return json_response({"code": exc.code, "detail": str(exc)}, exc.status)
        return json_response(self._practice.faults.specs)

    async def log(self, request: Request) -> Response:
        """GET: every event so far, oldest first; ``?kind=refresh`` for one kind only."""
        if refused := _from_web_page(request):
            return refused
        return json_response(
            [event.as_dict() for event in self._practice.log.all(request.query_params.get("kind", ""))]
        )

    async def revoke_grants(self, request: Request) -> Response:
        """POST: kill every grant."""
        if refused := _from_web_page(request):
            return refused
        return json_response({"revoked": self._practice.revoke_grants()})


def _specs(body: bytes) -> list[str]:
    try:
        specs = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest("The body is no JSON.", _SHAPE) from exc
    if not isinstance(specs, list) or not all(isinstance(spec, str) for spec in specs):
        raise InvalidRequest("The body is no JSON list of fault specs.", _SHAPE)
    return specs


def _from_web_page(request: Request) -> Response | None:
    """Refuse what a browser sends for a page: no site may steer a person's practice provider."""
    if "origin" in request.headers or request.headers.get("sec-fetch-site", "none") != "none":
        return json_response({"code": "not_granted", "detail": "Web pages may not steer this provider."}, 403)
    return None
