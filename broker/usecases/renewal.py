"""How an account of a program gets a token: by its client's own credentials, or by an assertion that Keyfob signs.

Called by ``machine`` for the first token and by ``refresh`` for every other. Such a request can be sent again and
again: it spends nothing that could be lost with its answer.
"""

from dataclasses import replace

from broker.core.account import Renewal
from broker.core.login import BY_KEY, Client
from broker.core.secret import Secret
from broker.core.token import Grant
from broker.errors import Misconfigured
from broker.oauth import wire
from broker.providers.model import Provider
from broker.usecases.context import Context


async def ask(
    ctx: Context,
    provider: Provider,
    renewal: Renewal,
    client: Client,
    proof: Secret | None,
    *,
    token_endpoint: str,
    scope: tuple[str, ...],
    resource: str | None,
) -> wire.Outcome:
    """Ask for a token as the client itself.

    Args:
        ctx: the collaborators.
        provider: whose rules count.
        renewal: by which grant, for whom.
        client: who asks.
        proof: its secret or private key; None where it has none, and then most providers refuse.
        token_endpoint: the one that was fixed at login.
        scope: what is asked; empty for the provider's default.
        resource: RFC 8707, or None.

    Raises:
        Misconfigured: nothing can be signed without a key.
    """
    if renewal.by == "client_credentials":
        outcome = await wire.client_credentials(
            ctx.http,
            provider,
            client,
            proof,
            token_endpoint=token_endpoint,
            scope=scope,
            audience=renewal.audience,
            resource=resource,
        )
    elif proof is None or client.auth_method != BY_KEY:
        raise Misconfigured(f"Client '{client.client_id}' has no private key any more.", "Log in again.")
    else:
        outcome = await wire.jwt_bearer(
            ctx.http,
            provider,
            client,
            proof,
            token_endpoint=token_endpoint,
            subject=renewal.subject,
            audience=renewal.audience,
            scope=scope,
            resource=resource,
        )
    # A refresh token in the answer would be one more thing to lose, and to revoke (RFC 6749 4.4.3).
    return replace(outcome, refresh_token=None) if isinstance(outcome, wire.Answered) else outcome


def bare(grant: Grant) -> Grant:
    """Return the grant without what does not belong to an account of a program, whatever the provider sends along.

    That is a refresh token, as in :func:`ask`, and an ID token, which says who a person is.
    """
    return replace(grant, refresh_token=None, id_token=None, refresh_expires_at=None)
