"""The ground of each module: one daemon for all attacks in it, which have to leave it as it was."""

from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from tests.attacks.ground import Ground, new_ground, new_home
from tests.attacks.hostile import dripping
from tests.e2e.home import Home


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Run the daemon that the module attacks."""
    with new_ground() as found:
        yield found


@pytest.fixture
def home() -> Iterator[Home]:
    """Make an empty home, for attacks on a start."""
    with new_home() as found:
        yield found


@pytest.fixture(scope="session")
def drip() -> Iterator[Future[tuple[float, int]]]:
    """Have an answer of a provider drip, for as long as it is waited for: over many tests."""
    with dripping() as found:
        yield found
