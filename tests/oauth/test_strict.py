"""Strict JSON and words fit to be shown (security.md M21, R51)."""

import contextlib
import time

import pytest

from broker.oauth import strict

NOT_JSON = {
    "another encoding": '{"a": 1}'.encode("utf-16"),
    "utf-16 without a mark": '{"a": 1}'.encode("utf-16-le"),
    "bytes that are no text": b'{"a": "\xff"}',
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "infinity by overflow": b'{"a": 1e999}',
    "a name twice": b'{"a": 1, "a": 2}',
    "a name twice, deep inside": b'{"b": [{"a": 1, "a": 2}]}',
    "200,000 levels": b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "33 levels": b'{"a":' + b"[" * 32 + b"]" * 32 + b"}",
    "5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "5,000 digits after the point": b'{"a": 0.' + b"9" * 5000 + b"}",
    "half a character": rb'{"a": "\ud800"}',
    "half a character in a name": rb'{"\udfff": 1}',
    "a list": b"[]",
    "text": b'"access_token"',
    "null": b"null",
    "nothing": b"",
    "a web page": b"<html>",
    "a form": b"access_token=a&token_type=bearer",
    "two objects": b"{}{}",
    "cut off": b'{"a": "b',
    "a comment": b'{"a": 1 /* */}',
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_no_careful_writer_writes_is_refused(body: bytes) -> None:
    """Every oddity that Python's own reader lets through, or dies of, is one plain ValueError."""
    with pytest.raises(ValueError, match=r"^it "):
        strict.loads(body)


def test_the_refusal_holds_nothing_of_the_body() -> None:
    """A reply that cannot be read may hold a token, so neither message nor cause of the error quotes it."""
    with pytest.raises(ValueError, match=r"^it ") as caught:
        strict.loads(b'{"access_token": "marker-secret", NaN')
    assert "marker" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_ordinary_json_is_read() -> None:
    """What careful writers write comes out as it is: brackets in text do not count as levels."""
    body = '{"a": "' + "[{" * 100 + r"\"[" + '", "b": [1, 2.5, true, null], "ü": "\\u00fc"}'
    assert strict.loads(body.encode()) == {"a": "[{" * 100 + '"[', "b": [1, 2.5, True, None], "ü": "ü"}


def test_a_peek_sees_past_slips_in_other_fields() -> None:
    """The refresh token is found beside numbers that are none and names that come twice."""
    body = b'{"expires_in": NaN, "scope": "a", "scope": "b", "n": ' + b"9" * 5000 + b', "refresh_token": "r"}'
    assert (strict.peek(body) or {})["refresh_token"] == "r"


@pytest.mark.parametrize("body", [b"[]", b"\xff", b"{", b"[" * 200_000, b""])
def test_a_peek_at_nonsense_sees_nothing(body: bytes) -> None:
    """Where there is no object there is no answer, and no exception either."""
    assert strict.peek(body) is None


def test_a_peek_does_not_choose_between_two() -> None:
    """A refresh token that is named twice is not plainly there."""
    assert "refresh_token" not in (strict.peek(b'{"refresh_token": "a", "refresh_token": "b"}') or {})


COSTLY = {
    "a text that never ends, full of quotes": b'{"access_token":"' + rb"\"" * 32_000,
    "texts that end in a backslash": b'{"a":"' + b"\\" * 65_001,
    "many members": b"{" + b",".join(b'"%d":0' % number for number in range(6_000)) + b"}",
    "many brackets": b'{"a":' + b"[]" * 32_000,
    "a long number": b'{"a":' + b"9" * 64_000 + b"}",
    "a long fraction": b'{"a":0.' + b"9" * 64_000 + b"}",
    "blanks": b" " * 64_000 + b"{" + b"\n" * 64_000,
}


def _seconds(body: bytes) -> float:
    """Return what reading a reply costs this thread, seconds: the least of three, so that no other work counts."""
    taken = []
    for _ in range(3):
        began = time.thread_time()
        strict.peek(body)
        with contextlib.suppress(ValueError):
            strict.loads(body)
        taken.append(time.thread_time() - began)
    return min(taken)


@pytest.mark.parametrize("body", COSTLY.values(), ids=COSTLY.keys())
def test_no_reply_keeps_the_daemon_busy(body: bytes) -> None:
    """A hostile reply or request of the largest size is read or refused at once: everybody else waits meanwhile."""
    plain = b'{"a":"' + b"x" * len(body) + b'"}'

    # Milliseconds against a tenth of one, on any machine; what is quadratic takes many thousand times as long.
    assert _seconds(body) < 300 * _seconds(plain)


def test_an_error_text_is_cut_to_its_alphabet() -> None:
    """Markup quotes, line ends, escapes and other scripts do not survive; length is capped (R51)."""
    assert strict.clean('no\r\n\x1b[31m "you" \\ can\u202enot') == "no [31m 'you'   can not"
    assert len(strict.clean("x" * 5000)) == 512
    assert strict.clean({"a": 1}) == ""


def test_a_label_keeps_its_script_and_loses_its_controls() -> None:
    """A name may be in any script, but may not steer a terminal or turn text around."""
    assert strict.clean_label("Zoë\x00\u202e 王\n\tsmith") == "Zoë 王 smith"
    assert len(strict.clean_label("é" * 500)) == 200


@pytest.mark.parametrize("value", ["", "a b", "a\r\nb", "é", "a\x7f", None, 5, "x" * 65537])
def test_what_cannot_stand_in_a_header_is_not_printable(value: object) -> None:
    """Tokens are visible ASCII: anything else would break a header (M16)."""
    assert not strict.is_printable(value)
