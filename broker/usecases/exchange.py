"""What comes of exchanging one access token for another (RFC 8693), and how much it may be.

Called by ``narrower`` for a token beside the account's own, and by ``derive`` and ``judging`` for an account's own.
"""

from broker.core.secret import Secret
from broker.core.token import Grant
from broker.oauth import strict, wire
from broker.oauth.grant import BadReply, read_grant
from broker.providers.model import Provider


class Beyond(BadReply):
    """The token carries more than was asked for."""


def read(raw: Secret, provider: Provider, *, issued_at: float, asked: tuple[str, ...], most: tuple[str, ...]) -> Grant:
    """Judge the answer to an exchange (RFC 8693 2.2.1).

    Args:
        raw: the answer.
        provider: whose it is.
        issued_at: when the request was sent, epoch seconds.
        asked: what counts as granted where the answer names no scope.
        most: the scopes that it may carry; empty for any.

    Raises:
        BadReply: it is not usable, is another kind of token, or has ended already.
        Beyond: it carries more than ``most``.
    """
    grant = read_grant(raw, provider=provider, issued_at=issued_at, asked_scope=asked)
    kind = wire.member(raw, "issued_token_type", provider.reply)
    if kind != wire.ACCESS_TOKEN_TYPE:
        raise BadReply("its issued_token_type is not that of an access token")
    if grant.token.lifetime is not None and grant.token.lifetime <= 0:
        raise BadReply("it has expired already")
    if more := beyond(most, grant):
        raise Beyond(f"it carries more than was asked for: '{strict.clean(more)}'")
    return grant


def beyond(most: tuple[str, ...], grant: Grant) -> str:
    """Return the scopes that a token carries beside the most that it may, in words; ``most`` is empty for any."""
    return " ".join(sorted(set(grant.token.scope) - set(most))) if most else ""
