"""An account: one login of one person at one provider, and the states it can be in.

Kept by ``store``; changed only by the transitions below; shown by ``web.render`` and ``cli``.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Literal

from broker.core.token import Token

# What a name may be: it stands in URLs, shell commands and file names, and must need no quoting in any of them.
ACCOUNT_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is logged in, as the provider says.

    Attributes:
        issuer: the issuer identifier, or the provider's base URL where it has none. With ``subject`` it is the key of
            a person; an e-mail address never is (OpenID Connect Core 5.7).
        subject: the ``sub`` claim, or the preset's identity field.
        label: what people read: a name or an address.
    """

    issuer: str
    subject: str
    label: str


@dataclass(frozen=True, slots=True)
class Destination:
    """Where this account's secrets may go, fixed at login (RFC 9700 4.4.2).

    Every sealed secret is bound to these values: changing one in the database does not redirect a refresh.
    """

    issuer: str
    token_endpoint: str
    client_id: str


@dataclass(frozen=True, slots=True)
class Renewal:
    """How an account gets its next access token, fixed at login.

    Attributes:
        by: the grant: a refresh token (RFC 6749 6), the client's own credentials (RFC 6749 4.4), an assertion that
            Keyfob signs anew each time (RFC 7523 2.1), or the living token of another account (RFC 8693).
        subject: for whom the assertion asks; at an exchange the uuid of that other account; else empty.
        audience: whom the token is for, or at an assertion whom that is for; empty where the login named none.
    """

    by: Literal["refresh_token", "client_credentials", "jwt_bearer", "token_exchange"] = "refresh_token"
    subject: str = ""
    audience: str = ""


BY_REFRESH_TOKEN = Renewal()


# --- the states: a closed union; each name is what outsiders read -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pending:
    """A first login has begun and is not finished."""

    since: float
    name = "pending"
    reason = "The first login is not finished."


@dataclass(frozen=True, slots=True)
class Active:
    """The last answer of the provider was good."""

    since: float
    name = "active"
    reason = ""


@dataclass(frozen=True, slots=True)
class RefreshingFailed:
    """A refresh failed for a passing reason; the token is served while it lives.

    Attributes:
        since: when the first failure in the row was.
        reason: what happened, for people.
        attempts: failures in a row, at least 1.
        retry_at: not before this does Keyfob ask again by itself.
        throttled_until: not before this may anybody ask: the provider's own Retry-After. 0 where it gave none.
        lost_at: when the request was sent whose answer was the first to be lost; 0 where none was. The refresh token
            may be spent since then, so another try is safe within the provider's grace only.
    """

    since: float
    reason: str
    attempts: int
    retry_at: float
    throttled_until: float = 0.0
    lost_at: float = 0.0
    name = "refreshing-failed"


@dataclass(frozen=True, slots=True)
class NeedsLogin:
    """The provider said that the grant is dead; only a person at a browser can help."""

    since: float
    reason: str
    name = "needs-login"


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """The provider refuses the client itself; the grant is kept, and now and then Keyfob asks whether it still does.

    Attributes:
        since: when the first refusal in the row was.
        reason: what the provider said last, for people.
        retry_at: not before this does Keyfob ask again by itself.
        attempts: refusals in a row, of this account or another one of the same client; at least 1.
        lost_at: when an answer was lost before the client was refused; 0 where none was. As in ``uncertain``, nobody is
            asked then before the token is over that the account still has.
    """

    since: float
    reason: str
    retry_at: float
    attempts: int = 1
    lost_at: float = 0.0
    name = "misconfigured"


@dataclass(frozen=True, slots=True)
class Uncertain:
    """A rotating refresh token was sent and the answer was lost; asking again may end the login.

    Attributes:
        since: when the first answer was lost.
        reason: what happened, for people; it never says "revoked": nobody knows that.
        retry_at: not before this does Keyfob ask again by itself; nor before the token is over that the account still
            has: then nothing can be lost by it any more. See ``Account.quiet_until``.
        attempts: answers lost in a row, at least 1.
    """

    since: float
    reason: str
    retry_at: float
    attempts: int = 1
    name = "uncertain"


@dataclass(frozen=True, slots=True)
class Suspect:
    """The database may be an older copy, so the stored refresh token may have been spent already."""

    since: float
    reason: str
    name = "suspect"


@dataclass(frozen=True, slots=True)
class Static:
    """A token that a person pasted and that nothing can refresh."""

    since: float
    name = "static"
    reason = ""


State = Pending | Active | RefreshingFailed | NeedsLogin | Misconfigured | Uncertain | Suspect | Static


@dataclass(frozen=True, slots=True)
class Account:
    """One row of what Keyfob remembers, without the refresh token: that never leaves ``store`` and ``refresh``.

    Attributes:
        uuid: never changes and is never reused; the name may change.
        name: what people and programs call it.
        provider: the name of the configured provider.
        destination: where its secrets may go.
        version: grows with every change of the row; a write that expects another version is refused.
        generation: grows with every new token; audit and events name it.
        identity: who is logged in, or None where the provider does not tell.
        asked_scope: what the login asked for.
        resource: the RFC 8707 resource that the login named, or None.
        state: one of the closed union above.
        token: the present access token, or None before the first.
        has_refresh_token: whether the store holds one; what can be renewed, ``renewable`` tells.
        refresh_expires_at: when the refresh token dies, where known.
        created_at: epoch seconds.
        last_refresh_at: when the token was last renewed, or None.
        last_used_at: when it was last handed out, or None.
        forced_at: when a refresh was last forced by a reported rejection, or None.
        id_token_generation: which generation brought the newest ID token, or None where none ever came.
        logged_in_at: when the login was made that the tokens come from, or None where nobody wrote it down.
        token_generation: which generation brought the present access token, or None before the first. It is an older
            one where a refresh since then was for a narrower token.
        renewal: how it gets its next token.
        api_base: where a person said that its API is; empty where nobody did.
        proven: whether its row is as Keyfob wrote it, so that its secrets may be used; None where that could not be
            told, because it was read without the key.
    """

    uuid: str
    name: str
    provider: str
    destination: Destination
    version: int
    generation: int
    identity: Identity | None
    asked_scope: tuple[str, ...]
    resource: str | None
    state: State
    token: Token | None
    has_refresh_token: bool
    refresh_expires_at: float | None
    created_at: float
    last_refresh_at: float | None = None
    last_used_at: float | None = None
    forced_at: float | None = None
    id_token_generation: int | None = None
    logged_in_at: float | None = None
    token_generation: int | None = None
    renewal: Renewal = BY_REFRESH_TOKEN
    api_base: str = ""
    proven: bool | None = field(default=None, compare=False)

    @property
    def issuer(self) -> str:
        """Whose tokens it has: the issuer identifier, or the provider's base URL where it has none."""
        return self.identity.issuer if self.identity is not None else self.destination.issuer

    @property
    def quiet_until(self) -> float:
        """Until when trouble keeps Keyfob from asking by itself, in epoch seconds; 0 where there is none."""
        match self.state:
            case RefreshingFailed(retry_at=retry_at, throttled_until=throttled_until):
                return max(retry_at, throttled_until)
            case Uncertain(retry_at=retry_at):
                return max(retry_at, self._token_over_at)
            case Misconfigured(retry_at=retry_at, lost_at=lost_at):
                return max(retry_at, self._token_over_at) if lost_at > 0 else retry_at
            case _:
                return 0.0

    @property
    def _token_over_at(self) -> float:
        return (self.token.expires_at or 0.0) if self.token is not None else 0.0

    @property
    def is_machine(self) -> bool:
        """Whether it is a program's own account: nobody logs in to it."""
        return self.renewal.by in ("client_credentials", "jwt_bearer")

    @property
    def is_derived(self) -> bool:
        """Whether its tokens are those of another account, exchanged (RFC 8693): that one's login is its own too."""
        return self.renewal.by == "token_exchange"

    @property
    def spends_nothing(self) -> bool:
        """Whether it renews itself without a refresh token: nothing can be lost with the answer to a request."""
        return self.renewal.by != "refresh_token"

    @property
    def renewable(self) -> bool:
        """Whether there is anything to get a new access token with."""
        return self.spends_nothing or self.has_refresh_token

    @property
    def audience(self) -> str | None:
        """Whom its tokens are for, as the login named it (RFC 8693 2.1); None for nobody in particular."""
        tells = self.renewal.by in ("client_credentials", "token_exchange")
        return (self.renewal.audience or None) if tells else None

    @property
    def by_hand(self) -> bool:
        """Whether a person made its token at the provider: no client can bring another one, only a person."""
        return isinstance(self.state, Static) or not self.destination.client_id

    @property
    def label(self) -> str:
        """What people read: who is logged in, or which client it is the account of; empty where nobody knows."""
        if self.identity is not None:
            return self.identity.label
        return self.destination.client_id if self.spends_nothing else ""

    @property
    def scope(self) -> tuple[str, ...]:
        """What was granted; what was asked where the provider did not say (RFC 6749 5.1)."""
        return self.token.scope if self.token is not None else self.asked_scope

    @property
    def missing_scope(self) -> tuple[str, ...]:
        """What was asked and not granted. What a scope stands for may have come although the reply does not name it."""
        if self.token is None:
            return ()
        came = {*self.scope}
        if self.has_refresh_token:
            came.add("offline_access")
        if self.id_token_generation is not None:
            came.add("openid")
        return tuple(scope for scope in self.asked_scope if scope not in came)


# --- the transitions -------------------------------------------------------------------------------------------------


def refreshed(account: Account, now: float) -> Account:
    """A refresh or a login brought a new token."""
    since = account.state.since if isinstance(account.state, Active) else now
    return replace(account, state=Active(since=since))


def refresh_failed(
    account: Account, now: float, reason: str, retry_at: float, *, throttled_until: float = 0.0, lost_at: float = 0.0
) -> Account:
    """A refresh failed for a passing reason. Failures in a row are counted; a new cause replaces the old reason."""
    before = account.state if isinstance(account.state, RefreshingFailed) else None
    failed = RefreshingFailed(
        since=before.since if before else now,
        reason=reason,
        attempts=before.attempts + 1 if before else 1,
        retry_at=retry_at,
        throttled_until=throttled_until,
        lost_at=(before.lost_at if before else 0.0) or lost_at,
    )
    return replace(account, state=failed)


def doubt_over(account: Account) -> Account:
    """A new refresh token came: whatever answer was lost before does not matter any more."""
    match account.state:
        case Uncertain(since=since, reason=reason, retry_at=retry_at, attempts=attempts):
            return replace(account, state=RefreshingFailed(since, reason, attempts, retry_at))
        case RefreshingFailed() | Misconfigured():
            return replace(account, state=replace(account.state, lost_at=0.0))
        case _:
            return account


def login_needed(account: Account, now: float, reason: str) -> Account:
    """The provider said that the grant is dead."""
    return replace(account, state=NeedsLogin(now, reason))


def misconfigured(account: Account, now: float, reason: str, retry_at: float, attempts: int = 1) -> Account:
    """The provider refuses the client. One that is refused again has been in this state since the first time."""
    match account.state:
        case Misconfigured():
            state = replace(account.state, reason=reason, retry_at=retry_at, attempts=attempts)
        case Uncertain(since=since):
            state = Misconfigured(now, reason, retry_at, attempts, lost_at=since)
        case RefreshingFailed(lost_at=lost_at):
            state = Misconfigured(now, reason, retry_at, attempts, lost_at=lost_at)
        case _:
            state = Misconfigured(now, reason, retry_at, attempts)
    return replace(account, state=state)


def suspected(account: Account, now: float, reason: str) -> Account:
    """The database is not the one that was last in use: its refresh token may have been spent elsewhere."""
    return replace(account, state=Suspect(now, reason))


def answer_lost(account: Account, now: float, reason: str, retry_at: float) -> Account:
    """The answer to a rotating refresh was lost."""
    match account.state:
        case Uncertain(attempts=attempts):
            lost = replace(account.state, reason=reason, retry_at=retry_at, attempts=attempts + 1)
        case RefreshingFailed(attempts=attempts):
            # The same outage goes on: its back-off does not begin anew.
            lost = Uncertain(now, reason, retry_at, attempts + 1)
        case _:
            lost = Uncertain(now, reason, retry_at)
    return replace(account, state=lost)
