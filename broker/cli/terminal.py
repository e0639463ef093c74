"""How Keyfob talks to a person.

Called by every verb. The rules: results, and nothing else, go to stdout; everything for people goes to stderr. Bold,
movement and tables appear on a terminal only: a pipe or a file gets one record a line, with tabs between. Whatever came
from outside loses its control characters first, so that no provider, app or file can paint on the terminal.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing typing for its own constant costs `keyfob token` two milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import NoReturn, TextIO

MINUTE, HOUR, DAY = 60, 3600, 86_400


def result(text: str) -> None:
    """Write a result to stdout.

    Raises:
        KeyfobError: stdout cannot be written, for another reason than a reader who left (``BrokenPipeError``).
    """
    try:
        sys.stdout.write(f"{text}\n")
    except UnicodeEncodeError:  # a terminal without Unicode: better a question mark than nothing
        sys.stdout.write(f"{text}\n".encode("ascii", "replace").decode())
    except OSError as exc:
        _unwritable(exc)


def result_json(value: object) -> None:
    """Write a result as JSON; non-ASCII is escaped, so that it is safe on every terminal."""
    import json

    result(json.dumps(value, indent=2))


def flush() -> None:
    """Bring out what was written; called once, at the end.

    Raises:
        KeyfobError: stdout cannot be written, for another reason than a reader who left (``BrokenPipeError``).
    """
    try:
        sys.stdout.flush()
    except OSError as exc:
        _unwritable(exc)


def abandon_output() -> None:
    """Point stdout at nothing, so that the interpreter does not fail over it again when it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def say(text: str = "") -> None:
    """Write a line for people, to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def fail(text: str, *hints: str) -> None:
    """Say what went wrong, and below it the next steps."""
    say(f"keyfob: {clean(text)}")
    for hint in hints:
        if hint:
            say(f"  {clean(hint)}")


def clean(value: object) -> str:
    """Return text from outside without anything that moves a cursor, hides or reverses text."""
    return "".join(character if character.isprintable() else "·" for character in str(value))


def is_terminal(stream: TextIO) -> bool:
    """Whether a person is looking at the stream, on a terminal that can do more than print lines."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def size() -> tuple[int, int]:
    """Return columns and lines of the terminal that people look at; 80 and 24 where nothing tells.

    The standard library's own look asks stdout, which is a file or a pipe whenever a result is kept.
    """
    try:
        found = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):  # no terminal, or a stand-in without a descriptor
        return 80, 24
    return found.columns or 80, found.lines or 24


def paint(text: str, *, bold: bool = True, stream: TextIO | None = None) -> str:
    """Return the text in bold where ``stream`` (default: stderr) is a terminal and nobody has said NO_COLOR."""
    plain = not bold or os.environ.get("NO_COLOR") or not is_terminal(stream or sys.stderr)
    return text if plain else f"\x1b[1m{text}\x1b[0m"


def is_table() -> bool:
    """Whether a person reads what is listed, as a table; a pipe or a file gets records for a program."""
    return sys.stdout.isatty()


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a list to stdout: aligned columns on a terminal, elsewhere the bare cells with tabs between them."""
    if not is_table():
        for row in rows:
            result("\t".join(map(clean, row)))
        return
    cells = [[clean(cell) or "-" for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in [header, *cells]) for column in range(len(header))]
    for index, line in enumerate([header, *cells]):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        result(text if index else paint(text, stream=sys.stdout))


def facts(value: Mapping[str, object], now: float) -> None:
    """Write a JSON object to stdout, a line for each fact, as :func:`table` does; what is empty is left out."""
    pairs = list(_pairs(value, "", now))
    width = max((len(name) for name, _ in pairs), default=0)
    for name, text in pairs:
        result(f"{name.ljust(width)}  {text}" if is_table() else f"{name}\t{text}")


def when(moment: object, now: float) -> str:
    """Return how far an RFC 3339 time is from ``now`` (epoch seconds): ``in 42 min``, ``3 d ago``."""
    seconds = _until(moment, now)
    if seconds is None:
        return clean(moment) if moment else ""
    text = span(abs(seconds))
    return f"in {text}" if seconds >= 0 else f"{text} ago"


def moment(text: object, now: float) -> str:
    """Return an RFC 3339 time as a list shows it: how far it is from ``now`` in a table, elsewhere the time itself."""
    return when(text, now) if is_table() else str(text or "")


def span(seconds: float) -> str:
    """Return a length of time as people say it: ``95 s``, ``42 min``, ``3 d``."""
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.0f} h" if seconds < 2 * DAY else f"{seconds / DAY:.0f} d"


def is_past(moment: object, now: float) -> bool:
    """Whether an RFC 3339 time was before ``now`` (epoch seconds); what is no time has not passed."""
    seconds = _until(moment, now)
    return seconds is not None and seconds < 0


def words(value: object) -> str:
    """Return a value of an answer, or a list of them, as words; with commas where one of them has several itself."""
    if isinstance(value, (list, tuple)):
        items = [str(item) for item in value]
        return (", " if any(" " in item for item in items) else " ").join(items)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def _until(moment: object, now: float) -> float | None:
    from datetime import datetime

    try:
        return datetime.fromisoformat(str(moment)).timestamp() - now
    except ValueError:
        return None


def _unwritable(exc: OSError) -> NoReturn:
    if isinstance(exc, BrokenPipeError):
        raise exc
    from broker.errors import KeyfobError

    abandon_output()
    raise KeyfobError(f"The result could not be written: {exc.strerror}.") from exc


def _pairs(value: Mapping[str, object], prefix: str, now: float) -> Iterable[tuple[str, str]]:
    for key, item in value.items():
        name = clean(f"{prefix}{key}").replace("_", " ")
        if isinstance(item, dict):
            yield from _pairs(item, f"{prefix}{key} ", now)
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            for number, entry in enumerate(item, 1):
                yield from _pairs(entry, f"{prefix}{key} {number} ", now)
        elif isinstance(item, bool):
            yield name, "yes" if item else "no"
        elif item is not None and item not in ("", []):
            near = is_table() and (str(key) == "since" or str(key).endswith("_at"))
            over = "expired " if str(key).endswith("expires_at") and is_past(item, now) else ""
            yield name, clean(words(item)) + (f"  ({over}{when(item, now)})" if near else "")
