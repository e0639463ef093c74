"""Codes, grants and tokens, and what a refresh does in each rotation mode.

Called by the endpoints; knows no HTTP. Tokens are kept as digests, as a careful server does.
"""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from broker.core.secret import Secret
from broker.practice.refusal import Refusal
from broker.practice.settings import PracticeSettings

_FINGERPRINT = 12  # hex digits; enough to tell tokens apart, too few to search for one
_PRUNE_FROM = 2048  # access tokens; below that, looking for expired ones costs more than it frees


def digest(token: str) -> str:
    """Return what is kept of a token."""
    return sha256(token.encode()).hexdigest()


def fingerprint(token: str) -> str:
    """Return a short name for a token that can be shown; empty for empty text."""
    return digest(token)[:_FINGERPRINT] if token else ""


@dataclass(frozen=True, slots=True)
class User:
    """A person at the practice provider: everybody who types a name exists."""

    name: str

    @property
    def sub(self) -> str:
        """The subject: the same for the same name, and not guessable from looks."""
        return digest(f"practice user {self.name}")[:20]


@dataclass(slots=True)
class Grant:
    """One consent and all tokens that come from it: a token family.

    Attributes:
        id: its name in the event log.
        client_id: who it was given to.
        user: who gave it; None for client credentials.
        scopes: what was allowed.
        auth_time: when the person logged in, epoch seconds.
        nonce: of the authorization request, for the first ID token.
        redirect_uri: of that request; empty where there was none.
        revoked: everything of it is dead.
        current: the refresh token that works now.
        previous: digest of the one before.
        previous_spent_at: when that was spent.
        used_at: when it was last refreshed, for ``idle``.
        access: digests of its access tokens.
        resource: what its tokens are for (RFC 8707); empty where nobody said.
    """

    id: str
    client_id: str
    user: User | None
    scopes: tuple[str, ...]
    auth_time: float
    nonce: str = ""
    redirect_uri: str = ""
    revoked: bool = False
    current: Secret | None = None
    previous: str = ""
    previous_spent_at: float = 0.0
    used_at: float = 0.0
    access: list[str] = field(default_factory=list)
    resource: str = ""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What an access token stands for.

    Attributes:
        grant: the consent that it comes from.
        scopes: what it carries.
        issued_at: epoch seconds, as is ``expires_at``.
        resource: the one that it is for, or empty (RFC 8707).
        audience: the name of whom it is for, or empty (RFC 8693 2.1).
    """

    grant: Grant
    scopes: tuple[str, ...]
    issued_at: float
    expires_at: float
    resource: str = ""
    audience: str = ""


@dataclass(slots=True)
class Code:
    """An authorization code, spent or not.

    Attributes:
        grant: what it is exchanged for.
        redirect_uri: as in the authorization request.
        challenge: S256 code challenge (RFC 7636 4.2); empty where the provider knows no PKCE.
        expires_at: epoch seconds.
        spent: it was exchanged.
    """

    grant: Grant
    redirect_uri: str
    challenge: str
    expires_at: float
    spent: bool = False


@dataclass(frozen=True, slots=True)
class Issued:
    """What goes into a token answer.

    Attributes:
        grant: the family.
        access_token: new.
        scopes: of the access token.
        refresh_token: to be sent along, or None.
        result: ``ok``, or ``grace`` where a spent refresh token was still accepted.
    """

    grant: Grant
    access_token: Secret
    scopes: tuple[str, ...]
    refresh_token: Secret | None
    result: str = "ok"


@dataclass(slots=True)
class GrantBook:
    """All codes, grants and tokens of one provider.

    Attributes:
        settings: lifetimes and rotation.
        clock: epoch seconds.
    """

    settings: PracticeSettings
    clock: Callable[[], float]
    _grants: dict[str, Grant] = field(default_factory=dict)
    _codes: dict[str, Code] = field(default_factory=dict)
    _access: dict[str, AccessToken] = field(default_factory=dict)
    _refresh: dict[str, Grant] = field(default_factory=dict)  # every refresh token that ever was
    _prune_at: int = _PRUNE_FROM

    def open(
        self, client_id: str, user: User | None, scopes: tuple[str, ...], nonce: str = "", auth_time: float = 0.0
    ) -> Grant:
        """Begin a grant."""
        now = self.clock()
        grant = Grant(f"g{len(self._grants) + 1}", client_id, user, scopes, auth_time or now, nonce, used_at=now)
        self._grants[grant.id] = grant
        return grant

    def issue_code(self, grant: Grant, redirect_uri: str, challenge: str) -> Secret:
        """Return a code for a grant."""
        code = secrets.token_urlsafe(24)
        grant.redirect_uri = redirect_uri
        self._codes[digest(code)] = Code(grant, redirect_uri, challenge, self.clock() + self.settings.code_ttl)
        return Secret(code)

    def redeem_code(self, code: str, client_id: str, redirect_uri: str, verifier: str) -> Grant:
        """Return the grant that a code stands for, and spend the code (RFC 6749 4.1.3, RFC 7636 4.6).

        Raises:
            Refusal: ``invalid_grant``. A second use kills all tokens of the first (RFC 6749 4.1.2).
        """
        entry = self._codes.get(digest(code))
        if entry is None:
            raise Refusal("invalid_grant", "no such code")
        if entry.spent:
            entry.grant.revoked = True
            raise Refusal("invalid_grant", "this code was used before; its tokens are revoked", result="reuse")
        if entry.grant.client_id != client_id:
            raise Refusal("invalid_grant", "the code belongs to another client")
        if entry.grant.revoked or self.clock() >= entry.expires_at:
            raise Refusal("invalid_grant", "the code has expired")
        if entry.redirect_uri != redirect_uri:
            raise Refusal("invalid_grant", "redirect_uri is not the one of the authorization request")
        proof = s256(verifier) if verifier else ""
        if not secrets.compare_digest(proof, entry.challenge):
            raise Refusal("invalid_grant", "code_verifier does not match the code_challenge")
        entry.spent = True
        return entry.grant

    def issue(self, grant: Grant, *, with_refresh_token: bool) -> Issued:
        """Make the first tokens of a grant."""
        wanted = with_refresh_token and self.settings.rotation != "none"
        if self.settings.needs_offline_access and "offline_access" not in grant.scopes:
            wanted = False
        refresh_token = self._new_refresh_token(grant) if wanted else None
        return Issued(grant, self._new_access_token(grant, grant.scopes), grant.scopes, refresh_token)

    def grant_of(self, refresh_token: str) -> Grant | None:
        """Return the grant that a refresh token, spent or not, belongs to."""
        return self._refresh.get(digest(refresh_token))

    def refresh(self, refresh_token: str, client_id: str, scopes: tuple[str, ...] | None, resource: str = "") -> Issued:
        """Spend a refresh token as the rotation mode wants it.

        Args:
            refresh_token: what came in.
            client_id: who sent it.
            scopes: asked for; None: all of the grant.
            resource: that the access token is to be for, or empty.

        Raises:
            Refusal: ``invalid_grant``, or ``invalid_scope`` before anything is spent.
        """
        grant = self.grant_of(refresh_token)
        if grant is None or grant.client_id != client_id:
            raise Refusal("invalid_grant", "no such refresh token of this client")
        if grant.revoked or grant.current is None:
            raise Refusal("invalid_grant", "the grant was revoked")
        now = self.clock()
        if self._outlived(grant, now):
            raise Refusal("invalid_grant", "the grant has expired")
        if scopes is not None and not set(scopes) <= set(grant.scopes):
            raise Refusal("invalid_scope", "more scope than was granted (RFC 6749 6)")
        narrowed = grant.scopes if scopes is None else scopes
        if grant.current != Secret(refresh_token):
            return self._refresh_with_spent(grant, refresh_token, narrowed, resource, now)
        grant.used_at = now
        if self.settings.kills_old_access_token:
            self._drop_access_tokens(grant)
        access_token = self._new_access_token(grant, narrowed, resource)
        if self.settings.rotation == "keep":
            return Issued(grant, access_token, narrowed, None)
        grant.previous, grant.previous_spent_at = digest(refresh_token), now
        return Issued(grant, access_token, narrowed, self._new_refresh_token(grant))

    def exchange(
        self, subject: AccessToken, scopes: tuple[str, ...] | None, resource: str, audience: str = ""
    ) -> Issued:
        """Make another access token in exchange for one (RFC 8693); that one lives on.

        Raises:
            Refusal: ``invalid_scope``.
        """
        if scopes is not None and not set(scopes) <= set(subject.scopes):
            raise Refusal("invalid_scope", "more scope than the subject token carries")
        wanted = subject.scopes if scopes is None else scopes
        return Issued(subject.grant, self._new_access_token(subject.grant, wanted, resource, audience), wanted, None)

    def _refresh_with_spent(
        self, grant: Grant, token: str, scopes: tuple[str, ...], resource: str, now: float
    ) -> Issued:
        """Answer a spent refresh token: inside the grace with the current one, outside by the rotation mode."""
        age = now - grant.previous_spent_at
        if digest(token) == grant.previous and 0 <= age < self.settings.grace:
            if self.settings.grace_rotates and grant.current is not None:
                grant.previous, grant.previous_spent_at = digest(grant.current.reveal()), now
                self._new_refresh_token(grant)
            return Issued(grant, self._new_access_token(grant, scopes, resource), scopes, grant.current, "grace")
        if self.settings.rotation == "single-use":
            grant.revoked = True
            raise Refusal("invalid_grant", "a spent refresh token came back; the grant is revoked", result="reuse")
        raise Refusal("invalid_grant", "this refresh token was spent before", result="reuse")

    def _outlived(self, grant: Grant, now: float) -> bool:
        idle, absolute = self.settings.idle, self.settings.absolute
        return (idle is not None and now - grant.used_at > idle) or (
            absolute is not None and now - grant.auth_time > absolute
        )

    def access(self, token: str) -> AccessToken | None:
        """Return what an access token stands for, or None where it is unknown, expired or revoked."""
        entry = self._access.get(digest(token))
        if entry is None or entry.grant.revoked or self.clock() >= entry.expires_at:
            return None
        return entry

    def forget_access_token(self, token: str) -> None:
        """Revoke one access token only."""
        self._access.pop(digest(token), None)

    def access_grant(self, token: str) -> Grant | None:
        """Return the grant of an access token, dead or alive."""
        entry = self._access.get(digest(token))
        return entry.grant if entry else None

    def is_current(self, refresh_token: str) -> bool:
        """Tell whether a refresh token would be accepted now without a grace."""
        grant = self.grant_of(refresh_token)
        if grant is None or grant.revoked or self._outlived(grant, self.clock()):
            return False
        return grant.current == Secret(refresh_token)

    def revoke_all(self) -> int:
        """Kill every grant; return how many were alive."""
        alive = [grant for grant in list(self._grants.values()) if not grant.revoked]
        for grant in alive:
            grant.revoked = True
        return len(alive)

    def _new_refresh_token(self, grant: Grant) -> Secret:
        grant.current = Secret("practice_rt_" + secrets.token_urlsafe(32))
        self._refresh[digest(grant.current.reveal())] = grant
        return grant.current

    def _new_access_token(
        self, grant: Grant, scopes: tuple[str, ...], resource: str = "", audience: str = ""
    ) -> Secret:
        now = self.clock()
        if len(self._access) >= self._prune_at:
            self._access = {key: entry for key, entry in self._access.items() if entry.expires_at > now}
            self._prune_at = max(_PRUNE_FROM, 2 * len(self._access))  # doubling keeps the cost per token constant
        token = "practice_at_" + secrets.token_urlsafe(32)
        self._access[digest(token)] = AccessToken(grant, scopes, now, now + self.settings.ttl, resource, audience)
        grant.access = [*(key for key in grant.access if key in self._access), digest(token)]
        return Secret(token)

    def _drop_access_tokens(self, grant: Grant) -> None:
        for key in grant.access:
            self._access.pop(key, None)


def s256(verifier: str) -> str:
    """Return the S256 code challenge of a verifier (RFC 7636 4.2)."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
