"""The states of an account, and the transitions between them."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core import account as core
from broker.core.account import (
    ACCOUNT_NAME,
    Account,
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
from broker.core.token import Token
from tests.core.made import ACCOUNT, HOUR, NOW

LATER = NOW + 500

STATES: list[State] = [
    Pending(NOW),
    Active(NOW),
    RefreshingFailed(NOW, "503", 3, NOW + 10, NOW + 20),
    NeedsLogin(NOW, "invalid_grant"),
    Misconfigured(NOW, "invalid_client", NOW + 900, 2, NOW - 5),
    Uncertain(NOW, "lost", NOW + 10, 2),
    Suspect(NOW, "restored"),
    Static(NOW),
]


def an_account(state: State = STATES[1]) -> Account:
    """Make an account with everything in it."""
    return replace(
        ACCOUNT,
        version=7,
        generation=3,
        asked_scope=("read", "write"),
        state=state,
        token=Token("Bearer", ("read",), NOW, NOW + HOUR),
        refresh_expires_at=NOW + 24 * HOUR,
        forced_at=NOW - 1,
    )


def apply(name: str, account: Account) -> Account:
    """Take one transition."""
    transitions: dict[str, Callable[[], Account]] = {
        "refreshed": lambda: core.refreshed(account, LATER),
        "refresh_failed": lambda: core.refresh_failed(account, LATER, "html", LATER + 15, throttled_until=LATER + 30),
        "login_needed": lambda: core.login_needed(account, LATER, "dead"),
        "misconfigured": lambda: core.misconfigured(account, LATER, "unknown client", LATER + 900),
        "answer_lost": lambda: core.answer_lost(account, LATER, "lost again", LATER + 60),
    }
    return transitions[name]()


EVERY = ("refreshed", "refresh_failed", "login_needed", "misconfigured", "answer_lost")


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
@pytest.mark.parametrize("name", EVERY)
def test_a_transition_changes_the_state_and_nothing_else(name: str, state: State) -> None:
    """Tokens, times, names and versions are the store's and the grant's business."""
    before = an_account(state)
    after = apply(name, before)
    assert before == an_account(state)
    assert replace(after, state=state) == before


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("refreshed", "active"),
        ("refresh_failed", "refreshing-failed"),
        ("login_needed", "needs-login"),
        ("misconfigured", "misconfigured"),
        ("answer_lost", "uncertain"),
    ],
)
def test_a_transition_leads_to_its_state_from_everywhere(name: str, kind: str, state: State) -> None:
    """What the provider said last decides, whatever the account was before."""
    assert apply(name, an_account(state)).state.name == kind


def test_the_names_of_the_states_are_the_published_ones() -> None:
    """Other people's scripts compare these words."""
    assert [state.name for state in STATES] == [
        "pending", "active", "refreshing-failed", "needs-login", "misconfigured", "uncertain", "suspect", "static",
    ]  # fmt: skip


def test_failures_in_a_row_are_counted_from_the_first() -> None:
    """``since`` tells how long it has been failing, ``attempts`` how often, and the newest cause is the reason."""
    first = core.refresh_failed(an_account(), NOW, "503", NOW + 10)
    assert first.state == RefreshingFailed(NOW, "503", 1, NOW + 10, 0.0)
    second = core.refresh_failed(first, LATER, "429", LATER + 30, throttled_until=LATER + 99)
    assert second.state == RefreshingFailed(NOW, "429", 2, LATER + 30, LATER + 99)
    third = core.refresh_failed(second, LATER + 100, "dns", LATER + 200)
    assert third.state == RefreshingFailed(NOW, "dns", 3, LATER + 200, 0.0)


def test_a_lost_answer_is_remembered_until_the_next_success() -> None:
    """Failures of other kinds do not wash away that the refresh token may be spent, nor make it seem newly lost."""
    lost = core.refresh_failed(an_account(), NOW, "lost", NOW, lost_at=NOW - 1)
    since = core.refresh_failed(core.refresh_failed(lost, LATER, "503", LATER), LATER, "lost", LATER, lost_at=LATER)
    assert isinstance(since.state, RefreshingFailed)
    assert since.state.lost_at == NOW - 1
    again = core.refresh_failed(core.refreshed(since, LATER), LATER, "503", LATER)
    assert isinstance(again.state, RefreshingFailed)
    assert again.state.lost_at == 0.0


def test_refusals_of_a_client_are_counted_from_the_first() -> None:
    """``since`` tells for how long it has been refused; the newest words of the provider are the reason."""
    first = core.misconfigured(an_account(), NOW, "invalid_client", NOW + 900)
    assert first.state == Misconfigured(NOW, "invalid_client", NOW + 900, 1)
    second = core.misconfigured(first, LATER, "unauthorized_client", LATER + 1800, 2)
    assert second.state == Misconfigured(NOW, "unauthorized_client", LATER + 1800, 2)


@pytest.mark.parametrize("state", [Uncertain(NOW - 9, "lost", NOW), RefreshingFailed(NOW, "", 1, NOW, lost_at=NOW - 9)])
def test_a_refused_client_does_not_make_a_lost_answer_forgotten(state: State) -> None:
    """The refresh token may still be spent; only a new one ends the doubt."""
    refused = core.misconfigured(core.misconfigured(an_account(state), NOW, "", NOW), LATER, "", LATER + 900, 2)
    assert refused.state == Misconfigured(NOW, "", LATER + 900, 2, lost_at=NOW - 9)
    assert core.doubt_over(refused).state == Misconfigured(NOW, "", LATER + 900, 2)


def test_a_success_ends_the_row_of_failures() -> None:
    """The next failure after a success is a first one again."""
    failing = core.refresh_failed(core.refresh_failed(an_account(), NOW, "503", NOW), NOW, "503", NOW)
    well = core.refreshed(failing, LATER)
    assert well.state == Active(LATER)
    again = core.refresh_failed(well, LATER + 9, "503", LATER + 20)
    assert again.state == RefreshingFailed(LATER + 9, "503", 1, LATER + 20)


def test_active_since_is_when_it_became_so() -> None:
    """A refresh of an account that is well does not make it active anew."""
    assert core.refreshed(an_account(Active(NOW)), LATER).state == Active(NOW)
    assert core.refreshed(an_account(NeedsLogin(NOW, "dead")), LATER).state == Active(LATER)


def test_lost_answers_in_a_row_are_counted_from_the_first() -> None:
    """``since`` of an uncertain account is when the first answer was lost."""
    first = core.answer_lost(an_account(), NOW, "lost", NOW + 60)
    assert first.state == Uncertain(NOW, "lost", NOW + 60, 1)
    assert core.answer_lost(first, LATER, "lost too", LATER + 60).state == Uncertain(NOW, "lost too", LATER + 60, 2)


def test_an_account_cannot_be_changed_in_place() -> None:
    """A value that somebody holds does not change under them."""
    with pytest.raises(FrozenInstanceError):
        an_account().state = Active(LATER)  # type: ignore[misc] # that is the point


def test_the_scope_is_what_was_granted_and_before_that_what_was_asked() -> None:
    """A token that carries nothing, as some providers say, is not taken for one that carries all that was asked."""
    some = an_account()
    assert some.scope == ("read",)
    assert replace(some, token=Token("Bearer", (), NOW, None)).scope == ()
    assert replace(some, token=None).scope == ("read", "write")


@pytest.mark.parametrize("name", ["me", "a", "Me.2", "work@example.org", "x-y_z", "9", "a" * 64])
def test_names_that_people_use_are_accounts_names(name: str) -> None:
    """Mail addresses, dots, dashes and capitals are fine."""
    assert ACCOUNT_NAME.fullmatch(name)


@given(st.text(max_size=80))
def test_a_name_never_needs_quoting(name: str) -> None:
    """Whatever is accepted can stand in a URL path, a shell command and a file name as it is."""
    if ACCOUNT_NAME.fullmatch(name):
        assert name.isascii()
        assert not set(name) & set(" \t\n/\\?#%&;|<>$`'\"*()[]{}~!=+,:^")
        assert not name.startswith((".", "-", "@"))


@pytest.mark.parametrize(
    "name",
    ["", "-x", ".x", "a b", "a/b", "ä", "a\n", "a" * 65, "\N{LATIN SMALL LETTER LONG S}", "\N{KELVIN SIGN}"],
)
def test_other_names_are_refused(name: str) -> None:
    """Letters of other scripts look like ASCII ones or change under case folding; they are no names."""
    assert not ACCOUNT_NAME.fullmatch(name)
