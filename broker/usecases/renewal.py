"""How an account without a refresh token gets one: by its client's credentials, an assertion, or another's token.

Called by ``machine`` and ``derive`` for the first token and by ``refresh`` for every other. Such a request can be sent
again and again: it spends nothing that could be lost with its answer.
"""

from dataclasses import replace

from broker.core.account import Destination, Renewal
from broker.core.login import BY_KEY, Client
from broker.core.secret import Secret
from broker.core.token import Grant, Wish
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
    return _alone(outcome)


async def exchange(
    ctx: Context,
    provider: Provider,
    client: Client,
    proof: Secret | None,
    *,
    destination: Destination,
    access_token: Secret,
    wish: Wish,
) -> wire.Outcome:
    """Ask for a token in exchange for the living one of another account (RFC 8693 2.1), which stays as it is.

    Args:
        ctx: the collaborators.
        provider: whose rules count.
        client: that account's.
        proof: its secret or private key; None where it has none.
        destination: where that account's secrets may go.
        access_token: that account's.
        wish: what the new token is to carry, and for whom.

    Raises:
        Misconfigured: the client cannot prove itself.
    """
    there = destination.token_endpoint
    return _alone(
        await wire.exchange_token(
            ctx.http, provider, client, proof, token_endpoint=there, access_token=access_token, wish=wish
        )
    )


def _alone(outcome: wire.Outcome) -> wire.Outcome:
    # A refresh token in the answer would be one more thing to lose, and to revoke (RFC 6749 4.4.3, RFC 8693 2.2.1).
    return replace(outcome, refresh_token=None) if isinstance(outcome, wire.Answered) else outcome


def bare(grant: Grant) -> Grant:
    """Return the grant without what does not belong to such an account, whatever the provider sends along.

    That is a refresh token, as in :func:`ask`, and an ID token, which says who logged in.
    """
    return replace(grant, refresh_token=None, id_token=None, refresh_expires_at=None)
