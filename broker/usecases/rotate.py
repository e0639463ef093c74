"""New keys for everything that is sealed, while the daemon runs; and the move from one key source to another.

Called by the web API.
"""

import asyncio

from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, StoreUnavailable
from broker.store.keys import FileKey
from broker.store.store import Rotated
from broker.usecases import locking
from broker.usecases.context import Context


async def rotate(ctx: Context, to: str, passphrase: Secret | None) -> Rotated:
    """Let what is in the air land, hold back what comes, and change every key.

    Args:
        ctx: the collaborators.
        to: the kind of key source from now on; empty for the present one.
        passphrase: the new one, where the source is that.

    Raises:
        InvalidRequest: there is no such source, or a passphrase is missing, too short, or of no use.
        Conflict: a key file is in the way, a rotation is under way, or a secret was changed behind Keyfob's back.
        Locked: it is locked, or the new source has no key to give.
        StoreUnavailable: the database cannot be written, or what is in the air does not land; nothing was changed.
    """
    kind = to or ctx.store.key_name
    source = ctx.source(kind) if kind != ctx.store.key_name else ctx.store.key
    if (source.name == "passphrase") != (passphrase is not None):
        raise InvalidRequest(
            "A new passphrase is needed for that." if passphrase is None else "No passphrase goes with that source.",
            "Give one with the key source 'passphrase', and with no other.",
        )
    if source is not ctx.store.key and isinstance(source, FileKey) and not source.can_create():
        raise Conflict(
            f"There is a file {source.path} already, and it may be the key of another database.",
            "Move it away, or set KEYFOB_KEY_FILE to another place; then rotate again.",
        )
    if ctx.flights.held:
        raise Conflict("The keys are being changed right now.", "See how it ends: keyfob status")
    ctx.flights.held = True
    try:
        await _landed(ctx)
        done = await ctx.store.rotate(source, passphrase)
    finally:
        ctx.flights.held = False
        ctx.wake.set()
    ctx.publish("keys-rotated", detail=f"{done.secrets} secrets, key source '{done.source}'")
    return done


async def _landed(ctx: Context) -> None:
    """Wait for refreshes and logins: an answer in the emergency journal is under the keys of before."""
    try:
        async with asyncio.timeout(locking.LONGEST_LANDING):
            while flying := {*ctx.flights.tasks.values(), *ctx.finishing}:
                await asyncio.wait(flying)
    except TimeoutError as exc:
        raise StoreUnavailable("Refreshes are under way and do not end.", "Rotate again a little later.") from exc
