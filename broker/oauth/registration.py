"""Registering Keyfob as a client at a provider that lets programs do so, by the preset's field names.

Called by ``usecases.providers`` when a first login needs a client.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from broker.core.secret import Secret
from broker.errors import InvalidRequest, LoginFailed, ProviderUnavailable
from broker.oauth import strict
from broker.oauth.http import AnswerLost, Http, NotSent, Reply
from broker.providers.model import Provider
from broker.providers.rules import Registration

# What people see on the provider's consent page and in their list of applications.
CLIENT_NAME = "Keyfob"
# HTTP statuses (RFC 9110 15).
_DONE = (200, 201)
_TOO_MANY = 429
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Registered:
    """A client that the provider has just made.

    Attributes:
        client_id: as the provider knows it.
        client_secret: shown once, or None for a public client.
        auth_method: how to authenticate with it.
    """

    client_id: str
    client_secret: Secret | None
    auth_method: str


async def register(http: Http, provider: Provider, *, redirect_uris: Sequence[str], scope: Sequence[str]) -> Registered:
    """Register a client, without any credential: one made by nobody belongs to nobody.

    Args:
        http: the way out.
        provider: with ``registration`` rules and a registration endpoint.
        redirect_uris: where answers may go.
        scope: what the client may ask for, where the preset passes that on.

    Raises:
        InvalidRequest: the provider has no such rules.
        LoginFailed: it refused, or registered something else than was asked.
        ProviderUnavailable: no proper answer came, or it is throttling.
    """
    rules, endpoint = provider.registration, provider.endpoints.registration
    if rules is None or not endpoint:
        raise InvalidRequest(f"{provider.title} does not let programs register themselves.", _by_hand(provider))
    filled = {
        name: _fill(value, redirect_uris, provider.scope_separator.join(scope)) for name, value in rules.fields.items()
    }
    try:
        reply = await http.send(
            "POST",
            endpoint,
            private=provider.private,
            json=filled if rules.body == "json" else None,
            form=filled if rules.body == "form" else None,
        )
    except (NotSent, AnswerLost) as exc:
        raise ProviderUnavailable(
            f"Keyfob could not register itself at {provider.title}: {exc.reason}.", "Try again later."
        ) from exc
    if reply.status not in _DONE:
        raise _refusal(provider, reply)
    return _read(provider, rules, reply, redirect_uris)


def _fill(value: str, redirect_uris: Sequence[str], scope: str) -> str:
    return (
        value.replace("{name}", CLIENT_NAME)
        .replace("{redirect_uris}", " ".join(redirect_uris))
        .replace("{scope}", scope)
    )


def _refusal(provider: Provider, reply: Reply) -> LoginFailed | ProviderUnavailable:
    throttle = provider.throttle
    spent = reply.status in throttle.statuses and reply.headers.get(throttle.header.lower(), "").strip() == "0"
    if reply.status == _TOO_MANY or spent:
        return ProviderUnavailable(
            f"{provider.title} allows no further registration now.",
            "Try again later, or " + _by_hand(provider)[:1].lower() + _by_hand(provider)[1:],
            retry_after=reply.retry_after,
        )
    if reply.status >= _SERVER_ERROR:
        return ProviderUnavailable(
            f"Keyfob could not register itself at {provider.title}: HTTP {reply.status}.", "Try again later."
        )
    fields = strict.peek(reply.body) or {}
    said = strict.clean(fields.get("error_description")) or strict.clean(fields.get("error"))
    return LoginFailed(
        f"{provider.title} refused to register Keyfob (HTTP {reply.status})" + (f": {said}." if said else "."),
        _by_hand(provider),
    )


def _read(provider: Provider, rules: Registration, reply: Reply, redirect_uris: Sequence[str]) -> Registered:
    try:
        fields = strict.loads(reply.body)
    except ValueError as exc:
        raise ProviderUnavailable(
            f"{provider.title} answered the registration with something unusable: {exc}.", _by_hand(provider)
        ) from exc
    client_id, client_secret = fields.get(rules.client_id), fields.get(rules.client_secret)
    if not isinstance(client_id, str) or not strict.is_printable(client_id):
        raise LoginFailed(f"{provider.title} registered Keyfob without a usable client id.", _by_hand(provider))
    if client_secret not in (None, "") and not strict.is_printable(client_secret):
        raise LoginFailed(f"{provider.title} registered Keyfob with an unusable secret.", _by_hand(provider))
    if not set(redirect_uris) <= _registered_uris(fields, redirect_uris):
        raise LoginFailed(f"{provider.title} registered other redirect URIs than Keyfob asked for.", _by_hand(provider))
    secret = Secret(client_secret) if isinstance(client_secret, str) and client_secret else None
    return Registered(client_id, secret, _auth_method(provider, fields, has_secret=secret is not None))


def _registered_uris(fields: dict[str, Any], asked: Sequence[str]) -> set[str]:
    """What the provider says that it registered (RFC 7591 3.2.1); what was asked where it does not say."""
    said = fields.get("redirect_uris")
    if isinstance(said, str):
        return set(said.split())
    return {uri for uri in said if isinstance(uri, str)} if isinstance(said, list) else set(asked)


def _auth_method(provider: Provider, fields: dict[str, Any], *, has_secret: bool) -> str:
    if not has_secret:
        return "none"
    said = fields.get("token_endpoint_auth_method")
    known = ("client_secret_basic", "client_secret_post")
    if said in known:
        return str(said)
    # Basic is what RFC 6749 2.3.1 obliges every server to accept.
    return next((method for method in provider.auth_methods if method in known), "client_secret_basic")


def _by_hand(provider: Provider) -> str:
    where = f"at {provider.register_url}" if provider.register_url else "there"
    return f"Register a client {where} by hand and give it with --client-id and --client-secret-file."
