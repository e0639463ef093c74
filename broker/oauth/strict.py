"""Text that came from outside: strict JSON, and words that may be shown to people.

Called by every module of this room that reads a reply, and by the callback.
"""

import json
import math
import re
import unicodedata
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections import Counter
from typing import Any, NoReturn

# Token replies are flat, metadata and key sets are three deep: more is an attack on the parser.
DEPTH_CAP = 32
# Epoch microseconds have 16 digits; far longer numbers only burn time, and Python refuses them at 4300 on its own.
DIGITS_CAP = 40
# What of an error description is shown (RFC 6749 5.2 sets no limit).
SHOWN_CAP = 512

# A string literal (so that brackets inside do not count), or one bracket. A literal that never ends counts to the end,
# and nothing is given back (the possessive *+ and ++): looking again from every quote in it would take minutes.
_STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
# RFC 6749 appendix A: NQSCHAR, what error and error_description may hold.
_NOT_NQSCHAR = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]+")
# RFC 6749 appendix A: VSCHAR without the space; what a bearer token can hold without breaking a header.
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


def loads(body: bytes) -> dict[str, Any]:
    """Read a JSON object, taking nothing that a careful writer would not write.

    Refused beyond RFC 8259: other encodings than UTF-8, NaN and infinities (spelled or by overflow), a name twice,
    more than 32 levels, numbers of more than 40 digits, lone surrogates.

    Raises:
        ValueError: it is not such an object; the message is safe to show and holds nothing of the body.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        # Not chained on purpose, here and below: the foreign exception holds the text.
        raise ValueError("it is not UTF-8 text") from None
    _check_depth(text)
    try:
        value = json.loads(
            text,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_short,
            object_pairs_hook=_unique,
        )
    except json.JSONDecodeError as exc:
        raise ValueError(f"it is not JSON ({exc.msg} at {exc.pos})") from None
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 -- one kind of error for one kind of trouble
    # Only an escape can bring one: text that was read from UTF-8 has none.
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half a character") from None
    return value


def peek(body: bytes) -> dict[str, Any] | None:
    """Read what can be told from a reply that need not be sound, or None where nothing can.

    For one use only: finding a new refresh token before anything else is judged, so that a provider's slip in some
    other field does not cost the login (security.md 4.1 step 4). A name that comes twice is left out.
    """
    try:
        text = body.decode("utf-8")
        _check_depth(text)
        # As a float a number of any length is read, and none is taken for text.
        value = json.loads(text, parse_int=float, object_pairs_hook=_once)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def base64url(text: str) -> bytes:
    """Read base64url without padding, strictly (RFC 7515 2).

    Raises:
        ValueError: it is not such a text; the message holds nothing of it.
    """
    try:
        raw = text.encode("ascii")
        decoded = urlsafe_b64decode(raw + b"=" * (-len(raw) % 4))
    except (UnicodeEncodeError, Base64Error) as exc:
        raise ValueError("it is not base64url") from exc
    if urlsafe_b64encode(decoded).rstrip(b"=") != raw:
        raise ValueError("it is not base64url")
    return decoded


def is_printable(value: object, *, cap: int = 65536) -> bool:
    """Whether ``value`` is text of visible ASCII characters only: not empty, no spaces, no line ends."""
    return isinstance(value, str) and len(value) <= cap and _PRINTABLE.fullmatch(value) is not None


def clean(value: object, *, cap: int = SHOWN_CAP) -> str:
    """Return an ``error`` or ``error_description`` fit for a page, a terminal or a log (RFC 6749 appendix A)."""
    if not isinstance(value, str):
        return ""
    return _NOT_NQSCHAR.sub(" ", value[: 4 * cap].replace('"', "'")).strip()[:cap]


def clean_label(value: str, *, cap: int = 200) -> str:
    """Return a person's name as it may be shown: any script, but no control, format or surrogate characters."""
    shown = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in value[: 4 * cap])
    return " ".join(shown.split())[:cap]


def _check_depth(text: str) -> None:
    if text.count("{") + text.count("[") <= DEPTH_CAP:
        return
    depth = 0
    for match in _STRUCTURE.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth > DEPTH_CAP:
                raise ValueError("it is nested too deeply")
        elif match[0] in "]}":
            depth -= 1


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("it holds a number that is none")


def _finite(digits: str) -> float:
    number = float(digits)
    if len(digits) > DIGITS_CAP or not math.isfinite(number):
        raise ValueError("it holds a number that is none")
    return number


def _short(digits: str) -> int:
    if len(digits) > DIGITS_CAP:
        raise ValueError("it holds a number that is too long")
    return int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("it names a field twice")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    times = Counter(name for name, _ in pairs)
    return {name: value for name, value in pairs if times[name] == 1}
