"""The audit's pen: writes every event but hand-outs, which ``handouts`` counts, into the store and the log.

Run by ``daemon`` as one task that listens; the doors tell it whom they turned away, the use cases who got a token.
"""

import logging
from collections.abc import Coroutine
from contextlib import ExitStack
from typing import Any

from broker.core.account import Account
from broker.core.policy import App, Caller, named
from broker.errors import StoreUnavailable
from broker.events import COUNTED, Event, Kind, Subscription
from broker.store.store import Noted
from broker.usecases.context import Context

log = logging.getLogger(__name__)

# What a person would look for in the log.
TROUBLE: tuple[Kind, ...] = (
    "refresh-failed",
    "needs-login",
    "misconfigured",
    "uncertain",
    "login-failed",
    "changed-outside",
)
# All but what is counted elsewhere may wait while the disk is slow.
BACKLOG = 10_000
# So many are written in one go at the most.
AT_ONCE = 50


def record(ctx: Context) -> Coroutine[Any, Any, None]:
    """Listen from now on, and return what writes events down until the bus is closed.

    One that cannot be written goes to the log instead.
    """
    listening = ExitStack()
    return _write(ctx, listening, listening.enter_context(ctx.events.listen(without=COUNTED, backlog=BACKLOG)))


async def _write(ctx: Context, listening: ExitStack, listener: Subscription) -> None:
    with listening:
        async for first in listener:
            events = [first]
            while len(events) < AT_ONCE and (event := listener.ready()) is not None:
                events.append(event)
            for event in events:
                level = logging.WARNING if event.kind in TROUBLE else logging.INFO
                log.log(level, "%s: %s%s", event.account or event.app or "-", event.kind, _detail(event))
            missed, listener.missed = listener.missed, 0
            if missed:
                log.warning("%d events came faster than they could be written, and are not in the audit", missed)
            noted = [Noted(first.at, "missed", None, None, f"{missed} events")] if missed else []
            noted += [Noted(one.at, one.kind, one.account or None, one.app or None, one.detail) for one in events]
            if len(noted) > 1:
                try:
                    await ctx.store.note_all(noted)
                    continue
                except Exception as exc:  # noqa: BLE001 -- it may be one of them: each is tried by itself
                    log.debug("%d events could not be written in one go: %s", len(noted), exc)
            for one in noted:
                await _note(ctx, one)


async def _note(ctx: Context, noted: Noted) -> None:
    whose = noted.account or noted.app or "-"
    try:
        await ctx.store.note_all([noted])
    except StoreUnavailable:
        log.warning("%s: that is not in the audit, which could not be written", whose)
    except Exception:
        log.exception("%s: that is not in the audit", whose)


def _detail(event: Event) -> str:
    return f" ({event.detail})" if event.detail else ""


async def write_handouts(ctx: Context) -> None:
    """Put what was only counted so far into the record; what cannot be written now is counted on."""
    try:
        await ctx.handouts.flush(ctx.store)
    except StoreUnavailable as exc:
        log.warning("the last hand-outs are not in the audit yet: %s", exc)


def tell_changed(ctx: Context) -> None:
    """Tell of what was found changed outside Keyfob, each once."""
    for whose in ctx.store.newly_changed():
        ctx.publish("changed-outside", detail=f"{whose}: changed outside Keyfob, so it is not used")


def handed_out(ctx: Context, caller: Caller, account: Account, now: float) -> None:
    """Count that a token of an account is handed out to who asked, and tell whoever wants to know."""
    ctx.latch.used_at = now - ctx.schedule.moved
    goes_out(ctx, caller, account, now)


def goes_out(ctx: Context, caller: Caller, account: Account, now: float) -> None:
    """Count the same of a token that nobody asked for just now: to put it into a file is no use of Keyfob."""
    ctx.handouts.count(account, caller.name, now)
    if ctx.events.wants("handed-out"):
        ctx.publish("handed-out", account.name, app=caller.name, generation=account.generation)


def refused(ctx: Context, caller: Caller, account: str | None, reason: str) -> None:
    """Count that somebody with a name was turned away.

    Args:
        ctx: the collaborators.
        caller: who.
        account: the name that was asked for, if any.
        reason: why.
    """
    if account is not None and isinstance(caller, App) and account not in {grant.account for grant in caller.grants}:
        account = named([account])
    ctx.handouts.refuse("refused", account, caller.name, ctx.clock(), reason)


def unauthorized(ctx: Context, door: str, reason: str) -> None:
    """Count that somebody was turned away at a door who did not prove a name.

    Args:
        ctx: the collaborators.
        door: which.
        reason: why.
    """
    ctx.handouts.refuse("unauthorized", None, None, ctx.clock(), f"{door}: {reason}")
