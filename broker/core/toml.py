"""TOML as a person writes it, read so that everything that is wrong with it is one kind of error.

Called for the configuration and for preset files.
"""

import tomllib
from typing import Any

# The largest preset has 3 KiB. The parser takes the square of the length of a table's name, so a larger file, or a
# device that never ends, is not even looked at.
MOST_BYTES = 64 * 1024


class NotToml(ValueError):
    """A text that is not TOML; it says why, and where."""


def loads(text: str) -> dict[str, Any]:
    """Read a text in TOML.

    Raises:
        NotToml: it is none, is too long, or holds what Python's parser cannot take.
    """
    if len(text.encode()) > MOST_BYTES:
        raise NotToml(f"it is longer than {MOST_BYTES // 1024} KiB")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise NotToml(str(exc)) from exc
    except RecursionError:
        raise NotToml("it is nested too deeply") from None
    except ValueError as exc:
        # Python refuses numbers of more than 4300 digits.
        raise NotToml("it holds a number that is too long") from exc
