"""No request, of the owner, an app or a stranger, gets an answer that the description of the API does not hold."""

import contextlib
from collections.abc import Iterator

import pytest

from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.fuzz.api import Furnished, Kind, explore, kinds
from tests.web.house import running

# Each costs a few requests of a millisecond; all of them together stay within some seconds.
EXAMPLES = 16


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    """Run a daemon in which there is something to ask for."""
    with (
        practice_in_thread(PracticeSettings(ttl=600, auto_approve=True)) as practice,
        running(tmp_path_factory.mktemp("furnished")) as house,
    ):
        found = Furnished(house, practice)
        with contextlib.closing(found):
            yield found


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: f"{kind[0]}-{kind[1]}-{kind[2].value}")
def test_whatever_comes_is_answered_as_described(furnished: Furnished, kind: Kind) -> None:
    """Status, content type, body, members and headers are those of the document, and nothing is a fault of Keyfob."""
    explore(furnished, kind, EXAMPLES)
