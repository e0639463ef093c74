"""What a token endpoint answered, told apart: a token, a refusal, a throttle, or nothing that can be understood.

Called by ``wire`` and ``revocation``, and by ``usecases.refresh`` for answers that were kept. A provider's own shape is
in its ``ReplyRules``; without any it is RFC 6749's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from broker.core.secret import Secret
from broker.oauth import shapes, strict
from broker.oauth.http import Reply
from broker.providers.model import Provider
from broker.providers.rules import ReplyRules

# A token named as a JSON member, or as a form's field: not every endpoint answers in the form that it should.
_ANY_TOKEN = re.compile(rb'"((?:access|refresh)_token)"\s*:|(?:^|&)\s*((?:access|refresh)_token)=')
_REFRESH_TOKEN = re.compile(rb'"(refresh_token)"\s*:|(?:^|&)\s*(refresh_token)=')
# What stands in an error text for a secret that it repeated; and what a piece of one looks like: long, without blanks.
HIDDEN = "[hidden]"
LEAST_SECRET = 8
_RUN = re.compile(r"[A-Za-z0-9._~+/=%-]{12,}")
# HTTP statuses (RFC 9110 15) by what they mean here; 408 and 425 say "later", not "no".
OK = range(200, 300)
_CLIENT_ERRORS = range(400, 500)
_TOO_EARLY = (408, 425)
_THROTTLED = 429
_UNAVAILABLE = 503
# A gateway passed the request on and got no answer that it understood (RFC 9110 15.6.3, 15.6.5; 520 and 524 are
# Cloudflare's): what came of it, it cannot say. nginx says 502 also where nobody took the request: who knows which.
_NO_WORD = (502, 504, 520, 524)
_SERVER_ERRORS = range(500, 600)


@dataclass(frozen=True, slots=True)
class Answered:
    """The endpoint gave a token. Not validated yet: what counts is that ``raw`` is written down first.

    Attributes:
        raw: the reply, whole.
        refresh_token: the new one, where one is plainly there; None keeps the old one (RFC 6749 6).
    """

    raw: Secret
    refresh_token: Secret | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The endpoint answered with an OAuth error (RFC 6749 5.2); the texts are safe to show."""

    error: str
    description: str
    status: int


@dataclass(frozen=True, slots=True)
class Throttled:
    """Too fast. ``retry_after`` is in seconds, or None where the provider gives none."""

    reason: str
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Surely nothing was sent."""

    reason: str


@dataclass(frozen=True, slots=True)
class Faulty:
    """Something answered, but not a token endpoint in its right mind."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """It was sent, and no answer came: nobody knows what it did."""

    reason: str


NoToken = Refused | Throttled | Unreachable | Faulty | Lost
Outcome = Answered | NoToken


def read_reply(
    reply: Reply, provider: Provider, sent: tuple[Secret, ...] = ()
) -> Answered | Refused | Throttled | Faulty | Lost:
    """Tell what an answer is, from its status first: a body cannot turn a refusal into a token.

    Args:
        reply: the answer.
        provider: how it answers, and what it says "too fast" with.
        sent: the secrets of the request: some providers repeat them in their error texts.
    """
    status, throttle, rules = reply.status, provider.throttle, provider.reply
    if status in OK:
        return _read_success(reply, rules, sent)
    if status == _THROTTLED or (status == _UNAVAILABLE and "retry-after" in reply.headers):
        return Throttled(f"it answered HTTP {status}", reply.retry_after)
    if status in throttle.statuses and reply.headers.get(throttle.header.lower(), "").strip() == "0":
        return Throttled(f"it answered HTTP {status} and nothing is left of the allowance", reply.retry_after)
    if status in _CLIENT_ERRORS and status not in _TOO_EARLY:
        refused = _refusal(shapes.peek(reply.body, rules), status, rules, sent) or _bare_refusal(reply, rules)
        if refused is not None:
            return refused
    return Lost(describe(reply)) if status in _NO_WORD else Faulty(describe(reply))


def _read_success(reply: Reply, rules: ReplyRules, sent: tuple[Secret, ...]) -> Answered | Refused | Faulty:
    # Whatever else is wrong with it: what speaks of a token may be the only copy of a rotated one, so it is kept.
    fields = shapes.peek(reply.body, rules)
    token = shapes.token_fields(fields, rules) or {}
    if token.get("access_token") or token.get("refresh_token") or _hides(_ANY_TOKEN, reply.body, rules):
        # Bytes that are not UTF-8 become \x..: readable for people, and never valid JSON again.
        raw = Secret(reply.body.decode("utf-8", "backslashreplace"))
        return Answered(raw, refresh_token_in(raw, rules) if fields is None else new_refresh_token(fields, rules))
    if fields is None:
        return Faulty(describe(reply))
    return refusal_in(reply, rules, sent) or Faulty(f"HTTP {reply.status} with no token in it")


def refusal_in(reply: Reply, rules: ReplyRules, sent: tuple[Secret, ...]) -> Refused | None:
    """Return what an answer with a good status refuses all the same, or None where it refuses nothing."""
    fields = shapes.peek(reply.body, rules)
    if succeeded(fields, rules):
        return None
    refused = _refusal(fields, reply.status, rules, sent)
    if refused is None and rules.success_field and shapes.at(fields, rules.success_field) is not None:
        return Refused("error", f"it says that it failed ({rules.success_field})", reply.status)
    return refused


def succeeded(fields: Mapping[str, Any] | None, rules: ReplyRules) -> bool:
    """Whether a reply says in so many words that it is a success, for providers whose status does not tell."""
    if not rules.success_field:
        return False
    found, wanted = shapes.at(fields, rules.success_field), rules.success_value
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted or (isinstance(found, str) and found.lower() == str(wanted).lower())
    return _code(found) == str(wanted)


def _hides(name: re.Pattern[bytes], body: bytes, rules: ReplyRules) -> bool:
    """Whether a reply speaks of a token at a place where none is read: twice, nested, in another form, cut off.

    Zero bytes are left out to see through UTF-16, which is refused later.
    """
    fields = shapes.token_fields(shapes.peek(body, rules), rules) or {}
    spoken = [match[1] or match[2] for match in name.finditer(body.replace(b"\0", b""))]
    return len(spoken) > len({token.decode() for token in spoken} & fields.keys())


def hides_refresh_token(raw: Secret, rules: ReplyRules) -> bool:
    """Whether a reply speaks of a refresh token that cannot be taken from it: the only copy of it, perhaps."""
    return _hides(_REFRESH_TOKEN, raw.reveal().encode(), rules)


def refresh_token_in(raw: Secret, rules: ReplyRules) -> Secret | None:
    """Return the refresh token that is plainly there in a reply, whatever else may be wrong with it."""
    return new_refresh_token(shapes.peek(raw.reveal().encode(), rules), rules)


def new_refresh_token(whole: Mapping[str, Any] | None, rules: ReplyRules) -> Secret | None:
    """Return the same of a reply that was read already; None where it could not be."""
    fields = shapes.token_fields(whole, rules)
    new = fields.get("refresh_token") if fields is not None else None
    return Secret(new) if isinstance(new, str) and strict.is_printable(new) else None


def member(raw: Secret, name: str, rules: ReplyRules) -> object:
    """Return a member of the object that holds the token in a reply; None where there is none."""
    return (shapes.token_fields(shapes.peek(raw.reveal().encode(), rules), rules) or {}).get(name)


def _refusal(
    fields: Mapping[str, Any] | None, status: int, rules: ReplyRules, sent: tuple[Secret, ...]
) -> Refused | None:
    """Read an error at the provider's place for it, and where nothing stands there at RFC 6749's (section 5.2)."""
    found, usual = shapes.at(fields, rules.error), shapes.at(fields, "error")
    # A number where RFC 6749 wants a word is no error code, unless the provider is known for it.
    code = _code(found) if isinstance(found, str) or rules.error != "error" else ""
    code = code or (usual if isinstance(usual, str) else "")
    said = shapes.at(fields, rules.description) or shapes.at(fields, "error_description")
    # Whoever shows it ends the sentence.
    error, description = (strict.clean(_without(text, sent)).removesuffix(".") for text in (code, said))
    if not error:
        return None
    known = rules.error_codes.get(code)
    # In its own words where it says it with a code of its own, and says nothing else.
    return Refused(error, description, status) if known is None else Refused(known, description or error, status)


def _bare_refusal(reply: Reply, rules: ReplyRules) -> Refused | None:
    """Read a refusal from its status alone, where the provider says nothing else; a web page is somebody else's."""
    known = rules.status_errors.get(str(reply.status))
    return None if known is None or _is_page(reply) else Refused(known, f"HTTP {reply.status}", reply.status)


def _code(value: object) -> str:
    """Return an error code as text; ``peek`` reads numbers as floats."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else shapes.text_of(value)


def _without(text: object, secrets: tuple[Secret, ...]) -> object:
    """Return an error text without the secrets that it repeats, whole, in parts or percent-encoded."""
    if not isinstance(text, str):
        return text
    # No real secret is shorter than a password, and a shorter one would be found in innocent words.
    plain = [value for secret in secrets if len(value := secret.reveal()) >= LEAST_SECRET]
    for value in sorted(plain, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return _RUN.sub(lambda run: HIDDEN if any(unquote(run[0]) in value for value in plain) else run[0], text)


def describe(reply: Reply) -> str:
    """Say what came in place of an answer in OAuth's form; nothing of its body is in it."""
    text = f"HTTP {reply.status}"
    if reply.status in range(300, 400):
        return f"{text}, a redirect; those are not followed with secrets in hand"
    if not reply.body.strip():
        return f"{text} with nothing in it"
    if _is_page(reply):
        return f"{text} with a web page instead of JSON"
    return text if reply.status in _SERVER_ERRORS else f"{text}, but not in OAuth's form"


def _is_page(reply: Reply) -> bool:
    return reply.body.lstrip()[:1] == b"<" or "html" in reply.headers.get("content-type", "")
