"""How a client says who it is: in the header of a request or in its body, never both (RFC 6749 2.3).

Called by ``wire`` for every request that a client makes of itself.
"""

from collections.abc import Mapping
from urllib.parse import quote_plus

from broker.core.login import BY_ID, Client
from broker.core.secret import Secret
from broker.errors import Misconfigured
from broker.oauth import assertion
from broker.providers.model import Provider

# User and password of HTTP Basic, encoded; None where the client proves itself otherwise.
Basic = tuple[str, str | Secret] | None


def proven(
    provider: Provider, client: Client, secret: Secret | None, form: Mapping[str, str | Secret], now: float
) -> tuple[Mapping[str, str | Secret], Basic]:
    """Add the client's authentication to a request (RFC 6749 2.3.1, RFC 7521 4.2).

    Args:
        provider: whom the request is for.
        client: who asks, by its ``auth_method``.
        secret: its secret or private key, or None where it has neither.
        form: the parameters of the request.
        now: epoch seconds by the wall clock, for what is signed.

    Returns:
        The parameters to send, and what goes into the ``Authorization`` header.

    Raises:
        Misconfigured: Keyfob does not know this client authentication; nothing was sent.
    """
    method = client.auth_method
    named = {**form, provider.token.client_id_field: client.client_id}
    if method == "client_secret_basic" and secret is not None:
        # Form-encoded before base64 (RFC 6749 2.3.1); Authlib leaves that out, and odd ids then fail.
        return form, (quote_plus(client.client_id), Secret(quote_plus(secret.reveal())))
    if method == BY_ID and secret is None:
        return form, (quote_plus(client.client_id), "")
    if method == "client_secret_post" and secret is not None:
        return {**named, "client_secret": secret}, None
    if method in assertion.METHODS and secret is not None:
        return {**named, **assertion.client_fields(provider, client, secret, now)}, None
    if method == "none" or (method.startswith("client_secret_") and secret is None):
        return named, None
    raise Misconfigured(
        f"Keyfob does not know the client authentication '{method}'.",
        "Configure the client as none, client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt or "
        f"{BY_ID}.",
    )
