"""The API's handlers for the key: lock and unlock.

Put behind the app doors by ``asgi``.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broker.usecases import locking
from broker.usecases.context import Context
from broker.web import render
from broker.web.body import Fields


async def lock(request: Request, ctx: Context) -> Response:
    """``POST /v1/lock``: from this moment on nothing is handed out."""
    body = await Fields.read(request)
    body.end()
    return render.answer({"state": "locked", "under_way": locking.lock(ctx)})


async def unlock(request: Request, ctx: Context) -> Response:
    """``POST /v1/unlock``: ask the key source again, or take the passphrase."""
    body = await Fields.read(request)
    passphrase = body.secret("passphrase")
    body.end()
    await locking.unlock(ctx, passphrase)
    return render.answer({"state": "unlocked"})


def described(ctx: Context) -> dict[str, Any]:
    """Return what the status tells of the key."""
    store = ctx.store
    forgetting = bool(store.locked) and store.holds_key
    return {
        "source": store.key_name,
        "locked": bool(store.locked),
        "new": store.is_new,
        "forgotten": bool(store.locked) and not forgetting,
    }
