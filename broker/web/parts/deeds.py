"""What the audit's words mean to a person: for each action a sentence, whether it is good or bad, and its kind.

Used by ``activity``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from broker.core.policy import Owner
from broker.store.store import AuditEntry
from broker.web.parts.lines import Tone


@dataclass(frozen=True, slots=True)
class Deed:
    """What one action means.

    Attributes:
        words: what happened.
        tone: good, or how bad.
        kinds: under which kinds of things it is found.
        many: the same where it was counted more than once: {count} is how often.
    """

    words: str
    tone: Tone
    kinds: tuple[str, ...]
    many: str = ""


# What one can choose from: the address's word -> what people read.
KINDS: Final[Mapping[str, str]] = {
    "trouble": "Trouble",
    "logins": "Logins",
    "refreshes": "Renewals",
    "tokens": "Tokens handed out",
    "apps": "Apps and approvals",
    "refusals": "Refusals",
    "keyfob": "Keys, providers and Keyfob itself",
}
DEEDS: Final[Mapping[str, Deed]] = {
    "login-started": Deed("A login was begun", "good", ("logins",)),
    "logged-in": Deed("Logged in", "good", ("logins",)),
    "login-failed": Deed("A login failed", "bad", ("logins", "trouble")),
    "logged-out": Deed("Logged out, and forgotten", "careful", ("logins",)),
    "refreshed": Deed("The token was renewed", "good", ("refreshes",)),
    "refresh-failed": Deed("The token could not be renewed", "careful", ("refreshes", "trouble")),
    "refresh-forced": Deed("A renewal was asked for", "good", ("refreshes",)),
    "rejected": Deed("An API refused the token, a program says", "careful", ("refreshes", "trouble")),
    "needs-login": Deed("A new login is needed", "bad", ("trouble",)),
    "misconfigured": Deed("The provider refuses the client", "bad", ("trouble",)),
    "uncertain": Deed("An answer was lost, so the login is in doubt", "careful", ("trouble",)),
    "suspect": Deed("The database may be an older copy, so it waits for your word", "bad", ("trouble",)),
    "notified": Deed("You were told that it needs you", "careful", ("trouble",)),
    "handed-out": Deed("A token was handed out", "good", ("tokens",)),
    "handout": Deed("A token was handed out", "good", ("tokens",), "Handed out {count} times"),
    "throttled": Deed("Asked too fast, and had to wait", "careful", ("refusals",)),
    "refused": Deed("Turned away", "careful", ("refusals",), "Turned away {count} times"),
    "unauthorized": Deed(
        "Somebody unknown was turned away", "careful", ("refusals",), "Somebody unknown was turned away {count} times"
    ),
    "app-added": Deed("Became an app", "good", ("apps",)),
    "app-rotated": Deed("The app got a new key", "good", ("apps",)),
    "app-removed": Deed("The app was removed", "careful", ("apps",)),
    "granted": Deed("May use the account", "good", ("apps",)),
    "grant-revoked": Deed("May no longer use the account", "careful", ("apps",)),
    "approval-asked": Deed("Asked you", "careful", ("apps",)),
    "approval-allowed": Deed("You allowed it", "good", ("apps",)),
    "approval-denied": Deed("You did not allow it", "bad", ("apps",)),
    "provider-added": Deed("A provider was added", "good", ("keyfob",)),
    "provider-removed": Deed("A provider was removed", "careful", ("keyfob",)),
    "provider-discovered": Deed("A provider was asked about itself", "good", ("keyfob",)),
    "started": Deed("Keyfob started", "good", ("keyfob",)),
    "locked": Deed("Keyfob was locked", "careful", ("keyfob",)),
    "unlocked": Deed("Keyfob was unlocked", "good", ("keyfob",)),
    "keys-rotated": Deed("All that is stored got new keys", "good", ("keyfob",)),
    "backed-up": Deed("A backup was made", "good", ("keyfob",)),
    "adopted": Deed("Another database is in use from now on", "careful", ("keyfob",)),
    "clock-set": Deed("The clock of this computer was set", "careful", ("keyfob",)),
    "changed-outside": Deed("Something was changed outside Keyfob, and is not used", "bad", ("keyfob", "trouble")),
    "missed": Deed("More happened than could be written down", "bad", ("keyfob", "trouble")),
    "damaged": Deed("This record was changed outside Keyfob", "bad", ("keyfob", "trouble")),
}


@dataclass(frozen=True, slots=True)
class Told:
    """An entry of the audit, for people.

    Attributes:
        entry: it.
        words: what happened.
        tone: good, or how bad.
    """

    entry: AuditEntry
    words: str
    tone: Tone

    @property
    def by_owner(self) -> bool:
        """Whether it was the owner who asked."""
        return self.entry.app == Owner.name


def told(entry: AuditEntry) -> Told:
    """Return an entry in words; one that no Keyfob like this one wrote, by its own word."""
    deed = DEEDS.get(entry.action) or Deed(entry.action, "careful", ())
    count = entry.count or 1
    return Told(entry, deed.many.format(count=count) if deed.many and count > 1 else deed.words, deed.tone)


def of_kind(kind: str) -> tuple[str, ...]:
    """Return the actions of a kind."""
    return tuple(action for action, deed in DEEDS.items() if kind in deed.kinds)
