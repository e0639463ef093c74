"""The drain lane in small: a stop in the middle of a queue (``python -m tests.lanes drain``)."""

from tests.lanes import drain


def test_a_stop_waits_for_what_is_in_the_air_and_begins_nothing() -> None:
    """SIGTERM with eight refreshes waiting: the two in the air land, the process goes, the next start does the rest."""
    drained = drain.run(drain.Plan(accounts=8, grace=10.0, answer_after=0.3, life=2))

    drain.judge(drained)
