"""The baseline of the daemon's figures: uvicorn and Starlette answering a constant token on a Unix socket, no more.

Started by ``run.py`` with the socket's path as its argument.
"""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

# The members and the sizes of a real hand-out.
BODY = {
    "account": "one",
    "access_token": "x" * 43,
    "token_type": "Bearer",
    "expires_at": "2030-01-01T00:00:00.000Z",
    "expires_in": 3599,
    "scope": "read",
    "resource": None,
}


async def token(_: Request) -> JSONResponse:
    """Answer."""
    return JSONResponse(BODY)


if __name__ == "__main__":
    app = Starlette(routes=[Route("/v1/accounts/one/token", token)])
    uvicorn.run(app, uds=sys.argv[1], access_log=False, log_level="warning", lifespan="off")
