"""A login without a browser: a token or a refresh token that a person brings along.

Called by the web API for the flows ``token`` and ``refresh-token``; ``machine`` ends its logins here as well.
"""

import logging
import secrets
from dataclasses import replace

from broker.core.account import BY_REFRESH_TOKEN, Account, Active, Identity, Renewal, Static
from broker.core.login import Client, Flow, Login
from broker.core.secret import Secret
from broker.core.token import Grant, Token
from broker.errors import InvalidRequest, LoginFailed, ProviderUnavailable
from broker.oauth import identity, wire
from broker.providers.model import Provider
from broker.usecases import clients, refusedclients
from broker.usecases.activate import activate, read_answer
from broker.usecases.context import Context
from broker.usecases.identify import checked, told
from broker.usecases.login import Finished, redirect_uri
from broker.usecases.newlogin import NewLogin, holds_name, prepare

log = logging.getLogger(__name__)

# A token is one line of visible ASCII (RFC 6750 2.1 allows less still); anything else was pasted wrongly.
LONGEST_TOKEN = 65536


@holds_name
async def bring_token(ctx: Context, new: NewLogin, access_token: Secret, expires_at: float | None) -> Finished:
    """Keep a token that a person made at the provider. Nothing can refresh it, and it is tried once before it is kept.

    Args:
        ctx: the collaborators.
        new: the account and the provider.
        access_token: what was pasted.
        expires_at: epoch seconds, or None where it has no end that is known.

    Raises:
        InvalidRequest: that is no token.
        LoginFailed: the provider does not accept it.
    """
    _check(access_token)
    if expires_at is not None and expires_at <= ctx.clock():
        raise InvalidRequest("That token has expired already.", "Make a new one.")
    provider, account, resource = await prepare(ctx, new)
    new = replace(new, resource=resource)
    login = described(ctx, new, provider, "token", account)
    who = await _whose(ctx, provider, access_token)
    token = Token("Bearer", new.scope, issued_at=ctx.clock(), expires_at=expires_at)
    return await finish(ctx, login, provider, Grant(token, access_token), who, Static(ctx.clock()))


@holds_name
async def bring_refresh_token(ctx: Context, new: NewLogin, refresh_token: Secret) -> Finished:
    """Take over a refresh token from another program; it is used at once, so from now on only Keyfob may use it.

    Raises:
        InvalidRequest: that is no token.
        LoginFailed, ProviderUnavailable: the provider does not accept it, or cannot be asked.
    """
    _check(refresh_token)
    provider, account, resource = await prepare(ctx, new)
    new = replace(new, resource=resource)
    brought = await clients.brought(ctx, provider, account, new.client_id, new.client_secret, new.auth_method)
    await clients.check_secret(ctx, provider, brought, auth_method=new.auth_method)
    client, secret = brought or await _kept_client(ctx, provider, account, new.client_id)
    sent = ctx.sent()
    outcome = await wire.refresh(
        ctx.http,
        provider,
        client,
        secret,
        token_endpoint=provider.endpoints.token,
        refresh_token=refresh_token,
        redirect_uri=redirect_uri(ctx, provider),
        resource=new.resource,
    )
    if isinstance(outcome, wire.Refused) and outcome.error in provider.refresh.dead_grant_errors:
        said = f"{outcome.error}: {outcome.description}" if outcome.description else outcome.error
        raise LoginFailed(
            f"{provider.title} refused the refresh token: {said}.",
            f"It is spent or over, or another client's than '{client.client_id}': name its own (--client-id).",
        )
    async with ctx.landing():
        refreshed = provider.at_refresh()
        grant = read_answer(refreshed, outcome, ctx.when(sent), new.scope or provider.scopes)
        if grant.refresh_token is None:
            grant = replace(grant, refresh_token=refresh_token)
        if brought is not None:
            client = await clients.keep(ctx, provider, *brought)
        login = described(ctx, new, provider, "refresh-token", account, client)
        # The token that was brought is spent by now: whatever comes, its successor must not be lost.
        grant, claims = await checked(ctx, provider, grant, client.client_id)
        who = Identity(claims.issuer, claims.subject, claims.label) if claims is not None else told(provider, grant)
        if who is None:
            try:
                who = await identity.who(
                    ctx.http, provider, access_token=grant.access_token, client_id=client.client_id
                )
            except (identity.IdentityRefused, ProviderUnavailable) as exc:
                log.warning("%s did not say whose refresh token was brought: %s", provider.title, exc)
        return await finish(ctx, login, provider, grant, who, Active(ctx.clock()))


async def _kept_client(
    ctx: Context, provider: Provider, account: Account | None, client_id: str
) -> tuple[Client, Secret | None]:
    # A refresh token belongs to the client that it was issued to: one that is registered now could not use it.
    client = await clients.kept(ctx, provider, redirect_uri(ctx, provider), client_id, account, may_register=False)
    return await ctx.store.client(client.uuid) or (client, None)


def _check(token: Secret) -> None:
    text = token.reveal()
    if not text or len(text) > LONGEST_TOKEN or not all("!" <= c <= "~" for c in text):
        raise InvalidRequest("That is not a token.", "Paste one line of plain characters without spaces.")


async def _whose(ctx: Context, provider: Provider, access_token: Secret) -> Identity | None:
    try:
        return await identity.who(ctx.http, provider, access_token=access_token)
    except identity.IdentityRefused as exc:
        where = f" Make a new one at {provider.static_token_url}" if provider.static_token_url else ""
        raise LoginFailed(f"{provider.title} does not accept this token: {exc}.", where.strip()) from exc


def described(
    ctx: Context,
    new: NewLogin,
    provider: Provider,
    flow: Flow,
    account: Account | None,
    client: Client | None = None,
) -> Login:
    """Return a login that is done at once, as it will be remembered; ``account`` is the one that logs in again."""
    now = ctx.clock()
    return Login(
        id=secrets.token_urlsafe(24),
        account=new.account,
        replaces=account.uuid if account is not None else None,
        provider=provider.name,
        client=client.uuid if client is not None else "",
        flow=flow,
        destination=clients.destination(provider, client.client_id if client is not None else ""),
        redirect_uri="",
        scope=new.scope or (provider.scopes if client is not None else ()),
        resource=new.resource,
        nonce="",
        authorization_url="",
        state="done",
        reason="",
        created_at=now,
        expires_at=now,
    )


async def finish(
    ctx: Context,
    login: Login,
    provider: Provider,
    grant: Grant,
    who: Identity | None,
    state: Active | Static,
    renewal: Renewal = BY_REFRESH_TOKEN,
) -> Finished:
    """Make or renew the account of a login that is done at once, and remember the login.

    Raises:
        Conflict: as ``activate``.
    """
    # By uuid, because it may have got another name since; by name, because another login may have made it since.
    replaced = await ctx.store.account_by_uuid(login.replaces) if login.replaces is not None else None
    if replaced is None and login.account:
        replaced = await ctx.store.account(login.account)
    login = replace(login, replaces=replaced.uuid if replaced is not None else None)
    account = await activate(ctx, login, provider, grant, who, state, renewal)
    await refusedclients.mended(ctx, login.destination)
    # Kept like a login through a browser, so that its id can be asked for the same way.
    await ctx.store.put_login(replace(login, state="pending"), state=Secret(""), verifier=Secret(""))
    await ctx.store.end_login(login.id, state="done", account=account.name, reason="")
    ctx.publish("logged-in", account.name, detail=account.label, login=login.id)
    ctx.wake.set()
    return Finished(replace(login, account=account.name), account, provider)
