"""A provider whose rules are simple enough to be obviously right, and whose log is the truth for the judge.

Asked by ``network``. It is no stand-in for a room of ours: it is what stands at the other end of the wire.
"""

import random
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Rules:
    """How one provider treats its tokens.

    Attributes:
        rotation: never, sometimes or always: whether a refresh brings a new refresh token.
        grace: seconds for which the newest spent refresh token is still accepted.
        same_again: what such a second try brings: the same successor, or another one in its place.
        reuse_revokes: a spent token presented later ends the whole login; otherwise it is only refused.
        kills_old_access: a refresh kills the access tokens from before.
        lifetime: usual life of an access token, in seconds.
        short_part: how many of the tokens live for a few minutes only.
        new_login_revokes: a new login of the same person ends the one before.
        omitted: how an answer says that the refresh token stays: without the field, null, or empty text.
    """

    rotation: str = "always"
    grace: float = 0.0
    same_again: bool = True
    reuse_revokes: bool = True
    kills_old_access: bool = False
    lifetime: float = 3600.0
    short_part: float = 0.0
    new_login_revokes: bool = False
    omitted: str = "absent"


@dataclass(slots=True, eq=False)
class Access:
    """One access token: until when it is good, since when and why it is not any more, and whether Keyfob has it.

    ``clock`` is the life of Keyfob in which it came, and by how much its clock was wrong then; ``under`` is the
    generation under which Keyfob asked for it; ``scope`` is what it carries, where less than everything was asked for.
    """

    login: "Login"
    expires_at: float
    dead_at: float | None = None
    dead_why: str = ""
    known: bool = True
    clock: tuple[int, float] = (0, 0.0)
    under: int = -1
    scope: str = ""


@dataclass(slots=True, eq=False)
class Login:
    """One login of one person, as the provider sees it.

    Attributes:
        account: what Keyfob calls it.
        tokens: every refresh token that was issued for it; the last is the one in force.
        spent_at: when each of those before the last was spent for its successor.
        dead: why the login ended, or empty.
        access: the access tokens that were issued for it.
        lost: what the network or a crash swallowed: number of the token that was on its way -> why.
        refusals: reasons with which requests for it were refused.
        replaced: Keyfob has a newer one of the same person.
        before: the login that this one replaced, where Keyfob may hold that still; None once it has this one.
    """

    account: str
    tokens: list[str] = field(default_factory=list)
    spent_at: list[float] = field(default_factory=list)
    dead: str = ""
    access: list[Access] = field(default_factory=list)
    lost: dict[int, str] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    replaced: bool = False
    before: "Login | None" = None

    def arrived(self) -> None:
        """Keyfob has this one now, and none of those before it."""
        while self.before is not None:
            self.before.replaced = True
            self.before = self.before.before

    @property
    def candidates(self) -> "list[Login]":
        """This login, and those that Keyfob may hold in its place because a new one never arrived there."""
        return [self, *(self.before.candidates if self.before is not None else [])]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider says.

    Attributes:
        status: HTTP status.
        fields: the JSON object.
        login: whom it was about, where known.
        result: a word for the log: ok, grace, kept, reuse, dead, unknown, code, revoked, client.
        brought: number of the refresh token in it; None where there is none.
        access: the access token in it.
    """

    status: int
    fields: dict[str, Any]
    login: Login | None
    result: str
    brought: int | None = None
    access: Access | None = None


class Provider:
    """One provider with its logins.

    Args:
        name: in the log and in Keyfob.
        rules: what it does.
        rng: for lifetimes and for what a provider does only sometimes.
    """

    def __init__(self, name: str, rules: Rules, rng: random.Random) -> None:
        self.name = name
        self.rules = rules
        self.client_unknown = False
        self.odd_part = 0.0
        self._rng = rng
        self._issued: dict[str, tuple[Login, int]] = {}
        self._codes: dict[str, Login] = {}
        self.access: dict[str, Access] = {}
        self.newest: dict[str, Login] = {}

    def consent(self, account: str) -> str:
        """A person says yes in the browser; return the code."""
        code = f"code-{self.name}-{len(self._codes)}"
        self._codes[code] = Login(account)
        return code

    def login_of(self, refresh_token: str) -> tuple[Login, int] | None:
        """Return which login a refresh token is of, and its number there."""
        return self._issued.get(refresh_token)

    def revoke(self, login: Login, now: float, why: str) -> None:
        """End a login and everything that hangs on it."""
        login.dead = login.dead or why
        self._kill_access(login, now, why)

    def token(self, form: dict[str, str], now: float) -> Answer:
        """Answer at the token endpoint (RFC 6749 5)."""
        if self.client_unknown:
            return self._refuse("invalid_client", None, "client", status=401)
        if form["grant_type"] == "authorization_code":
            return self._exchange(form["code"], now)
        found = self._issued.get(form["refresh_token"])
        if found is None:
            return self._refuse("invalid_grant", None, "unknown")
        return self._refresh(*found, form["refresh_token"], now, form.get("scope", ""))

    def revocation(self, form: dict[str, str], now: float) -> Answer:
        """Answer at the revocation endpoint (RFC 7009 2)."""
        found = self._issued.get(form["token"])
        if found is not None:
            self.revoke(found[0], now, "logout")
        return Answer(200, {}, found[0] if found else None, "revoked")

    def _exchange(self, code: str, now: float) -> Answer:
        login = self._codes.pop(code, None)
        if login is None:
            return self._refuse("invalid_grant", None, "unknown")
        before = self.newest.get(login.account)
        if before is not None:
            login.before = before
            if self.rules.new_login_revokes:
                self.revoke(before, now, "new login")
        self.newest[login.account] = login
        return self._grant(login, now, "code", renew=True)

    def _refresh(self, login: Login, number: int, text: str, now: float, scope: str) -> Answer:
        newest = len(login.tokens) - 1
        if login.dead:
            return self._refuse("invalid_grant", login, "dead")
        if text == login.tokens[-1]:
            renew = self.rules.rotation == "always" or (self.rules.rotation == "sometimes" and self._rng.random() < 0.5)
            return self._grant(login, now, "ok" if renew else "kept", renew=renew, scope=scope)
        if number == newest - 1 and now <= login.spent_at[number] + self.rules.grace:
            if not self.rules.same_again:
                login.tokens[-1] = self._issue(login, newest)
            return self._grant(login, now, "grace", renew=False, scope=scope)
        if self.rules.reuse_revokes:
            self.revoke(login, now, "reuse")
        return self._refuse("invalid_grant", login, "reuse")

    def _grant(self, login: Login, now: float, result: str, *, renew: bool, scope: str = "") -> Answer:
        if renew:
            if login.tokens:
                login.spent_at.append(now)
            login.tokens.append(self._issue(login, len(login.tokens)))
        if self.rules.kills_old_access:
            self._kill_access(login, now, "refreshed")
        short = self._rng.random() < self.rules.short_part
        lifetime = self._rng.randint(40, 600) if short else int(self.rules.lifetime)
        access = Access(login, now + lifetime, scope=scope)
        login.access.append(access)
        text = f"at-{self.name}-{len(self.access)}"
        self.access[text] = access
        fields: dict[str, Any] = {"access_token": text, "token_type": "Bearer", "expires_in": lifetime}
        if scope:
            fields["scope"] = scope
        if renew or result == "grace":
            fields["refresh_token"] = login.tokens[-1]
        elif self.rules.omitted != "absent":
            fields["refresh_token"] = None if self.rules.omitted == "null" else ""
        if self._rng.random() < self.odd_part:
            # The token in it is good for nothing, but the refresh token beside it is the only one there is.
            fields |= self._rng.choice([{"expires_in": "soon"}, {"token_type": "mac"}, {"access_token": 7}])
            access.known = False
        brought = len(login.tokens) - 1 if fields.get("refresh_token") else None
        return Answer(200, fields, login, result, brought, access)

    def _issue(self, login: Login, number: int) -> str:
        text = f"rt-{self.name}-{len(self._issued)}"
        self._issued[text] = login, number
        return text

    def _kill_access(self, login: Login, now: float, why: str) -> None:
        for access in login.access:
            if access.dead_at is None:
                access.dead_at, access.dead_why = now, why

    def _refuse(self, error: str, login: Login | None, result: str, status: int = 400) -> Answer:
        if login is not None:
            login.refusals.append(result)
        return Answer(status, {"error": error}, login, result)
