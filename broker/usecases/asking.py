"""The request that renews an account, in the words of its way to be renewed.

Part of the story in ``refresh``, which calls it.
"""

from broker.core.secret import Secret
from broker.core.token import Wish
from broker.oauth import wire
from broker.providers.model import Provider
from broker.usecases import renewal
from broker.usecases.context import Context
from broker.usecases.login import redirect_uri
from broker.usecases.untold import Untold


async def ask(ctx: Context, provider: Provider, untold: Untold, shown: Secret | None) -> wire.Outcome:
    """Send the one request that renews the account, or that brings what was wished for.

    Args:
        ctx: the collaborators.
        provider: where it goes.
        untold: what is sent for whom.
        shown: what the account renews itself with; None for one that shows its client alone.

    Raises:
        KeyfobError: nothing was sent; ``Misconfigured`` where only a person can mend why.
    """
    account, client, proof, wish = untold.account, untold.client, untold.proof, untold.wish
    there, resource = account.destination.token_endpoint, account.resource
    if shown is not None and account.is_derived:
        own = Wish(account.asked_scope, resource, account.audience)
        return await renewal.exchange(
            ctx, provider, client, proof, destination=account.destination, access_token=shown, wish=own
        )
    if shown is None or account.is_machine:
        scope = account.asked_scope
        return await renewal.ask(
            ctx, provider, account.renewal, client, proof, token_endpoint=there, scope=scope, resource=resource
        )
    return await wire.refresh(
        ctx.http,
        provider,
        client,
        proof,
        token_endpoint=there,
        refresh_token=shown,
        redirect_uri=redirect_uri(ctx, provider),
        resource=resource if wish is None else wish.resource,
        scope=() if wish is None else wish.scope,
    )
