"""The SIGKILL lane in small (in large: ``make crash``): the real daemon, killed now and then while it refreshes."""

from tests.lanes import crash

SEED = 8


def test_no_login_is_lost_within_the_grace() -> None:
    """Where the provider accepts a spent token for a moment, kills in the middle of refreshes cost no login at all."""
    plan = crash.Plan(SEED, kills=4, accounts=16, grace=10.0, ttl=3.0, aimed=0.7, after=0.0)

    verdict = crash.run(plan)

    crash.judge(plan, verdict)
    assert any(verdict.unanswered.values()), "no kill hit a refresh: nothing was tested"


def test_without_grace_only_what_was_in_flight_is_lost() -> None:
    """Where it accepts it once only, a kill costs at most the logins whose answer was on its way at that moment."""
    plan = crash.Plan(SEED, kills=4, accounts=16, grace=0.0, ttl=3.0, aimed=0.7, after=0.0, confirm=True)

    verdict = crash.run(plan)

    crash.judge(plan, verdict)
    assert any(verdict.unanswered.values()), "no kill hit a refresh: nothing was tested"
