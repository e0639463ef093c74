"""What an answer says about rate limits, in every form that is about; and what nobody understands says nothing."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core import ratelimit
from broker.core.ratelimit import MOST_NAME, MOST_REQUESTS, MOST_SECONDS, MOST_TEXT, Told

NOW = 1_800_000_000.0
# Five minutes behind our clock.
DATE = "Fri, 15 Jan 2027 07:55:00 GMT"
THEIRS = NOW - 300


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        (  # Funkwhale in the middle of a window
            {
                "X-RateLimit-Limit": "100",
                "X-RateLimit-Scope": "oauth-token",
                "X-RateLimit-Remaining": "7",
                "X-RateLimit-Duration": "3600",
                "X-RateLimit-Reset": str(int(NOW) + 3500),
                "X-RateLimit-ResetSeconds": "3500",
            },
            [Told("oauth-token", 100, 7, 3500, 3600)],
        ),
        (  # GitHub: a time, and by its own clock
            {
                "X-RateLimit-Limit": "5000",
                "X-RateLimit-Remaining": "4999",
                "X-RateLimit-Reset": str(int(THEIRS) + 60),
                "X-RateLimit-Resource": "core",
                "Date": DATE,
            },
            [Told("core", 5000, 4999, 60)],
        ),
        (
            {"X-Rate-Limit-Limit": "15", "X-Rate-Limit-Remaining": "3", "X-Rate-Limit-Reset": "20"},
            [Told("", 15, 3, 20)],
        ),
        (  # Discord: seconds with a fraction beside the time, and a bucket
            {
                "X-RateLimit-Remaining": "1",
                "X-RateLimit-Reset": "1470173023.123",
                "X-RateLimit-Reset-After": "64.57",
                "X-RateLimit-Bucket": "abcd1234",
            },
            [Told("abcd1234", None, 1, 64.57)],
        ),
        (
            {"RateLimit-Limit": "100, 100;w=60", "RateLimit-Remaining": "50", "RateLimit-Reset": "30"},
            [Told("", 100, 50, 30, 60)],
        ),
        (  # GitLab
            {
                "RateLimit-Limit": "60",
                "RateLimit-Name": "web",
                "RateLimit-Remaining": "0",
                "RateLimit-Reset": str(int(NOW) + 9),
            },
            [Told("web", 60, 0, 9)],
        ),
        (  # two limits in one field each; of 0 a month there is none
            {
                "X-RateLimit-Limit": "1, 15000, 0",
                "X-RateLimit-Policy": "1;w=1, 15000;w=2592000, 0;w=9",
                "X-RateLimit-Remaining": "0, 1000, 0",
                "X-RateLimit-Reset": "1, 1419704, 5",
            },
            [Told("", 1, 0, 1, 1), Told("2", 15000, 1000, 1419704, 2592000)],
        ),
        ({"RateLimit": "limit=100, remaining=50, reset=5", "RateLimit-Policy": "100;w=60"}, [Told("", 100, 50, 5, 60)]),
        (
            {
                "RateLimit-Policy": '"burst";q=10;w=1, "day";q=99;w=86400;pk=:YQ==:',
                "RateLimit": '"burst";r=4;t=1,"day";r=0;t=7',
            },
            [Told("burst", 10, 4, 1, 1), Told("day", 99, 0, 7, 86400)],
        ),
        # Only the rule, and one that is no matter of requests.
        (
            {"RateLimit-Policy": 'perhour;q=10;w=3600, "bytes";q=9;qu="content-bytes";w=1'},
            [Told("perhour", 10, None, None, 3600)],
        ),
        ({"RateLimit": '"a\\"b";r=3'}, [Told('a"b', None, 3)]),
        ({"X-RateLimit-Remaining": "9", "X-RateLimit-Reset": "Fri, 15 Jan 2027 08:01:00 GMT"}, [Told("", None, 9, 60)]),
        ({"X-RateLimit-Remaining": "9", "X-RateLimit-Reset": str(int(NOW) * 1000 + 2500)}, [Told("", None, 9, 2.5)]),
        # What is past is over now; what is too large is as large as anything can be.
        ({"X-RateLimit-Remaining": "9", "X-RateLimit-Reset": str(int(NOW) - 5)}, [Told("", None, 9, 0)]),
        (
            {"X-RateLimit-Limit": "9" * 15, "X-RateLimit-Remaining": "9" * 15, "X-RateLimit-Reset": "9" * 9},
            [Told("", MOST_REQUESTS, MOST_REQUESTS, MOST_SECONDS)],
        ),
        ({"X-RateLimit-Limit": "5", "X-RateLimit-Remaining": "6"}, [Told("", 5, 5)]),
    ],
)
def test_every_form_is_read(headers: dict[str, str], told: list[Told]) -> None:
    """Names of servers that are about, epoch or seconds, one limit or several."""
    assert ratelimit.read(lower(headers), NOW) == tuple(told)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-RateLimit-Limit": "100"},
        {"X-RateLimit-Remaining": "-1"},
        {"X-RateLimit-Remaining": "1e3"},
        {"X-RateLimit-Remaining": "1_0"},
        {"X-RateLimit-Remaining": "\u0663"},
        {"X-RateLimit-Remaining": "9" * 16},
        {"X-RateLimit-Remaining": "5 of 10"},
        {"X-RateLimit-Remaining": "5,"},
        {"X-RateLimit-Remaining": ", ".join(["5"] * 9)},
        {"X-RateLimit-Limit": "0", "X-RateLimit-Remaining": "0"},
        {"RateLimit": '"open'},
        {"RateLimit": '"a";r'},
        {"RateLimit": '"a";r=3;'},
        {"RateLimit": f'"{"a" * MOST_TEXT}";r=1'},
        {"RateLimit": f'"{"a" * (MOST_NAME + 1)}";r=1'},
        {"RateLimit-Policy": '"a";q=5'},
    ],
)
def test_what_is_not_understood_says_nothing(headers: dict[str, str]) -> None:
    """Garbage is ignored as a whole, and is never an error."""
    assert ratelimit.read(lower(headers), NOW) == ()


def test_a_name_that_cannot_be_shown_is_none() -> None:
    """It ends in somebody's terminal: the limit counts, without its name."""
    headers = {"x-ratelimit-remaining": "5", "x-ratelimit-scope": "a\x1b[31m"}
    assert ratelimit.read(headers, NOW) == (Told("", None, 5),)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30),
        ({"Retry-After": "Fri, 15 Jan 2027 07:56:00 GMT", "Date": DATE}, 60),
        ({"Retry-After": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "9" * 11}, None),
        ({}, None),
    ],
)
def test_retry_after_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, or a date by the server's own clock; anything else is no answer to the question."""
    assert ratelimit.retry_after(lower(headers), NOW) == seconds


names = st.sampled_from(
    [
        *("ratelimit", "ratelimit-policy", "date", "retry-after"),
        *(f"{family}{kind}" for family in ("x-ratelimit-", "ratelimit-", "x-rate-limit-")
          for kind in ("limit", "remaining", "reset", "scope", "policy", "duration", "reset-after")),
    ]
)  # fmt: skip
pieces = st.sampled_from(
    ['"a"', "a", ";", "r=", "q=1", ",", " ", "=", '"', "\\", "5", "1800000300", "w=60", ":YQ==:", "é"]
)
values = st.lists(pieces, max_size=12).map("".join) | st.text(max_size=40)


@given(st.dictionaries(names, values, max_size=8))
def test_whatever_comes_is_within_bounds(headers: dict[str, str]) -> None:
    """No text breaks the reading, and no number that comes out of it is negative, endless or not one."""
    for told in ratelimit.read(headers, NOW):
        assert len(told.scope) <= MOST_NAME + 2
        assert told.scope.isprintable()
        assert all(0 <= count <= MOST_REQUESTS for count in (told.limit, told.remaining) if count is not None)
        assert all(0 <= seconds <= MOST_SECONDS for seconds in (told.reset, told.window) if seconds is not None)


@pytest.mark.parametrize(
    "text", ['"' * 1024, "a" * 1024, '"' + "\\\\" * 511, "a;" * 512, "a=" * 512, "a," * 512, " " * 1024]
)
def test_reading_takes_no_longer_than_the_text(text: str) -> None:
    """The longest text of the worst kind is read a hundred times in a moment."""
    began = time.perf_counter()
    for _ in range(100):
        assert ratelimit.read({"ratelimit": text, "x-ratelimit-remaining": text}, NOW) == ()
    assert time.perf_counter() - began < 1.0


def lower(headers: dict[str, str]) -> dict[str, str]:
    """Return headers as the way out has them."""
    return {name.lower(): value for name, value in headers.items()}
