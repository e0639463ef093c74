"""Registering Keyfob as a client at a provider that lets programs do so: by RFC 7591, or by the provider's own form.

Called by ``usecases.registrations`` when a first login needs a client.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from broker.core.login import Registered
from broker.core.secret import Secret
from broker.errors import InvalidRequest, LoginFailed, ProviderUnavailable
from broker.oauth import management, registered
from broker.oauth.http import AnswerLost, Http, NotSent, Throttling
from broker.providers.model import Provider

# What people see on the provider's consent page and in their list of applications, and where they can read about it.
CLIENT_NAME = "Keyfob"
# The client authentication that Keyfob can do. On a person's own machine a secret proves nothing (RFC 8252 8.5), so
# where none is needed none is asked for. Else the server's own order counts: those made with the MCP SDK announce both
# ways to show a secret, and cannot do the second.
AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")
# Grant types that Keyfob uses beside the code, where the provider announces them.
_FURTHER_GRANTS = ("refresh_token", "urn:ietf:params:oauth:grant-type:device_code")
# HTTP statuses (RFC 9110 15).
_DONE = (200, 201)


async def register(http: Http, provider: Provider, *, redirect_uris: Sequence[str], scope: Sequence[str]) -> Registered:
    """Register a client, without any credential: one made by nobody belongs to nobody.

    Args:
        http: the way out.
        provider: with ``registration`` rules and a registration endpoint.
        redirect_uris: where answers may go.
        scope: what the client may ask for.

    Raises:
        InvalidRequest: the provider has no such rules, or takes no client authentication that Keyfob can do.
        LoginFailed: it refused, or registered something else than was asked (security.md R39).
        ProviderUnavailable: no proper answer came, or it is throttling (then with ``retry_after`` where it says so).
    """
    rules, endpoint = provider.registration, provider.endpoints.registration
    if rules is None or not endpoint:
        raise InvalidRequest(
            f"{provider.title} does not let programs register themselves.", registered.by_hand(provider)
        )
    if rules.kind == "rfc7591":
        asked = metadata(provider, redirect_uris, scope)
        as_json = True
    else:
        asked = _own_fields(rules.fields, provider, redirect_uris, scope)
        as_json = rules.body == "json"
    try:
        reply = await http.send(
            "POST",
            endpoint,
            private=provider.private,
            json=asked if as_json else None,
            form=None if as_json else asked,
        )
    except Throttling as exc:
        raise registered.no_further(provider, exc.retry_after) from exc
    except (NotSent, AnswerLost) as exc:
        raise ProviderUnavailable(
            f"Keyfob could not register itself at {provider.title}: {exc.reason}.",
            "Check the address; if it is right, try again later.",
        ) from exc
    if reply.status not in _DONE:
        raise registered.refusal(provider, reply, "register Keyfob")
    made = registered.read(provider, rules, reply, asked=asked, redirect_uris=redirect_uris)
    if made.mismatch:
        managed = made.client.management
        left = await management.delete(http, provider, managed) if managed is not None else ""
        raise LoginFailed(
            f"{provider.title} {made.mismatch}, so that is not used."
            + (f" It could not be deleted there: {left}." if left else ""),
            registered.by_hand(provider),
        )
    return made.client


def metadata(provider: Provider, redirect_uris: Sequence[str], scope: Sequence[str]) -> dict[str, Any]:
    """Return the client metadata that Keyfob asks for (RFC 7591 2).

    Raises:
        InvalidRequest: the provider takes no client authentication that Keyfob can do.
    """
    # RFC 8414 2: who announces nothing takes client_secret_basic.
    taken = provider.auth_methods or ("client_secret_basic",)
    able = sorted((method for method in taken if method in AUTH_METHODS), key=lambda method: method != "none")
    if not able:
        raise InvalidRequest(
            f"{provider.title} takes only clients that authenticate by {', '.join(taken)}; Keyfob registers none such.",
            registered.by_hand(provider),
        )
    # Without a secret where that will do; but a login has to have an end, too.
    method = next((method for method in able if provider.revocation.method_for(method)), able[0])
    return public_metadata(provider, redirect_uris, scope) | {"token_endpoint_auth_method": method}


def public_metadata(provider: Provider, redirect_uris: Sequence[str], scope: Sequence[str]) -> dict[str, Any]:
    """Return the metadata of a client without a secret, also for a client-ID metadata document."""
    announced = provider.grants or _FURTHER_GRANTS[:1]
    asked: dict[str, Any] = {
        "client_name": CLIENT_NAME,
        "redirect_uris": list(redirect_uris),
        "grant_types": ["authorization_code", *(grant for grant in _FURTHER_GRANTS if grant in announced)],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    }
    return asked | ({"scope": " ".join(scope)} if scope else {})


def _own_fields(
    fields: Mapping[str, str], provider: Provider, redirect_uris: Sequence[str], scope: Sequence[str]
) -> dict[str, str | Secret]:
    """Fill the provider's own form; what stays empty is left out."""
    words = {
        "{name}": CLIENT_NAME,
        "{redirect_uris}": " ".join(redirect_uris),
        "{scope}": provider.scope_separator.join(scope),
    }
    filled: dict[str, str | Secret] = {}
    for name, text in fields.items():
        for word, value in words.items():
            text = text.replace(word, value)  # noqa: PLW2901 -- filled word by word
        if text:
            filled[name] = text
    return filled
