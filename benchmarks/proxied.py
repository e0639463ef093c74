"""The ends and the baselines of the proxy's figures: an API, and the least that a proxy with httpx2 can be.

Started by ``proxy.py``: ``python -m benchmarks.proxied api PORT``, ``python -m benchmarks.proxied bare PORT API``.
"""

import sys
from collections.abc import AsyncIterator

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

PIECE = b"x" * 65_536


async def small(_: Request) -> JSONResponse:
    """Answer at once."""
    return JSONResponse({"id": 7, "title": "x" * 200})


async def down(request: Request) -> Response:
    """Send as many bytes as are asked for."""
    left = int(request.query_params["bytes"])

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(left // len(PIECE)):
            yield PIECE

    return StreamingResponse(pieces(), headers={"content-length": str(left)})


async def up(request: Request) -> JSONResponse:
    """Take whatever comes."""
    size = 0
    async for piece in request.stream():
        size += len(piece)
    return JSONResponse({"bytes": size})


def api() -> Starlette:
    """Return the API."""
    return Starlette(routes=[Route("/v1/small", small), Route("/v1/down", down), Route("/v1/up", up, methods=["POST"])])


def bare(base: str) -> Starlette:
    """Return a proxy that does nothing but stream."""
    client = httpx2.AsyncClient(base_url=base, trust_env=False, timeout=60)

    async def through(request: Request) -> Response:
        ended = ("host", "connection", "transfer-encoding")
        headers = [(name, value) for name, value in request.headers.items() if name not in ended]
        body = request.stream() if request.method == "POST" else None
        url = client.base_url.join(f"{request.url.path}?{request.url.query}")
        asked = client.build_request(request.method, url, headers=headers, content=body)
        answer = await client.send(asked, stream=True)
        kept = {name: value for name, value in answer.headers.items() if name not in ended}
        return StreamingResponse(answer.aiter_raw(), answer.status_code, kept, background=None)

    return Starlette(routes=[Route("/{path:path}", through, methods=["GET", "POST"])])


if __name__ == "__main__":
    served = api() if sys.argv[1] == "api" else bare(sys.argv[3])
    uvicorn.run(served, port=int(sys.argv[2]), access_log=False, log_level="warning", lifespan="off")
