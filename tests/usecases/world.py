"""A provider and a disk that outlive a Keyfob that is killed.

Used by the tests of what a crash leaves behind; the fixture is in ``conftest``.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.practice.server import PracticeServer
from tests.usecases.house import Clock, House, opened


@dataclass(frozen=True, slots=True)
class World:
    """What outlives a crash: the provider, the time, and the disk."""

    practice: PracticeServer
    clock: Clock
    place: Path

    def opened(self) -> Any:  # noqa: ANN401 -- an asynchronous context manager of House, as ``opened`` returns it
        """Start Keyfob, anew or again."""
        return opened(self.place, practice=self.practice, clock=self.clock)


async def crash(house: House) -> None:
    """End every refresh where it is, as a kill does: nothing more is written."""
    flights = list(house.ctx.flights.tasks.values())
    for flight in flights:
        flight.cancel()
    await asyncio.gather(*flights, return_exceptions=True)
