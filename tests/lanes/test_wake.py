"""The wake lane in small: a machine wakes up and every token has expired (``python -m tests.lanes wake``)."""

from tests.lanes import wake


def test_a_herd_passes_in_order_and_lets_an_app_go_first() -> None:
    """After a night each account is refreshed once, soonest death first, two at a time, and an app does not queue."""
    awake = wake.run(wake.Plan(accounts=30, grace=10.0, latency=0.05, apps=2))

    wake.judge(awake)
    assert awake.at_one == 2, "nothing was under way together: nothing was tested"
