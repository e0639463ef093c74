"""An account in a line: what it is, how it is, how much is left of its token, and who used it last.

Used by ``overview``, ``account`` and ``progress``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from broker.core import advice
from broker.core.account import Account
from broker.core.login import Login
from broker.errors import KeyfobError
from broker.usecases import due, providers
from broker.usecases.context import Context

Tone = Literal["good", "careful", "bad"]
# What helps: another login, a token made by hand, a word of the owner's, the end of a login that was begun, a look.
Help = Literal["", "login", "token", "confirm", "finish", "look"]

# State -> in words, and in which colour.
LOOKS: Final[Mapping[str, tuple[str, Tone]]] = {
    "active": ("Fresh", "good"),
    "static": ("Made by hand", "good"),
    "pending": ("Login under way", "careful"),
    "refreshing-failed": ("Trying again", "careful"),
    "uncertain": ("In doubt", "careful"),
    "suspect": ("Waits for your word", "bad"),
    "misconfigured": ("Client refused", "bad"),
    "needs-login": ("Log in again", "bad"),
}
ENDED: Final[tuple[str, Tone]] = ("Ended", "bad")
ENDS: Final[tuple[str, Tone]] = ("Ends soon", "careful")
LACKS: Final[tuple[str, Tone]] = ("Needs more scope", "careful")
CHANGED: Final[tuple[str, Tone]] = ("Changed outside", "bad")


@dataclass(frozen=True, slots=True)
class Life:
    """How much of a token is left. All times are epoch seconds.

    Attributes:
        issued_at: when it came.
        expires_at: when it ends.
        next_refresh_at: when Keyfob asks for the next one, or None where it will not.
        now: when this was drawn.
    """

    issued_at: float
    expires_at: float
    next_refresh_at: float | None
    now: float

    @property
    def past(self) -> float:
        """How much of it is over, in percent."""
        return self._percent(self.now)

    @property
    def mark(self) -> float | None:
        """Where in it the next refresh is, in percent; None where that is not within it."""
        at = self.next_refresh_at
        return None if at is None or not self.issued_at <= at <= self.expires_at else self._percent(at)

    def _percent(self, at: float) -> float:
        whole = max(self.expires_at - self.issued_at, 1.0)
        return round(min(max((at - self.issued_at) / whole, 0.0), 1.0) * 100, 2)


@dataclass(frozen=True, slots=True)
class Line:
    """One account.

    Attributes:
        name: what people call it.
        provider: its title.
        identity: who is logged in, or which client; empty where nobody knows.
        label: its state, for people.
        tone: good, or how bad.
        reason: what happened; empty where all is well.
        help: what would.
        login: of a first login that is under way: its id.
        life: of its token; None where there is none, or nobody knows when it ends.
        next_refresh_at: when Keyfob asks by itself, or None.
        last_used_at: when a token was last handed out, or None.
        last_used_by: to whom, as far as the record goes back.
    """

    name: str
    provider: str
    identity: str
    label: str
    tone: Tone
    reason: str
    help: Help
    login: str = ""
    life: Life | None = None
    next_refresh_at: float | None = None
    last_used_at: float | None = None
    last_used_by: str = ""


def standing(account: Account, now: float) -> tuple[str, Tone]:
    """Return how an account is, in words and in colour."""
    need = advice.need(account, now)
    if need is not None and need.what == "expired":
        return ENDED
    return ENDS if need is not None and need.once else LOOKS[account.state.name]


def helps(account: Account, now: float) -> Help:
    """Return what a person can do about an account beside looking."""
    need = advice.need(account, now)
    if account.state.name in ("suspect", "uncertain"):
        return "confirm"
    if need is None or account.is_derived:
        return ""
    return "token" if account.by_hand else "login"


async def drawn(ctx: Context, accounts: Sequence[Account]) -> list[Line]:
    """Return accounts as lines, in their order."""
    # Before the record is read: what is written down meanwhile stands there.
    counted = {account.uuid: ctx.handouts.newest(account.uuid) for account in accounts}
    used = await ctx.store.last_uses([account.uuid for account in accounts])
    titles = await titles_of(ctx, {account.provider for account in accounts})
    dues = await due.next_refreshes(ctx, accounts)
    now = ctx.clock()
    found = []
    for account in accounts:
        if account.proven is False:
            found.append(_changed(account))
            continue
        at = dues[account.uuid]
        label, tone = standing(account, now)
        need = advice.need(account, now)
        last, token = counted[account.uuid], account.token
        ends = token.expires_at if token is not None else None
        found.append(
            Line(
                name=account.name,
                provider=titles[account.provider],
                identity=account.label,
                label=label,
                tone=tone,
                reason=account.state.reason or (need.reason if need is not None else ""),
                help=helps(account, now),
                life=None if token is None or ends is None else Life(token.issued_at, ends, at, now),
                next_refresh_at=at,
                last_used_at=account.last_used_at if last is None else last.last,
                last_used_by=used.get(account.uuid, "") if last is None else last.app or "",
            )
        )
    return found


def _changed(account: Account) -> Line:
    """Return an account whose row is not as Keyfob wrote it as a line: nothing of it but what it is found by."""
    label, tone = CHANGED
    return Line(account.name, "", "", label, tone, "It was changed outside Keyfob, so it is not used.", help="look")


def begun(login: Login, title: str) -> Line:
    """Return an account whose first login is under way as a line."""
    label, tone = LOOKS["pending"]
    reason = "The first login is not finished."
    return Line(login.account, title, "", label, tone, reason, help="finish", login=login.id)


def lacking(line: Line) -> Line:
    """Return an account that is well, but has too little scope for what its API was asked, as a line."""
    label, tone = LACKS
    return replace(line, label=label, tone=tone, reason="Its API refused a request for want of scope.", help="look")


async def titles_of(ctx: Context, names: set[str]) -> dict[str, str]:
    """Return what people call some providers; the name itself where nothing more is known of one."""
    found = {}
    for name in names:
        try:
            found[name] = (await providers.find(ctx, name)).title
        except KeyfobError:  # its preset was taken away, or its row changed: the account is shown all the same
            found[name] = name
    return found
