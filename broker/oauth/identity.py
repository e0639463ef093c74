"""Who is logged in, asked with the token itself, for providers without an ID token (or with a nameless one).

Called by ``usecases.login`` and by the check of pasted tokens.
"""

import json
from collections.abc import Mapping
from typing import Any

from broker.core.account import Identity
from broker.core.secret import Secret
from broker.errors import ProviderUnavailable
from broker.oauth import shapes, strict
from broker.oauth.http import AnswerLost, Http, NotSent
from broker.providers.model import Provider

# HTTP statuses (RFC 9110 15).
_OK = 200
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_TOO_MANY = 429
# OpenID Connect Core 2: a subject is at most 255 ASCII characters.
SUBJECT_CAP = 255


class IdentityRefused(Exception):
    """The provider does not accept the token for this, or not any more; the text is safe to show."""


async def who(http: Http, provider: Provider, *, access_token: Secret, client_id: str = "") -> Identity | None:
    """Ask who the token belongs to. Of the answer, only subject and label are kept.

    Args:
        http: the way out.
        provider: where to ask.
        access_token: whose.
        client_id: of the client that it was given to, for an API that wants to be told; empty where none is known.

    Returns:
        None where the provider has no such place, does not let this token ask, or tells no subject.

    Raises:
        IdentityRefused: the token is not accepted there (401, 403).
        ProviderUnavailable: no proper answer came.
    """
    rules = provider.identity
    url = rules.url or provider.endpoints.userinfo
    if not url:
        return None
    # UserInfo is OpenID Connect's; any other place is part of the provider's API, with that one's customs.
    headers = {
        name: value.replace("{client_id}", client_id)
        for name, value in (provider.api_headers if rules.url else {}).items()
        if client_id or "{client_id}" not in value
    }
    scheme = provider.api_scheme if rules.url else "Bearer"
    try:
        reply = await http.send(
            rules.method if rules.url else "GET",
            url,
            private=provider.private,
            json=json.loads(rules.body) if rules.url and rules.body else None,
            headers={**headers, "Authorization": Secret(f"{scheme} {access_token.reveal()}")},
        )
    except (NotSent, AnswerLost) as exc:
        raise ProviderUnavailable(f"{provider.title} did not tell who is logged in: {exc.reason}.", _LATER) from exc
    if reply.status == _FORBIDDEN and not provider.identity.url:
        return None  # UserInfo is for tokens with the scope openid (OpenID Connect Core 5.3); this one is good without
    if reply.status in (_UNAUTHORIZED, _FORBIDDEN):
        raise IdentityRefused(f"{provider.title} answered HTTP {reply.status} when asked whose token it is")
    if reply.status != _OK:
        raise ProviderUnavailable(
            f"{provider.title} did not tell who is logged in: HTTP {reply.status}.",
            _LATER,
            retry_after=reply.retry_after if reply.status >= _TOO_MANY else None,
        )
    try:
        return read(provider, reply.body)
    except ValueError as exc:
        raise ProviderUnavailable(f"{provider.title} did not tell who is logged in: {exc}.", _LATER) from exc


def read(provider: Provider, body: bytes) -> Identity | None:
    """Read who it is from an answer, or None where it names no usable subject.

    Raises:
        ValueError: it is no JSON object; the message is safe to show.
    """
    fields = strict.loads(body)
    subject = shapes.text_of(shapes.at(fields, provider.identity.subject))
    if not _names_somebody(subject):
        return None
    return Identity(provider.identity_issuer, subject, label_of(fields, provider.identity.label) or subject)


def in_reply(provider: Provider, fields: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return subject and label as a token reply tells them, or None where it does not."""
    rules = provider.identity
    subject = shapes.text_of(shapes.at(fields, rules.reply_subject)) if rules.reply_subject else ""
    if not _names_somebody(subject):
        return None
    return subject, label_of(fields, rules.reply_label) or subject


def _names_somebody(subject: str) -> bool:
    """Whether it can be a subject: it is compared and shown, so it holds no control characters, as in an ID token."""
    return 0 < len(subject) <= SUBJECT_CAP and subject.isprintable()


def label_of(fields: Mapping[str, Any], paths: tuple[str, ...]) -> str:
    """Return the first of the named fields that says something, fit to be shown; empty where none does."""
    for path in paths:
        shown = strict.clean_label(shapes.text_of(shapes.at(fields, path)))
        if shown:
            return shown
    return ""


_LATER = "Try again later."
