"""Which account a request means that may name it, name what its token is for, or name nothing.

Called by ``web.emulate``: OAuth knows resources and audiences, clouds know APIs and identities; none knows accounts.
"""

from dataclasses import dataclass, replace

from broker.core.account import ACCOUNT_NAME
from broker.core.approval import is_over
from broker.core.policy import Ask, Caller, Denied, Owner, named
from broker.usecases.context import Context

CHOOSE = "send account=NAME, or audience=NAME"


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
        scope: what its token carries.
        gives: whether it gives a token now: its grant has not ended, and is not for the proxy only.
    """

    name: str
    resources: frozenset[str | None]
    audience: str | None
    scope: tuple[str, ...]
    gives: bool = True

    def is_for(self, api: str) -> bool | None:
        """Whether its token is for an API, by what its login was for; None where that does not tell.

        Scopes tell where they are addresses: those of an API begin with its own.
        """
        root = api.rstrip("/")
        places = {place for place in (*self.resources, self.audience) if place is not None}
        addresses = [word for word in self.scope if "://" in word]
        if root in {place.rstrip("/") for place in places} or api in self.scope:
            return True
        if any(word.startswith(f"{root}/") for word in self.scope):
            return True
        return False if places or addresses else None


async def choose(ctx: Context, caller: Caller, ask: Ask, how: str = CHOOSE) -> Ask | Unclear | Denied:
    """Return what is asked for with an account in it.

    A resource or an audience that is an account's name means that account, and nothing more. Else the account is meant
    that is for the resource and the audience, or the only one that there is: then they go on to the provider.

    Args:
        ctx: the collaborators.
        caller: who asks.
        ask: for what; its account may be empty.
        how: how whoever asks names one of several accounts, in words.
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
        return _none_known(caller, ask, how)
    # Where no grant gives a token, whoever is asked about the one that is meant says why.
    meant = [one for one in known if one.gives] or known
    fitting = meant if len(meant) == 1 else [one for one in meant if _fits(one, ask)]
    if len(fitting) == 1:
        return replace(ask, account=fitting[0].name)
    return _unclear(meant, fitting, " and ".join(_words(ask)), f"Choose one: {how}.")


async def choose_for_api(ctx: Context, caller: Caller, name: str, api: str, how: str) -> Ask | Unclear | Denied:
    """Return what is asked for with an account in it, by somebody who names the API that is to be called.

    Nothing of that goes on to the provider: it gets the account's token, or what the grant allows of it. An account
    that is known to be for another API is not meant, not even by its name: that API would be shown its token.

    Args:
        ctx: the collaborators.
        caller: who asks.
        name: of the account, or empty.
        api: its address, or an account's name; or empty.
        how: how whoever asks names one of several accounts, in words.
    """
    known = await _within_reach(ctx, caller)
    names = {one.name for one in known}
    if not name and api in names:
        name, api = api, ""
    if not known or (name and name not in names):
        return Ask(name) if name else _none_known(caller, Ask("", resource=api or None), how)
    meant = [one for one in known if one.name == name] or [one for one in known if one.gives] or known
    fitting = [one for one in meant if one.is_for(api) is not False] if api else meant
    fitting = [one for one in fitting if one.is_for(api)] or fitting
    if len(fitting) == 1:
        return Ask(fitting[0].name)
    new = f"Log in for it under another name: keyfob login NAME --provider PROVIDER --scope {named([api])}/.default"
    return _unclear(meant, fitting, f"'{named([api])}'" if api else "", f"Choose one: {how}." if fitting else new)


def _unclear(meant: list[Within], fitting: list[Within], wanted: str, hint: str) -> Unclear:
    """Say why no account can be told from a request, or which of several may be meant."""
    listed = ", ".join(sorted(one.name for one in fitting or meant))
    if not fitting:
        reason = f"None of these accounts is for {wanted}: {listed}."
    elif wanted:
        reason = f"Several accounts are for {wanted}: {listed}."
    else:
        reason = f"The request names none of the accounts that it may mean: {listed}."
    return Unclear(reason, hint)


async def of_issuer(ctx: Context, issuer: str) -> str | Unclear:
    """Return the name of the owner's only account at an issuer; a slash at its end counts for nothing."""
    names = await ctx.store.names_of_issuer(issuer)
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


def _none_known(caller: Caller, ask: Ask, how: str) -> Ask | Unclear | Denied:
    """Take a word for the account's name where nothing else can be meant, so that the owner can be asked."""
    if ask.audience is not None and ACCOUNT_NAME.fullmatch(ask.audience):
        return replace(ask, account=ask.audience, audience=None)
    if ask.resource is not None and ACCOUNT_NAME.fullmatch(ask.resource):
        return replace(ask, account=ask.resource, resource=None)
    if isinstance(caller, Owner):
        return Unclear("There is no account yet.", "Log in first: keyfob login NAME --provider PROVIDER")
    hint = f"Name one ({how}) and the owner is asked; or: keyfob app grant {caller.name} --account ACCOUNT"
    return Denied(f"app '{caller.name}' was granted no account", caller.name, "", hint)


async def _within_reach(ctx: Context, caller: Caller) -> list[Within]:
    """Return the accounts that a caller may mean without naming them: all, or those that it was granted."""
    if isinstance(caller, Owner):
        accounts = await ctx.store.accounts()
        return [Within(one.name, frozenset({one.resource} - {None}), one.audience, one.scope) for one in accounts]
    found = []
    for grant in caller.grants:
        account = await ctx.store.account_by_uuid(grant.uuid)
        if account is not None:
            gives = grant.mode == "token" and not is_over(grant, ctx.clock())
            resources = frozenset({grant.resource or account.resource} - {None})
            found.append(Within(account.name, resources, account.audience, account.scope, gives))
    return found
