"""Who may have which token: caller x account x scope x resource -> Allowed | Denied(reason).

Called by the use cases before anything is handed out or changed. An empty list of grants denies.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


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
    """

    account: str
    scope: tuple[str, ...] = ()
    resource: str | None = None
    mode: str = "token"
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class App:
    """A program that proved itself with an app key.

    Attributes:
        name: unique.
        grants: what it may have, as they were when it was asked who it is.
        key_hash: of the key that it showed, by which the question can be asked again.
    """

    name: str
    grants: tuple[AppGrant, ...]
    key_hash: bytes = field(default=b"", repr=False, compare=False)


Caller = Owner | App


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller wants of an account."""

    account: str
    scope: tuple[str, ...] = ()
    resource: str | None = None


@dataclass(frozen=True, slots=True)
class Allowed:
    """Go ahead."""


@dataclass(frozen=True, slots=True)
class Denied:
    """No, and why: safe to show to the caller.

    Attributes:
        reason: what is missing.
        app: the app whose grant does not allow it; empty where no grant of the owner's helps, because the login
            itself did not bring it.
        account: the account.
    """

    reason: str
    app: str
    account: str


def decide(
    caller: Caller, ask: Ask, granted_scope: Sequence[str], resource: str | None, now: float
) -> Allowed | Denied:
    """Decide whether ``caller`` may have the token that ``ask`` describes.

    Args:
        caller: who asks.
        ask: the account, and the scopes and the resource that the caller names.
        granted_scope: the scopes that the account's token carries; empty where the provider does not tell.
        resource: the resource that the account's token is for; None where it is for no particular one.
        now: epoch seconds.
    """
    if isinstance(caller, App):
        # First of all: what a stranger may not have, it may not ask about either.
        reason = _beyond_grant(caller, ask, granted_scope, resource, now)
        if reason:
            return Denied(reason, caller.name, ask.account)
    if ask.resource is not None and ask.resource != resource:
        # RFC 8707 2: a token for one resource is never given to somebody who asks for another.
        return Denied(f"the token of account '{ask.account}' is not for resource '{ask.resource}'", "", ask.account)
    if granted_scope and not set(ask.scope) <= set(granted_scope):
        missing = " ".join(sorted(set(ask.scope) - set(granted_scope)))
        return Denied(f"account '{ask.account}' was not granted the scope '{missing}' at login", "", ask.account)
    return Allowed()


def _beyond_grant(app: App, ask: Ask, granted_scope: Sequence[str], resource: str | None, now: float) -> str:
    """Return what of ``ask`` the owner did not grant to ``app``; empty where that is nothing."""
    grant = next((grant for grant in app.grants if grant.account == ask.account), None)
    if grant is None:
        return f"app '{app.name}' was not granted account '{ask.account}'"
    if grant.expires_at is not None and grant.expires_at <= now:
        return f"the grant of account '{ask.account}' to app '{app.name}' has expired"
    if grant.mode != "token":
        return f"app '{app.name}' may use account '{ask.account}' through the proxy only"
    if grant.resource is not None and grant.resource != resource:
        return f"app '{app.name}' was granted resource '{grant.resource}' only"
    if not grant.scope:
        return ""
    if not set(ask.scope) <= set(grant.scope):
        missing = " ".join(sorted(set(ask.scope) - set(grant.scope)))
        return f"app '{app.name}' was not granted the scope '{missing}'"
    if not granted_scope:
        return f"the token of account '{ask.account}' may carry more than app '{app.name}' may have"
    if not set(granted_scope) <= set(grant.scope):
        # The token of the account is the only one there is; handing it out would give more than was granted.
        wider = " ".join(sorted(set(granted_scope) - set(grant.scope)))
        return f"the token of account '{ask.account}' carries more than app '{app.name}' may have: '{wider}'"
    return ""
