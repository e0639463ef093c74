"""What one seed is about: its providers, its accounts, and its own mix of faults.

Used by ``world``. Swarm testing: a seed leaves most kinds of fault out, so that those it has meet each other often
enough to get somewhere, and no kind hides another.
"""

import random
from dataclasses import dataclass, field

from tests.sim.network import AFTER, BEFORE
from tests.sim.provider import Rules

HOUR = 3600.0
# Longer than most are: what goes wrong does so at a refresh, and faults are drawn to meet those.
LIFETIMES = (HOUR, 2 * HOUR, 4 * HOUR, 4 * HOUR, 8 * HOUR, 24 * HOUR)
# Refreshes are what a simulated hour costs; so many a seed keep a thousand seeds within minutes.
REFRESHES = 30
FATES = (*AFTER, *BEFORE)
TROUBLES = ("locked", "full", "read-only", "failing")
# What people, programs and the weather do: kind -> how many times in 72 hours, at the most.
EVENTS = {
    "kill": 5,
    "killed at work": 8,
    "restart": 4,
    "user revokes": 2,
    "log in again": 5,
    "log out": 2,
    "rejected": 8,
    "refresh now": 6,
    "suspend": 5,
    "clock set": 4,
    "invalid client": 2,
    "odd answers": 3,
    "network": 12,
    "outage": 3,
    "store": 6,
    "crowd": 6,
    "less": 10,
}


@dataclass(frozen=True, slots=True)
class Profile:
    """One seed's world.

    Attributes:
        rules: one for each provider.
        accounts: account name -> index of its provider.
        events: kind -> how often it happens.
        fates: what the network does in its bad hours, and how often.
        troubles: what the disk does in its bad hours, and how often.
        retry_after: what throttled answers ask for, in seconds.
        asks: how many times an ordinary program asks for a token.
    """

    rules: tuple[Rules, ...]
    accounts: dict[str, int]
    events: dict[str, int]
    fates: dict[str, float] = field(default_factory=dict)
    troubles: dict[str, float] = field(default_factory=dict)
    retry_after: float = 60.0
    asks: int = 30


def draw(rng: random.Random, hours: float) -> Profile:
    """Draw a seed's profile."""
    rules = tuple(_rules(rng) for _ in range(rng.choice((1, 1, 2))))
    accounts: dict[str, int] = {}
    load = 0.0
    for number in range(rng.choice((1, 1, 2, 2, 3, 5))):
        index = rng.randrange(len(rules))
        load += hours * HOUR / (rules[index].lifetime * 0.75)
        if accounts and load > REFRESHES:
            break
        accounts[f"account-{number}"] = index
    part = hours / 72.0
    events = {
        kind: max(1, round(rng.randint(1, most) * part)) if rng.random() < 0.45 else 0 for kind, most in EVENTS.items()
    }
    chosen = [fate for fate in FATES if rng.random() < 0.3] or [rng.choice(FATES)]
    troubles = [trouble for trouble in TROUBLES if rng.random() < 0.5] or [rng.choice(TROUBLES)]
    return Profile(
        rules=rules,
        accounts=accounts,
        events=events,
        fates={fate: rng.choice((0.05, 0.3, 0.7)) for fate in chosen},
        troubles={trouble: rng.choice((0.02, 0.2, 1.0)) for trouble in troubles},
        retry_after=rng.choice((5.0, 60.0, 900.0, 7200.0)),
        asks=round(rng.choice((5, 15, 30)) * part),
    )


def _rules(rng: random.Random) -> Rules:
    return Rules(
        rotation=rng.choice(("never", "sometimes", "always", "always", "always")),
        grace=rng.choice((0.0, 0.0, 0.0, 10.0, 60.0, 300.0)),
        same_again=rng.random() < 0.5,
        reuse_revokes=rng.random() < 0.7,
        kills_old_access=rng.random() < 0.3,
        lifetime=rng.choice(LIFETIMES),
        short_part=rng.choice((0.0, 0.0, 0.1)),
        new_login_revokes=rng.random() < 0.5,
        omitted=rng.choice(("absent", "null", "empty")),
    )
