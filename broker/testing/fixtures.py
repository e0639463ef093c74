"""The practice broker as a fixture of pytest: ``from broker.testing.fixtures import keyfob`` in a conftest.

Imported by the tests of programs that use Keyfob.
"""

from collections.abc import Iterator

import pytest

from broker.testing import VARIABLES, PracticeBroker, practice_broker

__all__ = ["keyfob"]


@pytest.fixture
def keyfob(monkeypatch: pytest.MonkeyPatch) -> Iterator[PracticeBroker]:
    """Run a practice broker, which ``Client()`` and the integrations find by the environment, as an app."""
    with practice_broker() as broker:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in broker.environ.items():
            monkeypatch.setenv(name, value)
        yield broker
