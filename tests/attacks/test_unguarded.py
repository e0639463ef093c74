"""Every guard that is taken away still stands in the code, and what has to notice is there; see ``__main__``."""

import re
from pathlib import Path

import pytest

from tests.attacks.ground import CHECKOUT
from tests.attacks.unguarded import UNGUARDED
from tests.mutants.mutants import Mutant

# They attack nothing themselves.
NO_ATTACKS = {"test_unguarded.py"}


@pytest.mark.parametrize("unguarded", UNGUARDED, ids=lambda unguarded: unguarded.name)
def test_a_guard_can_be_taken_away(unguarded: Mutant) -> None:
    """Its text stands there once, what comes of taking it away is Python, and every test that has to fail exists."""
    unguarded.check(CHECKOUT)


def test_every_class_of_attacks_can_fail() -> None:
    """No file of attacks is without a build on which one of them succeeds."""
    files = {path.name for path in Path(__file__).parent.glob("test_*.py")} - NO_ATTACKS
    seen = {re.sub(r"::.*", "", test).rpartition("/")[2] for each in UNGUARDED for test in each.tests}

    assert files - seen == set()


def test_names_are_unique() -> None:
    """A name is how one of them is chosen."""
    assert len({each.name for each in UNGUARDED}) == len(UNGUARDED)
