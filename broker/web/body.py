"""What came in: query parameters and JSON bodies, read strictly and field by field.

Called by the API handlers. Every complaint names the field and what it should have been.
"""

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from starlette.requests import ClientDisconnect, Request

from broker.core.secret import Secret
from broker.errors import InvalidRequest
from broker.oauth import strict

# A token may have 64 KiB; with its field names a body stays under this.
MOST_BODY = 128 * 1024
# The end of the year 4999, epoch seconds: further than any lifetime, and still writable as a date.
LATEST = 95_617_584_000
# Thirty years: longer than any token lives.
MOST_SECONDS = 1e9
# A scope-token of RFC 6749 3.3.
SCOPE_TOKEN = re.compile(r"[!#-\[\]-~]+")
# Client ids, entity ids and issuers serve as names (RFC 8693 2.1); those are no longer than addresses.
MOST_AUDIENCE = 2048
AUDIENCE = re.compile(rf"[ -~]{{1,{MOST_AUDIENCE}}}")
# Plain decimals: Python's own reading would take "1_0", "1e3" and white space too.
NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")


def _moment(name: str, value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds: float = value
    else:
        try:
            moment = datetime.fromisoformat(value)  # type: ignore[arg-type]  # what is no text is a TypeError
        except (TypeError, ValueError):
            raise InvalidRequest(f"'{name}' must be a time such as 2030-01-31T12:00:00Z.") from None
        if moment.tzinfo is None:
            raise InvalidRequest(f"'{name}' must name its time zone, such as 2030-01-31T12:00:00Z.")
        seconds = moment.timestamp()
    if not 0 <= seconds < LATEST:
        raise InvalidRequest(f"'{name}' must lie between 1970 and the year 5000.")
    return float(seconds)


async def read_body(request: Request) -> bytes:
    """Read the body of a request.

    Raises:
        InvalidRequest: it is too large, or has no end.
    """
    raw = bytearray()
    try:
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > MOST_BODY:
                raise InvalidRequest(f"The body is larger than {MOST_BODY // 1024} KiB.")
    except ClientDisconnect as exc:
        raise InvalidRequest("The body ended before its time.") from exc
    return bytes(raw)


def check_line(name: str, value: str) -> None:
    """Refuse control characters, those of ISO 6429 too: U+009B begins what ESC [ begins.

    Raises:
        InvalidRequest: there is one.
    """
    if any(unicodedata.category(c) == "Cc" for c in value):
        raise InvalidRequest(f"'{name}' holds a control character.")


def seconds_of(name: str, text: str) -> float:
    """Return a number of seconds as it was written.

    Raises:
        InvalidRequest: it is none, or longer than any token lives.
    """
    if not NUMBER.fullmatch(text) or float(text) > MOST_SECONDS:
        raise InvalidRequest(f"'{name}' must be a number of seconds from 0 to {MOST_SECONDS:.0f}.")
    return float(text)


def check_words(name: str, words: Sequence[str]) -> None:
    """Refuse what cannot be a scope (RFC 6749 3.3).

    Raises:
        InvalidRequest: one of the words holds other characters.
    """
    if not all(SCOPE_TOKEN.fullmatch(word) for word in words):
        raise InvalidRequest(f"'{name}' holds something that is no word of plain characters.")


def check_audience(name: str) -> None:
    """Refuse what cannot be the name of an audience: RFC 8693 2.1 leaves it to provider and client what they call it.

    Raises:
        InvalidRequest: it is longer than any name, or holds more than visible ASCII and spaces.
    """
    if not AUDIENCE.fullmatch(name) or name != name.strip():
        raise InvalidRequest("'audience' must be a name of plain characters.", f"{MOST_AUDIENCE} at the most.")


class Fields:
    """A JSON object that is read field by field; what nobody read is unknown, and refused by :meth:`end`."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    @classmethod
    async def read(cls, request: Request) -> "Fields":
        """Read the body of a request; an empty one has no fields.

        Raises:
            InvalidRequest: it is too large or no JSON object.
        """
        if not (raw := await read_body(request)):
            return cls({})
        try:
            return cls(strict.loads(raw))
        except ValueError as exc:
            raise InvalidRequest(f"The body is not a JSON object: {exc}.") from exc

    def text(self, name: str, default: str = "") -> str:
        """Take a text field."""
        value = self._values.pop(name, None)
        if value is None:
            return default
        if not isinstance(value, str):
            raise InvalidRequest(f"'{name}' must be text.")
        check_line(name, value)
        return value

    def text_or_none(self, name: str) -> str | None:
        """Take a text field that may be missing, which is another thing than empty."""
        missing = self._values.get(name) is None
        text = self.text(name)
        return None if missing else text

    def lines(self, name: str) -> tuple[str, ...]:
        """Take an array of texts; none where the field is missing."""
        value = self._values.pop(name, None)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise InvalidRequest(f"'{name}' must be an array of texts.")
        for item in value:
            check_line(name, item)
        return tuple(value)

    def secret(self, name: str) -> Secret | None:
        """Take a text field that nobody may see."""
        value = self._values.pop(name, None)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise InvalidRequest(f"'{name}' must be text.")
        return Secret(value)

    def words(self, name: str) -> tuple[str, ...]:
        """Take a list of words: an array of text, or one text with spaces."""
        value = self._values.pop(name, None)
        if value is None:
            return ()
        words = value.split() if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() == word for word in words):
            raise InvalidRequest(f"'{name}' must be an array of words.")
        check_words(name, words)
        return tuple(dict.fromkeys(words))

    def choices(self, name: str) -> tuple[str, ...]:
        """Take one word, or an array of them in order of preference; none where the field is missing."""
        value = self._values.pop(name, None)
        if value is None:
            return ()
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not values or not all(isinstance(item, str) for item in values):
            raise InvalidRequest(f"'{name}' must be text, or an array of texts.")
        return tuple(dict.fromkeys(values))

    def flag(self, name: str) -> bool:
        """Take a true or false."""
        value = self._values.pop(name, None)
        if not isinstance(value, bool | None):
            raise InvalidRequest(f"'{name}' must be true or false.")
        return bool(value)

    def whole(self, name: str, least: int, most: int) -> int | None:
        """Take a whole number; None where the field is missing."""
        value = self._values.pop(name, None)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():  # JSON knows no other numbers
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise InvalidRequest(f"'{name}' must be a whole number from {least} to {most}.")
        return value

    def time(self, name: str) -> float | None:
        """Take a moment: RFC 3339 text or epoch seconds."""
        value = self._values.pop(name, None)
        return None if value is None else _moment(name, value)

    def objects(self, name: str) -> list["Fields"]:
        """Take an array of objects."""
        value = self._values.pop(name, None)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise InvalidRequest(f"'{name}' must be an array of objects.")
        return [Fields(dict(item)) for item in value]

    def table(self, name: str) -> dict[str, Any]:
        """Take an object as it is."""
        value = self._values.pop(name, None)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise InvalidRequest(f"'{name}' must be an object.")
        return value

    def texts(self, name: str) -> dict[str, str]:
        """Take an object of texts."""
        table = self.table(name)
        if not all(isinstance(value, str) for value in table.values()):
            raise InvalidRequest(f"'{name}' must be an object of texts.")
        return table

    def end(self) -> None:
        """Refuse what nobody read.

        Raises:
            InvalidRequest: naming the unknown fields.
        """
        if self._values:
            names = ", ".join(f"'{name[:50]}'" for name in sorted(self._values))
            raise InvalidRequest(f"Unknown in the body: {names}.", "See /openapi.yaml for what is known.")


class Query:
    """The query parameters of a request, each at most once and none unknown."""

    def __init__(self, request: Request, *known: str) -> None:
        items = request.query_params.multi_items()
        names = [name for name, _ in items]
        for name in names:
            if name not in known:
                raise InvalidRequest(
                    f"Unknown query parameter '{name[:50]}'.", f"Known here: {', '.join(known) or 'none'}."
                )
            if names.count(name) > 1:
                raise InvalidRequest(f"The query parameter '{name}' is given twice.")
        self._values = dict(items)

    def text(self, name: str) -> str | None:
        """Return a parameter, or None."""
        return self._values.get(name)

    def words(self, name: str) -> tuple[str, ...]:
        """Return a parameter's words (spaces or commas between them)."""
        return tuple(dict.fromkeys(self._values.get(name, "").replace(",", " ").split()))

    def seconds(self, name: str) -> float | None:
        """Return a parameter that is a number of seconds, or None."""
        text = self._values.get(name)
        return None if text is None else seconds_of(name, text)

    def time(self, name: str) -> float | None:
        """Return a parameter that is a moment (RFC 3339 text or epoch seconds), or None."""
        text = self._values.get(name)
        if text is None:
            return None
        return _moment(name, float(text) if NUMBER.fullmatch(text) else text)

    def count(self, name: str, default: int, most: int) -> int:
        """Return a parameter that is a whole number from 1 to ``most``."""
        text = self._values.get(name, str(default))
        if not NUMBER.fullmatch(text) or not 1 <= float(text) <= most or "." in text:
            raise InvalidRequest(f"'{name}' must be a whole number from 1 to {most}.")
        return int(text)

    def flag(self, name: str) -> bool:
        """Return a parameter that is true or false; false where it is missing."""
        text = self._values.get(name, "false").lower()
        if text not in ("true", "false", "1", "0"):
            raise InvalidRequest(f"'{name}' must be true or false.")
        return text in ("true", "1")
