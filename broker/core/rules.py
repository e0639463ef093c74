"""Which requests an app may send through the proxy: methods and a pattern of the path, matched segment by segment.

Called by ``policy``, and by the use cases that take rules. A rule is ``METHODS PATTERN``, as in
``GET,POST /v1/issues/*``, or the word ``read-only``. A request may pass that fits one of them; where there is none,
every request may.

A pattern begins with a slash. Its segments are text; ``*``, which is one segment that is not empty; and at the end
``**``, which is any number of them. So matching looks at each segment once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

READ_ONLY = "read-only"
# RFC 9110 9.2.1, without TRACE, which the proxy does not send.
SAFE = ("GET", "HEAD", "OPTIONS")
ANY = "*"
# Far beyond what a person writes down, and quickly looked through.
MOST_RULES, MOST_LENGTH = 50, 500
_METHODS = re.compile(r"\*|[A-Z]+(,[A-Z]+)*")
# Paths are compared decoded and without a query: a pattern with one of these could never fit.
_UNFIT = re.compile(r"[\x00-\x20\x7f%?#\\]")


@dataclass(frozen=True, slots=True)
class Passage:
    """A request that is to go through the proxy.

    Attributes:
        method: as it was sent; methods are case-sensitive (RFC 9110 9.1).
        path: below the API base, decoded once, with a slash at its beginning.
    """

    method: str
    path: str


def written(rule: str) -> str:
    """Return a rule in its one form: methods in capitals, one space.

    Raises:
        ValueError: it is none; the text says why.
    """
    words = rule.split()
    if words == [READ_ONLY]:
        return READ_ONLY
    if len(words) != 2:  # noqa: PLR2004 -- methods and a pattern
        raise ValueError("it is neither methods and a path, as in 'GET,POST /v1/issues/*', nor 'read-only'")
    methods, pattern = words[0].upper(), words[1]
    if not _METHODS.fullmatch(methods):
        raise ValueError("it does not begin with methods, as in 'GET,POST', or '*' for all")
    if not pattern.startswith("/"):
        raise ValueError("its path does not begin with a slash")
    if len(rule) > MOST_LENGTH:
        raise ValueError(f"it is longer than {MOST_LENGTH} characters")
    if _UNFIT.search(pattern):
        raise ValueError("its path holds '%', '?', '#' or a backslash: it is written decoded, and without a query")
    *early, last = pattern[1:].split("/")
    if "**" in early or any("*" in part and part not in ("*", "**") for part in (*early, last)):
        raise ValueError("'*' stands for a whole segment, and '**' at the end for all that follows")
    if any(part in (".", "..") for part in (*early, last)):
        raise ValueError("its path goes up and down")
    return f"{methods} {pattern}"


def allow(rules: Sequence[str], passage: Passage) -> bool:
    """Whether a request fits one of these rules, or there are none."""
    if not rules:
        return True
    segments = passage.path[1:].split("/")
    return any(_fits(rule, passage.method, segments) for rule in rules)


def _fits(rule: str, method: str, segments: Sequence[str]) -> bool:
    if rule == READ_ONLY:
        return method in SAFE
    methods, _, pattern = rule.partition(" ")
    if methods != ANY and method not in methods.split(","):
        return False
    wanted = pattern[1:].split("/")
    if wanted[-1] == "**":
        wanted.pop()
        if len(segments) < len(wanted):
            return False
    elif len(segments) != len(wanted):
        return False
    return all(one == here or (one == "*" and here != "") for one, here in zip(wanted, segments, strict=False))
