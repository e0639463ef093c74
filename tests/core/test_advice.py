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
        (Misconfigured(NOW, "refused"), "keyfob login me --client-id", True),
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


@pytest.mark.parametrize("state", advice.STEPS)
def test_the_commands_are_real(state: str) -> None:
    """Every command that is told is one that the command line takes."""
    _, _, command = advice.step(state, "me").rpartition("keyfob ")
    verb, *words = command.split()
    parser, _ = load(verb)

    assert parser.parse_args(words).account == "me"
