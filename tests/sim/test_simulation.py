"""The simulation in small: fifty seeds hold, and it is what it says it is: exact, and able to fail."""

import gc
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from broker.core.account import Account
from broker.store.refreshes import Refreshes
from tests.sim.__main__ import HOURS, in_memory, report
from tests.sim.world import make_template, play_one

SEEDS = 50


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A directory in memory, with an empty database to copy."""
    with TemporaryDirectory(prefix="keyfob-sim-", dir=in_memory()) as directory:
        (Path(directory) / "template").mkdir()
        make_template(Path(directory) / "template")
        gc.freeze()  # pytest's own objects are many, and none of them is garbage of ours
        yield Path(directory)
        gc.unfreeze()


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_a_seed_holds(base: Path, seed: int) -> None:
    """Whatever 72 hours of faults bring, the invariants I1 to I8 hold."""
    result = play_one(seed, HOURS, base)
    assert not result.failed, report(result, HOURS)


def test_a_seed_is_one_story(base: Path) -> None:
    """Played twice, a seed with kills, faults and crowds is the same to the last line: what fails can be replayed."""
    first, second = (play_one(7, HOURS, base) for _ in range(2))
    assert first.counts["kills"] > 0
    assert (first.story, first.counts) == (second.story, second.counts)


def test_the_judge_can_fail(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A product that forgets its intents is caught within a few seeds, and the report says how to see it again."""

    async def forgetful(self: Refreshes, account: Account, now: float, wish: object) -> Account:  # noqa: ARG001 -- as the real one
        return account

    monkeypatch.setattr(Refreshes, "begin_refresh", forgetful)
    broken = play_one(1, HOURS, base)
    assert broken.failed.startswith("I7")
    assert "make sim SEED=1" in report(broken, HOURS)
