"""When a token is fresh, when it is due, and how a failing provider is spared."""

import itertools
import random
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core import timing
from broker.core.account import (
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
from broker.core.timing import Policy
from broker.core.token import Token
from tests.core.made import ACCOUNT, HOUR, NOW

# The margins are sums of floats near 1.8e9, which are exact to a quarter of a microsecond.
EXACT = 1e-6

lifetimes = st.floats(min_value=1, max_value=30 * 86400)
ages = st.floats(min_value=0, max_value=1)
wishes = st.none() | st.floats(min_value=0, max_value=90 * 86400)
shares = st.floats(min_value=0, max_value=1, exclude_max=True)


def token(lifetime: float | None, issued_at: float = NOW) -> Token:
    """Make a token that was issued at ``issued_at``."""
    return Token("Bearer", (), issued_at, None if lifetime is None else issued_at + lifetime)


def dice(seed: int) -> random.Random:
    """Return dice that fall the same way for the same seed."""
    return random.Random(seed)  # noqa: S311 -- jitter, not secrecy


def account(state: State, lifetime: float | None = HOUR, *, refreshable: bool = True) -> Account:
    """Make an account in a state."""
    return replace(ACCOUNT, state=state, token=token(lifetime), has_refresh_token=refreshable)


@pytest.mark.parametrize(
    ("lifetime", "age", "min_ttl", "fresh"),
    [
        (HOUR, 0, None, True),
        (HOUR, HOUR - 60, None, True),
        (HOUR, HOUR - 59, None, False),
        (HOUR, HOUR - 600, 600, True),
        (HOUR, HOUR - 599, 600, False),
        # A wish below the usual is a wish as well: the rest of the life is handed out.
        (HOUR, HOUR - 5, 5, True),
        (HOUR, HOUR - 4, 5, False),
        (HOUR, HOUR - 1, 0, True),
        # A third of a short life is enough where nobody says more.
        (30, 20, None, True),
        (30, 21, None, False),
        # What the lifetime cannot give is not asked for again and again.
        (HOUR, 29, 2 * HOUR, True),
        (HOUR, 30, 2 * HOUR, False),
        (HOUR, 29, HOUR - 10, True),
        (HOUR, 30, HOUR - 10, False),
        # What it can give is given, however young the token is.
        (60, 22, 39, False),
        (60, 20, 40, True),
        (60, 21, 40, False),
        (60, 21, 41, True),
        (30, 19, 60, True),
        (30, 21, 60, False),
    ],
)
def test_a_token_is_fresh_while_it_lives_as_long_as_the_caller_needs(
    lifetime: float, age: float, min_ttl: float | None, *, fresh: bool
) -> None:
    """A token is handed out as it is while it outlives ``min_ttl``: 60 s, or a third of a short life, by default."""
    assert timing.is_fresh(token(lifetime), NOW + age, min_ttl) is fresh


@pytest.mark.parametrize("age", [0.0, 1.0, -5.0])
@pytest.mark.parametrize("min_ttl", [None, 0, 60])
def test_a_lifetime_of_zero_is_expired_and_never_endless(age: float, min_ttl: float | None) -> None:
    """``expires_in: 0`` means that the token was dead on arrival."""
    born_dead = token(0.0, NOW)
    assert timing.is_expired(born_dead, NOW + max(age, 0))
    assert not timing.is_fresh(born_dead, NOW + max(age, 0), min_ttl)
    assert not timing.satisfies(born_dead, NOW + max(age, 0), min_ttl)


@given(age=st.floats(min_value=0, max_value=1e9), min_ttl=wishes)
def test_a_token_of_unknown_lifetime_is_always_fresh_and_never_due(age: float, min_ttl: float | None) -> None:
    """Where a provider gives no lifetime, only a reported rejection leads to a refresh."""
    unknown = token(None)
    assert timing.is_fresh(unknown, NOW + age, min_ttl)
    assert timing.satisfies(unknown, NOW + age, min_ttl)
    assert not timing.is_expired(unknown, NOW + age)
    assert timing.due_at(unknown, Policy(), 0.5) is None


@given(lifetime=lifetimes, age=st.floats(min_value=0, max_value=2), min_ttl=wishes)
def test_what_has_expired_is_never_handed_out(lifetime: float, age: float, min_ttl: float | None) -> None:
    """No wish and no age makes an expired token fresh or satisfying."""
    some, now = token(lifetime), NOW + age * lifetime
    if timing.is_expired(some, now):
        assert not timing.is_fresh(some, now, min_ttl)
        assert not timing.satisfies(some, now, min_ttl)
    else:
        assert (some.remaining(now) or 0.0) > 0


@given(lifetime=lifetimes, min_ttl=wishes)
def test_a_token_that_was_just_issued_is_fresh_whatever_was_wished(lifetime: float, min_ttl: float | None) -> None:
    """A wish that no lifetime can fill is served with the freshest token there is, not with a refresh a request."""
    assert timing.is_fresh(token(lifetime), NOW, min_ttl)
    assert timing.satisfies(token(lifetime), NOW, min_ttl)


@given(lifetime=lifetimes, age=st.floats(min_value=0, max_value=1), wish=wishes, later=st.floats(0, 0.999))
def test_what_is_fresh_until_then_is_fresh_all_the_way(
    lifetime: float, age: float, wish: float | None, later: float
) -> None:
    """Until the time that is told, no moment comes at which the token would not be handed out."""
    some, now = token(lifetime), NOW + age * lifetime
    if timing.is_fresh(some, now, wish):
        until = timing.fresh_until(some, now, wish)
        moment = now + later * (until - now)
        assert moment >= until or timing.is_fresh(some, moment, wish)


@given(lifetime=st.floats(min_value=45, max_value=2 * HOUR), step=st.floats(min_value=0.5, max_value=29))
def test_an_unreachable_wish_costs_one_refresh_in_half_a_minute_at_most(lifetime: float, step: float) -> None:
    """However often a caller asks for more than the lifetime, the provider is asked once in 30 s at most."""
    now, held = NOW, token(lifetime)
    refreshes = [NOW]
    while now < NOW + 600:
        now += step
        if not timing.is_fresh(held, now, min_ttl=10 * lifetime):
            held = token(lifetime, now)
            refreshes.append(now)
    assert len(refreshes) > 1
    assert all(b - a >= timing.LEAST_BETWEEN_REFRESHES for a, b in itertools.pairwise(refreshes))


@pytest.mark.parametrize(("lifetime", "kept_for"), [(None, 30.0), (HOUR, 30.0), (60.0, 20.0), (9.0, 3.0)])
def test_what_is_new_is_kept_for_a_while(lifetime: float | None, kept_for: float) -> None:
    """For half a minute, and a short-lived one for a third of its life."""
    assert timing.is_new(token(lifetime), NOW)
    assert timing.is_new(token(lifetime), NOW + kept_for - 0.1)
    assert not timing.is_new(token(lifetime), NOW + kept_for)
    assert not timing.is_new(token(lifetime), NOW - 1.0), "of another clock"


def test_a_wish_within_reach_is_not_put_off_by_the_age_of_the_token() -> None:
    """The 30 s between refreshes protect the provider from a wish out of reach; they never shorten a life promised."""
    for remaining in (59.0, 20.0, 1.0):
        assert not timing.is_fresh(token(HOUR, NOW - HOUR + remaining), NOW)


def test_a_clock_set_back_does_not_hide_an_unfilled_wish() -> None:
    """A token from the future is not taken for one that was issued within the last 30 s."""
    assert not timing.is_fresh(token(HOUR, NOW + 10), NOW, min_ttl=2 * HOUR)


@pytest.mark.parametrize(
    ("age", "min_ttl", "enough"),
    [
        (0, 2 * HOUR, True),
        (1, 2 * HOUR, False),
        (HOUR - 60, None, True),
        (HOUR - 59, None, False),
        (HOUR - 59, 30, True),
        (HOUR, 0, False),
    ],
)
def test_the_rest_of_a_life_satisfies_a_wish_only_as_far_as_it_goes(
    age: float, min_ttl: float | None, *, enough: bool
) -> None:
    """With a dead grant the old token serves who needs no more than it has left."""
    assert timing.satisfies(token(HOUR), NOW + age, min_ttl) is enough


@pytest.mark.parametrize(
    ("lifetime", "margin", "jitter"),
    [
        (HOUR, 720.0, 60.0),  # a fifth of the lifetime
        (600.0, 120.0, 30.0),  # never less than two minutes
        (300.0, 100.0, 15.0),  # ... but a short life is used for two thirds
        (10.0, 10 / 3, 0.5),
    ],
)
def test_a_refresh_is_due_with_a_margin_that_fits_the_lifetime(lifetime: float, margin: float, jitter: float) -> None:
    """Due is ``expires_at - max(120 s, 20 %)``, at two thirds of a short life, and up to a jitter sooner."""
    for number in range(50):
        due = timing.due_at(token(lifetime), Policy(), number / 50)
        assert due is not None
        latest = NOW + lifetime - margin
        assert latest - jitter - EXACT <= due <= latest + EXACT


@pytest.mark.parametrize(("lifetime", "margin"), [(HOUR, 60.0), (600.0, 60.0), (90.0, 30.0)])
def test_a_refresh_that_kills_the_old_token_comes_late(lifetime: float, margin: float) -> None:
    """Where a refresh breaks requests under way, it waits for the last minute, or the last third of a short life."""
    late = timing.due_at(token(lifetime), Policy(kills_old_access_token=True), 0.5)
    usual = timing.due_at(token(lifetime), Policy(), 0.5)
    assert late is not None
    assert usual is not None
    assert usual <= late
    latest = NOW + lifetime - margin
    assert latest - min(60.0, lifetime * 0.05) - EXACT <= late <= latest + EXACT


@given(lifetime=st.floats(min_value=0.0, max_value=10.0), share=shares, kills=st.booleans())
def test_a_life_of_seconds_is_not_a_request_a_second(lifetime: float, share: float, *, kills: bool) -> None:
    """What ends sooner than after 10 s is renewed as often as what lives for 10 s."""
    due = timing.due_at(token(lifetime), Policy(kills_old_access_token=kills), share)
    assert due is not None
    assert NOW + 6 < due < NOW + 7


@given(lifetime=st.floats(min_value=10, max_value=30 * 86400), share=shares, kills=st.booleans())
def test_due_lies_within_the_life_of_the_token(lifetime: float, share: float, *, kills: bool) -> None:
    """A refresh is never due before half of the life is used, and never after it has ended."""
    due = timing.due_at(token(lifetime), Policy(kills_old_access_token=kills), share)
    assert due is not None
    assert NOW + lifetime / 2 <= due < NOW + lifetime


@given(uuid=st.uuids(version=4), generation=st.integers(min_value=0, max_value=10**6))
def test_the_jitter_of_an_account_stands_still(uuid: UUID, generation: int) -> None:
    """Two looks at the same token find the same share: a jitter drawn anew would wander ahead of the clock."""
    share = timing.share(str(uuid), generation)
    assert 0 <= share < 1
    assert share == timing.share(str(uuid), generation)


def test_accounts_made_together_are_not_due_together() -> None:
    """The jitter spreads a hundred accounts of the same second over most of its minute."""
    rng = random.Random(1)  # noqa: S311 -- spread, not secrecy
    shares = [timing.share(str(UUID(int=rng.getrandbits(128))), 1) for _ in range(100)]
    due = [timing.due_at(token(HOUR), Policy(), share) or 0.0 for share in shares]
    assert max(due) - min(due) > timing.JITTER_MOST / 2


@given(seed=st.integers(), reported=st.integers(min_value=0, max_value=200))
def test_an_outage_costs_a_provider_twelve_requests_in_its_first_hour(seed: int, reported: int) -> None:
    """However the dice fall, an account that fails and fails asks at most twelve times in an hour."""
    rng = dice(seed)
    at, asked = 0.0, 0
    while at < HOUR:
        asked += 1
        at += timing.backoff(asked, rng)
    assert asked <= 12
    wait = timing.backoff(max(1, reported), rng)
    assert 0 < wait <= timing.BACKOFF_CAP


def test_an_outage_s_first_minute_is_not_slept_through() -> None:
    """A hiccup is over soon, so the second and third try come within the first minute and a quarter."""
    for seed in range(100):
        rng = dice(seed)
        assert timing.backoff(1, rng) <= 15.0
        assert timing.backoff(1, rng) + timing.backoff(2, rng) <= 45.0


def test_failures_that_came_fast_do_not_make_a_long_wait() -> None:
    """A daemon that was killed five times in a second has not seen an outage of ten minutes."""
    for seed in range(100):
        assert timing.backoff(6, dice(seed), lasted=1.0) <= 15.0
        assert timing.backoff(6, dice(seed), lasted=30.0) <= 120.0


def test_the_length_of_an_outage_does_not_shorten_its_own_back_off() -> None:
    """At the pace of the back-off itself, how long it lasted changes nothing: the shortest waits add up to enough."""
    for seed in range(100):
        lasted = 0.0
        for attempts in range(1, 12):
            wait = timing.backoff(attempts, dice(seed), lasted)
            assert wait == timing.backoff(attempts, dice(seed))
            lasted += wait


def test_back_off_is_spread_so_that_accounts_do_not_come_back_together() -> None:
    """Two accounts that failed at the same moment come back at different ones."""
    waits = {timing.backoff(6, dice(seed)) for seed in range(20)}
    assert len(waits) == 20
    assert max(waits) - min(waits) > 100


def test_a_refused_client_is_tried_again_slowly_but_never_given_up() -> None:
    """The first try comes within a quarter of an hour; whatever it has cost until then, the next is never far off."""
    for seed in range(100):
        assert 450 <= timing.refused_pause(1, dice(seed)) <= 900
        assert 900 <= timing.refused_pause(2, dice(seed)) <= 1800
        assert 7200 <= timing.refused_pause(9, dice(seed)) <= 14_400
        assert 7200 <= timing.refused_pause(10**6, dice(seed)) <= 14_400


@pytest.mark.parametrize(
    ("state", "at"),
    [
        (RefreshingFailed(NOW, "503", 1, retry_at=NOW + 10), NOW + 10),
        (RefreshingFailed(NOW, "429", 1, retry_at=NOW + 10, throttled_until=NOW + 99), NOW + 99),
        (RefreshingFailed(NOW, "429", 9, retry_at=NOW + 900, throttled_until=NOW + 99), NOW + 900),
        (Uncertain(NOW, "lost", retry_at=NOW + 70), NOW + HOUR),
        (Uncertain(NOW, "lost", retry_at=NOW + HOUR + 70), NOW + HOUR + 70),
        (NeedsLogin(NOW, "invalid_grant"), None),
        (Misconfigured(NOW, "invalid_client", NOW + 900), NOW + 900),
        (Misconfigured(NOW, "invalid_client", NOW + 900, lost_at=NOW - 1), NOW + HOUR),
        (Misconfigured(NOW, "invalid_client", NOW + HOUR + 9, lost_at=NOW - 1), NOW + HOUR + 9),
        (Suspect(NOW, "restored"), None),
        (Static(NOW), None),
        (Pending(NOW), None),
    ],
)
def test_each_state_says_when_the_provider_is_asked_again(state: State, at: float | None) -> None:
    """What may pass waits for its time, doubt until the token is over; where only a person can help, never."""
    assert timing.next_refresh_at(account(state), Policy()) == at


def test_an_active_account_is_asked_for_when_its_token_is_due() -> None:
    """Active means: refresh when due; with no token at all, at once; without a lifetime or a refresh token, never."""
    due = timing.next_refresh_at(account(Active(NOW)), Policy())
    assert due is not None
    assert NOW + HOUR - 720 - 60 <= due <= NOW + HOUR - 720
    assert timing.next_refresh_at(replace(account(Active(NOW)), token=None), Policy()) == NOW
    assert timing.next_refresh_at(account(Active(NOW), lifetime=None), Policy()) is None
    assert timing.next_refresh_at(account(Active(NOW), refreshable=False), Policy()) is None


@given(generation=st.integers(min_value=1, max_value=1000))
def test_every_generation_of_a_token_has_a_jitter_of_its_own(generation: int) -> None:
    """An account is not the last of its neighbours for ever."""
    some = account(Active(NOW))
    later = replace(some, generation=generation + 1)
    assert timing.next_refresh_at(replace(some, generation=generation), Policy()) != timing.next_refresh_at(
        later, Policy()
    )


@pytest.mark.parametrize(
    ("due", "seconds"), [(None, 37.0), (NOW + 5, 5.0), (NOW, 0.0), (NOW - 100, 0.0), (NOW + 1000, 37.0)]
)
def test_the_scheduler_looks_at_the_wall_clock_at_least_every_37_seconds(due: float | None, seconds: float) -> None:
    """Sleep of the machine and steps of its clock delay a due refresh by 37 s at the most."""
    assert timing.next_wake(due, NOW) == seconds
