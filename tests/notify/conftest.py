"""What the tests of this room share: a command to run."""

from pathlib import Path

import pytest

from tests.notify.hooks import SCRIPT, Hook, program


@pytest.fixture
def hook(tmp_path: Path) -> Hook:
    """A command that writes down what it was told."""
    place = tmp_path / "a place"  # with a blank: the command line is split as a shell would
    place.mkdir()
    program(place / "hook", SCRIPT.format(place=f"'{place}'"))
    return Hook(place)
