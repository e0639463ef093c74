"""Text that strangers chose: what is left of it, and that honest text is left as it is."""

import sys
import unicodedata

import pytest

from broker.web.text import TEXT_SHOWN, clean, provider_words


def unseen(text: str) -> list[str]:
    """Return the characters that nobody sees, or that move others."""
    return [character for character in text if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}]


@pytest.mark.parametrize("start", range(0, sys.maxunicode, 0x8000))
def test_clean_text_is_short_visible_and_stays_itself(start: int) -> None:
    """Text of every kind of character becomes short, visible and sendable, and cleaning it again changes nothing."""
    cleaned = clean("".join(map(chr, range(start, start + 0x8000, 17))))

    assert len(cleaned) <= TEXT_SHOWN
    assert not unseen(cleaned)
    assert clean(cleaned.encode().decode()) == cleaned


def test_honest_text_is_not_changed_until_it_is_too_long() -> None:
    """Names in other scripts, with marks and signs, stay as they are; what is cut ends in an ellipsis."""
    for name in (
        "Nguyễn Thị Minh",
        "Nguye\u0302\u0303n",
        "משה בן־דוד",
        "張偉",
        "O’Brien & Söhne <x@y.example>",
        "x" * 512,
    ):
        assert clean(name) == name
    assert clean("x" * 513) == "x" * 511 + "…"


def test_provider_words_are_of_the_charset_that_the_rfc_allows() -> None:
    """An error text is limited to NQSCHAR: other characters are replaced, so that they cannot pose as ours."""
    assert provider_words('bad "code" \\ \u202eсекрет\n next') == "bad 'code' ? ?????? next"
