"""The API's handlers for the key: lock, unlock, and new keys.

Put behind the app doors by ``asgi``.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broker.errors import InvalidRequest
from broker.store.keys import KEY_SOURCES
from broker.usecases import locking
from broker.usecases import rotate as rotating
from broker.usecases.context import Context
from broker.web import render
from broker.web.body import Fields
from broker.web.guards import check_unlocked


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


async def rotate(request: Request, ctx: Context) -> Response:
    """``POST /v1/key/rotate``: new keys for everything, perhaps from another source."""
    body = await Fields.read(request)
    to, passphrase = body.text("to"), body.secret("passphrase")
    body.end()
    if to and to not in KEY_SOURCES:
        raise InvalidRequest(f"There is no key source '{to[:50]}'.", f"Use one of: {', '.join(KEY_SOURCES)}.")
    check_unlocked(ctx)
    done = await rotating.rotate(ctx, to, passphrase)
    return render.answer(
        {"source": done.source, "new_key": done.new_key, "generation": done.generation, "secrets": done.secrets}
    )


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
