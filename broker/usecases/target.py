"""Which account a request means that may name it, name what its token is for, or name nothing.

Called by ``web.emulate``: OAuth knows resources and audiences, and no accounts.
"""

from dataclasses import dataclass, replace

from broker.core.account import ACCOUNT_NAME
from broker.core.approval import is_over
from broker.core.policy import Ask, Caller, Denied, Owner, named
from broker.usecases.context import Context


@dataclass(frozen=True, slots=True)
class Unclear:
    """No account can be told from the request; or several can.

    Attributes:
        reason: which.
        hint: how to choose one.
    """

    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class Within:
    """An account that the caller may mean.

    Attributes:
        name: its name.
        resources: what it is for: the grant's own resource, and the login's.
        audience: whom it is for, or None.
        gives: whether it gives a token now: its grant has not ended, and is not for the proxy only.
    """

    name: str
    resources: frozenset[str | None]
    audience: str | None
    gives: bool = True


async def choose(ctx: Context, caller: Caller, ask: Ask) -> Ask | Unclear | Denied:
    """Return what is asked for with an account in it.

    A resource or an audience that is an account's name means that account, and nothing more. Else the account is meant
    that is for the resource and the audience, or the only one that there is: then they go on to the provider.

    Args:
        ctx: the collaborators.
        caller: who asks.
        ask: for what; its account may be empty.
    """
    if ask.account:
        return ask
    known = await _within_reach(ctx, caller)
    names = {one.name for one in known}
    if ask.audience in names:
        return replace(ask, account=ask.audience, audience=None)
    if ask.resource in names:
        return replace(ask, account=ask.resource, resource=None)
    if not known:
        return _none_known(caller, ask)
    # Where no grant gives a token, whoever is asked about the one that is meant says why.
    meant = [one for one in known if one.gives] or known
    fitting = meant if len(meant) == 1 else [one for one in meant if _fits(one, ask)]
    if len(fitting) == 1:
        return replace(ask, account=fitting[0].name)
    wanted = " and ".join(_words(ask))
    listed = ", ".join(sorted(one.name for one in fitting or meant))
    if not fitting:
        reason = f"None of these accounts is for {wanted}: {listed}."
    elif wanted:
        reason = f"Several accounts are for {wanted}: {listed}."
    else:
        reason = f"The request names none of the accounts that it may mean: {listed}."
    return Unclear(reason, "Choose one: send account=NAME, or audience=NAME.")


async def of_issuer(ctx: Context, issuer: str) -> str | Unclear:
    """Return the name of the owner's only account at an issuer; a slash at its end counts for nothing."""
    names = sorted(one.name for one in await ctx.store.accounts() if one.issuer.rstrip("/") == issuer.rstrip("/"))
    if len(names) == 1:
        return names[0]
    if names:
        return Unclear(f"Several accounts are of that issuer: {', '.join(names)}.", "Ask by the name of one of them.")
    return Unclear(f"No account is of the issuer '{named([issuer])}'.", "See whose they are: keyfob accounts")


def _fits(one: Within, ask: Ask) -> bool:
    return (ask.resource is None or ask.resource in one.resources) and ask.audience in (None, one.audience)


def _words(ask: Ask) -> list[str]:
    found = [f"resource '{named([ask.resource])}'"] if ask.resource is not None else []
    return found + ([f"audience '{named([ask.audience])}'"] if ask.audience is not None else [])


def _none_known(caller: Caller, ask: Ask) -> Ask | Unclear | Denied:
    """Take a word for the account's name where nothing else can be meant, so that the owner can be asked."""
    if ask.audience is not None and ACCOUNT_NAME.fullmatch(ask.audience):
        return replace(ask, account=ask.audience, audience=None)
    if ask.resource is not None and ACCOUNT_NAME.fullmatch(ask.resource):
        return replace(ask, account=ask.resource, resource=None)
    if isinstance(caller, Owner):
        return Unclear("There is no account yet.", "Log in first: keyfob login NAME --provider PROVIDER")
    hint = f"Name one (account=NAME) and the owner is asked; or: keyfob app grant {caller.name} --account ACCOUNT"
    return Denied(f"app '{caller.name}' was granted no account", caller.name, "", hint)


async def _within_reach(ctx: Context, caller: Caller) -> list[Within]:
    """Return the accounts that a caller may mean without naming them: all, or those that it was granted."""
    if isinstance(caller, Owner):
        accounts = await ctx.store.accounts()
        return [Within(one.name, frozenset({one.resource} - {None}), one.audience) for one in accounts]
    found = []
    for grant in caller.grants:
        account = await ctx.store.account_by_uuid(grant.uuid)
        if account is not None:
            gives = grant.mode == "token" and not is_over(grant, ctx.clock())
            resources = frozenset({grant.resource or account.resource} - {None})
            found.append(Within(account.name, resources, account.audience, gives))
    return found
