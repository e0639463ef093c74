"""What the tests of this room share: a directory with the odd presets."""

from pathlib import Path

import pytest

from tests.providers.contract import ODD


@pytest.fixture
def presets_dir(tmp_path: Path) -> Path:
    """Return a directory with the odd presets that nobody else can write to, whatever the checkout looks like."""
    place = tmp_path / "presets"
    place.mkdir(0o700)
    for path in ODD.glob("*.toml"):
        copy = place / path.name
        copy.touch(0o600)
        copy.write_bytes(path.read_bytes())
    return place
