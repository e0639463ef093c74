"""The audit's pen: writes down every event but hand-outs, which ``handouts`` counts.

Run by ``daemon`` as one task that listens.
"""

import logging

from broker.errors import StoreUnavailable
from broker.usecases.context import Context

log = logging.getLogger(__name__)


async def record(ctx: Context) -> None:
    """Write events down until the bus is closed. One that cannot be written goes to the log instead."""
    with ctx.events.listen() as listener:
        async for event in listener:
            if event.kind == "handed-out":
                continue
            try:
                await ctx.store.note(
                    at=event.at,
                    action=event.kind,
                    account=event.account or None,
                    app=event.app or None,
                    detail=event.detail,
                )
            except StoreUnavailable:
                log.warning("not in the audit: %s of account '%s': %s", event.kind, event.account, event.detail)
