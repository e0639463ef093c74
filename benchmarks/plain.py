"""The baselines of the hand-out's throughput: the same server with a constant answer, bare or through Starlette.

Started by ``tokens.py`` with a kind, a port or the path of a socket, and the number of bytes to answer.
"""

import sys
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config, Server

from broker.web.doors import bind_port, bind_socket, configured

# What every answer of an app door carries.
HEADERS = {"content-type": "application/json", "cache-control": "no-store", "x-content-type-options": "nosniff"}


def bare(size: int) -> ASGIApp:
    """Return an app that answers a constant, and nothing else."""
    body = b"x" * size
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    headers.append((b"content-length", b"%d" % size))

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def starlette(size: int) -> ASGIApp:
    """Return a plain JSON route of the framework, with a body of that size."""
    body = {"access_token": "x" * (size - len('{"access_token":""}'))}

    async def token(_: Request) -> JSONResponse:
        return JSONResponse(body)

    return Starlette(routes=[Route("/v1/accounts/{account}/token", token)])


def config_of(kind: str, size: int) -> Config:
    """Return how a kind of baseline is served: as our doors are; ``uvicorn`` by its own protocol, all else the same."""
    config = configured(starlette(size) if kind == "starlette" else bare(size))
    if kind == "uvicorn":
        config.http = "httptools"
    return config


async def serve(kind: str, place: str, size: int) -> None:
    """Serve until killed."""
    sock = bind_port(int(place), "port") if place.isdigit() else bind_socket(Path(place))
    print(sock.getsockname()[1] if place.isdigit() else place, flush=True)
    await Server(config_of(kind, size)).serve(sockets=[sock])


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
