"""A home for each test, and providers to log in at. After each test all that was printed is looked through."""

from collections.abc import Iterator

import pytest

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.e2e.home import Home, new_home


@pytest.fixture
def home() -> Iterator[Home]:
    """Make a home."""
    with new_home() as found:
        yield found


@pytest.fixture
def practice() -> Iterator[PracticeServer]:
    """Run a provider that says yes at once."""
    with practice_in_thread(PracticeSettings(auto_approve=True)) as server:
        yield server
