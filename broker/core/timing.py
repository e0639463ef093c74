"""When a token is fresh, when it is due, and how long to wait after a failure.

Called by ``usecases.get_token`` and ``usecases.refresh``; every number of the schedule stands here with its reason.
"""

import math
import random
from dataclasses import dataclass

from broker.core.account import Account, Active, Misconfigured, RefreshingFailed, Uncertain
from broker.core.token import Token

# A caller that names no min_ttl gets a token that outlives an ordinary request, a slow one included.
DEFAULT_MIN_TTL = 60.0
# Refresh this long before expiry at the least: two failed attempts with back-off and one human "try again" fit in it.
LEAST_MARGIN = 120.0
# ... or this part of the lifetime, whichever is more: an hour's token is renewed with 12 minutes in hand.
MARGIN_PART = 0.2
# Short-lived tokens are renewed at two thirds of their life, whatever the margins above would say.
SHORT_PART = 1 / 3
# ... but by itself no token is renewed more often than one of 10 s would be: one of a second would be asked for at once
# after it came, for ever. Who asks for one that has ended still gets the next.
SHORTEST_LIFE = 10.0
# Where a refresh kills the old access token, every refresh breaks requests under way: so late, but not too late.
LATE_MARGIN = 60.0
# Accounts that were made together should not be renewed together: up to this part of the lifetime earlier, ...
JITTER_PART = 0.05
# ... and never more than this many seconds.
JITTER_MOST = 60.0
# ... which part of that, a uuid's first three digits tell. The step, close to the golden ratio of all that they can be,
# takes tokens that follow each other far apart.
HEX, SHARES, SHARE_STEP = "0123456789abcdef", 4096, 2531
# What a life of SHORTEST_LIFE has behind it when it is renewed, at the soonest.
SOONEST = SHORTEST_LIFE * (1 - SHORT_PART - JITTER_PART)
# A min_ttl that the lifetime cannot (or can barely) reach must not turn every request into a refresh: ...
LEAST_BETWEEN_REFRESHES = 30.0
# ... one beyond this part of the lifetime, that is. What lies within is had by a refresh, and then kept for a third.
REACHABLE_PART = 2 / 3
# Back-off after passing failures: a window of 15 s, doubled at every failure up to 20 minutes, and a wait drawn from
# it. A draw never takes less than half of the window: so an outage's first hour costs an account 12 requests at most.
BACKOFF_FIRST = 15.0
BACKOFF_CAP = 1200.0
# A wait is at the most so many times as long as the trouble has lasted; failures at the back-off's own pace stay below.
OUTLASTED = 4.0
# After a lost answer the same token is sent again at once, then so many seconds later, while the provider's grace runs.
LEAST_IN_GRACE = 5.0
# A provider that says Retry-After: 1 day would park the account for a day; an hour, then ask again.
RETRY_AFTER_CAP = 3600.0
# A client that the provider refuses is mended by a person, or was refused by mistake in the middle of an outage. Nobody
# knows which, so it is tried again: in a window of 15 minutes, doubled at every refusal up to 4 hours.
REFUSED_FIRST = 900.0
REFUSED_CAP = 14_400.0
DAY = 86_400.0
# A refresh token that lives for less is used by the ordinary refreshes, or dies whatever one does.
KEEP_ALIVE_LEAST = 900.0
# The longest sleep between two looks at the wall clock. Timers of the event loop stand still while the machine
# sleeps (CLOCK_MONOTONIC), so after a resume a due refresh starts within this time. Prime, so that it does not fall
# into step with anything that runs on the minute.
LONGEST_SLEEP = 37.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What the schedule needs to know about a provider's refresh.

    Attributes:
        kills_old_access_token: a refresh makes the old access token invalid at once.
        idle_days: a refresh token unused for so long dies; None where that is unknown or never.
        least_between: seconds from one refresh of an account to the next, because of the provider's quota.
    """

    kills_old_access_token: bool = False
    idle_days: float | None = None
    least_between: float = 0.0


def is_expired(token: Token, now: float) -> bool:
    """Whether nothing is left of the token's life. A token of unknown lifetime never is."""
    return token.expires_at is not None and token.expires_at <= now


def is_fresh(token: Token, now: float, min_ttl: float | None = None) -> bool:
    """Whether the token may be handed out as it is.

    Args:
        token: the stored token.
        now: epoch seconds.
        min_ttl: seconds that must remain; None means min(60 s, a third of the lifetime). A wish beyond two thirds of
            the lifetime is served with the freshest token: at most one refresh per 30 s comes of it.
    """
    remaining, lifetime = token.remaining(now), token.lifetime
    if remaining is None or lifetime is None:
        return True
    if remaining <= 0:
        return False
    usual = min(DEFAULT_MIN_TTL, lifetime * SHORT_PART)
    wanted = usual if min_ttl is None else min_ttl
    if remaining < min(wanted, usual):
        return False
    if remaining >= wanted:
        return True
    return wanted > lifetime * REACHABLE_PART and 0 <= now - token.issued_at < LEAST_BETWEEN_REFRESHES


def fresh_until(token: Token, now: float, min_ttl: float | None = None) -> float:
    """Return until when a token that :func:`is_fresh` now stays so, in epoch seconds; maybe it does for longer."""
    if token.expires_at is None or token.lifetime is None:
        return math.inf
    usual = min(DEFAULT_MIN_TTL, token.lifetime * SHORT_PART)
    wanted = usual if min_ttl is None else min_ttl
    if token.expires_at - now >= wanted:
        return token.expires_at - max(wanted, 0.0)
    return min(token.issued_at + LEAST_BETWEEN_REFRESHES, token.expires_at - usual)


def satisfies(token: Token, now: float, min_ttl: float | None) -> bool:
    """Whether the token lives as long as the caller needs, as far as its lifetime could ever reach."""
    remaining, lifetime = token.remaining(now), token.lifetime
    if remaining is None or lifetime is None:
        return True
    usual = min(DEFAULT_MIN_TTL, lifetime * SHORT_PART)
    return remaining > 0 and remaining >= min(usual if min_ttl is None else min_ttl, lifetime)


def is_new(token: Token, now: float) -> bool:
    """Whether a token has just been brought, so that another one instead would be had too often."""
    kept_for = LEAST_BETWEEN_REFRESHES if token.lifetime is None else token.lifetime * SHORT_PART
    return 0 <= now - token.issued_at < min(kept_for, LEAST_BETWEEN_REFRESHES)


def share(uuid: str, generation: int) -> float:
    """Return which part of the most jitter a token takes, 0 to 1: the same at every look, another for the next token.

    The store computes the same, so that it can be asked for what is due: see ``store.due``.
    """
    first, second, third = (HEX.find(uuid[at : at + 1]) for at in range(3))
    return (first * 256 + second * 16 + third + generation * SHARE_STEP) % SHARES / SHARES


def due_at(token: Token, policy: Policy, share: float) -> float | None:
    """When the scheduler should renew the token, in epoch seconds; None where the lifetime is unknown.

    Args:
        token: the token.
        policy: the provider's part of the schedule.
        share: which part of the jitter it takes, 0 to 1.
    """
    lifetime = token.lifetime
    if token.expires_at is None or lifetime is None:
        return None
    margin = LATE_MARGIN if policy.kills_old_access_token else max(LEAST_MARGIN, lifetime * MARGIN_PART)
    margin = min(margin, lifetime * SHORT_PART)
    jitter = share * min(JITTER_MOST, lifetime * JITTER_PART)
    return max(token.expires_at - margin - jitter, token.issued_at + SOONEST)


def dies_at(account: Account, policy: Policy) -> float | None:
    """When the refresh token dies of not being used, in epoch seconds; None where that is unknown or never."""
    if account.spends_nothing:
        return None
    if account.last_refresh_at is None or policy.idle_days is None:
        return account.refresh_expires_at
    idle_until = account.last_refresh_at + policy.idle_days * DAY
    return idle_until if account.refresh_expires_at is None else min(idle_until, account.refresh_expires_at)


def keep_alive_at(account: Account, policy: Policy) -> float | None:
    """When a refresh token has to be used only to keep it alive: at two thirds of its life, whoever uses the account.

    What is left then is long enough for an outage or a holiday with the machine switched off.
    """
    death = dies_at(account, policy)
    if death is None or account.last_refresh_at is None:
        return None
    life = death - account.last_refresh_at
    # A death that refreshes do not move would be met by more and more of them, at two thirds of ever less.
    return None if life < KEEP_ALIVE_LEAST else death - life * SHORT_PART


def allowed_at(account: Account, policy: Policy) -> float:
    """From when on the provider's quota allows another refresh, in epoch seconds; 0 where it always does."""
    return account.last_refresh_at + policy.least_between if account.last_refresh_at and policy.least_between else 0.0


def next_refresh_at(account: Account, policy: Policy) -> float | None:
    """When Keyfob will next ask the provider by itself, or None where it will not."""
    due = _due(account, policy) if account.renewable else None
    return None if due is None else max(due, allowed_at(account, policy))


def _due(account: Account, policy: Policy) -> float | None:
    match account.state:
        case Active():
            if account.token is None:
                return account.state.since
            due = due_at(account.token, policy, share(account.uuid, account.generation))
            alive = keep_alive_at(account, policy)
            return due if alive is None else alive if due is None else min(due, alive)
        case RefreshingFailed() | Uncertain() | Misconfigured():
            return account.quiet_until
        case _:
            return None


def backoff(attempts: int, rng: random.Random, lasted: float = math.inf) -> float:
    """Seconds to wait after the ``attempts``-th failure in a row: jitter over a doubling window, with a floor.

    Args:
        attempts: failures in a row, with this one.
        rng: for the jitter.
        lasted: seconds since the first of them. Failures that came faster than this back-off makes them (a daemon that
            is killed again and again) say little about how long the trouble will last.
    """
    window = min(BACKOFF_CAP, BACKOFF_FIRST * 2.0 ** min(attempts - 1, 16), max(BACKOFF_FIRST, OUTLASTED * lasted))
    return rng.uniform(window / 2, window)


def refused_pause(attempts: int, rng: random.Random) -> float:
    """Seconds until a client is tried again after the ``attempts``-th refusal in a row; drawn as in :func:`backoff`."""
    window = min(REFUSED_CAP, REFUSED_FIRST * 2.0 ** min(attempts - 1, 16))
    return rng.uniform(window / 2, window)


def next_wake(due: float | None, now: float) -> float:
    """Seconds until the scheduler should look again."""
    return LONGEST_SLEEP if due is None else min(max(due - now, 0.0), LONGEST_SLEEP)
