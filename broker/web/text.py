"""Text that strangers chose, made fit to be shown: it cannot act, paint over its neighbours, or fill a page.

Used by ``pages`` as filters of the templates.
"""

import shlex
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Final

# security.md R51: more than this of a foreign text helps nobody.
TEXT_SHOWN: Final = 512
# Vietnamese and Hebrew need two or three marks on a letter; a tower of them paints over the lines above.
_MARKS_IN_A_ROW: Final = 3


def clean(text: str) -> str:
    """One line of text that cannot act: no control, direction or invisible characters, at most 512 characters."""
    return _cut(_visible(text))


def provider_words(text: str) -> str:
    """A provider's ``error`` and ``error_description``: NQSCHAR only (RFC 6749 appendix A), at most 512 characters."""
    return _cut(_nqschar(character) for character in _visible(text))


def utc(moment: float) -> str:
    """A time as it is read where no script runs: to the minute, in UTC."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"


def word(text: str) -> str:
    """One word of a command line that is shown for pasting: quoted wherever a shell would make more of it."""
    return shlex.quote(clean(text))


def _visible(text: str) -> Iterator[str]:
    marks = 0
    last = " "
    for character in text:
        category = unicodedata.category(character)
        if character.isspace() or category in {"Zl", "Zp"}:
            shown = " "
        elif category in {"Cc", "Cf", "Cs", "Co"}:  # control, format (bidi, zero width), lone surrogate, private use
            continue
        else:
            shown = character
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        if marks > _MARKS_IN_A_ROW or (shown == " " and last == " "):
            continue
        last = shown
        yield shown


def _nqschar(character: str) -> str:
    if character == '"':  # the commonest stray in the field, and readable
        return "'"
    return character if " " <= character <= "~" and character != "\\" else "?"


def _cut(characters: Iterable[str]) -> str:
    kept = "".join(islice(characters, TEXT_SHOWN + 1)).rstrip()
    return kept if len(kept) <= TEXT_SHOWN else kept[: TEXT_SHOWN - 1].rstrip() + "…"
