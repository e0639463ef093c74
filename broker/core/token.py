"""What a provider gave: the facts of an access token, and the grant that brought it.

Made by ``oauth.wire`` from a validated reply, kept by ``store``, judged by ``core.timing``.
"""

import json
from dataclasses import dataclass
from hashlib import sha256

from broker.core.secret import Secret

# Seconds. A lifetime of centuries is a slip (seen: 1e308), and dates beyond the year 9999 cannot be written.
LIFETIME_CAP = 2**33


@dataclass(frozen=True, slots=True)
class Token:
    """What is known about an access token, without the token itself.

    Attributes:
        token_type: as the provider wrote it; compared without case (RFC 6749 7.1).
        scope: what was granted; empty where the provider names none.
        issued_at: when the request that brought it was *sent*, in epoch seconds, so that its life is never
            overrated (RFC 6749 5.1, draft OAuth 2.1 3.2.3).
        expires_at: epoch seconds, or None where the provider gave no lifetime.
    """

    token_type: str
    scope: tuple[str, ...]
    issued_at: float
    expires_at: float | None

    @property
    def lifetime(self) -> float | None:
        """Seconds from issue to expiry, or None where unknown."""
        return None if self.expires_at is None else self.expires_at - self.issued_at

    def remaining(self, now: float) -> float | None:
        """Seconds that are left at ``now`` (negative once expired), or None where unknown."""
        return None if self.expires_at is None else self.expires_at - now


@dataclass(frozen=True, slots=True)
class Wish:
    """What a token is to carry that is not the account's own.

    Attributes:
        scope: sorted; empty for all that the login has.
        resource: the RFC 8707 resource that it is for, or None for none in particular.
        audience: the logical name of whom it is for (RFC 8693 2.1), or None for nobody in particular. A refresh cannot
            carry one, so only an exchange brings such a token.
    """

    scope: tuple[str, ...]
    resource: str | None
    audience: str | None = None

    @property
    def slot(self) -> str:
        """Name it: the same wish has the same name, and it says nothing."""
        parts = [sorted(self.scope), self.resource]
        if self.audience is not None:  # without one, the name is what it was before there were any
            parts.append(self.audience)
        return sha256(json.dumps(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Grant:
    """Everything that one successful answer of a token endpoint leaves behind.

    Attributes:
        token: the facts of the access token.
        access_token: the access token.
        refresh_token: the new refresh token, or None where the reply had none: then the old one stays (RFC 6749 6).
        id_token: the OpenID Connect ID token, verified, where one came.
        refresh_expires_at: when the refresh token dies, where the provider says so.
        whose: subject and name of the person, where the provider tells them with the token; not proven by anything.
    """

    token: Token
    access_token: Secret
    refresh_token: Secret | None = None
    id_token: Secret | None = None
    refresh_expires_at: float | None = None
    whose: tuple[str, str] | None = None
