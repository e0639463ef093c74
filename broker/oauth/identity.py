"""Who is logged in, asked with the token itself, for providers without an ID token (or with a nameless one).

Called by ``usecases.login`` and by the check of pasted tokens.
"""

from collections.abc import Mapping
from typing import Any

from broker.core.account import Identity
from broker.core.secret import Secret
from broker.errors import ProviderUnavailable
from broker.oauth import strict
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


async def who(http: Http, provider: Provider, *, access_token: Secret) -> Identity | None:
    """Ask who the token belongs to. Of the answer, only subject and label are kept.

    Returns:
        None where the provider has no such place, does not let this token ask, or tells no subject.

    Raises:
        IdentityRefused: the token is not accepted there (401, 403).
        ProviderUnavailable: no proper answer came.
    """
    url = provider.identity.url or provider.endpoints.userinfo
    if not url:
        return None
    try:
        reply = await http.send(
            "GET",
            url,
            private=provider.private,
            headers={"Authorization": Secret(f"Bearer {access_token.reveal()}")},
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
        fields = strict.loads(reply.body)
    except ValueError as exc:
        raise ProviderUnavailable(f"{provider.title} did not tell who is logged in: {exc}.", _LATER) from exc
    subject = _text(_at(fields, provider.identity.subject))
    if not subject or len(subject) > SUBJECT_CAP:
        return None
    return Identity(provider.identity_issuer, subject, label_of(fields, provider.identity.label) or subject)


def label_of(fields: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return the first of the named fields that says something, fit to be shown; empty where none does."""
    for name in names:
        shown = strict.clean_label(_text(_at(fields, name)))
        if shown:
            return shown
    return ""


_LATER = "Try again later."


def _at(fields: Mapping[str, Any], path: str) -> object:
    """Follow dots into objects."""
    value: object = fields
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str:
    """Names are text; some providers count people with numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else ""
