"""What a person can do about an account, and whether only a person can.

Called by ``web.render`` for the API and the events, and by ``notify``. The command line repeats what the API says.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from broker.core.account import Account, Misconfigured, NeedsLogin, RefreshingFailed, Suspect, Uncertain
from broker.core.timing import DAY, is_expired

# State -> the next step. Those that are well have none.
STEPS: Mapping[str, str] = {
    "needs-login": "Log in again: keyfob login {name}",
    "needs-login-static": "Bring a new token: keyfob login {name} --flow token --token-file FILE",
    "misconfigured": (
        "Mend the client at the provider: Keyfob asks again by itself. With another client or secret, at once: "
        "keyfob login {name} --client-id ID --client-secret-file FILE"
    ),
    "refreshing-failed": "Nothing has to be done. To try at once: keyfob refresh {name}",
    "uncertain": (
        "Nothing has to be done: Keyfob asks again once nothing can be lost by it. "
        "To find out now, which may end the login: keyfob refresh {name} --confirm"
    ),
    "suspect": (
        "Log in again, which always helps: keyfob login {name}. Only if nothing was refreshed since this copy was "
        "made, and no other copy is in use, this tries its token, which may end it: keyfob refresh {name} --confirm"
    ),
    "pending": "Finish the login in a browser, or begin anew: {again}",
    "expired": "Nothing can renew this token. Log in again: keyfob login {name}",
    "expired-static": "Bring a new token: keyfob login {name} --flow token --token-file FILE",
    "ends": "Nothing can renew this token. Before it ends, log in again: keyfob login {name}",
    "ends-static": "Before it ends, bring a new token: keyfob login {name} --flow token --token-file FILE",
}
# What is told of a token that nothing can renew -> how long before its end, in seconds; the last that fits counts.
REMINDERS: Mapping[str, float] = {"ends-in-a-week": 7 * DAY, "ends-in-a-day": DAY}
# How much an account needs a person: the lower, the sooner it is shown. Between those that mend themselves and those
# that end soon, or have too little scope, stand the logins that were begun.
WAITS, IN_DOUBT, FAILING, BEGUN, ENDING, WELL = RANKS = range(6)
THROTTLED = "Nothing has to be done: the provider wants no request before the next try."
EXPIRED = "The token has ended, and nothing can renew it."


@dataclass(frozen=True, slots=True)
class Need:
    """Why an account waits for a person.

    Attributes:
        what: ``needs-login``, ``misconfigured``, ``suspect``; for a token that nothing can renew ``expired``, and
            before that one of ``REMINDERS``.
        since: since when, epoch seconds.
        reason: what happened, for people.
        once: it is told once, and not again until there is something new.
    """

    what: str
    since: float
    reason: str
    once: bool = False


def exchange_forbidden(name: str) -> str:
    """Return what a person can do where the client may not exchange tokens for the account ``name``."""
    where = "Let it exchange tokens at the provider (RFC 8693), or mend it there: Keyfob tries again by itself."
    return f"{where} At once: keyfob login {name}"


def step(state: str, name: str, again: str = "") -> str:
    """Return what a person can do about the account ``name`` in a state; empty where nothing has to be done.

    ``again`` is the command that begins a first login anew, where that is more than the account's name.
    """
    return STEPS.get(state, "").format(name=name, again=again or f"keyfob login {name}")


def more_scope(account: Account, missing: Sequence[str]) -> str:
    """Return what a person can do so that an account has more scope; ``missing`` is empty where nobody named it."""
    if account.by_hand:
        return f"Bring a token that has it: keyfob login {account.name} --flow token --token-file FILE"
    # A person's login asks for what it has as well, a program's for what is named.
    had = account.asked_scope if account.spends_nothing else ()
    words = " ".join(map(shlex.quote, (*had, *(missing or ("SCOPE",)))))
    return f"Log in for more: keyfob login {account.name} --scope {words}"


def next_step(account: Account, now: float) -> str:
    """Return what a person can do about the account at ``now`` (epoch seconds); empty where all is well."""
    state = account.state.name
    if isinstance(account.state, RefreshingFailed) and account.state.throttled_until > now:
        return THROTTLED
    kind = "-static" if account.by_hand else ""
    if isinstance(account.state, NeedsLogin):
        return step(f"{state}{kind}", account.name)
    if state not in ("static", "active"):
        return step(state, account.name)
    if _has_ended(account, now):
        return step(f"expired{kind}", account.name)
    return step(f"ends{kind}", account.name) if _reminder(account, now) is not None else ""


def need(account: Account, now: float) -> Need | None:
    """Return why only a person can help the account; None while it is well or can still mend itself.

    ``uncertain`` is not among it: Keyfob finds out by itself, and what it finds may be that all is well.
    """
    match account.state:
        case NeedsLogin(since=since, reason=reason) | Misconfigured(since=since, reason=reason):
            return Need(account.state.name, since, reason)
        case Suspect(since=since, reason=reason):
            return Need(account.state.name, since, reason)
    if not _has_ended(account, now) or account.token is None or account.token.expires_at is None:
        return _reminder(account, now)
    return Need("expired", account.token.expires_at, EXPIRED)


def rank(account: Account, now: float) -> int:
    """Return how much the account needs a person, one of ``RANKS``; ``store.attention`` has the same in SQL."""
    why = need(account, now)
    if why is not None and not why.once:
        return WAITS
    match account.state:
        case Uncertain():
            return IN_DOUBT
        case RefreshingFailed():
            return FAILING
    return ENDING if why is not None else WELL


def _reminder(account: Account, now: float) -> Need | None:
    """Return what is to be said of a token that will end and that nothing can renew; None while that is far off.

    Of one that was brought with less life than that, it was known then.
    """
    token = account.token
    if account.renewable or token is None or token.expires_at is None:
        return None
    ends = datetime.fromtimestamp(token.expires_at, UTC)
    found = None
    for what, before in REMINDERS.items():
        begins = token.expires_at - before
        if token.issued_at < begins <= now:
            found = Need(
                what, begins, f"The token ends at {ends:%Y-%m-%d %H:%M} UTC, and nothing can renew it.", once=True
            )
    return found


def _has_ended(account: Account, now: float) -> bool:
    return not account.renewable and account.token is not None and is_expired(account.token, now)


def option(name: str, value: str) -> list[str]:
    """Return an option with its value: in one word where that begins with a dash, as an option does."""
    return [f"{name}={value}"] if value.startswith("-") else [name, value]
