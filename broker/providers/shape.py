"""What a preset file may hold: every key, and what its value looks like.

Called by ``catalog`` for preset files and for what people and discovery say in the same shape.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from broker.providers.rules import Endpoints


class Misshapen(Exception):
    """A key that means nothing, or a value of the wrong kind; the text names it.

    Args:
        text: safe to show.
        table: the table that the key is in; empty at the top.
        key: the key, as it is written.
    """

    def __init__(self, text: str, table: str, key: str) -> None:
        super().__init__(text)
        self.table, self.key = table, key


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


def _is_json(value: object) -> bool:
    try:
        return value == "" or (isinstance(value, str) and json.loads(value) is not None)
    except ValueError:
        return False


def _are_parameters(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, str) for k, v in value.items())


_text = Check("text", lambda value: isinstance(value, str))
_flag = Check("true or false", lambda value: isinstance(value, bool))
_seconds = Check("a number of seconds", _is_number)
_days = Check("a number of days", lambda value: value is None or _is_number(value))
_count = Check("a whole number from 1", lambda value: value is None or (type(value) is int and 1 <= value <= 10**9))
_texts = Check("a list of texts", _are_texts)
_statuses = Check("a list of HTTP statuses from 400 to 599", _are_statuses)
_pairs = Check("a table of texts", _are_parameters)
_json = Check("JSON, or empty text", _is_json)
_scalar = Check("true, false, a whole number or text", lambda value: isinstance(value, bool | int | str))


def _one_of(*words: str) -> Check:
    return Check(f"one of {', '.join(words)}", lambda value: value in words)


_HEADER = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')\s*[.=]")
# What describes the file, beside what describes the provider.
_FILE: Mapping[str, Check] = {
    "needs_base_url": _flag,
    "base_url": _text,
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
    "scope_parameter": _text,
    "pkce": _one_of("S256", "S256-public", "plain", "none"),
    "pkce_methods": _texts,
    "grants": _texts,
    "auth_methods": _texts,
    "auth_algs": _texts,
    "client_id": _text,
    "register_url": _text,
    "api_base": _text,
    "api_scheme": _text,
    "static_token_url": _text,
    "git_username": _text,
    "callback_scope": _text,
    "iss_parameter": _flag,
    "require_par": _flag,
    "client_id_metadata": _flag,
    "id_token_algs": _texts,
}
# The tables whose keys are anybody's.
_OPEN = ("authorize_params", "api_headers", "callback_checks")
_TABLES: Mapping[str, Mapping[str, Check]] = {
    "endpoints": {field.name: _text for field in fields(Endpoints)},
    "redirect": {
        "host": _one_of("127.0.0.1", "localhost"),
        "any_port": _flag,
        "out_of_band": _text,
        "register_without_port": _flag,
    },
    "registration": {
        "kind": _one_of("own", "rfc7591"),
        "body": _one_of("json", "form"),
        "fields": _pairs,
        "client_id": _text,
        "client_secret": _text,
    },
    "token": {
        "body": _one_of("form", "json"),
        "grant_field": _text,
        "code_grant": _text,
        "refresh_grant": _text,
        "client_id_field": _text,
        "params": _pairs,
        "code_params": _pairs,
        "refresh_params": _pairs,
        "redirect_uri_on_refresh": _flag,
        "headers": _pairs,
        "assertion_audience": _one_of("issuer", "token_endpoint"),
    },
    "reply": {
        "codec": _one_of("json", "form"),
        "path": _text,
        "refresh_path": _text,
        "expires_in": _text,
        "expires_unit": _one_of("s", "ms"),
        "assumed_lifetime_s": _seconds,
        "zero_is_endless": _flag,
        "scope_separator": _text,
        "bearer_names": _texts,
        "error": _text,
        "description": _text,
        "success_field": _text,
        "success_value": _scalar,
        "error_codes": _pairs,
        "status_errors": _pairs,
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
        "narrows": _flag,
        "other_resources": _flag,
    },
    "revocation": {
        "method": _one_of("POST", "DELETE", "GET"),
        "body": _one_of("form", "json", "none"),
        "auth": _one_of("client", "basic", "bearer", "none"),
        "auth_methods": _texts,
        "token_field": _text,
        "hint": _flag,
        "which": _one_of("refresh", "access", "both"),
        "params": _pairs,
        "ends_login": _flag,
    },
    "device": {
        "grant": _text,
        "code_field": _text,
        "client_secret": _flag,
        "own_client": _flag,
        "status_errors": _pairs,
        "scope_parameter": _text,
        "scope_at_poll": _flag,
    },
    "identity": {
        "url": _text,
        "method": _one_of("GET", "POST"),
        "body": _json,
        "subject": _text,
        "label": _texts,
        "reply_subject": _text,
        "reply_label": _texts,
    },
    "throttle": {"statuses": _statuses, "header": _text},
}
_PARAMETER: Mapping[str, Check] = {"what": _text, "default": _text, "choices": _texts}


def check_shape(data: Mapping[str, Any], *, file: bool) -> None:
    """Check a preset file (``file``), or what people and discovery say in its shape.

    Raises:
        Misshapen: naming the key.
    """
    known = {**_TOP, **_FILE} if file else _TOP
    tables = (*_TABLES, *_OPEN, "parameters" if file else "values")
    for key, value in data.items():
        if key not in tables:
            _check({key: value}, known, "", more=tables)
        elif not isinstance(value, Mapping):
            raise Misshapen(f"'{key}' has to be a table.", "", key)
        elif key in _TABLES:
            _check(value, _TABLES[key], key)
        elif key == "parameters":
            _check_parameters(value)
        elif not _pairs.fits(value):
            raise Misshapen(f"'{key}' has a value that does not fit: it has to be {_pairs.what}.", "", key)
    for doubted in data.get("unverified", ()):
        if not is_key(doubted):
            raise Misshapen(f"'unverified' names '{doubted}', which is no key of a preset file.", "", "unverified")


def keys() -> dict[str, str]:
    """Return every key that a preset file may hold, with its table before it, and what its value has to be.

    A table whose keys are anybody's stands under its own name.
    """
    found = {name: check.what for name, check in (*_TOP.items(), *_FILE.items())}
    found |= dict.fromkeys(_OPEN, _pairs.what)
    found |= {f"{table}.{name}": check.what for table, known in _TABLES.items() for name, check in known.items()}
    return found | {f"parameters.NAME.{name}": check.what for name, check in _PARAMETER.items()}


def is_key(dotted: str) -> bool:
    """Whether a dotted name is a key of the description of a provider, one of its tables, or a key of such a table."""
    table, dot, key = dotted.partition(".")
    if not dot:
        return table in (*_TOP, *_TABLES, *_OPEN, "parameters", "base_url")
    return key in _TABLES.get(table, ()) or (bool(key) and table in (*_OPEN, "parameters"))


def _check_parameters(table: Mapping[str, Any]) -> None:
    for name, value in table.items():
        where = f"parameters.{name}"
        if not isinstance(value, Mapping):
            raise Misshapen(f"'{where}' has to be a table.", "parameters", name)
        _check(value, _PARAMETER, where)
        if not value.get("what"):
            raise Misshapen(f"'{where}' has to say 'what' it is.", where, "what")


def _check(table: Mapping[str, Any], known: Mapping[str, Check], where: str, more: tuple[str, ...] = ()) -> None:
    for key, value in table.items():
        name = f"{where}.{key}" if where else key
        if key not in known:
            allowed = sorted((*known, *more))
            import difflib  # noqa: PLC0415 -- only for who misspells

            near = difflib.get_close_matches(key, allowed, n=1)
            meant = f"did you mean '{near[0]}'? " if near else ""
            raise Misshapen(f"'{name}' means nothing here; {meant}known are: {', '.join(allowed)}.", where, key)
        if not known[key].fits(value):
            raise Misshapen(f"'{name}' has a value that does not fit: it has to be {known[key].what}.", where, key)


def line_of(text: str, table: str, key: str) -> int:
    """Return the line of a preset file at which a key stands, from 1; 0 where that cannot be told."""
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            inside = header[1].replace('"', "").replace("'", "").replace(" ", "")
            if inside == (f"{table}.{key}" if table else key):
                return number
        elif (written := _KEY.match(line)) and (inside, written[1].strip("\"'")) == (table, key):
            return number
    return 0
