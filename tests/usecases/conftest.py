"""What several rooms of these tests begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.usecases.house import Clock
from tests.usecases.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Run a provider that rotates strictly and answers a spent token for 30 s more; it outlives a crash of ours."""
    clock = Clock()
    settings = PracticeSettings(rotation="single-use", grace=30.0, auto_approve=True)
    with practice_in_thread(settings, clock=clock) as practice:
        yield World(practice, clock, tmp_path)
