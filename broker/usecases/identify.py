"""Who logged in: from a verified ID token, or asked with the new token itself.

Called at the end of every login. What comes back is a grant whose ID token, if it still has one, was verified.
"""

from dataclasses import replace

from broker.core.account import Identity
from broker.core.token import Grant
from broker.errors import KeyfobError, LoginFailed
from broker.oauth import identity, idtoken
from broker.oauth.idtoken import Claims
from broker.providers.model import Provider
from broker.usecases.context import Context


async def identify(
    ctx: Context, provider: Provider, grant: Grant, client_id: str, scope: tuple[str, ...], nonce: str | None
) -> tuple[Grant, Identity | None]:
    """Learn who logged in. Until the ID token's checks pass, nothing of the answer is used (RFC 9700 4.5.3.2).

    ``nonce`` is None where the flow carries none: what a device gets does not pass through a browser. No specification
    promises an ID token there, and some servers give none: then UserInfo tells.

    Returns:
        The grant, without an ID token that nobody asked for and that is not in order; and who it is, where known.

    Raises:
        LoginFailed: an ID token was asked for and is missing or not in order; or the new token is refused.
        ProviderUnavailable: the provider does not say who it is, or does not show its keys.
    """
    promised = nonce is not None or grant.id_token is not None
    if promised and "openid" in scope and provider.endpoints.jwks:
        if grant.id_token is None:
            raise _no_id_token(provider, grant, scope)
        claims = await _verify(ctx, provider, grant, client_id, nonce)
        return grant, await _named(ctx, provider, grant, claims, client_id)
    grant, claims_unasked = await checked(ctx, provider, grant, client_id)
    if claims_unasked is not None:
        return grant, await _named(ctx, provider, grant, claims_unasked, client_id)
    if grant.whose is not None:
        return grant, told(provider, grant)
    try:
        return grant, await identity.who(ctx.http, provider, access_token=grant.access_token, client_id=client_id)
    except identity.IdentityRefused as exc:
        raise LoginFailed(f"{provider.title} does not accept the token that it just gave: {exc}.") from exc


def _no_id_token(provider: Provider, grant: Grant, scope: tuple[str, ...]) -> LoginFailed:
    """Say why an ID token that was asked for may be missing: some providers let a person untick single scopes."""
    granted, others = grant.token.scope, " ".join(one for one in scope if one != "openid")
    without = f"or log in without it: --scope {others or 'SCOPE'} --only-scope"
    if "openid" in granted:
        return LoginFailed(
            f"{provider.title} was asked for an ID token and gave none.",
            f"See that its client is set up for OpenID Connect there, {without}",
        )
    return LoginFailed(
        f"{provider.title} was asked for an ID token and gave none. "
        f"Granted was '{' '.join(granted)}', and 'openid', which tells who logs in, was not.",
        f"Log in again and leave 'openid' allowed, {without}",
    )


def told(provider: Provider, grant: Grant) -> Identity | None:
    """Return who it is by the token reply itself, which came from the provider just as an answer about it would."""
    return None if grant.whose is None else Identity(provider.identity_issuer, *grant.whose)


async def checked(ctx: Context, provider: Provider, grant: Grant, client_id: str) -> tuple[Grant, Claims | None]:
    """Verify an ID token that came without being asked for; one that is not in order is left out."""
    if grant.id_token is None:
        return grant, None
    if provider.issuer and provider.endpoints.jwks:
        try:
            return grant, await _verify(ctx, provider, grant, client_id, None)
        except KeyfobError:
            pass  # The login does not stand on it: it is only not handed out.
    return replace(grant, id_token=None), None


async def _verify(ctx: Context, provider: Provider, grant: Grant, client_id: str, nonce: str | None) -> Claims:
    if grant.id_token is None:
        raise LoginFailed("There is no ID token.")
    return await idtoken.verify(
        ctx.http,
        provider,
        ctx.jwks,
        id_token=grant.id_token,
        client_id=client_id,
        nonce=nonce,
        access_token=grant.access_token,
        now=ctx.clock(),
        asked_at=grant.token.issued_at,  # what came for a device may have waited for the database
        by_server=ctx.by_server(provider.endpoints.token, grant.token.issued_at),
    )


async def _named(ctx: Context, provider: Provider, grant: Grant, claims: Claims, client_id: str) -> Identity:
    """Many ID tokens carry no name; UserInfo may, and must then be about the same person (OIDC Core 5.3.2)."""
    if claims.label != claims.subject:
        return Identity(claims.issuer, claims.subject, claims.label)
    try:
        known = await identity.who(ctx.http, provider, access_token=grant.access_token, client_id=client_id)
    except (identity.IdentityRefused, KeyfobError):
        known = None
    label = known.label if known is not None and known.subject == claims.subject else claims.label
    return Identity(claims.issuer, claims.subject, label)
