"""The provider that the tests of this room log in at."""

from collections.abc import Iterator

import pytest

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings


@pytest.fixture(scope="module")
def practice() -> Iterator[PracticeServer]:
    """Run a provider that says yes at once."""
    with practice_in_thread(PracticeSettings(ttl=600, auto_approve=True)) as server:
        yield server
