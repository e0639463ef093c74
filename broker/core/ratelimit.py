"""What an answer says about a rate limit: how many requests are left, of how many, and for how long.

Called by ``oauth.http`` (how long a refusal lasts) and ``usecases.ratelimits``. It comes from a server that may say
anything: what cannot be understood is as good as not said, numbers have a cap, and reading takes as long as the text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

# No such field of a server in its right mind is longer.
MOST_TEXT = 1024
# Limits that one answer tells of: a second, a minute, a day and a month, and as many again.
MOST_TOLD = 8
MOST_NAME = 64
# More requests than anybody counts, and more seconds than any limit lasts: a month of 31 days.
MOST_REQUESTS = 10**9
MOST_SECONDS = 31 * 86_400.0
# A reset is told in seconds to go, or as the time when it comes: what is as large is a time (2001), ...
EPOCH = 1e9
# ... and what is as large as this has it in milliseconds (the year 5138, in seconds).
EPOCH_MS = 1e11
_DIGITS_CAP = 10
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_VALUE = rf'"(?:[ !#-\[\]-~]|\\["\\])*"|{_NUMBER}|[A-Za-z*][!#-\'*+./0-9:A-Z^-z|~-]*|:[A-Za-z0-9+/=]*:'
# A member of a structured field (RFC 9651 3), of a list or of a dictionary, and a parameter of it.
_MEMBER = re.compile(rf"[ \t]*(?:(?P<key>[a-z*][a-z0-9_.*-]*)=)?(?P<value>{_VALUE})")
_PARAMETER = re.compile(rf";[ \t]*(?P<key>[a-z*][a-z0-9_.*-]*)(?:=(?P<value>{_VALUE}))?")
_END = re.compile(r"[ \t]*(,|$)")
# The families of names; of each kind the first that is there counts.
_FAMILIES = ("x-ratelimit-", "ratelimit-", "x-rate-limit-")
_SPEAK = ("ratelimit", *_FAMILIES)
_SECONDS = ("resetseconds", "reset-seconds", "reset-after")
_WINDOWS = ("duration", "window")
_SCOPES = ("scope", "resource", "bucket", "name")


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer says about one limit; None where it does not say it.

    Attributes:
        scope: what is limited together, by the server's name; empty where it has none.
        limit: how many requests in a window.
        remaining: how many of them are left.
        reset: seconds until all of them are free again.
        window: how many seconds a window is long.
    """

    scope: str
    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None
    window: float | None = None


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of a structured field: its key in a dictionary, its value as text, its parameters."""

    key: str
    value: str
    parameters: Mapping[str, str]


def read(headers: Mapping[str, str], received_at: float) -> tuple[Told, ...]:
    """Return all that an answer says about limits.

    Args:
        headers: by lower-case name, several of one name joined with commas.
        received_at: when it came, epoch seconds.
    """
    if not any(name.startswith(_SPEAK) for name in headers):
        return ()  # nearly every answer
    now = server_time(headers, received_at)
    for told in (_structured(headers), *(_family(headers, prefix, now) for prefix in _FAMILIES)):
        if told:
            return told
    return ()


def retry_after(headers: Mapping[str, str], received_at: float) -> float | None:
    """Return the seconds that ``Retry-After`` tells in either form (RFC 9110 10.2.3), or None where it tells none."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit() and len(value) <= _DIGITS_CAP:
        return float(value)
    until = timestamp(value)
    return None if until is None else max(0.0, until - server_time(headers, received_at))


def server_time(headers: Mapping[str, str], received_at: float) -> float:
    """Return when an answer was sent by the server's own clock where it shows it: ours may be wrong."""
    theirs = timestamp(headers.get("date", ""))
    return received_at if theirs is None else theirs


def timestamp(value: str) -> float | None:
    """Return a date of HTTP's (RFC 9110 5.6.7) in epoch seconds; None where it is none."""
    try:
        return parsedate_to_datetime(value[:MOST_NAME]).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _structured(headers: Mapping[str, str]) -> tuple[Told, ...]:
    """Read ``RateLimit`` and ``RateLimit-Policy`` (draft-ietf-httpapi-ratelimit-headers; its 07 has a dictionary)."""
    policies = {_name(member.value): member for member in _members(headers.get("ratelimit-policy", ""))}
    state = _members(headers.get("ratelimit", ""))
    if any(member.key for member in state):
        return _dictionary({member.key: member.value for member in state}, tuple(policies.values()))
    told = {}
    for name, member in {**policies, **{_name(found.value): found for found in state}}.items():
        rule = {**(policies[name].parameters if name in policies else {}), **member.parameters}
        # What is limited otherwise (bytes, connections) does not tell how many requests may be made.
        if name and _name(rule.get("qu", "requests")) == "requests":
            limit, left = _count(rule.get("q")), _count(rule.get("r"))
            told[name] = _told(name, limit, left, _seconds(rule.get("t")), _seconds(rule.get("w")))
    return tuple(found for found in told.values() if found is not None)


def _dictionary(state: Mapping[str, str], policies: tuple[_Member, ...]) -> tuple[Told, ...]:
    limit = _count(state.get("limit"))
    window = next((_seconds(found.parameters.get("w")) for found in policies if _count(found.value) == limit), None)
    told = _told("", limit, _count(state.get("remaining")), _seconds(state.get("reset")), window)
    return () if told is None else (told,)


def _family(headers: Mapping[str, str], prefix: str, now: float) -> tuple[Told, ...]:
    """Read the fields of one family, such as ``X-RateLimit-Limit``; several values are several limits."""

    def first(*names: str) -> str:
        return next((headers[prefix + name] for name in names if prefix + name in headers), "")

    left, limits = _members(first("remaining")), _members(first("limit"))
    seconds, resets = _members(first(*_SECONDS)), _members(first("reset"))
    # Elsewhere than in "Limit" the lengths of the windows stand as policies, in the same order or with the same limit.
    policies = [*limits, *_members(first("policy"))]
    whole = timestamp(first("reset"))
    scope = _name(first(*_SCOPES).strip())
    found = []
    for number, member in enumerate(left):
        limit = _count(limits[number].value) if number < len(limits) else None
        if number < len(seconds):
            reset = _seconds(seconds[number].value)
        elif number < len(resets):
            reset = _until(resets[number].value, now)
        else:
            reset = None if whole is None else _capped(whole - now)
        lengths = [rule.parameters["w"] for rule in policies if "w" in rule.parameters and _count(rule.value) == limit]
        window = _seconds(lengths[0] if lengths else first(*_WINDOWS).strip())
        found.append(
            _told(f"{scope} {number + 1}".strip() if number else scope, limit, _count(member.value), reset, window)
        )
    return tuple(told for told in found if told is not None)


def _told(
    scope: str, limit: int | None, remaining: int | None, reset: float | None, window: float | None
) -> Told | None:
    """Return what is told where anything can come of it: some write 0 of 0 where there is no limit."""
    if limit == 0 or (remaining is None and (limit is None or window is None)):
        return None
    if remaining is not None and limit is not None:
        remaining = min(remaining, limit)
    return Told(scope, limit, remaining, reset, window or None)


def _members(text: str) -> list[_Member]:
    """Read a list or a dictionary of a structured field; nothing of it counts where a part of it is none."""
    members: list[_Member] = []
    if not text.strip() or len(text) > MOST_TEXT:
        return members
    at = 0
    while len(members) < MOST_TOLD:
        found = _MEMBER.match(text, at)
        if found is None:
            return []
        at, parameters = found.end(), {}
        while (parameter := _PARAMETER.match(text, at)) is not None:
            parameters[parameter["key"]] = parameter["value"] or ""
            at = parameter.end()
        members.append(_Member(found["key"] or "", found["value"], parameters))
        end = _END.match(text, at)
        if end is None:
            return []
        if not end[1]:
            return members
        at = end.end()
    return []


def _name(text: str) -> str:
    """Return a name without its quotes; empty where it cannot be shown."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return text if len(text) <= MOST_NAME and text.isascii() and text.isprintable() else ""


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(_NUMBER, text) else None


def _count(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None else min(int(number), MOST_REQUESTS)


def _seconds(text: str | None) -> float | None:
    number = _number(text)
    return None if number is None else _capped(number)


def _until(text: str, now: float) -> float | None:
    """Return the seconds to a reset that is told in seconds or as a time."""
    number = _number(text)
    if number is None or number < EPOCH:
        return None if number is None else _capped(number)
    return _capped((number / 1000.0 if number >= EPOCH_MS else number) - now)


def _capped(seconds: float) -> float:
    return min(max(seconds, 0.0), MOST_SECONDS)
