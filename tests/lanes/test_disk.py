"""A disk that refuses, under a real daemon: what lives is served, nothing is sent in vain, no login is lost.

A lock takes SQLite's own five seconds each time: it is left to ``make disk``, and to the tests of the use cases.
"""

import shutil

import pytest

from tests.lanes import disk


@pytest.mark.skipif(shutil.which("cc") is None, reason="the disk that refuses is built by a C compiler")
@pytest.mark.parametrize("fault", [fault for fault in disk.FAULTS if fault != "locked"])
def test_what_lives_is_served_and_what_was_asked_for_is_kept(fault: str) -> None:
    """Whatever the fault: one refresh for one token, and the same login before, under and after it."""
    (seen,) = disk.run([fault])

    assert seen.said
