"""What a preset file may hold: every key, and what its value looks like.

Called by ``catalog`` for preset files and for what people and discovery say in the same shape.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from broker.providers.model import Endpoints


class Misshapen(Exception):
    """A key that means nothing, or a value of the wrong kind; the text names it."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a value may be: in words, and as a test."""

    what: str
    fits: Callable[[object], bool]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 10**9


def _are_statuses(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, int) and 400 <= item <= 599 for item in value)  # noqa: PLR2004 -- HTTP's error statuses


def _are_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _are_parameters(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, str) for k, v in value.items())


_text = Check("text", lambda value: isinstance(value, str))
_flag = Check("true or false", lambda value: isinstance(value, bool))
_seconds = Check("a number of seconds", _is_number)
_days = Check("a number of days", lambda value: value is None or _is_number(value))
_count = Check("a whole number from 1", lambda value: value is None or (type(value) is int and 1 <= value <= 10**9))
_texts = Check("a list of texts", _are_texts)
_statuses = Check("a list of HTTP statuses from 400 to 599", _are_statuses)
_parameters = Check("a table of texts", _are_parameters)


def _one_of(*words: str) -> Check:
    return Check(f"one of {', '.join(words)}", lambda value: value in words)


# What describes the file, beside what describes the provider.
_FILE: Mapping[str, Check] = {
    "needs_base_url": _flag,
    "unverified": _texts,
    "notes": _texts,
    "sources": _texts,
}
_TOP: Mapping[str, Check] = {
    "title": _text,
    "discovery": _flag,
    "issuer": _text,
    "scopes": _texts,
    "scope_separator": _text,
    "auth_methods": _texts,
    "client_id": _text,
    "register_url": _text,
    "api_base": _text,
    "static_token_url": _text,
    "iss_parameter": _flag,
    "id_token_algs": _texts,
    "authorize_params": _parameters,
}
_TABLES: Mapping[str, Mapping[str, Check]] = {
    "endpoints": {field.name: _text for field in fields(Endpoints)},
    "redirect": {"out_of_band": _text, "register_without_port": _flag},
    "registration": {
        "body": _one_of("json", "form"),
        "fields": _parameters,
        "client_id": _text,
        "client_secret": _text,
    },
    "refresh": {
        "rotation": _one_of("never", "sometimes", "always"),
        "reuse_grace_s": _seconds,
        "grace_depth": _count,
        "kills_old_access_token": _flag,
        "refreshes_per_10_min": _count,
        "refresh_tokens_per_client": _count,
        "idle_days": _days,
        "absolute_days": _days,
        "dead_grant_errors": _texts,
    },
    "identity": {"url": _text, "subject": _text, "label": _texts},
    "throttle": {"statuses": _statuses, "header": _text},
}


def check_shape(data: Mapping[str, Any], *, file: bool) -> None:
    """Check a preset file (``file``), or what people and discovery say in its shape.

    Raises:
        Misshapen: naming the key.
    """
    known = {**_TOP, **_FILE} if file else _TOP
    for key, value in data.items():
        if key in _TABLES:
            if not isinstance(value, Mapping):
                raise Misshapen(f"'{key}' has to be a table.")
            _check(value, _TABLES[key], f"{key}.")
        else:
            _check({key: value}, known, "")


def _check(table: Mapping[str, Any], known: Mapping[str, Check], prefix: str) -> None:
    for key, value in table.items():
        if key not in known:
            raise Misshapen(f"'{prefix}{key}' means nothing here.")
        if not known[key].fits(value):
            raise Misshapen(f"'{prefix}{key}' has a value that does not fit: it has to be {known[key].what}.")
