"""A home for each test, and providers to log in at. After each test all that was printed is looked through."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.e2e.home import Home

# What must not reach a person, whatever goes wrong: the second is what `cli.main` says in a traceback's place, the
# third what the API says.
NEVER_SAID = ("Traceback", "this is a bug in Keyfob", "fault of Keyfob", "never retrieved", "never awaited")


@pytest.fixture
def home() -> Iterator[Home]:
    """Make an empty home directory with a short path; no command in it may ever print a traceback."""
    with tempfile.TemporaryDirectory(prefix="kf-", dir="/tmp") as place:  # a socket's path holds 107 bytes
        found = Home(Path(place))
        try:
            yield found
        finally:
            found.close()
        for words in NEVER_SAID:
            assert words not in found.said


@pytest.fixture
def practice() -> Iterator[PracticeServer]:
    """Run a provider that says yes at once."""
    with practice_in_thread(PracticeSettings(auto_approve=True)) as server:
        yield server
