"""What the tables of routes are made of, and how a table becomes routes.

Called by ``asgi`` and ``browser``, which have the tables.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import Receive, Scope, Send

from broker.usecases.context import Context
from broker.web import told

T = TypeVar("T")

Handler = Callable[[Request, Context], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]
# They do not count as use, and nowhere as work that a lock would wait for.
KEY_PATHS = ("/v1/lock", "/v1/unlock", "/ui/v1/lock", "/ui/v1/unlock")


def by_path(
    routes: Iterable[tuple[str, str, Handler, T]], made: Callable[[str, Handler, T], Endpoint]
) -> dict[str, dict[str, Endpoint]]:
    """Put together what answers at each path, by method.

    Args:
        routes: method, path, handler, and what else the table says of it.
        made: makes what answers, of path, handler and that.
    """
    found: dict[str, dict[str, Endpoint]] = {}
    for method, path, handler, more in routes:
        found.setdefault(path, {})[method] = made(path, handler, more)
    return found


def router(
    routes: Iterable[BaseRoute], table: Mapping[str, Mapping[str, Endpoint]], missing: Callable[[str], Response]
) -> Router:
    """Make the routes of a door.

    Args:
        routes: those that take any method.
        table: for each other path what answers which method.
        missing: makes the answer where nothing is at a path (""), or where it has only those methods ("GET, PUT").
    """

    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        await missing("")(scope, receive, send)

    return Router(
        [*routes, *(_route(path, by_method, missing) for path, by_method in table.items())],
        redirect_slashes=False,
        default=nothing,
    )


def _route(path: str, by_method: Mapping[str, Endpoint], missing: Callable[[str], Response]) -> Route:
    """Make one route of a path's methods, so that a wrong method is told all the right ones (RFC 9110 15.5.6)."""

    async def endpoint(request: Request) -> Response:
        asked = by_method.get(request.method)
        return await asked(request) if asked else missing(", ".join(sorted(by_method)))

    made = Route(path, endpoint)
    made.methods = None  # starlette would answer a wrong one itself, and HEAD as GET: a hand-out without a body
    return made


def clean_names(request: Request) -> None:
    """Put marks for what cannot be printed: names come back in messages, which end in somebody's terminal.

    No name of anything holds the mark "?".
    """
    for name, value in request.path_params.items():
        request.path_params[name] = told.printable(value)
