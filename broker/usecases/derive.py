"""A login without anybody: an account whose tokens are those of another one, exchanged (RFC 8693).

Called by the web API for the flow ``token-exchange``.
"""

from dataclasses import replace

from broker.core import timing
from broker.core.account import Account, Active, Renewal
from broker.core.login import Client, Flow
from broker.core.secret import Secret
from broker.core.token import Grant, Wish
from broker.errors import Conflict, InvalidRequest, LoginFailed, LoginNeeded, Misconfigured, ProviderUnavailable
from broker.oauth import wire
from broker.oauth.grant import BadReply
from broker.providers.model import Provider
from broker.usecases import activate, derived, exchange, given, judging, login, newlogin, providers, refresh, renewal
from broker.usecases.context import Context
from broker.usecases.login import Finished
from broker.usecases.newlogin import NewLogin, holds_name

FLOW: Flow = "token-exchange"


@holds_name
async def log_in(ctx: Context, new: NewLogin) -> Finished:
    """Exchange the living token of another account for a first one, and keep the account once there is one.

    What the login does not say is as it was before, where the account is derived already.

    Raises:
        InvalidRequest: something is missing, or belongs to the other account; the provider exchanges no tokens.
        Conflict: the account's name is that of a login, or one of the accounts is not one that this is for.
        LoginNeeded, ProviderUnavailable: the other account has no living token.
        LoginFailed: the provider does not exchange it, or gives what is not usable.
    """
    newlogin.check(new)
    before = await _before(ctx, new)
    parent = await _parent(ctx, new, before)
    provider = await providers.find(ctx, parent.provider)
    _check(new, before, parent, provider)
    parent = await _living(ctx, parent)
    client, proof = await ctx.store.client_of(parent)
    wish = _wish(new, before)
    sent = ctx.sent()
    outcome = await _exchanged(ctx, parent, provider, client, proof, wish)
    async with ctx.landing():
        grant = await _read(ctx, parent, provider, outcome, ctx.when(sent), wish)
        described = given.described(ctx, new, provider, FLOW, before, client)
        begun = replace(described, destination=parent.destination, scope=wish.scope, resource=wish.resource)
        how = Renewal("token_exchange", parent.uuid, wish.audience or "")
        return await given.finish(ctx, begun, provider, grant, parent.identity, Active(ctx.clock()), how)


async def _before(ctx: Context, new: NewLogin) -> Account | None:
    """Return the account that is derived anew; None for a new one."""
    if not new.account:
        raise InvalidRequest("Name the account to make.", "keyfob login NAME --flow token-exchange --from ACCOUNT")
    account = await ctx.store.account(new.account)
    if account is not None and not account.is_derived:
        raise Conflict(
            f"Account '{account.name}' is a login of its own, which this would replace.",
            f"Choose another name, or first: keyfob logout {account.name}",
        )
    return account


async def _parent(ctx: Context, new: NewLogin, before: Account | None) -> Account:
    """Return the account to derive from: the one that is named, else the one as before."""
    if new.parent:
        parent = await ctx.store.account(new.parent)
        if parent is None:
            raise InvalidRequest(f"No account is called '{new.parent}'.", "See: keyfob accounts")
    elif before is not None:
        parent = await derived.parent_of(ctx, before)
        if parent is None:
            raise InvalidRequest(derived.GONE, f"Name another: keyfob login {before.name} --from ACCOUNT")
    else:
        raise InvalidRequest("From which account?", "Name it: --from ACCOUNT; see: keyfob accounts")
    if parent.is_derived:
        root = await derived.parent_of(ctx, parent)
        hint = f"Derive from that one: --from {root.name}" if root is not None else "Name a login: keyfob accounts"
        raise Conflict(f"Account '{parent.name}' is derived itself, and nothing is derived from such a one.", hint)
    if not parent.destination.client_id:
        raise Conflict(
            f"Account '{parent.name}' holds a token that a person made, and no client that could exchange it.",
            "Derive from an account that was logged in to in a browser, or as a program.",
        )
    return parent


def _check(new: NewLogin, before: Account | None, parent: Account, provider: Provider) -> None:
    """Refuse what the other account decides already, and a provider that exchanges nothing."""
    if before is not None and before.provider != parent.provider:
        raise Conflict(
            f"Account '{before.name}' is at provider '{before.provider}', and '{parent.name}' at '{parent.provider}'.",
            "Choose another name for the new one.",
        )
    if new.provider and new.provider not in (provider.name, provider.preset):
        raise Conflict(
            f"Account '{parent.name}' is at provider '{provider.name}', not at '{new.provider}'.",
            "A derived account is at the same provider: leave --provider out.",
        )
    others = (new.client_id, new.client_secret, new.auth_method, new.base_url, new.parameters, new.subject)
    if any(others):
        raise InvalidRequest(
            f"Client, place and person of a derived account are those of '{parent.name}'.", "Leave them out."
        )
    if not provider.exchanges:
        raise InvalidRequest(
            f"{provider.title} does not announce token exchange (RFC 8693), so nothing can be derived there.",
            "Where it knows that all the same, name it under 'grants' in a file of your own; else log in once more: "
            f"keyfob login NAME --provider {provider.name}",
        )


async def _living(ctx: Context, parent: Account) -> Account:
    """Return the other account with a living token, renewed first where that is stale, as for whoever asks for it."""
    if parent.token is None or not timing.is_fresh(parent.token, ctx.clock()):
        parent = await refresh.renewed(ctx, parent) or parent
    why = derived.trouble(parent, parent, ctx.clock())
    if why or parent.token is None or timing.is_expired(parent.token, ctx.clock()):
        reason = f"Account '{parent.name}' has no living token to exchange. {parent.state.reason}".strip()
        if not why:
            raise ProviderUnavailable(reason, f"Try again later. To try at once: keyfob refresh {parent.name}")
        raise LoginNeeded(
            reason,
            f"Log in there first: keyfob login {parent.name}",
            login_url=await login.offer(ctx, parent) or None,
            account=parent.name,
        )
    return parent


def _wish(new: NewLogin, before: Account | None) -> Wish:
    """Return what the tokens are to carry: as this login says, and where it says nothing, as it was before.

    Also where it is derived from another account now: apps that were granted it must not get more by that.
    """
    if before is None:
        return Wish(new.scope, new.resource, new.audience or None)
    # Whoever names one place means that one: the other kind of name would make the token good for both.
    named = new.resource is not None or bool(new.audience)
    resource, audience = (new.resource, new.audience) if named else (before.resource, before.renewal.audience)
    return Wish(new.scope or before.asked_scope, resource, audience or None)


async def _exchanged(
    ctx: Context, parent: Account, provider: Provider, client: Client, proof: Secret | None, wish: Wish
) -> wire.Outcome:
    """Ask for the first token; a refusal is told as what it is here."""
    access_token = await ctx.store.access_token(parent)
    if access_token is None:
        raise ProviderUnavailable(f"Account '{parent.name}' has just changed.", "Try again.", retry_after=1.0)
    try:
        outcome = await renewal.exchange(
            ctx, provider, client, proof, destination=parent.destination, access_token=access_token, wish=wish
        )
    except Misconfigured as exc:
        raise LoginFailed(exc.detail, exc.hint) from exc
    if isinstance(outcome, wire.Refused):
        said = f"{outcome.error}: {outcome.description}" if outcome.description else outcome.error
        raise LoginFailed(
            f"{provider.title} does not exchange the token of account '{parent.name}' for this: {said}.",
            f"Look at what client '{client.client_id}' may exchange there, for whom and with which scopes.",
        )
    return outcome


async def _read(
    ctx: Context, parent: Account, provider: Provider, outcome: wire.Outcome, sent_at: float, wish: Wish
) -> Grant:
    """Judge the first answer as every later one: no more than was asked for, or than the other account has."""
    if not isinstance(outcome, wire.Answered):
        return activate.read_answer(provider, outcome, sent_at, wish.scope)
    most = wish.scope or parent.scope
    try:
        grant = renewal.bare(exchange.read(outcome.raw, provider, issued_at=sent_at, asked=most, most=most))
        await judging.check_use(ctx, parent, provider, grant)
    except judging.Foreign as exc:
        raise LoginFailed(str(exc)) from exc
    except exchange.Beyond as exc:
        raise LoginFailed(
            f"{provider.title} gave a token that is not usable: {exc}.", "Name the scopes that you want: --scope"
        ) from exc
    except BadReply as exc:
        raise LoginFailed(f"{provider.title} gave a token that is not usable: {exc}.") from exc
    return grant
