"""What the audit's words mean to a person: for each action a sentence, whether it is good or bad, and its kind.

Used by ``activity``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from broker.store.store import AuditEntry
from broker.web.parts.lines import Tone


@dataclass(frozen=True, slots=True)
class Deed:
    """What one action means.

    Attributes:
        words: what happened.
        tone: good, or how bad.
        kinds: under which kinds of things it is found.
    """

    words: str
    tone: Tone
    kinds: tuple[str, ...]


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
# {account} and {app} are put in as links.
DEEDS: Final[Mapping[str, Deed]] = {
    "login-started": Deed("A login of {account} was begun", "good", ("logins",)),
    "logged-in": Deed("{account} is logged in", "good", ("logins",)),
    "login-failed": Deed("A login of {account} failed", "bad", ("logins", "trouble")),
    "logged-out": Deed("{account} was logged out, and forgotten", "careful", ("logins",)),
    "renamed": Deed("{account} got this name", "good", ("logins",)),
    "refreshed": Deed("The token of {account} was renewed", "good", ("refreshes",)),
    "refresh-failed": Deed("The token of {account} could not be renewed", "careful", ("refreshes", "trouble")),
    "refresh-forced": Deed("{app} had the token of {account} renewed at once", "good", ("refreshes",)),
    "rejected": Deed("The token of {account} was refused by an API, said {app}", "careful", ("refreshes", "trouble")),
    "needs-login": Deed("{account} needs a new login", "bad", ("trouble",)),
    "misconfigured": Deed("The provider of {account} refuses the client", "bad", ("trouble",)),
    "uncertain": Deed("An answer for {account} was lost, so its login is in doubt", "careful", ("trouble",)),
    "suspect": Deed("{account} may be from an older copy, and waits for your word", "bad", ("trouble",)),
    "notified": Deed("You were told that {account} needs you", "careful", ("trouble",)),
    "handed-out": Deed("A token of {account} went to {app}", "good", ("tokens",)),
    "handout": Deed("A token of {account} went to {app}", "good", ("tokens",)),
    "throttled": Deed("{app} asked too fast, and had to wait", "careful", ("refusals",)),
    "refused": Deed("Turned away: {app}", "careful", ("refusals",)),
    "unauthorized": Deed("Turned away: somebody unknown", "careful", ("refusals",)),
    "app-added": Deed("{app} became an app", "good", ("apps",)),
    "app-rotated": Deed("{app} got a new key", "good", ("apps",)),
    "app-removed": Deed("{app} was removed", "careful", ("apps",)),
    "granted": Deed("{app} may use {account}", "good", ("apps",)),
    "grant-revoked": Deed("{app} may no longer use {account}", "careful", ("apps",)),
    "approval-asked": Deed("{app} asked you", "careful", ("apps",)),
    "approval-allowed": Deed("You said yes to {app}", "good", ("apps",)),
    "approval-denied": Deed("You said no to {app}", "careful", ("apps",)),
    "provider-added": Deed("A provider was added", "good", ("keyfob",)),
    "provider-removed": Deed("A provider was removed", "careful", ("keyfob",)),
    "provider-discovered": Deed("A provider was asked about itself", "good", ("keyfob",)),
    "started": Deed("Keyfob started", "good", ("keyfob",)),
    "locked": Deed("Keyfob was locked", "careful", ("keyfob",)),
    "unlocked": Deed("Keyfob was unlocked", "good", ("keyfob",)),
    "keys-rotated": Deed("All that is stored got new keys", "good", ("keyfob",)),
    "backed-up": Deed("A backup was made", "good", ("keyfob",)),
    "adopted": Deed("Another database is in use from now on", "careful", ("keyfob",)),
    "api-base-set": Deed("It was written down where the API of {account} is", "careful", ("keyfob",)),
    "clock-set": Deed("The clock of this computer was set", "careful", ("keyfob",)),
    "changed-outside": Deed("Something was changed outside Keyfob, and is not used", "bad", ("keyfob", "trouble")),
    "missed": Deed("More happened than could be written down", "bad", ("keyfob", "trouble")),
    "damaged": Deed("This record was changed outside Keyfob", "bad", ("keyfob", "trouble")),
}
# Where a sentence has a name in it.
_NAMES = re.compile("{(account|app)}")


@dataclass(frozen=True, slots=True)
class Told:
    """An entry of the audit, for people.

    Attributes:
        entry: it.
        pieces: what happened: each a text, or ``account`` or ``app`` where its name stands.
        more: which of the names that the entry has is not among them.
        tone: good, or how bad.
    """

    entry: AuditEntry
    pieces: tuple[str, ...]
    more: tuple[str, ...]
    tone: Tone

    @property
    def often(self) -> bool:
        """Whether it was more than once."""
        return (self.entry.count or 0) > 1


def told(entry: AuditEntry) -> Told:
    """Return an entry in words; one that no Keyfob like this one wrote, by its own word."""
    deed = DEEDS.get(entry.action)
    pieces = tuple(filter(None, _NAMES.split(deed.words))) if deed is not None else (f"“{entry.action}”",)
    named = {"account": entry.account, "app": entry.app}
    more = tuple(what for what, name in named.items() if name and what not in pieces)
    return Told(entry, pieces, more, deed.tone if deed is not None else "careful")


def of_kind(kind: str) -> tuple[str, ...]:
    """Return the actions of a kind."""
    return tuple(action for action, deed in DEEDS.items() if kind in deed.kinds)
