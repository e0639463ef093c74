"""A refusal is made for whoever gets it: nothing of one request stays with the next."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from broker.core.secret import Secret
from broker.errors import KeyfobError, Locked, UnknownApproval
from broker.usecases import approvals, apps, locking
from broker.usecases.context import Context
from tests.usecases.house import opened


async def locked_out(ctx: Context, key: Secret) -> object:
    """Ask with a key while nobody can tell whose it is."""
    return await apps.identify(ctx, key.reveal())


async def too_late(ctx: Context, key: Secret) -> object:
    """Answer a question that nobody asked."""
    del key
    return await approvals.answer(ctx, "BCDF-GHJK", approvals.Answer(allow=True))


@pytest.mark.parametrize(("ask", "kind"), [(locked_out, Locked), (too_late, UnknownApproval)])
def test_each_refusal_is_another(
    tmp_path: Path, ask: Callable[[Context, Secret], Awaitable[object]], kind: type[KeyfobError]
) -> None:
    """One that is raised again would hold the frames, and so the requests, of everybody who ever got it."""

    async def story() -> None:
        async with opened(tmp_path) as house:
            key = await apps.add(house.ctx, "mail", [], None)
            if kind is Locked:
                locking.lock(house.ctx)
                await house.until(lambda: forgotten(house.ctx))
            caught = []
            for _ in range(2):
                with pytest.raises(kind) as refused:
                    await ask(house.ctx, key)
                caught.append(refused.value)
            assert caught[0] is not caught[1]

    asyncio.run(story())


async def forgotten(ctx: Context) -> bool:
    """Tell whether a lock has forgotten the key."""
    return not ctx.store.holds_key
