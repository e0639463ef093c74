"""Whether Keyfob is locked, and what opens it: shown on the first page and among the settings.

Used by ``overview`` and ``settings``.
"""

from dataclasses import dataclass

from broker.usecases.context import Context


@dataclass(frozen=True, slots=True)
class Lock:
    """How the key is.

    Attributes:
        locked: why it is not at hand; empty where it is.
        hint: what to do about that.
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
        return cls(store.locked or "", store.locked_hint, store.key_name, store.wants_passphrase)
