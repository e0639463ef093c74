"""When an authorization request is pushed (RFC 9126): wherever the provider says that it takes such.

Called by ``login``. A reference is good for a minute or so and once, so it is fetched when the person opens the start
page, and anew each time that they do; a paste login has no start page, and is over when its reference is.
"""

from broker.core.login import Client, Login
from broker.core.secret import Secret
from broker.errors import InvalidRequest, LoginFailed, Misconfigured, ProviderUnavailable
from broker.oauth import par
from broker.oauth.par import Pushed
from broker.providers.model import Provider
from broker.usecases.context import Context


def is_pushed(provider: Provider) -> bool:
    """Whether the provider's authorization requests are pushed.

    Raises:
        InvalidRequest: it takes no others, and where to push them is not known.
    """
    if provider.require_par and not provider.endpoints.pushed_authorization:
        raise InvalidRequest(
            f"{provider.title} takes pushed authorization requests only, and where to push them is not known.",
            "Configure the provider with its endpoint 'pushed_authorization'.",
        )
    return bool(provider.endpoints.pushed_authorization)


async def pushed(
    ctx: Context, provider: Provider, url: str, client: Client, brought: tuple[Client, Secret | None] | None
) -> Pushed:
    """Push the request that an authorization URL would make.

    Args:
        ctx: the collaborators.
        provider: to whom.
        url: the authorization URL.
        client: whose request it is, where it is a kept one.
        brought: the client that came with the login, with its secret.

    Raises:
        as ``par.push``.
    """
    used = brought or await ctx.store.client(client.uuid) or (client, None)
    return await par.push(ctx.http, provider, *used, authorization_url=url)


async def browser_url(ctx: Context, provider: Provider, login: Login) -> str:
    """Return where to send the browser that has just opened a login.

    Raises:
        LoginFailed: the provider does not take the request, whatever the reason, or the client is gone.
    """
    if login.flow != "browser" or not provider.endpoints.pushed_authorization:
        return login.authorization_url
    used = await ctx.store.brought_client(login.id) or await ctx.store.client(login.client)
    if used is None:
        raise LoginFailed("The client of this login was removed meanwhile.", "Start the login again.")
    try:
        return (await par.push(ctx.http, provider, *used, authorization_url=login.authorization_url)).url
    except (Misconfigured, ProviderUnavailable) as exc:
        raise LoginFailed(exc.detail, exc.hint) from exc
