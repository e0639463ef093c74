"""Every mutant still fits the code, and its test is there; ``make mutants`` runs them."""

from pathlib import Path

import pytest

from tests.mutants.mutants import MUTANTS, Mutant

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits(mutant: Mutant) -> None:
    """What it replaces stands in the code once, what comes of it is Python, and who has to notice exists."""
    mutant.check(CHECKOUT)


def test_a_mutant_that_does_not_fit_is_told() -> None:
    """Code that has changed under a mutant is an error, not a mutant that does nothing."""
    with pytest.raises(ValueError, match="does not fit"):
        Mutant("gone", "README.md", "no such words stand there", "", "tests").check(CHECKOUT)


def test_names_are_unique() -> None:
    """A name is how one of them is chosen."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
