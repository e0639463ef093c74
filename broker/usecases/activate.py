"""From a grant to an account: a new one, or the one that logged in again - if it is the same person.

Called at the end of every kind of login.
"""

from broker.core.account import BY_REFRESH_TOKEN, Account, Active, Identity, Renewal, Static
from broker.core.login import Login
from broker.core.token import Grant
from broker.errors import Conflict, LoginFailed, ProviderUnavailable
from broker.oauth import wire
from broker.oauth.grant import BadReply, read_grant
from broker.providers.model import Provider
from broker.usecases import ration
from broker.usecases.context import Context
from broker.usecases.revoke import revoke


def read_answer(provider: Provider, outcome: wire.Outcome, sent_at: float, scope: tuple[str, ...]) -> Grant:
    """Turn the outcome of a first token request into a grant.

    Raises:
        LoginFailed: the provider refused.
        ProviderUnavailable: it could not be reached, is throttling, or answered nonsense.
    """
    match outcome:
        case wire.Answered(raw=raw):
            try:
                return read_grant(raw, provider=provider, issued_at=sent_at, asked_scope=scope)
            except BadReply as exc:
                raise LoginFailed(f"{provider.title} gave a token that is not usable: {exc}.") from exc
        case wire.Refused(error=error, description=description):
            said = f"{error}: {description}" if description else error
            mend = "Check the id and the secret of the client, then start" if error == "invalid_client" else "Start"
            raise LoginFailed(f"{provider.title} refused the login: {said}.", f"{mend} the login again.")
        case wire.Throttled(reason=reason, retry_after=retry_after):
            raise ProviderUnavailable(
                f"{provider.title} is throttling: {reason}.",
                _again(sent_at, retry_after),
                retry_after=retry_after,
            )
        case wire.Unreachable(reason=reason) | wire.Faulty(reason=reason) | wire.Lost(reason=reason):
            raise ProviderUnavailable(f"{provider.title} gave no proper answer: {reason}.", "Log in again later.")


def _again(now: float, wait: float | None) -> str:
    return "Wait a little, then log in again." if wait is None else f"Log in again after {ration.moment(now + wait)}."


async def activate(
    ctx: Context,
    login: Login,
    provider: Provider,
    grant: Grant,
    who: Identity | None,
    state: Active | Static | None = None,
    renewal: Renewal = BY_REFRESH_TOKEN,
) -> Account:
    """Make the account, or renew the one that logged in again - if it is the same person.

    Raises:
        Conflict: somebody else came back, or the account was removed meanwhile.
    """
    now = ctx.clock()
    known = await ctx.store.account_by_uuid(login.replaces) if login.replaces is not None else None
    if known is None and login.replaces is None and not login.account and who is not None:
        mine = await ctx.store.accounts_at(provider.name, who)
        same = [one for one in mine if not one.is_derived and _covers(login, one)]
        known = same[0] if len(same) == 1 else None  # which of several is meant cannot be told: all of them stay
    if known is None and login.replaces is not None:
        await give_back(ctx, login, provider, grant, who)
        raise Conflict(f"Account '{login.account}' was removed while you logged in.", "Start the login again.")
    if known is None:
        return await _create(ctx, login, provider, grant, who, state or Active(now), renewal)
    if known.identity is not None and who is None:
        await give_back(ctx, login, provider, grant, who)
        raise Conflict(
            f"{provider.title} did not say who logged in, so it may be somebody else than '{known.identity.label}', "
            f"whose account '{known.name}' is. Nothing was changed.",
            f"Ask for the scope that tells it (often openid), or choose another account name: "
            f"keyfob login NAME --provider {provider.name}",
        )
    if known.identity is not None and who is not None and not _same(known, who):
        await give_back(ctx, login, provider, grant, who)
        raise Conflict(
            f"You logged in as '{who.label}', but account '{known.name}' belongs to '{known.identity.label}'. "
            "Nothing was changed.",
            f"Log in as '{known.identity.label}', or give '{who.label}' an account of its own: "
            f"keyfob login NAME --provider {provider.name}",
        )
    while True:
        renewed = await ctx.store.replace_login(
            known,
            client=login.client,
            destination=login.destination,
            identity=_best_known(known, who),
            asked_scope=login.scope,
            resource=login.resource,
            state=state or Active(now),
            grant=grant,
            now=now,
            renewal=renewal,
        )
        if renewed is not None:
            return renewed
        # A refresh changed the row meanwhile. The login is newer than whatever that was: it wins.
        current = await ctx.store.account_by_uuid(known.uuid)
        if current is None:
            await give_back(ctx, login, provider, grant, who)
            raise Conflict(f"Account '{known.name}' was removed while you logged in.", "Start the login again.")
        known = current


async def _create(
    ctx: Context,
    login: Login,
    provider: Provider,
    grant: Grant,
    who: Identity | None,
    state: Active | Static,
    renewal: Renewal,
) -> Account:
    label = who.label if who is not None else login.destination.client_id if renewal != BY_REFRESH_TOKEN else ""
    while True:
        try:
            return await ctx.store.create_account(
                name=login.account or await default_name(ctx, provider, label),
                provider=provider.name,
                client=login.client,
                destination=login.destination,
                identity=who,
                asked_scope=login.scope,
                resource=login.resource,
                state=state,
                grant=grant,
                now=ctx.clock(),
                renewal=renewal,
            )
        except Conflict:
            # The name was free when this login began; what the person has just consented to is worth another name.
            if login.account:
                await give_back(ctx, login, provider, grant, who)
                raise


def _best_known(account: Account, who: Identity | None) -> Identity | None:
    """Return whom to show: a login with less scope may tell no name, and the person has not lost theirs."""
    return account.identity if who is not None and who.label == who.subject and _same(account, who) else who


def _same(account: Account, who: Identity) -> bool:
    return account.identity is not None and (account.identity.issuer, account.identity.subject) == (
        who.issuer,
        who.subject,
    )


def _covers(login: Login, account: Account) -> bool:
    """Whether a login that names no account can take the place of this one: nothing that the account has is lost.

    An account without scopes of its own has what the provider gives to whoever names none.
    """
    wide_enough = set(account.asked_scope) <= set(login.scope) if account.asked_scope else not login.scope
    same_kind = isinstance(account.state, Static) == (login.flow == "token")
    return account.provider == login.provider and account.resource == login.resource and wide_enough and same_kind


async def default_name(ctx: Context, provider: Provider, label: str) -> str:
    """Choose a name: the provider's, then the person's (or program's) at that provider, then a number."""
    if await ctx.store.account(provider.name) is None:
        return provider.name
    person = "".join(c if c.isascii() and (c.isalnum() or c in "._@-") else "-" for c in label)
    name = f"{provider.name}-{person.strip('-')}"[:58] if person.strip("-") else provider.name
    candidate, number = name, 2
    while await ctx.store.account(candidate) is not None:
        candidate, number = f"{name}-{number}", number + 1
    return candidate


async def give_back(ctx: Context, login: Login, provider: Provider, grant: Grant, who: Identity | None) -> None:
    """Revoke a grant that nobody will hold; what is not or cannot be revoked runs out by itself.

    Only one that Keyfob itself asked for: a token that was brought along belongs to another program too. And not one
    that was exchanged: with it a provider may end the login that it comes from (RFC 7009 2.1). And only where no
    account is left that may be the same person's: many providers end by it all that a person gave to the client, and
    so a login that works.

    Args:
        ctx: the collaborators.
        login: what brought it.
        provider: where it is.
        grant: what is given back.
        who: whose it is; None where nobody knows.
    """
    brought = login.flow in ("token", "refresh-token", "token-exchange")
    if brought or await _may_end_another(ctx, login, who):
        return
    kept = await ctx.store.client(login.client)
    if kept is not None:
        client, secret = kept
        await revoke(
            ctx,
            provider,
            client,
            secret,
            refresh_token=grant.refresh_token,
            access_token=grant.access_token,
        )


async def _may_end_another(ctx: Context, login: Login, who: Identity | None) -> bool:
    return await ctx.store.has_account(login.provider, login.destination.client_id, who)
