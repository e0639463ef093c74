"""Whether Keyfob is locked, and what opens it: shown on the first page and among the settings.

Used by ``overview`` and ``settings``.
"""

from dataclasses import dataclass

from broker.store.passphrase import UNLOCK
from broker.usecases.context import Context


@dataclass(frozen=True, slots=True)
class Lock:
    """How the key is.

    Attributes:
        locked: why it is not at hand; empty where it is.
        hint: what to do about that before it can be unlocked; empty where nothing is.
        source: where it comes from.
        passphrase: it is made of a passphrase, which has to be typed.
    """

    locked: str
    hint: str
    source: str
    passphrase: bool

    @classmethod
    def of(cls, ctx: Context) -> "Lock":
        """Look."""
        store = ctx.store
        # The button beside it does what the command does.
        hint = "" if store.locked_hint == UNLOCK else store.locked_hint
        return cls(store.locked or "", hint, store.key_name, store.wants_passphrase)
