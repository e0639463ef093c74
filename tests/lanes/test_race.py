"""The race lane and the story in small: parallel requests, and programs that share a login (``make race``)."""

from tests.lanes import race, story


def test_one_refresh_for_everybody() -> None:
    """160 requests of 8 processes for an expired token cost one refresh, and all get the same new token."""
    rounds = race.run(race.Plan(rounds=1, requests=160))

    race.judge(rounds)


def test_programs_that_ask_keyfob_are_never_logged_out() -> None:
    """While the daemon is killed in between, every program gets valid tokens and nobody logs in again."""
    plan = story.Plan(seed=3, seconds=6.0, programs=8, ttl=2.0, every=(0.7, 1.2), graces=(10.0,), kinds=("keyfob",))

    (keyfob,) = story.run(plan)

    story.judge([keyfob])
    assert keyfob.kills > 0
    assert keyfob.refreshes > 1
    assert keyfob.calls > 0
