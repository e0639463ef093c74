"""From a token endpoint's answer to a grant: every field judged (RFC 6749 5.1).

Called by the use cases, once the answer is safely written down.
"""

import re
from collections.abc import Mapping
from typing import Any

from broker.core.secret import Secret
from broker.core.token import LIFETIME_CAP, Grant, Token
from broker.oauth import identity, shapes, strict
from broker.oauth.reply import new_refresh_token, succeeded
from broker.providers.model import Provider
from broker.providers.rules import ReplyRules

# Seconds as text, as some providers send them: "3600", "3599.9" - in ASCII, so no other script's digits.
_SECONDS = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,12})?")
_MILLI = 1000


class BadReply(Exception):
    """A token reply that is not usable; the text says why and holds nothing of it."""


class Unreadable(BadReply):
    """It is not even JSON: whatever else it brought, a new refresh token included, cannot be told."""


def read_grant(raw: Secret, *, provider: Provider, issued_at: float, asked_scope: tuple[str, ...]) -> Grant:
    """Validate a token reply (RFC 6749 5.1). An ``id_token`` in it is *not* verified here.

    Args:
        raw: the reply.
        provider: how it answers; at a refresh with ``reply.of_refresh()``.
        issued_at: when the request was sent, epoch seconds: life is counted from there.
        asked_scope: what counts as granted where the reply names no scope: what the request asked for, or at a
            refresh what the grant has.

    Raises:
        BadReply: it is not usable; refresh tokens in it are not judged here.
    """
    rules = provider.reply
    try:
        whole = shapes.loads(raw.reveal().encode(), rules)
    except ValueError as exc:
        raise Unreadable(str(exc)) from exc
    if rules.success_field and not succeeded(whole, rules):
        raise BadReply("it does not say that it is a success")
    fields = shapes.token_fields(whole, rules)
    if fields is None:
        raise BadReply(f"it has no '{rules.path}'")
    access_token = fields.get("access_token")
    if not isinstance(access_token, str) or not strict.is_printable(access_token):
        raise BadReply("its access_token is missing, or not text that can be sent")
    token_type = fields.get("token_type")
    if token_type in (None, ""):
        token_type = "Bearer"  # noqa: S105 -- RFC 6749 requires it; providers forget it, and mean this
    bearer = {"bearer", *(name.lower() for name in rules.bearer_names)}
    if not isinstance(token_type, str) or token_type.lower() not in bearer:
        raise BadReply("its token_type is not Bearer")
    id_token = fields.get("id_token")
    if id_token not in (None, "") and not strict.is_printable(id_token):
        raise BadReply("its id_token is not text")
    lifetime = _token_lifetime(fields, rules)
    separator = rules.scope_separator or provider.scope_separator
    return Grant(
        token=Token(
            token_type=token_type,
            # Left out means "as asked" (RFC 6749 5.1). Empty is no scope of that grammar (3.3): some say so who grant
            # by other means than scopes, so it tells as little as a provider that never tells.
            scope=asked_scope if fields.get("scope") is None else _scope(fields["scope"], separator),
            issued_at=issued_at,
            expires_at=None if lifetime is None else issued_at + max(0.0, lifetime),
        ),
        access_token=Secret(access_token),
        refresh_token=new_refresh_token(whole, rules),
        id_token=Secret(id_token) if isinstance(id_token, str) and id_token else None,
        refresh_expires_at=_refresh_expiry(fields, rules, issued_at),
        whose=identity.in_reply(provider, whole),
    )


def _token_lifetime(fields: Mapping[str, Any], rules: ReplyRules) -> float | None:
    """Return the seconds that a token lives, or None where it does not end; zero and less mean expired otherwise."""
    lifetime = _lifetime(fields.get(rules.expires_in), rules)
    if lifetime is None:
        return rules.assumed_lifetime_s
    return None if lifetime == 0 and rules.zero_is_endless else lifetime


def _lifetime(value: object, rules: ReplyRules) -> int | None:
    """Return whole seconds, None where none are given."""
    if value is None:
        return None
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LIFETIME_CAP:
        raise BadReply("its expires_in is not a number of seconds")
    return int(value / (_MILLI if rules.expires_unit == "ms" else 1) // 1)


def _scope(value: object, separator: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.replace(separator or " ", " ").split(" ")
    if not isinstance(value, list):
        raise BadReply("its scope is neither text nor a list")
    scopes = [item for item in value if item != ""]
    if not all(strict.is_printable(item) for item in scopes):
        raise BadReply("its scope holds something that is no scope")
    return tuple(dict.fromkeys(scopes))


def _refresh_expiry(fields: Mapping[str, Any], rules: ReplyRules, issued_at: float) -> float | None:
    """When the refresh token dies, by either of the two names in use. Zero means never (Keycloak's offline tokens).

    It is a convenience for the calendar, so nonsense in it is no reason to refuse a token.
    """
    for name in ("refresh_token_expires_in", "refresh_expires_in"):
        try:
            lifetime = _lifetime(fields.get(name), rules)
        except BadReply:
            continue
        if lifetime is not None and lifetime > 0:
            return issued_at + lifetime
    return None
