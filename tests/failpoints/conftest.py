"""One stage for each kind of provider, shared by all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.failpoints.page import ROTATIONS
from tests.failpoints.stage import Stage, stage


@pytest.fixture(scope="session", params=ROTATIONS)
def site(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Set the stage; whatever the daemons on it were put through, none of them may have said that it is broken."""
    with stage(request.param) as made:
        yield made
        made.said_nothing_wrong()
