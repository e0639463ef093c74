"""Whatever comes: each parser answers or refuses as it says, in bounded time, and no refusal holds a secret."""

import gc
import logging
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.mutation import mutants
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

by_name = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
GROWING = [
    pytest.param(target, make, id=f"{target.name}-{number}")
    for target in TARGETS
    for number, make in enumerate(target.grows)
]
SMALL = 16 * 1024
# Four times as much may take four times as long; what is quadratic takes sixteen times, and this lies between.
MOST_GROWTH = 9.0
# Seconds below which a machine that is busy with something else says more than the parser does.
NO_TIME = 0.1


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Refusals are logged, and there are thousands."""
    caplog.set_level(logging.CRITICAL)


def test_names_are_unique() -> None:
    """A name is how one of them is chosen."""
    assert len({target.name for target in TARGETS}) == len(TARGETS)


@by_name
def test_what_was_found_once_is_not_found_again(target: Target) -> None:
    """Sound input, and input that once broke something, is read or refused."""
    for seed in target.seeds:
        target.try_it(seed)


@by_name
def test_nothing_breaks_it(target: Target) -> None:
    """Input with something wrong in it is read or refused as documented, and no refusal holds a secret."""

    @settings(
        max_examples=target.examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutants(target))
    def try_it(data: bytes) -> None:
        target.try_it(data)

    try_it()


@pytest.mark.parametrize(("target", "make"), GROWING)
def test_its_time_is_bounded(target: Target, make: Callable[[int], bytes]) -> None:
    """Four times the input takes about four times as long."""
    target.try_it(target.seeds[0])  # what is made once is made now
    small, large = make(SMALL), make(4 * SMALL)
    if _seconds(target, large) > NO_TIME:
        gc.collect()
        times = [(_seconds(target, small), _seconds(target, large)) for _ in range(3)]

        assert min(time for _, time in times) < MOST_GROWTH * min(time for time, _ in times) + NO_TIME


def _seconds(target: Target, data: bytes) -> float:
    began = time.perf_counter()
    target.try_it(data)
    return time.perf_counter() - began
