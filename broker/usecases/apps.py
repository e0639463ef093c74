"""Apps: programs that prove themselves with a key, and what each may have.

Called by the web API, and by the guards of the app doors to name a caller.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from broker.core.policy import App, AppGrant, Caller
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, Locked, UnknownAccount, UnknownApp
from broker.providers.urls import check_resource
from broker.store.store import AppRow
from broker.usecases.context import Context

# The prefix lets secret scanners find a leaked key.
KEY_PREFIX = "kf_"
KEY_BYTES = 32
APP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MODES = ("token", "proxy")


# What an app is told: the owner's own reason names files of the owner's.
LOCKED = Locked("Keyfob is locked: the key to the stored logins is not at hand.", "The owner sees why: keyfob status")


def hash_key(key: str) -> bytes:
    """Return what is stored of a key. It has 256 random bits, so a plain hash is enough to hide it."""
    return hashlib.sha256(key.encode()).digest()


async def identify(ctx: Context, key: str) -> App | None:
    """Return the app that this key belongs to, or None.

    Raises:
        Locked: there is one, and nobody can tell now whether it was changed outside Keyfob.
        SecretChanged: it was.
    """
    if not key.startswith(KEY_PREFIX):
        return None
    try:
        return await ctx.store.app_by_key(hash_key(key), ctx.clock())
    except Locked as exc:
        raise LOCKED from exc


async def still(ctx: Context, caller: Caller) -> Caller | None:
    """Return what a caller may have now, after a wait; None for an app whose key has ended meanwhile.

    Raises:
        Locked, SecretChanged: as :func:`identify`.
    """
    if not isinstance(caller, App) or not caller.key_hash:
        return caller
    return await ctx.store.app_by_key(caller.key_hash, ctx.clock())


async def add(ctx: Context, name: str, grants: Sequence[AppGrant], expires_at: float | None) -> Secret:
    """Make an app and return its key: the only time that it is seen.

    Raises:
        InvalidRequest: the name or a grant cannot be.
        UnknownAccount: a grant names an account that does not exist.
        Conflict: the name is taken.
    """
    if not APP_NAME.fullmatch(name) or name == "owner":
        raise InvalidRequest(f"'{name}' cannot be an app's name.", "Use letters, digits and . _ - (64 at the most).")
    if expires_at is not None and expires_at <= ctx.clock():
        raise InvalidRequest("The app would have expired already.", "Give a time that is still to come.")
    for grant in grants:
        await _check(ctx, grant)
    if len({grant.account for grant in grants}) != len(grants):
        raise Conflict("An account is granted twice.", "Give one grant for each account.")
    key = _new_key()
    await ctx.store.add_app(name, hash_key(key.reveal()), grants, expires_at, ctx.clock())
    ctx.publish("app-added", app=name)
    for grant in grants:
        _tell_granted(ctx, name, grant)
    return key


async def listed(ctx: Context) -> list[AppRow]:
    """Return all apps by name."""
    return await ctx.store.apps()


async def shown(ctx: Context, name: str) -> AppRow:
    """Return one app.

    Raises:
        UnknownApp: none has that name.
    """
    row = await ctx.store.app(name)
    if row is None:
        raise UnknownApp(f"No app is called '{name}'.", "See: keyfob app list")
    return row


async def rotate(ctx: Context, name: str) -> Secret:
    """Give an app a new key; the old one is dead at once.

    Raises:
        UnknownApp: none has that name.
    """
    await shown(ctx, name)
    key = _new_key()
    await ctx.store.rotate_app(name, hash_key(key.reveal()))
    ctx.publish("app-rotated", app=name)
    return key


async def remove(ctx: Context, name: str) -> None:
    """Forget an app; its key is dead at once.

    Raises:
        UnknownApp: none has that name.
    """
    await shown(ctx, name)
    await ctx.store.delete_app(name)
    ctx.publish("app-removed", app=name)


async def grant(ctx: Context, name: str, given: AppGrant) -> None:
    """Let an app have an account's token; replaces what it had of that account.

    Raises:
        UnknownApp, UnknownAccount, InvalidRequest: as named.
    """
    await shown(ctx, name)
    await _check(ctx, given)
    await ctx.store.put_grant(name, given)
    _tell_granted(ctx, name, given)


async def revoke(ctx: Context, name: str, account: str) -> None:
    """Take an account away from an app, at once.

    Raises:
        UnknownApp: none has that name, or it was not granted that account.
    """
    row = await shown(ctx, name)
    if account not in {given.account for given in row.grants}:
        raise UnknownApp(f"App '{name}' was not granted account '{account}'.", f"See: keyfob app show {name}")
    await ctx.store.delete_grant(name, account)
    ctx.publish("grant-revoked", account, app=name)


def _tell_granted(ctx: Context, name: str, given: AppGrant) -> None:
    parts = [f"scope {' '.join(given.scope)}" if given.scope else "every scope"]
    parts += [f"for {given.resource}"] if given.resource else []
    parts += ["through the proxy only"] if given.mode == "proxy" else []
    if given.expires_at is not None:
        parts.append(f"until {datetime.fromtimestamp(given.expires_at, UTC):%Y-%m-%d %H:%M} UTC")
    ctx.publish("granted", given.account, app=name, detail=", ".join(parts))


async def _check(ctx: Context, given: AppGrant) -> None:
    if given.mode not in MODES:
        raise InvalidRequest(f"'{given.mode}' is no grant mode.", f"Use one of {', '.join(MODES)}.")
    if given.expires_at is not None and given.expires_at <= ctx.clock():
        raise InvalidRequest("The grant would have expired already.", "Give a time that is still to come.")
    if given.resource is not None:
        check_resource(given.resource)
    account = await ctx.store.account(given.account)
    if account is None:
        raise UnknownAccount(f"No account is called '{given.account}'.", "See: keyfob accounts")


def _new_key() -> Secret:
    return Secret(KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES))
