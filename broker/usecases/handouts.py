"""Counts which program got which token, without a database write for each.

Filled by ``get_token``; flushed by the scheduler every few seconds and at the end.
"""

from dataclasses import replace

from broker.core.account import Account
from broker.store.store import Handout, Store

# The audit promises that a hand-out is visible within 5 s; the flush comes a little sooner.
FLUSH_EVERY = 4.0


class Handouts:
    """Hand-outs that are not written down yet: one entry for an account, an app and a generation."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], Handout] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def count(self, account: Account, app: str, now: float) -> None:
        """Note one hand-out."""
        key = (account.uuid, app, account.generation)
        seen = self._counts.get(key)
        self._counts[key] = (
            Handout(account.uuid, app, account.generation, now, now, 1)
            if seen is None
            else replace(seen, last=now, count=seen.count + 1)
        )

    async def flush(self, store: Store) -> None:
        """Write down what was counted. What cannot be written now is counted on.

        Raises:
            StoreUnavailable: nothing was lost by it.
        """
        if not self._counts:
            return
        taken, self._counts = self._counts, {}
        try:
            await store.note_handouts(list(taken.values()))
        except BaseException:
            for key, entry in taken.items():
                later = self._counts.get(key)
                self._counts[key] = (
                    entry if later is None else replace(entry, last=later.last, count=entry.count + later.count)
                )
            raise
