"""A login without a person: an account of a program, which gets its tokens as its client (RFC 6749 4.4, RFC 7523 2.1).

Called by the web API for the flows ``client-credentials`` and ``jwt-bearer``.
"""

from dataclasses import replace

from broker.core.account import Account, Active, Renewal
from broker.core.login import BY_KEY, PROGRAMS, Client, Flow
from broker.core.secret import Secret
from broker.errors import Conflict, InvalidRequest, LoginFailed, Misconfigured
from broker.oauth import wire
from broker.providers.model import Provider
from broker.usecases import clients, given, renewal
from broker.usecases.activate import read_answer
from broker.usecases.context import Context
from broker.usecases.login import Finished
from broker.usecases.newlogin import NewLogin, holds_name, prepare

FLOWS: dict[Flow, Renewal] = {
    "client-credentials": Renewal("client_credentials"),
    "jwt-bearer": Renewal("jwt_bearer"),
}


async def former_flow(ctx: Context, name: str) -> Flow | None:
    """Return how an account logged in before that needs nobody for it: it does so again where nobody chooses.

    None for an account of a person, and for one that is new.
    """
    account = await ctx.store.account(name) if name else None
    return "token-exchange" if account is not None and account.is_derived else _flow_of(account)


@holds_name
async def log_in(ctx: Context, new: NewLogin) -> Finished:
    """Get a first token as the client itself, and keep the account once there is one.

    Raises:
        InvalidRequest: there is no client for that, or no key yet; the next step says what to do.
        Conflict: the account is a person's, or at another provider.
        LoginFailed, ProviderUnavailable: the provider does not give a token, or cannot be asked.
    """
    provider, account, resource = await prepare(ctx, new)
    if account is not None and account.identity is not None:
        raise Conflict(
            f"Account '{account.name}' belongs to '{account.identity.label}', and this login would be nobody's.",
            "Choose another account name.",
        )
    if not provider.endpoints.token:
        raise InvalidRequest(f"{provider.title} has no token endpoint.", "Use another --flow.")
    before = account if _flow_of(account) == new.flow else None
    how = _renewal(new, before)
    scope = new.scope or (before.asked_scope if before is not None else ())
    brought, (client, proof) = await _client(ctx, provider, account, new)
    sent = ctx.sent()
    outcome = await _asked(ctx, provider, how, client, proof, scope, resource)
    async with ctx.landing():
        grant = renewal.bare(read_answer(provider, outcome, ctx.when(sent), scope))
        if brought:
            client = await clients.keep(ctx, provider, await _as_known(ctx, client), proof)
        login = given.described(ctx, new, provider, new.flow, account, client)
        login = replace(login, scope=scope, resource=resource)
        return await given.finish(ctx, login, provider, grant, None, Active(ctx.clock()), how)


def _flow_of(account: Account | None) -> Flow | None:
    """Return the flow by which a program's account logged in; None for any other account."""
    if account is None:
        return None
    return next((flow for flow, usual in FLOWS.items() if usual.by == account.renewal.by), None)


def _renewal(new: NewLogin, before: Account | None) -> Renewal:
    """Return how the account renews itself: as this login says, and where it says nothing, as it did before."""
    known = before.renewal if before is not None else FLOWS[new.flow]
    if new.subject and known.by != "jwt_bearer":
        raise InvalidRequest("A subject goes with the flow 'jwt-bearer' only.", "Leave it out.")
    return replace(known, subject=new.subject or known.subject, audience=new.audience or known.audience)


async def _client(
    ctx: Context, provider: Provider, account: Account | None, new: NewLogin
) -> tuple[bool, tuple[Client, Secret | None]]:
    """Return whether the client came with the login, and the client with its secret or key."""
    method = new.auth_method
    if new.flow == "jwt-bearer" and not method and new.client_id and new.client_secret is None:
        method = BY_KEY
    brought = await clients.brought(ctx, provider, account, new.client_id, new.client_secret, method)
    used = brought or await clients.confidential(ctx, provider, new.client_id, account)
    if new.flow == "jwt-bearer" and used[0].auth_method != BY_KEY:
        raise InvalidRequest(
            f"Client '{used[0].client_id}' has no key to sign with.",
            f"Name it together with --token-endpoint-auth-method {BY_KEY}, and Keyfob makes one.",
        )
    if used[1] is None:
        raise InvalidRequest(
            f"Client '{used[0].client_id}' has nothing to prove itself with, so it gets no token of its own.",
            f"Give its secret (--client-secret-file), or have a key made (--token-endpoint-auth-method {BY_KEY}).",
        )
    return brought is not None, used


async def _as_known(ctx: Context, client: Client) -> Client:
    """Return the client as a program's own, unless it was a person's, the preset's or Keyfob's own before."""
    known = await ctx.store.clients(client.provider)
    return replace(client, origin=next((one.origin for one in known if one.client_id == client.client_id), PROGRAMS))


async def _asked(
    ctx: Context,
    provider: Provider,
    how: Renewal,
    client: Client,
    proof: Secret | None,
    scope: tuple[str, ...],
    resource: str | None,
) -> wire.Outcome:
    """Ask for the first token; a refusal is told as what it is here: a matter of the client."""
    try:
        outcome = await renewal.ask(
            ctx,
            provider,
            how,
            client,
            proof,
            token_endpoint=provider.endpoints.token,
            scope=scope,
            resource=resource,
        )
    except Misconfigured as exc:
        raise LoginFailed(exc.detail, exc.hint) from exc
    if isinstance(outcome, wire.Refused):
        said = f"{outcome.error}: {outcome.description}" if outcome.description else outcome.error
        mend = "Check its id, its secret or key, what it may ask for there, and the clock of this machine."
        if outcome.error == "invalid_scope":
            mend = "Name other scopes (--scope ...), or allow the client these at the provider."
        raise LoginFailed(f"{provider.title} refused client '{client.client_id}': {said}.", mend)
    return outcome
