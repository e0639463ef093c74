"""One rate limit: what is left of it, when it opens, and how many may go then."""

import pytest

from broker.core import timing
from broker.core.ratelimit import Told
from broker.core.window import FIRST_PATIENCE, PARTS, PAUSE, ROUNDING, Window

T = 1_000_000.0


def sent(
    window: Window, told: Told | None, at: float = T, *, app: str = "job", retry_after: float | None = None
) -> None:
    """Send a request that is answered at once."""
    window.take(app, at)
    window.give_back(app)
    window.answered(app, at, at, told, retry_after)


def test_what_is_under_way_is_not_sent_twice() -> None:
    """Three are left: three go at once, and the next one waits for what their answers say."""
    window = Window("core")
    sent(window, Told("core", 10, 3, 60))
    for _ in range(3):
        assert window.wait(T) == 0
        window.take("job", T)
    assert window.remaining(T) == 0
    assert window.wait(T) == pytest.approx(60 + ROUNDING)
    window.give_back("job")  # that one never went
    assert window.wait(T) == 0


def test_of_two_that_were_under_way_together_the_lower_number_is_right() -> None:
    """Answers overtake each other: the one that was counted first may come last."""
    window = Window("core")
    for _ in range(2):
        window.take("job", T)
    for left in (7, 8):
        window.give_back("job")
        window.answered("job", T + 1, T, Told("core", 10, left, 60))
    assert window.remaining(T + 1) == 7
    window.take("job", T + 2)
    window.give_back("job")
    window.answered("job", T + 3, T + 2, Told("core", 10, 9, 60))  # the server knows best what it has given back
    assert window.remaining(T + 3) == 9


def test_a_used_up_limit_opens_with_one_request() -> None:
    """Its answer tells how many may follow; where it does not come, the next one tries after a moment."""
    window = Window("core")
    sent(window, Told("core", 10, 0, 60))
    opens = T + 60 + ROUNDING
    assert window.wait(T) == pytest.approx(opens - T)
    assert window.wait(opens) == 0
    assert window.is_trying(opens)
    window.take("job", opens)
    assert window.wait(opens) == FIRST_PATIENCE
    assert window.wait(opens + FIRST_PATIENCE) == 0
    window.give_back("job")
    window.answered("job", opens + 1, opens, Told("core", 10, 2, 60))
    for _ in range(2):
        assert window.wait(opens + 1) == 0
        window.take("job", opens + 1)
    assert window.wait(opens + 1) > 0


def test_requests_come_back_one_by_one_where_the_window_slides() -> None:
    """What went through here is free again a window later, whatever the whole reset says (Funkwhale's moves along)."""
    window = Window("list")
    for second in range(4):
        sent(window, Told("list", 4, 3 - second, 60, 60), T + second, retry_after=60 - second)
    assert window.wait(T + 3) == pytest.approx(60 - 3)  # the oldest
    assert window.remaining(T + 60) == 1
    assert window.remaining(T + 62) == 3
    assert window.remaining(T + 63 + ROUNDING) == 4


def test_what_was_sent_before_a_window_began_is_not_given_back_in_it() -> None:
    """With a fixed window everything comes back at its reset, and nothing twice."""
    window = Window("core")
    sent(window, Told("core", 10, 1, 5, 60))
    assert window.remaining(T + 6) == 10
    sent(window, Told("core", 10, 4, 59, 60), T + 7)
    assert window.remaining(T + 62) == 4  # the first one is a window old, and was counted in the window before


def test_the_first_answer_of_a_window_does_not_count_its_own_request() -> None:
    """Funkwhale tells the whole limit then, and no reset: one is used all the same, and the window has begun."""
    window = Window("list")
    sent(window, Told("list", 100, 100, None, 3600))
    assert window.remaining(T) == 99
    assert window.remaining(T + 3600 + ROUNDING) == 100


def test_a_rule_alone_is_counted_here() -> None:
    """Where a server tells its rule and never what is left, what goes through here is counted."""
    window = Window("hour")
    for number in range(3):
        sent(window, Told("hour", 3, None, None, 60), T + number)
    assert window.remaining(T + 3) == 0
    assert 0 < window.wait(T + 3) <= 60
    assert window.remaining(T + 60) == 1


def test_retry_after_counts_on_refusals_alone() -> None:
    """Funkwhale sends it with every answer; of a success it says something only where nothing is left."""
    window = Window("list")
    sent(window, Told("list", 10, 5, 600, 600), retry_after=300)
    assert window.wait(T) == 0
    window.refused(T, T, None, 300)
    assert window.wait(T) == 300 + ROUNDING
    sent(window, Told("list", 10, 4, 600, 600), T + 1)  # a success that was under way does not lift it
    assert window.wait(T + 1) == 299 + ROUNDING


def test_a_refusal_that_names_no_time_is_answered_with_patience() -> None:
    """A second, then twice as long at each refusal, a minute at the most; those of one moment are one refusal."""
    window, waits, now = Window("default"), [], T
    for _ in range(8):
        for _ in range(3):
            window.refused(now, now - 0.5, None, None)
        waits.append(window.wait(now) - ROUNDING)
        now += window.wait(now) + 1
    assert waits == [1, 2, 4, 8, 16, 32, PAUSE, PAUSE]
    sent(window, None, now)
    window.refused(now, now, None, None)
    assert window.wait(now) == 1 + ROUNDING


def test_no_silence_is_longer_than_an_hour() -> None:
    """A server that says a day is asked once an hour; what it says is shown all the same."""
    window = Window("month")
    sent(window, Told("month", 10, 0, 30 * 86_400.0))
    assert window.wait(T) == timing.RETRY_AFTER_CAP
    assert window.reset_at == T + 30 * 86_400
    other = Window("core")
    other.refused(T, T, None, 86_400)
    assert other.wait(T) == timing.RETRY_AFTER_CAP


def test_an_opening_of_which_nothing_more_is_told_is_one() -> None:
    """A success without a word about limits, after a refusal: nobody knows a limit, so nobody is held."""
    window = Window("default")
    window.refused(T, T, None, 10)
    opened = T + 10 + ROUNDING
    sent(window, None, opened)
    for _ in range(50):
        assert window.wait(opened) == 0
        window.take("job", opened)


def test_a_lost_answer_may_have_been_counted() -> None:
    """Less is left, by one; and with the last one nothing is."""
    window = Window("core")
    sent(window, Told("core", 10, 2, 60))
    for left in (1, 0):
        window.take("job", T)
        window.lost("job", T)
        assert window.remaining(T) == left
    assert window.wait(T) == pytest.approx(60 + ROUNDING)


def test_a_share_is_of_the_windows_limit() -> None:
    """An app that has used its part waits for what it used to come back; another one goes on."""
    window = Window("core")
    for number in range(3):
        assert window.wait(T + number, "job", 30) == 0
        sent(window, Told("core", 10, 9 - number, 60, 60), T + number)
    assert 0 < window.wait(T + 3, "job", 30) <= 60
    assert window.wait(T + 3, "other", 30) == 0
    assert window.wait(T + 3, "owner") == 0
    assert window.wait(T + 60 + 60 / PARTS, "job", 30) == 0
    tiny = Window("few", limit=3)
    assert tiny.wait(T, "job", 1) == 0  # one request is the least
    tiny.take("job", T)
    assert tiny.wait(T, "job", 1) > 0


def test_a_large_limit_takes_no_more_memory() -> None:
    """Ten thousand requests in a window are remembered in a few parts."""
    window = Window("core")
    for number in range(10_000):
        sent(window, Told("core", 10**6, 10**6 - number - 1, 3600, 3600), T + number / 4)
    assert window.used("job") == 10_000
    assert len(window.parts) <= PARTS + 2
