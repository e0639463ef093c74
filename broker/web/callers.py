"""Who comes to an app door: a key is looked up, a wrong one counted, and an app that asks too fast held back.

Called by ``guards`` for keys in a header, and by ``emulate`` for those that come in the ways of other protocols.
"""

import os
from collections.abc import Mapping

from starlette.types import Scope

from broker import challenge
from broker.core.policy import App
from broker.errors import KeyfobError, TooManyRequests, Unauthorized
from broker.usecases import apps, audit
from broker.usecases.context import Context
from broker.web import peers

UNKNOWN = "This app key is not known, was replaced, or has expired."
MISPLACED = "This app key is one for an address, and no key here."
NO_CAPABILITY = "This address holds no key that was made for one."
# The next step for each.
WRONG: Mapping[str, str] = {
    MISPLACED: "Make another: keyfob app rotate NAME",
    NO_CAPABILITY: "Make one: keyfob app add NAME --account A --capability",
}


def door_of(scope: Scope) -> str:
    """Return the name of the app door, for the record. At the socket the kernel says who comes."""
    server = scope["server"]  # what ASGI leaves out where it is not known
    return "app socket" if server is not None and server[1] is None else "app port"


async def app_of(ctx: Context, scope: Scope, key: str, name: str | None = None, *, capability: bool = False) -> App:
    """Return the app whose key this is; where it gave a name too, that has to be its own.

    Args:
        ctx: the collaborators.
        scope: of the request.
        key: as it came.
        name: of the app, where it was given.
        capability: the key stood in an address, where no other than a key for addresses is one; and that only there.

    Raises:
        Unauthorized: there is none.
        TooManyRequests: the same, after too many wrong keys.
        Locked, SecretChanged: see ``apps.identify``.
    """
    if challenge.is_capability(key) != capability:
        raise _wrong_key(ctx, scope, NO_CAPABILITY if capability else MISPLACED)
    app = await apps.identify(ctx, key)
    if app is None:
        raise _wrong_key(ctx, scope, UNKNOWN)
    if name is not None and name != app.name:
        raise _wrong_key(ctx, scope, "This app key belongs to an app of another name.")
    return app


def count_wrong_key(ctx: Context, scope: Scope) -> float:
    """Count a wrong key, by the user who brought it where the kernel tells, else by the door; return the wait."""
    peer = scope["state"].get("peer")
    uid = os.getuid() if peer is not None else peers.uid_at(scope)
    return ctx.limits.wrong_key(door_of(scope) if uid is None else uid, ctx.steady())


def _wrong_key(ctx: Context, scope: Scope, what: str) -> KeyfobError:
    """Return what the bearer of a wrong key is told."""
    if not (wait := count_wrong_key(ctx, scope)):
        return Unauthorized(what, WRONG.get(what, "See: keyfob app list"))
    audit.unauthorized(ctx, door_of(scope), what)
    hint = "A right key is answered all the same. The owner makes a new one with: keyfob app rotate NAME"
    return TooManyRequests(f"{what} Too many such keys came.", hint, retry_after=wait)


def check_rate(ctx: Context, app: App) -> None:
    """Refuse an app that asks too fast; the owner is not limited.

    Raises:
        TooManyRequests: with the seconds to wait.
    """
    limits, now = ctx.limits, ctx.steady()
    if not (wait := limits.wait_of(app.name, now)):
        return
    too_fast = f"more than {limits.rate} requests a second, after {limits.burst} at once"
    if limits.is_news(app.name, now):
        ctx.publish("throttled", app=app.name, detail=too_fast)
    hint = "Ask before each use of a token, and not in a loop."
    raise TooManyRequests(f"App '{app.name}' asks too fast: {too_fast}.", hint, retry_after=wait)
