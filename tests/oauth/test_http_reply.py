"""What came back (security.md R24): how long to wait, whose clock is wrong, and nothing of it in a log."""

import pytest

from broker.oauth.http import Reply


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("120", "", 120.0),
        ("0", "", 0.0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", "", 30.0),
        ("Wed, 21 Oct 2026 07:00:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 0.0),
        ("-5", "", None),
        ("soon", "", None),
        ("1e9", "", None),
        ("١٢", "", None),
        ("9" * 400, "", None),
        ("", "", None),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str, date: str, seconds: float | None) -> None:
    """Seconds or a date, by the server's own clock where it shows it; nonsense is no answer."""
    reply = Reply(429, {"retry-after": value, "date": date}, b"", received_at=1792567680.0)
    assert reply.retry_after == seconds


def test_a_reply_does_not_print_what_it_holds() -> None:
    """Bodies and headers hold tokens and cookies; a log line of a reply shows neither."""
    shown = repr(Reply(200, {"set-cookie": "marker"}, b"marker", 0.0))
    assert "marker" not in shown


@pytest.mark.parametrize(
    ("date", "ahead"),
    [("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("Wed, 21 Oct 2026 07:27:00 GMT", 60.0), ("", 0.0), ("yesterday", 0.0)],
)
def test_the_servers_clock_is_compared(date: str, ahead: float) -> None:
    """Where the server shows its time, how far ours is from it is known; where not, nothing is claimed."""
    assert Reply(400, {"date": date}, b"", received_at=1792567680.0).ahead == ahead
