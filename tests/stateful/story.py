"""A Keyfob that can be told what to do one step after the other, stopped, killed and started again in between.

Used by ``test_verbs``. The house of the use cases' tests, held open over many steps, with a clock of its own and a
provider that outlives it.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from broker.core.account import Account
from broker.practice.grants import fingerprint
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases import backup, refresh
from tests.lanes.person import Site
from tests.usecases.house import Clock, House, opened
from tests.usecases.world import crash

T = TypeVar("T")


class Story:
    """One story.

    Args:
        grace: seconds in which the provider answers a spent refresh token; the preset says the same.
    """

    def __init__(self, grace: float) -> None:
        self._runner = asyncio.Runner()
        self._place = tempfile.TemporaryDirectory(prefix="kf-")
        self._open = contextlib.ExitStack()
        self._life = contextlib.AsyncExitStack()
        self.clock = Clock()
        settings = PracticeSettings(auto_approve=True, rotation="single-use", grace=grace)
        self.practice = self._open.enter_context(practice_in_thread(settings, clock=self.clock))
        self.house: House
        self.start()
        self.run(self.house.add_provider(refresh={"reuse_grace_s": grace}))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something, to its end."""
        return self._runner.run(work)

    def start(self) -> None:
        """Open the store and settle what was left, as the daemon does at its start."""

        async def begin() -> None:
            self.house = await self._life.enter_async_context(
                opened(Path(self._place.name), practice=self.practice, clock=self.clock)
            )
            await backup.recognise_copy(self.house.ctx)
            await refresh.settle(self.house.ctx)
            await self.house.landed()

        self.run(begin())

    def stop(self, *, killed: bool) -> None:
        """End Keyfob: in good order, or with every refresh cut off where it is."""

        async def end() -> None:
            if killed:
                await crash(self.house)
            await self._life.aclose()

        self.run(end())

    def close(self) -> None:
        """End the story."""
        try:
            self.stop(killed=True)
        finally:
            self._runner.close()
            self._open.close()
            self._place.cleanup()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with Keyfob looking for due work when there is some."""

        async def live() -> None:
            end = self.clock() + seconds
            while self.clock() < end:
                due = await self.house.tick()
                pause = end - self.clock() if due is None else min(due + 0.01, end) - self.clock()
                self.clock.forward(max(pause, 1.0))
            await self.house.tick()

        self.run(live())

    def accounts(self) -> dict[str, Account]:
        """Return every account by name."""
        return {account.name: account for account in self.run(self.house.store.accounts())}

    def works(self, token: str) -> bool:
        """Whether the provider accepts an access token now."""
        return Site(self.practice.url).accepts(token)

    def reuses(self) -> int:
        """Count the spent refresh tokens that reached the provider outside its grace."""
        return len(self.practice.log.all("refresh", "reuse"))

    def holds_newest(self, account: Account) -> bool:
        """Whether the stored refresh token is the last one that the provider gave for this login."""
        _, stored = self.run(self.house.secrets_of(account))
        mine = fingerprint(stored or "")
        events = [event for event in self.practice.log.all() if event.issued_refresh_token]
        grant = next((event.grant for event in events if event.issued_refresh_token == mine), None)
        return grant is not None and [e for e in events if e.grant == grant][-1].issued_refresh_token == mine
