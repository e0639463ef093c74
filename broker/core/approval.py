"""What a program asks the owner for, and what a yes makes of it. No clock and no store.

Used by ``usecases.desk`` and ``usecases.approvals``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from broker.core.policy import AppGrant

# grant: an app asks for more than it was granted. pairing: a program without an app asks to become one.
Kind = Literal["grant", "pairing"]
# once: a yes that is good for one token and is not used yet. denied: a no that is still fresh.
# never: a no that is remembered.
State = Literal["pending", "once", "denied", "allowed", "never"]
# How a request stands, for people.
STATE_WORDS: Final[Mapping[State, str]] = {
    "pending": "waits for you",
    "once": "allowed once, not used yet",
    "allowed": "allowed",
    "denied": "not allowed",
    "never": "never allowed",
}
# How long an answer counts: for one token, until a time that is named, or for good.
Remember = Literal["once", "until", "always"]


@dataclass(frozen=True, slots=True)
class Asker:
    """Where a request came from, as far as the kernel tells. For the person who decides; nothing is decided by it.

    Process ids are reused, and a path says which file was started and not what it does.

    Attributes:
        door: ``socket`` or ``port``.
        uid: of the program, or None where the kernel does not tell.
        pid: its process, or None.
        executable: the file that it runs, or empty.
    """

    door: str
    uid: int | None = None
    pid: int | None = None
    executable: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for of one account.

    Attributes:
        account: its name; whether there is such an account is not said to who asks.
        scope: scopes; empty for whatever the account has.
        resource: the RFC 8707 resource, or None for the account's own.
        mode: ``proxy`` where the app wanted a request to be sent, and not the token.
    """

    account: str
    scope: tuple[str, ...] = ()
    resource: str | None = None
    mode: str = "token"


@dataclass(frozen=True, slots=True)
class Approval:
    """One request for the owner's yes.

    Attributes:
        id: the short code. Of a pairing the program shows it too, so that the person sees that it is the same one.
        kind: what is asked for.
        app: the app's name; of a pairing the name that the program gives itself.
        wanted: of what; of a pairing perhaps of several accounts.
        asker: where the request came from, the last time.
        asked_at: when it was asked first, epoch seconds.
        last_asked_at: when last.
        count: how often.
        state: where it stands.
        expires_at: when it is forgotten, epoch seconds; None of a no that is remembered.
    """

    id: str
    kind: Kind
    app: str
    wanted: tuple[Wanted, ...]
    asker: Asker | None
    asked_at: float
    last_asked_at: float
    count: int
    state: State
    expires_at: float | None


def merged(old: AppGrant | None, wanted: Wanted, now: float, *, mode: str, expires_at: float | None) -> AppGrant:
    """Return the grant that a yes makes of what the app has already: it takes nothing away but another resource.

    Args:
        old: the app's grant of that account, or None.
        wanted: what it is allowed now.
        now: epoch seconds; an old grant that has ended counts for nothing.
        mode: ``token`` or ``proxy``.
        expires_at: when the new grant ends, epoch seconds, or None.
    """
    new = AppGrant(wanted.account, wanted.scope, wanted.resource, mode, expires_at)
    if old is None or is_over(old, now) or wanted.resource not in (None, old.resource):
        return new
    # Empty is everything: whoever has that keeps it, and who asked for nothing in particular gets what it had.
    together = tuple(dict.fromkeys((*old.scope, *wanted.scope))) if old.scope else ()
    # Rules are for requests through the proxy, files for a token: what does not go with the mode is left behind.
    file, rules = (old.token_file, ()) if mode == "token" else (None, old.rules)
    return replace(new, scope=together, resource=old.resource, token_file=file, rules=rules, rate_share=old.rate_share)


def is_over(grant: AppGrant, now: float) -> bool:
    """Whether a grant has ended."""
    return grant.expires_at is not None and grant.expires_at <= now
