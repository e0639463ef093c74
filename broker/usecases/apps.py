"""Apps: programs that prove themselves with a key, and what each may have.

Called by the web API, and by the guards of the app doors to name a caller.
"""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from broker import challenge
from broker.core import rules
from broker.core.account import Account
from broker.core.policy import App, AppGrant, Caller
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, Locked, Unauthorized, UnknownAccount, UnknownApp
from broker.providers.urls import check_resource
from broker.store.store import AppRow
from broker.usecases.context import Context

# What a key looks like that a program makes for itself: 256 bits as base64url (RFC 4648 5).
NEW_KEY = re.compile(rf"kf_[A-Za-z0-9_-]{{{challenge.KEY_LENGTH}}}")
APP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MODES = ("token", "proxy")
# What can be kept in a file for an app.
TOKEN_FILES = ("access_token", "id_token")
# What the record calls those who are no app.
NO_NAMES = ("owner", "stranger")


def locked() -> Locked:
    """Return what an app is told while Keyfob is locked: the owner's own reason names files of the owner's."""
    return Locked("Keyfob is locked: the key to the stored logins is not at hand.", "The owner sees why: keyfob status")


async def identify(ctx: Context, key: str) -> App | None:
    """Return the app that this key belongs to, or None.

    Raises:
        Locked: there is one, and nobody can tell now whether it was changed outside Keyfob.
        SecretChanged: it was.
    """
    if not key.startswith(challenge.KEY_PREFIX):
        return None
    key_hash = challenge.hash_key(key)
    # Programs ask again and again: while nothing has changed, who they are has not either.
    if (known := ctx.recall(ctx.known, key_hash)) is not None:
        return known[0]
    since = ctx.since()
    try:
        app = await ctx.store.app_by_key(key_hash, ctx.clock())
    except Locked as exc:
        raise locked() from exc
    ends = app.expires_at if app is not None else None
    ctx.keep(ctx.known, key_hash, app, since, math.inf if ends is None else ends)
    return app


async def prove(ctx: Context, key_id: str, nonce: bytes, address: str) -> str:
    """Return what proves to the holder of a key that the daemon which made it is here; nobody else can use it.

    Args:
        ctx: the collaborators.
        key_id: which key, see :func:`broker.challenge.key_id`.
        nonce: the caller's, used once.
        address: where the caller's connection leads to. The caller of this has compared it with its own.

    Raises:
        Unauthorized: no key that works has that id.
    """
    app = await ctx.store.app_by_key_id(key_id, ctx.clock())
    if app is None:
        raise Unauthorized("A key was named that is not known, was replaced, or has expired.", "See: keyfob app list")
    return challenge.proof(app.key_hash, nonce, address)


async def still(ctx: Context, caller: Caller) -> Caller | None:
    """Return what a caller may have now, after a wait; None for an app whose key has ended meanwhile.

    Raises:
        Locked, SecretChanged: as :func:`identify`.
    """
    if not isinstance(caller, App) or not caller.key_hash:
        return caller
    return await ctx.store.app_by_key(caller.key_hash, ctx.clock())


async def add(
    ctx: Context, name: str, grants: Sequence[AppGrant], expires_at: float | None, *, capability: bool = False
) -> Secret:
    """Make an app and return its key: the only time that it is seen.

    Args:
        ctx: the collaborators.
        name: what it is called.
        grants: what it may have.
        expires_at: when its key stops working, or None.
        capability: make a key for an address, which is good nowhere else.

    Raises:
        InvalidRequest: the name or a grant cannot be.
        UnknownAccount: a grant names an account that does not exist.
        Conflict: the name is taken.
    """
    key = _new_key(capability=capability)
    await admit(ctx, name, challenge.hash_key(key.reveal()), grants, expires_at)
    return key


async def admit(ctx: Context, name: str, key_hash: bytes, grants: Sequence[AppGrant], expires_at: float | None) -> None:
    """Make an app of whoever has a key.

    Raises:
        InvalidRequest: the name or a grant cannot be.
        UnknownAccount: a grant names an account that does not exist.
        Conflict: the name is taken.
    """
    check_name(name)
    if expires_at is not None and expires_at <= ctx.clock():
        raise InvalidRequest("The app would have expired already.", "Give a time that is still to come.")
    for grant in grants:
        await check_grant(ctx, grant)
    if len({grant.account for grant in grants}) != len(grants):
        raise Conflict("An account is granted twice.", "Give one grant for each account.")
    await ctx.store.add_app(name, key_hash, grants, expires_at, ctx.clock())
    ctx.desk.forget_app(name)
    ctx.publish("app-added", app=name)
    for grant in grants:
        _tell_granted(ctx, name, grant)


def check_name(name: str) -> None:
    """Refuse what cannot be an app's name.

    Raises:
        InvalidRequest: with what can.
    """
    if not APP_NAME.fullmatch(name) or name in NO_NAMES:
        raise InvalidRequest(f"'{name}' cannot be an app's name.", "Use letters, digits and . _ - (64 at the most).")


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


async def rotate(ctx: Context, name: str, *, capability: bool = False) -> Secret:
    """Give an app a new key, of the kind that is asked for; the old one is dead at once.

    Raises:
        UnknownApp: none has that name.
    """
    await shown(ctx, name)
    key = _new_key(capability=capability)
    await ctx.store.rotate_app(name, challenge.hash_key(key.reveal()))
    ctx.streams.cut(app=name)
    ctx.publish("app-rotated", app=name)
    return key


async def remove(ctx: Context, name: str) -> None:
    """Forget an app; its key is dead at once.

    Raises:
        UnknownApp: none has that name.
    """
    await shown(ctx, name)
    await ctx.store.delete_app(name)
    ctx.streams.cut(app=name)
    ctx.desk.forget_app(name)
    ctx.publish("app-removed", app=name)


async def grant(ctx: Context, name: str, given: AppGrant) -> None:
    """Let an app have an account's token; replaces what it had of that account.

    Raises:
        UnknownApp, UnknownAccount, InvalidRequest: as named.
    """
    await shown(ctx, name)
    await check_grant(ctx, given)
    await ctx.store.put_grant(name, given)
    await ctx.store.delete_refusal(name, given.account)
    ctx.desk.forget_app(name, given.account)
    _tell_granted(ctx, name, given)


async def revoke(ctx: Context, name: str, account: str) -> None:
    """Take an account away from an app, at once.

    Raises:
        UnknownApp: none has that name, or it was not granted that account.
    """
    row = await shown(ctx, name)
    given = next((given for given in row.grants if given.account == account), None)
    if given is None:
        raise UnknownApp(f"App '{name}' was not granted account '{account}'.", f"See: keyfob app show {name}")
    await ctx.store.delete_grant(name, account)
    ctx.streams.cut(app=name, account=given.uuid)
    ctx.publish("grant-revoked", account, app=name)


def _tell_granted(ctx: Context, name: str, given: AppGrant) -> None:
    parts = [f"scope {' '.join(given.scope)}" if given.scope else "every scope"]
    parts += [f"for {given.resource}"] if given.resource else []
    parts += ["through the proxy only"] if given.mode == "proxy" else []
    parts += ["by the rules " + ", ".join(f"'{rule}'" for rule in given.rules)] if given.rules else []
    parts += [f"its {given.token_file} in a file"] if given.token_file else []
    parts += [f"{given.rate_share} % of a rate limit"] if given.rate_share is not None else []
    if given.expires_at is not None:
        parts.append(f"until {datetime.fromtimestamp(given.expires_at, UTC):%Y-%m-%d %H:%M} UTC")
    ctx.publish("granted", given.account, app=name, detail=", ".join(parts))


def read_rules(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the rules of a grant in their one form, each once.

    Raises:
        InvalidRequest: one is none, or there are too many.
    """
    if len(texts) > rules.MOST_RULES:
        raise InvalidRequest(f"A grant has {rules.MOST_RULES} rules at the most.", "Use * and ** in fewer of them.")
    found = []
    for text in texts:
        try:
            found.append(rules.written(text))
        except ValueError as exc:
            raise InvalidRequest(f"'{text[:100]}' is no rule: {exc}.", "As in: GET /api/v1/** - or: read-only") from exc
    return tuple(dict.fromkeys(found))


async def check_grant(ctx: Context, given: AppGrant) -> Account:
    """Refuse a grant that cannot be; return the account that it is of.

    Raises:
        InvalidRequest: its mode, time, resource or token file cannot be.
        UnknownAccount: the account does not exist.
    """
    if given.mode not in MODES:
        raise InvalidRequest(f"'{given.mode}' is no grant mode.", f"Use one of {', '.join(MODES)}.")
    if given.token_file is not None:
        _check_file(given)
    if given.expires_at is not None and given.expires_at <= ctx.clock():
        raise InvalidRequest("The grant would have expired already.", "Give a time that is still to come.")
    if given.rules and given.mode != "proxy":
        raise InvalidRequest(
            "Rules are for requests through the proxy; with mode 'token' the app could send what it likes by itself.",
            "Grant it for the proxy only: mode 'proxy', or --proxy-only.",
        )
    if given.resource is not None:
        check_resource(given.resource)
    account = await ctx.store.account(given.account)
    if account is None:
        raise UnknownAccount(f"No account is called '{given.account}'.", "See: keyfob accounts")
    if given.files_id_token and account.is_machine:
        raise InvalidRequest(
            f"Account '{account.name}' is a program's: such an account has no ID token.", "Keep the access token."
        )
    return account


def _check_file(given: AppGrant) -> None:
    if given.token_file not in TOKEN_FILES:
        raise InvalidRequest(
            f"'{given.token_file}' is nothing that is kept in a file.", f"Use one of {', '.join(TOKEN_FILES)}."
        )
    if given.mode != "token":
        raise InvalidRequest("An app that never sees the token has no file of it.", "Leave out one of the two.")


def token_file(ctx: Context, app: str, given: AppGrant) -> Path | None:
    """Return where the token of a grant is kept for programs that read a file, or None where it is not."""
    return None if ctx.token_dir is None or given.token_file is None else ctx.token_dir / app / given.account


def _new_key(*, capability: bool) -> Secret:
    return Secret(challenge.new_key(capability=capability))
