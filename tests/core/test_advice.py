"""What a person is told to do about an account, and when only a person can help."""

from dataclasses import replace

import pytest

from broker.cli.main import load
from broker.core import advice
from broker.core.account import (
    Active,
    Misconfigured,
    NeedsLogin,
    Pending,
    RefreshingFailed,
    State,
    Static,
    Suspect,
    Uncertain,
)
from broker.core.timing import DAY
from broker.core.token import Token
from tests.core.made import ACCOUNT, HOUR, NOW

ENDS = NOW + HOUR
ALONE = replace(ACCOUNT, has_refresh_token=False)


@pytest.mark.parametrize(
    ("state", "words", "person"),
    [
        (Active(NOW), "", False),
        (Static(NOW), "", False),
        (Pending(NOW), "keyfob login me", False),
        (RefreshingFailed(NOW, "503", 1, NOW + 10), "keyfob refresh me", False),
        (RefreshingFailed(NOW, "429", 1, NOW + 10, NOW + 20), "wants no request", False),
        (RefreshingFailed(NOW, "429", 1, NOW + 10, NOW - 1), "keyfob refresh me", False),
        (Uncertain(NOW, "lost", NOW + 10), "keyfob refresh me --confirm", False),
        (NeedsLogin(NOW, "ended"), "keyfob login me", True),
        (Misconfigured(NOW, "refused", NOW + 900), "keyfob login me --client-id", True),
        (Suspect(NOW, "a copy"), "keyfob refresh me --confirm", True),
    ],
)
def test_each_state(state: State, words: str, person: bool) -> None:  # noqa: FBT001 -- a table
    """A state that is well has no next step; only what does not mend itself waits for a person, with its own reason."""
    account = replace(ACCOUNT, state=state)

    step, need = advice.next_step(account, NOW), advice.need(account, NOW)

    assert words in step
    assert bool(words) == bool(step)
    assert need == (advice.Need(state.name, NOW, state.reason) if person else None)


@pytest.mark.parametrize(
    ("state", "words"), [(Active(NOW), "keyfob login me"), (Static(NOW), "keyfob login me --flow token")]
)
def test_a_token_that_nothing_can_renew(state: State, words: str) -> None:
    """It needs a person from the moment at which it ends; one that can be renewed never does by its age alone."""
    alone = replace(ALONE, state=state)

    assert (advice.next_step(alone, ENDS - 1), advice.need(alone, ENDS - 1)) == ("", None)
    assert words in advice.next_step(alone, ENDS)
    assert advice.need(alone, ENDS + 5) == advice.Need("expired", ENDS, advice.EXPIRED)
    assert advice.need(replace(ACCOUNT, state=Active(NOW)), ENDS + 5) is None


@pytest.mark.parametrize(
    ("state", "words"), [(Active(NOW), "keyfob login me"), (Static(NOW), "keyfob login me --flow token")]
)
def test_a_token_that_will_end(state: State, words: str) -> None:
    """Of one that nothing can renew a person is reminded a week and a day before, and told when it ends."""
    ends = NOW + 30 * DAY
    token = Token("Bearer", (), NOW, ends)
    alone = replace(ALONE, state=state, token=token)

    assert (advice.next_step(alone, ends - 7 * DAY - 1), advice.need(alone, ends - 7 * DAY - 1)) == ("", None)
    week, day = "ends-in-a-week", "ends-in-a-day"
    for before, what in ((7 * DAY, week), (2 * DAY, week), (DAY, day), (1, day)):
        need = advice.need(alone, ends - before)
        assert need is not None
        assert (need.what, need.once) == (what, True)
        assert need.since == ends - (7 * DAY if what == week else DAY)
        assert words in advice.next_step(alone, ends - before)
    assert advice.need(alone, ends) == advice.Need("expired", ends, advice.EXPIRED)
    renewable = replace(alone, state=Active(NOW), has_refresh_token=True)
    assert advice.need(renewable, ends - 1) is None


def test_a_short_life_is_no_news() -> None:
    """Of a token that was brought with three days left, that was known then; the last day is told all the same."""
    ends = NOW + 3 * DAY
    alone = replace(ALONE, state=Static(NOW), token=Token("Bearer", (), NOW, ends))

    assert advice.need(alone, NOW + DAY) is None
    soon = advice.need(alone, ends - DAY)
    assert soon is not None
    assert soon.what == "ends-in-a-day"


@pytest.mark.parametrize("state", advice.STEPS)
def test_the_commands_are_real(state: str) -> None:
    """Every command that is told is one that the command line takes."""
    _, _, command = advice.step(state, "me").rpartition("keyfob ")
    verb, *words = command.split()
    parser, _ = load(verb)

    assert parser.parse_args(words).account == "me"
