"""The audit's pen: writes every event but hand-outs, which ``handouts`` counts, into the store and the log.

Run by ``daemon`` as one task that listens.
"""

import logging

from broker.errors import StoreUnavailable
from broker.events import Event, Kind
from broker.usecases.context import Context

log = logging.getLogger(__name__)

# What a person would look for in the log.
TROUBLE: tuple[Kind, ...] = ("refresh-failed", "needs-login", "misconfigured", "uncertain", "login-failed")


async def record(ctx: Context) -> None:
    """Write events down until the bus is closed. One that cannot be written goes to the log instead."""
    with ctx.events.listen() as listener:
        async for event in listener:
            if event.kind == "handed-out":
                continue
            level = logging.WARNING if event.kind in TROUBLE else logging.INFO
            log.log(level, "%s: %s%s", event.account or event.app or "-", event.kind, _detail(event))
            try:
                await ctx.store.note(
                    at=event.at,
                    action=event.kind,
                    account=event.account or None,
                    app=event.app or None,
                    detail=event.detail,
                )
            except StoreUnavailable:
                log.warning("%s: that is not in the audit, which could not be written", event.account or event.app)


def _detail(event: Event) -> str:
    return f" ({event.detail})" if event.detail else ""
