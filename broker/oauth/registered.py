"""What a provider says that it registered, compared with what was asked (RFC 7591 3.2.1; security.md R39).

Called by ``registration`` and ``management``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.core.login import Management, Registered
from broker.core.secret import Secret
from broker.errors import InvalidRequest, LoginFailed, ProviderUnavailable
from broker.oauth import strict
from broker.oauth.http import Reply
from broker.providers.model import Provider
from broker.providers.rules import WITH_SECRET, Registration
from broker.providers.urls import check_endpoint, split

# HTTP statuses (RFC 9110 15).
_TOO_MANY = 429
_SERVER_ERROR = 500
# Seconds from the epoch to the year 10000: what is said to end later does not end, and no date could be written.
_LATEST = 253_402_300_800
# What a provider says about a registration that is no client metadata: an update must not repeat it (RFC 7592 2.2).
_NO_METADATA = (
    "client_secret",
    "registration_access_token",
    "registration_client_uri",
    "client_secret_expires_at",
    "client_id_issued_at",
)


@dataclass(frozen=True, slots=True)
class Made:
    """A registration as it was answered.

    Attributes:
        client: as the provider says that it is.
        mismatch: what differs from what was asked so that it must not be used, as the end of a sentence about the
            provider; empty where it is fine.
    """

    client: Registered
    mismatch: str


def read(
    provider: Provider,
    rules: Registration,
    reply: Reply,
    *,
    asked: Mapping[str, Any],
    redirect_uris: Sequence[str],
    before: Registered | None = None,
) -> Made:
    """Read the answer to a registration or to its update.

    Args:
        provider: who answered.
        rules: how it calls the fields of its reply.
        reply: the answer, of a status that means done.
        asked: the metadata that was asked for.
        redirect_uris: those that were asked for.
        before: what was registered before an update.

    Raises:
        LoginFailed: there is no usable client in it.
        ProviderUnavailable: it cannot be read.
    """
    try:
        fields = strict.loads(reply.body)
    except ValueError as exc:
        raise ProviderUnavailable(
            f"{provider.title} answered the registration with something unusable: {exc}.", "Try again later."
        ) from exc
    client_id = fields.get(rules.client_id)
    if not isinstance(client_id, str) or not strict.is_printable(client_id):
        raise LoginFailed(f"{provider.title} registered Keyfob without a usable client id.", by_hand(provider))
    told = _secret(provider, fields.get(rules.client_secret))
    secret = told or (before.client_secret if before else None)
    method = _auth_method(provider, fields, asked, has_secret=secret is not None)
    uris = _words(fields.get("redirect_uris"), redirect_uris)
    client = Registered(
        client_id,
        None if method == "none" else secret,
        method,
        uris,
        _words(fields.get("scope", fields.get("scopes")), ()),
        _end(fields, before if told is None else None) if method != "none" else None,
        _management(provider, fields, before),
    )
    return Made(client, _mismatch(fields, client, redirect_uris, before))


def refusal(provider: Provider, reply: Reply, what: str) -> LoginFailed | ProviderUnavailable:
    """Return what an answer means that is no registration.

    Args:
        provider: who answered.
        reply: the answer.
        what: what was refused, such as ``register Keyfob``.
    """
    throttle = provider.throttle
    spent = reply.status in throttle.statuses and reply.headers.get(throttle.header.lower(), "").strip() == "0"
    if reply.status == _TOO_MANY or spent:
        return no_further(provider, reply.retry_after)
    if reply.status >= _SERVER_ERROR:
        return ProviderUnavailable(
            f"{provider.title} could not {what}: it answered HTTP {reply.status}.", "Try again later."
        )
    fields = strict.peek(reply.body) or {}
    said = strict.clean(fields.get("error_description")) or strict.clean(fields.get("error"))
    return LoginFailed(
        f"{provider.title} refused to {what} (HTTP {reply.status})" + (f": {said.rstrip('.')}." if said else "."),
        by_hand(provider),
    )


def no_further(provider: Provider, retry_after: float | None) -> ProviderUnavailable:
    """Return what to tell where no registration is possible for a while."""
    said = f"{provider.title} allows no further registration now."
    return ProviderUnavailable(said, limited(provider), retry_after=retry_after)


def by_hand(provider: Provider) -> str:
    """Say what a person can do where Keyfob cannot register itself."""
    where = f"at {provider.register_url}" if provider.register_url else "there"
    return f"Register a client {where} by hand and give it with --client-id and --client-secret-file."


def limited(provider: Provider) -> str:
    """Say what a person can do where no registration is possible for a while."""
    hand = by_hand(provider)
    return f"Try again later, or {hand[:1].lower()}{hand[1:]}"


def _secret(provider: Provider, said: object) -> Secret | None:
    if said in (None, ""):
        return None
    if not isinstance(said, str) or not strict.is_printable(said):
        raise LoginFailed(f"{provider.title} registered Keyfob with an unusable secret.", by_hand(provider))
    return Secret(said)


def _auth_method(provider: Provider, fields: Mapping[str, Any], asked: Mapping[str, Any], *, has_secret: bool) -> str:
    """Return how the client authenticates: as the provider says, else as was asked, else as its secret allows."""
    said = fields.get("token_endpoint_auth_method")
    if isinstance(said, str):
        return said
    if not has_secret:
        return "none"
    if asked.get("token_endpoint_auth_method") in WITH_SECRET:
        return str(asked["token_endpoint_auth_method"])
    # client_secret_basic is the default of RFC 7591 2 and what RFC 6749 2.3.1 obliges every server to accept.
    return next((method for method in provider.auth_methods if method in WITH_SECRET), "client_secret_basic")


def _mismatch(fields: Mapping[str, Any], client: Registered, asked: Sequence[str], before: Registered | None) -> str:
    if set(client.redirect_uris) != set(asked):
        return "registered other redirect URIs than Keyfob asked for"
    if client.auth_method not in ("none", *WITH_SECRET):
        return f"registered Keyfob to authenticate by {strict.clean(client.auth_method, cap=40)}, which it cannot"
    if client.auth_method != "none" and client.client_secret is None:
        return "registered Keyfob with a secret that it does not tell"
    if before is not None and client.client_id != before.client_id:
        return "answered the change of a registration with another client"
    for name, needed in (("grant_types", "authorization_code"), ("response_types", "code")):
        said = fields.get(name)
        if isinstance(said, list) and needed not in said:
            return f"registered Keyfob without the {name.replace('_', ' ')[:-1]} {needed}"
    return ""


def _management(provider: Provider, fields: Mapping[str, Any], before: Registered | None) -> Management | None:
    """Return what manages the registration (RFC 7592 3); a new token takes the old one's place at once.

    The place is used only where it is on the server that registered: a token sent elsewhere is given away.
    """
    known = before.management if before else None
    token, uri = fields.get("registration_access_token"), fields.get("registration_client_uri")
    metadata = {name: value for name, value in fields.items() if name not in _NO_METADATA}
    if not strict.is_printable(uri):
        uri = known.uri if known else None
    fresh = Secret(token) if isinstance(token, str) and strict.is_printable(token) else None
    kept = fresh or (known.token if known else None)
    if not isinstance(uri, str) or kept is None:
        return None
    homes = (provider.endpoints.registration, provider.issuer, known.uri if known else "")
    try:
        check_endpoint(uri, what="registration_client_uri", private=provider.private)
        at_home = _origin(uri) in {_origin(home) for home in homes if home}
    except InvalidRequest:
        at_home = False
    if not at_home and known is not None:
        uri, at_home = known.uri, True  # the token of before may be good no more, so the new one goes where that went
    return Management(uri, kept, metadata) if at_home else None


def _origin(url: str) -> tuple[str, str | None, int]:
    """Return scheme, host and port, the default one too (RFC 6454 4)."""
    parts = split(url, what="address")
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _words(said: object, otherwise: Iterable[str]) -> tuple[str, ...]:
    """Read a list of words, or one text with spaces between them; ``otherwise`` where it is neither."""
    if isinstance(said, str):
        return tuple(said.split())
    if isinstance(said, list):
        return tuple(item for item in said if isinstance(item, str))
    return tuple(otherwise)


def _end(fields: Mapping[str, Any], before: Registered | None) -> float | None:
    """Read ``client_secret_expires_at``: 0 is never (RFC 7591 3.2.1).

    Args:
        fields: of the answer.
        before: whose secret stays; of that an answer may say nothing, and then it ends as before.
    """
    said = fields.get("client_secret_expires_at")
    if said is None and before is not None:
        return before.secret_expires_at
    if not isinstance(said, int | float) or isinstance(said, bool):
        return None
    return float(said) if 0 < said < _LATEST else None
