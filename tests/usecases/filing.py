"""A house with a keeper of token files, which looks when it is told.

Imported by the tests of token files.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from broker.core.policy import AppGrant
from broker.core.secret import Secret
from broker.usecases import apps
from broker.usecases.tokenfiles import Keeper
from tests.usecases.house import House, opened

FILED = AppGrant("me", token_file="access_token")


@dataclass(slots=True)
class Desk:
    """A house with a keeper, which looks when it is told."""

    house: House
    keeper: Keeper
    directory: Path

    async def look(self) -> float:
        """Look, wait for what was begun, and look again; return when the next look is due."""
        await self.keeper.look()
        await self.keeper.settled()
        return await self.keeper.look()

    async def given(self, grant: AppGrant = FILED, app: str = "job", expires_at: float | None = None) -> Secret:
        """Make an app and look; return its key."""
        key = await apps.add(self.house.ctx, app, [grant], expires_at)
        await self.look()
        return key

    def read(self, account: str = "me", app: str = "job") -> str:
        """Return what is in a file; empty text where there is none."""
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / app / account).read_text()
        return ""

    async def handed_out(self) -> list[tuple[str, str | None, int | None, int | None]]:
        """Return the hand-outs of the record, oldest first: app, account, generation, how many."""
        await self.house.ctx.handouts.flush(self.house.store)
        found = [entry for entry in reversed(await self.house.store.audit()) if entry.count and entry.app]
        return [(entry.app or "", entry.account, entry.generation, entry.count) for entry in found]


@contextlib.asynccontextmanager
async def desk(place: Path, **more: Any) -> AsyncIterator[Desk]:  # noqa: ANN401 -- as ``opened`` takes it
    """Open a house with a keeper."""
    async with opened(place, **more) as house:
        directory = place / "run/tokens"
        house.ctx = replace(house.ctx, token_dir=directory)
        found = Desk(house, Keeper(house.ctx, directory), directory)
        try:
            yield found
        finally:
            await found.keeper.stop()
