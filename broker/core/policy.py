"""Who may have which token: caller x account x scope x resource -> Allowed | Narrow(wish) | Denied(reason).

Called by the use cases before anything is handed out or changed. An empty list of grants denies.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from broker.core import rules
from broker.core.rules import Passage
from broker.core.token import Wish

# No part of a scope that any preset knows is as long; every part of a token is.
_OPAQUE = re.compile(r"[\w~+=-]{33,}")
# What is missing where something is denied: a grant that works at all, a scope, or a resource or audience.
Lack = Literal["grant", "scope", "target"]


@dataclass(frozen=True, slots=True)
class Owner:
    """The person whose daemon this is: the kernel named the daemon's own uid on the socket, and no key was sent.

    Attributes:
        pid: the caller's process, for the record only: process ids are reused, so nothing is decided by it.
    """

    pid: int | None = None
    name = "owner"


@dataclass(frozen=True, slots=True)
class AppGrant:
    """What one app may have of one account.

    Attributes:
        account: the account's name.
        scope: the scopes the app may ask for; empty means all that the account has.
        resource: the only RFC 8707 resource it may ask for, or None for the account's own.
        mode: ``token``, or ``proxy`` for an app that never sees the token.
        expires_at: epoch seconds, or None.
        token_file: which token Keyfob keeps in a file for the app, ``access_token`` or ``id_token``; None for no file.
        uuid: the account's uuid, by which it is known whatever its name is by now; empty of a grant that is not made.
        rules: which requests it may send through the proxy, see ``core.rules``; empty means every one.
        rate_share: how many percent of a rate limit the app may use up through the proxy; None for all of it.
    """

    account: str
    scope: tuple[str, ...] = ()
    resource: str | None = None
    mode: str = "token"
    expires_at: float | None = None
    token_file: str | None = None
    uuid: str = field(default="", repr=False, compare=False)
    rules: tuple[str, ...] = ()
    rate_share: int | None = None

    @property
    def files_id_token(self) -> bool:
        """Whether it is the ID token that is kept in a file."""
        return self.token_file == "id_token"  # noqa: S105 -- the name of a kind


@dataclass(frozen=True, slots=True)
class App:
    """A program that proved itself with an app key.

    Attributes:
        name: unique.
        grants: what it may have, as they were when it was asked who it is.
        key_hash: of the key that it showed, by which the question can be asked again.
        expires_at: when that key stops working, epoch seconds, or None.
    """

    name: str
    grants: tuple[AppGrant, ...]
    key_hash: bytes = field(default=b"", repr=False, compare=False)
    expires_at: float | None = field(default=None, compare=False)


Caller = Owner | App


def ends_at(caller: Caller, now: float) -> float:
    """Return when the next of what a caller may do ends by itself, epoch seconds; infinity where nothing does."""
    if isinstance(caller, Owner):
        return math.inf
    ends = (caller.expires_at, *(grant.expires_at for grant in caller.grants))
    return min((end for end in ends if end is not None and end > now), default=math.inf)


@dataclass(frozen=True, slots=True)
class Stranger:
    """A program with a key that it made for itself, and that no app has. It may ask to become an app, and nothing else.

    Attributes:
        key_hash: of that key.
    """

    key_hash: bytes = field(repr=False)
    name = "stranger"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller wants of an account: scopes, an RFC 8707 resource, an RFC 8693 audience; what is left out, any.

    With a ``passage`` it does not want the token, but a request to be sent with it.
    """

    account: str
    scope: tuple[str, ...] = ()
    resource: str | None = None
    audience: str | None = None
    passage: Passage | None = None


@dataclass(frozen=True, slots=True)
class Allowed:
    """Go ahead."""


@dataclass(frozen=True, slots=True)
class Narrow:
    """A token that carries less than the account's own, or is for another resource or audience.

    Attributes:
        wish: what it is to carry.
        own_will_do: the caller may have the account's own token too, so that is handed out where no other can be had.
        reason: why the account's own will not do; empty where it will.
        lacks: what that is about.
    """

    wish: Wish
    own_will_do: bool
    reason: str = ""
    lacks: Lack = field(default="scope", compare=False)


@dataclass(frozen=True, slots=True)
class Denied:
    """No, and why: safe to show to the caller.

    Attributes:
        reason: what is missing.
        app: the app whose grant does not allow it; empty where no grant of the owner's helps, because the login
            itself did not bring it.
        account: the account.
        hint: what would help; empty where that follows from the above.
        approval_url: where the owner can allow it; empty where nobody is to be asked.
        lacks: what the reason is about.
        rules: the rules of the app's grant, where the request fits none of them.
    """

    reason: str
    app: str
    account: str
    hint: str = ""
    approval_url: str = ""
    lacks: Lack = field(default="grant", compare=False)
    rules: tuple[str, ...] = ()


def decide(
    caller: Caller,
    ask: Ask,
    granted_scope: Sequence[str],
    resource: str | None,
    now: float,
    audience: str | None = None,
    *,
    uuid: str = "",
) -> Allowed | Narrow | Denied:
    """Decide whether ``caller`` may have the token that ``ask`` describes.

    Args:
        caller: who asks.
        ask: the account, and the scopes, the resource and the audience that the caller names.
        granted_scope: the scopes that the account's token carries; empty where the provider does not tell.
        resource: the resource that the account's token is for; None where it is for no particular one.
        now: epoch seconds.
        audience: whom the account's token is for; None where it is for nobody in particular.
        uuid: the account's; empty where there is no such account, or none has a uuid here.
    """
    grant = None
    if isinstance(caller, App):
        # First of all: what a stranger may not have, it may not ask about either.
        grant = next((grant for grant in caller.grants if _is_of(grant, ask.account, uuid)), None)
        lacks, reason = (
            _beyond_grant(caller, grant, ask, resource, now)
            or _beyond_target(caller, grant, ask, resource, audience)
            or ("grant", "")
        )
        if reason:
            return Denied(reason, caller.name, named([ask.account]) if grant is None else ask.account, lacks=lacks)
        if grant is not None and ask.passage is not None and not rules.allow(grant.rules, ask.passage):
            return _against_rules(caller, grant, ask.passage)
    if granted_scope and not set(ask.scope) <= set(granted_scope):
        missing = named(set(ask.scope) - set(granted_scope))
        return Denied(
            f"account '{ask.account}' was not granted the scope '{missing}' at login",
            "",
            ask.account,
            f"Only another login can bring that: keyfob login {ask.account} --scope {missing}",
            lacks="scope",
        )
    wanted, whom = _target(ask, grant, resource, audience)
    limit = grant.scope if grant is not None else ()
    other = f"resource '{wanted}'" if wanted not in (None, resource) else ""
    other = f"audience '{whom}'" if whom not in (None, audience) else other
    reason = _unfit(caller, ask, granted_scope, limit, other)
    if not reason and not (ask.scope and set(ask.scope) < set(granted_scope)):
        return Allowed()
    # What is limited is always named: a request without a scope would be for all of the login's.
    scope = ask.scope or tuple(item for item in limit if not granted_scope or item in granted_scope)
    if limit and not scope:
        return Denied(reason, caller.name, ask.account, lacks="scope")
    if whom not in (None, audience) and isinstance(caller, App):
        # For another audience a provider may give other scopes; an app was granted no more than the account has.
        scope = scope or tuple(granted_scope)
    wish = Wish(tuple(sorted(scope)), wanted, whom)
    return Narrow(wish, own_will_do=not reason, reason=reason, lacks="target" if other else "scope")


def _is_of(grant: AppGrant, account: str, uuid: str) -> bool:
    """Whether a grant is of that account: after a rename the name may be another one's."""
    return grant.uuid == uuid if grant.uuid and uuid else grant.account == account


def _target(
    ask: Ask, grant: AppGrant | None, resource: str | None, audience: str | None
) -> tuple[str | None, str | None]:
    """Return the resource and the audience that the token is to be for.

    Where one of them is named, the account's own of the other kind goes: it would make the token good for both.
    """
    named = ask.resource or (grant.resource if grant is not None else None)
    if ask.audience not in (None, audience):
        return named, ask.audience
    if named not in (None, resource):
        return named, None if ask.audience is None else audience
    return resource, audience


def _beyond_target(
    app: App, grant: AppGrant | None, ask: Ask, resource: str | None, audience: str | None
) -> tuple[Lack, str] | None:
    """Return why ``app`` may not ask for the audience that it names; None where it may.

    An audience is another name for where a token goes. Whoever may go to one place only gets to no other by that name.
    """
    if ask.audience is None or grant is None:
        return None
    if grant.resource is not None:
        return "target", f"app '{app.name}' was granted resource '{grant.resource}' only, and no audience"
    if ask.audience != audience and (resource or audience):
        return "target", f"app '{app.name}' was granted no audience but the account's own"
    return None


def _beyond_grant(
    app: App, grant: AppGrant | None, ask: Ask, resource: str | None, now: float
) -> tuple[Lack, str] | None:
    """Return what of ``ask`` the owner did not grant to ``app``; None where that is nothing."""
    if grant is None:
        return "grant", f"app '{app.name}' was not granted account '{named([ask.account])}'"
    if grant.expires_at is not None and grant.expires_at <= now:
        return "grant", f"the grant of account '{ask.account}' to app '{app.name}' has expired"
    if ask.passage is None and (grant.mode != "token" or grant.rules):
        return "grant", f"app '{app.name}' may use account '{ask.account}' through the proxy only"
    if ask.resource is not None and ask.resource != (grant.resource or resource):
        # RFC 8707 2: a token for one resource is never given to somebody who was granted another.
        own = f"resource '{grant.resource}' only" if grant.resource else "no resource but the account's own"
        return "target", f"app '{app.name}' was granted {own}"
    if grant.scope and not set(ask.scope) <= set(grant.scope):
        missing = named(set(ask.scope) - set(grant.scope))
        return "scope", f"app '{app.name}' was not granted the scope '{missing}'"
    return None


def _against_rules(app: App, grant: AppGrant, passage: Passage) -> Denied:
    """Deny a request that fits no rule. Of its path nothing is told: it may hold what nobody should read."""
    allowed = ", ".join(f"'{rule}'" for rule in grant.rules)
    return Denied(
        f"app '{app.name}' may not send {passage.method} there: the rules of account '{grant.account}' are {allowed}",
        "",
        grant.account,
        f"The owner can change them, all at once: keyfob app grant {app.name} --account {grant.account} --proxy-only "
        "--rule 'METHODS PATH'",
        rules=grant.rules,
    )


def is_opaque(asked: Iterable[str]) -> bool:
    """Whether one of these names holds a word without end or sense, which may be a token that came by mistake."""
    return any(_OPAQUE.search(word) for word in asked)


def named(asked: Iterable[str]) -> str:
    """Name what was asked for, to be recorded; a word without end or sense may be a token that came by mistake."""
    return " ".join(_OPAQUE.sub("…", word) for word in sorted(asked))


def _unfit(caller: Caller, ask: Ask, carried: Sequence[str], limit: Sequence[str], other: str) -> str:
    """Return why the account's own token is not for this caller; empty where it is.

    Args:
        caller: who asks.
        ask: for what.
        carried: the scopes of the account's token.
        limit: the scopes that the caller may have; empty for all.
        other: the resource or audience that is wanted, in words, where it is not the token's; else empty.
    """
    if other:
        return f"the token of account '{ask.account}' is not for {other}"
    if limit and not carried:
        return f"the token of account '{ask.account}' may carry more than app '{caller.name}' may have"
    if limit and not set(carried) <= set(limit):
        wider = " ".join(sorted(set(carried) - set(limit)))
        return f"the token of account '{ask.account}' carries more than app '{caller.name}' may have: '{wider}'"
    return ""
