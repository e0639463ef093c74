"""A browser at the callback: what it brings there, and how a login that failed looks.

Imported by the tests beside it.
"""

from collections.abc import Sequence
from typing import Any

from broker.core.login import Login
from broker.core.secret import Secret
from broker.usecases import login
from broker.usecases.login import Finished
from tests.usecases.house import House

MINE = Secret("the browser that began it")
OTHER = Secret("another browser")
Params = list[tuple[str, str]]


async def come_back(house: House, **new: Any) -> tuple[Login, str, Params]:  # noqa: ANN401 -- NewLogin's fields
    """Begin a login, open it in a browser and say yes; return what the browser brings to which callback."""
    begun = await login.opened(house.ctx, (await house.begin(**new)).id, MINE)
    path, params = await house.consent(begun)
    return begun, path.rpartition("/")[2], params


async def finish(house: House, provider: str, params: Sequence[tuple[str, str]]) -> Finished:
    """Arrive at the callback in the browser that began."""
    return await login.finish(house.ctx, provider, params, lambda _: MINE)


async def assert_failed(house: House, finished: Finished) -> None:
    """Check that a login ended without an account, and that its end says why without holding a secret."""
    assert finished.account is None
    stored = await house.store.login(finished.login.id)
    assert stored is not None
    assert (stored.state, stored.reason) == ("failed", finished.reason)
    assert finished.reason
    assert "practice_at_" not in finished.reason
    assert await house.store.accounts() == []
    assert [event.kind for event in await house.heard()][-1] == "login-failed"
