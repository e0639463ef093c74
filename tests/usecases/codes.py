"""A device login in a house of its own, and the person who enters its code.

Imported by the tests beside it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2

from broker.core.login import DevicePrompt, Login
from broker.usecases import device, login
from broker.usecases.newlogin import NewLogin
from tests.loopback import NO_TLS
from tests.usecases.house import PATIENCE, House, opened

Story = Callable[[House], Awaitable[None]]
INTERVAL = 5.0


def told(place: Path, story: Story, *faults: str, **settings: Any) -> None:  # noqa: ANN401 -- PracticeSettings' fields
    """Tell a story in a house of its own."""

    async def whole() -> None:
        async with opened(place, *faults, settings=settings) as house:
            await story(house)

    asyncio.run(whole())


async def start(house: House, account: str = "me", **new: Any) -> Login:  # noqa: ANN401 -- NewLogin's fields
    """Begin a device login at the practice provider."""
    where = {"provider": "practice", "base_url": house.practice.url, "flow": "device"}
    begun = await device.begin(house.ctx, NewLogin(**{"account": account, **where, **new}))
    await device.poll_due(house.ctx)  # as the bell does that a beginning rings
    return begun


def prompt(begun: Login) -> DevicePrompt:
    """Return what the person of a device login is shown."""
    assert begun.device is not None
    return begun.device


async def allow(begun: Login) -> None:
    """Open the address with the code in it; the provider says yes at once."""
    async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE, verify=NO_TLS) as person:
        assert (await person.get(prompt(begun).verification_uri_complete or "")).status_code == 200


async def deny(begun: Login) -> None:
    """Enter the code, and say no."""
    async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE, verify=NO_TLS) as person:
        form = {"ticket": prompt(begun).user_code, "decision": "deny"}
        assert (await person.post(prompt(begun).verification_uri, data=form)).status_code == 200


async def tick(house: House, after: float = 0.0) -> float | None:
    """Let time pass, do what one look of the scheduler does, wait for the polls, and look when the next one is due."""
    house.clock.forward(after)
    await device.poll_due(house.ctx)
    if house.ctx.finishing:
        await asyncio.wait(set(house.ctx.finishing), timeout=PATIENCE)
    due = await device.poll_due(house.ctx)
    return None if due is None else due - house.clock()


async def ended(house: House, begun: Login) -> tuple[str, str]:
    """Return state and reason of a login."""
    found = await house.store.login(begun.id)
    assert found is not None
    return found.state, found.reason


async def cancel_in_flight(house: House, begun: Login) -> None:
    """Cancel a login that was allowed while the answer with its token is on the way; then that comes."""
    house.practice.set_faults(["device_code:hold"])
    house.clock.forward(INTERVAL)
    await device.poll_due(house.ctx)
    await house.until_asked("device_code")
    await login.cancel(house.ctx, begun.id)
    house.practice.set_faults([])
    await tick(house)
