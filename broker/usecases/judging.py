"""The answer to a refresh, judged: once it is durable, and before anybody is given what it brought.

Part of the story in ``refresh``, which calls it. ``derive`` judges a first token by the same rules of use.
"""

import logging
from dataclasses import replace

from broker.core import account as transitions
from broker.core.account import Account, Identity, Misconfigured
from broker.core.secret import Secret
from broker.core.token import Grant, Wish
from broker.errors import (
    InvalidRequest,
    KeyfobError,
    ProviderUnavailable,
    SecretChanged,
    StoreUnavailable,
    UnknownProvider,
)
from broker.oauth import idtoken, wire
from broker.oauth.grant import BadReply, Unreadable, read_grant
from broker.providers.model import Provider
from broker.usecases import derived, exchange, renewal, setbacks
from broker.usecases.context import Context
from broker.usecases.providers import find

log = logging.getLogger(__name__)


class Foreign(Exception):
    """A refresh brought a token of another person; the text says whose, and is safe to show."""


async def judge(
    ctx: Context, account: Account, provider: Provider, raw: Secret, sent_at: float, wish: Wish | None = None
) -> str:
    """Validate the rest of an answer whose refresh token is already safe, then put the token to use.

    Returns why the provider does not give what was wished for; empty text where it does.
    """
    own = account.asked_scope if account.spends_nothing else account.scope
    if account.is_derived:
        own = own or await derived.scope_of_parent(ctx, account)
    asked = own if wish is None else wish.scope or own
    answering = _answering(account, provider)
    rules = answering.reply
    try:
        if account.is_derived:
            grant = exchange.read(raw, answering, issued_at=sent_at, asked=asked, most=asked)
        else:
            grant = read_grant(raw, provider=answering, issued_at=sent_at, asked_scope=asked)
        if account.spends_nothing:
            grant = renewal.bare(grant)
        elif not (provider.issuer and provider.endpoints.jwks):
            grant = replace(grant, id_token=None)  # nothing could verify it
        grant = await check_use(ctx, account, provider, grant)
    except Foreign as exc:
        # Whoever that is, nothing of it is handed out or sent again (OpenID Connect Core 12.2).
        await setbacks.login_needed(ctx, account, str(exc))
        return ""
    except (BadReply, KeyfobError) as exc:
        gone = isinstance(exc, Unreadable) or wire.hides_refresh_token(raw, rules)
        if gone and setbacks.spends(account, provider) and wire.refresh_token_in(raw, rules) is None:
            # Carried out, and the new refresh token is not to be found in it: as good as lost.
            await setbacks.lost(ctx, account, provider, sent_at, str(exc))
        elif wish is not None:
            # Nothing is wrong with the account's own token. Asked again at once, it would be the same again.
            await setbacks.swap(ctx, account, lambda row: row)
            return f"{provider.title} gave a token that is not usable: {str(exc).rstrip('.')}."
        else:
            await _unusable(ctx, account, provider, raw, exc)
        return ""
    if wish is not None and (more := exchange.beyond(wish.scope, grant)):
        await setbacks.swap(ctx, account, lambda row: row)  # the token is dropped; the login is as well as before
        return f"{provider.title} gave more than was asked for: '{more}'."
    swapped = await setbacks.swap(ctx, account, lambda row: transitions.refreshed(row, ctx.clock()), grant, wish)
    if swapped is not None:
        about = _lifetime(grant) if wish is None else f"a narrower token, {_lifetime(grant)}"
        ctx.publish("refreshed", swapped.name, generation=swapped.generation, detail=about)
    return ""


async def judge_the_open(ctx: Context) -> set[str]:
    """Judge the answers that a crash or a lock left unjudged, and count what was sent without one as lost.

    Returns the uuids of the accounts of which that cannot be done now, so that theirs stay open: their provider cannot
    be told, or something that is stored cannot be read or written. One such account must not stop the others; nor may a
    flight of its own begin, which would send a token that may be spent.
    """
    flying, unjudged = set(ctx.flights.flying), set[str]()
    for account, started_at, answered in await ctx.store.open_intents():
        if account.uuid in flying | ctx.flights.flying:
            continue  # it was locked and unlocked again meanwhile: that one still comes
        try:
            await _judge_open(ctx, account, started_at, answered=answered)
        except (UnknownProvider, InvalidRequest, StoreUnavailable) as exc:
            log.warning("what became of the last refresh of '%s' cannot be told: %s", account.name, exc)
            unjudged.add(account.uuid)
    return unjudged


async def _judge_open(ctx: Context, account: Account, started_at: float, *, answered: bool) -> None:
    provider = await find(ctx, account.provider)
    try:
        raw = await ctx.store.kept_answer(account) if answered else None
        wish = await ctx.store.open_wish(account) if raw is not None else None
    except SecretChanged as exc:
        # Only this account's trouble. What was in the answer is not to be had any more: as good as lost.
        log.warning("the answer to the last refresh of '%s' is lost: %s", account.name, exc)
        await setbacks.lost(ctx, account, provider, started_at, "it was kept, and does not open any more")
        return
    if raw is None:
        await setbacks.lost(ctx, account, provider, started_at, "Keyfob was stopped while it waited for an answer")
        return
    try:
        await judge(ctx, account, provider, raw, started_at, wish)
    except KeyfobError:
        raise
    except Exception:
        # It would break every start in the same way. The refresh token that it brought is in force by now.
        log.exception("the answer to the last refresh of '%s' cannot be judged", account.name)
        await setbacks.lost(ctx, account, provider, started_at, "it was kept, and cannot be judged")


async def _unusable(ctx: Context, account: Account, provider: Provider, raw: Secret, why: Exception) -> None:
    if wire.refresh_token_in(raw, _answering(account, provider).reply) is not None:
        account = transitions.doubt_over(account)
    if isinstance(account.state, Misconfigured):
        account = transitions.refreshed(account, ctx.clock())  # whoever gives this client a token knows it again
    said = str(why).rstrip(".")
    await setbacks.failed(ctx, account, provider, f"The new token from {provider.title} is not usable: {said}.")


async def check_use(ctx: Context, account: Account, provider: Provider, grant: Grant) -> Grant:
    """A token must live, and an ID token that comes with it be for the same person (OpenID Connect Core 12.2).

    Where the keys cannot be had that would verify it, or its times fit no clock that is known here, the access token is
    not thrown away for that: each try would spend a refresh token more. The grant then comes back without the ID token,
    and the account keeps the one before.
    """
    if grant.token.lifetime is not None and grant.token.lifetime <= 0:
        # It would be due again at once, and so would the next one, for ever.
        raise BadReply("it has expired already")
    if grant.id_token is None:
        # A provider with an issuer may name people otherwise in its ID tokens than beside them.
        if grant.whose is not None and account.identity is not None and not provider.issuer:
            _check_same(account.identity, provider, Identity(provider.identity_issuer, *grant.whose))
        return grant
    try:
        claims = await idtoken.verify(
            ctx.http,
            provider,
            ctx.jwks,
            id_token=grant.id_token,
            client_id=account.destination.client_id,
            nonce=None,
            access_token=grant.access_token,
            now=ctx.clock(),
            asked_at=grant.token.issued_at,  # an answer may have been kept for long before it could be judged
            by_server=ctx.by_server(setbacks.endpoint_of(account, provider), grant.token.issued_at),
        )
    except (ProviderUnavailable, idtoken.Untimely) as exc:
        log.warning("the ID token of '%s' is not used: %s", account.name, exc)
        # That it came from the token endpoint, TLS vouches for (OpenID Connect Core 3.1.3.7, item 6).
        claims = idtoken.unverified(provider, grant.id_token, client_id=account.destination.client_id)
        grant = replace(grant, id_token=None)
    if account.identity is not None:
        _check_same(account.identity, provider, Identity(claims.issuer, claims.subject, claims.label))
    return grant


def _check_same(known: Identity, provider: Provider, told: Identity) -> None:
    if (told.issuer, told.subject) != (known.issuer, known.subject):
        raise Foreign(
            f"{provider.title} answered a refresh for '{known.label}' with a token of somebody else ('{told.label}')."
        )


def _answering(account: Account, provider: Provider) -> Provider:
    """Return the provider as it answers a renewal: without a refresh token every token is a first one."""
    return provider if account.spends_nothing else provider.at_refresh()


def _lifetime(grant: Grant) -> str:
    lifetime = grant.token.lifetime
    return "no lifetime given" if lifetime is None else f"good for {lifetime:.0f} s"
