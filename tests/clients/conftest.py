"""A person's machine for each walk, the programs that it has or has not, and the practice broker that libraries ask."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest

from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.testing.fixtures import keyfob
from tests.clients.room import TTL, Room
from tests.e2e.home import new_home

__all__ = ["keyfob"]

Program = Callable[[str, str], str]


@pytest.fixture
def program() -> Program:
    """Return what finds a client; where it is not installed the walk is left out, but never in CI."""

    def find(name: str, package: str) -> str:
        found = shutil.which(name)
        if found is None:
            reason = f"There is no {name}. On Debian: apt install {package}"
            if "CI" in os.environ:
                pytest.fail(reason)
            pytest.skip(reason)
        return found

    return find


@pytest.fixture
def room() -> Iterator[Room]:
    """Make a home, and a provider beside it whose tokens live for seconds."""
    with new_home() as home, practice_in_thread(PracticeSettings(auto_approve=True, ttl=TTL)) as practice:
        yield Room(home, practice)
