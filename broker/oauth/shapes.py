"""The shapes in which providers answer: JSON or a form, and the places where things stand in it.

Called by every module of this room that reads a reply. What a provider's shape is, its ``ReplyRules`` say.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from broker.oauth import strict
from broker.providers.rules import ReplyRules

# More fields than any reply has.
_FIELDS_CAP = 100


def at(value: object, path: str) -> object:
    """Follow a path: a dot steps into an object, a number into a list. None where it leads nowhere."""
    for step in path.split(".") if path else ():
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isascii() and step.isdigit() and len(step) <= len(str(len(value))):
            value = value[int(step)] if int(step) < len(value) else None
        else:
            return None
    return value


def text_of(value: object) -> str:
    """Return text as it is, without blanks around it, and a whole number as text; empty for everything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else ""


def loads(body: bytes, rules: ReplyRules) -> dict[str, Any]:
    """Read a reply strictly.

    Raises:
        ValueError: it has not the form that it should; the message is safe to show and holds nothing of the body.
    """
    if not _is_form(body, rules):
        return strict.loads(body)
    pairs = _pairs(body)
    fields: dict[str, Any] = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("it names a field twice")
    return fields


def peek(body: bytes, rules: ReplyRules) -> dict[str, Any] | None:
    """Read what can be told from a reply that need not be sound; see ``strict.peek``."""
    if not _is_form(body, rules):
        return strict.peek(body)
    try:
        pairs = _pairs(body)
    except ValueError:
        return None
    times = Counter(name for name, _ in pairs)
    return {name: value for name, value in pairs if times[name] == 1}


def token_fields(fields: Mapping[str, Any] | None, rules: ReplyRules) -> Mapping[str, Any] | None:
    """Return the object that holds the token, or None where there is none."""
    found = at(fields, rules.path)
    return found if isinstance(found, Mapping) else None


def _is_form(body: bytes, rules: ReplyRules) -> bool:
    # No form begins with a brace: a provider that says its errors as RFC 6749 5.2 wants it is understood as well.
    return rules.codec == "form" and not body.lstrip().startswith(b"{")


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        text = body.decode("utf-8").strip()
        return parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=_FIELDS_CAP
        )
    except ValueError:
        # Not chained on purpose: the foreign exception may hold the text.
        raise ValueError("it is not a form") from None
