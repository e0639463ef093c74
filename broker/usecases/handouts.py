"""Counts which program got which token, and who was refused, without a database write for each.

Filled by ``audit``; flushed by the scheduler every few seconds and at the end.
"""

import asyncio
from collections import Counter
from itertools import islice

from broker.core.account import Account
from broker.store.store import Count, Store

# The audit promises that a hand-out is visible within 5 s; the flush comes a little sooner.
FLUSH_EVERY = 4.0
# How many kinds of refusal are told apart between two flushes. Whoever asks for names that do not exist could make any
# number of them.
MOST_REFUSALS = 200
# So many counts are written down in one go, which takes some milliseconds: a refresh may wait for its turn meanwhile.
AT_ONCE = 100

Key = tuple[str, str | None, str | None, int | None]


class Handouts:
    """What is not written down yet: one count for an account, an app and a generation, or for a kind of refusal.

    Attributes:
        written: an entry's action -> how often that was, of all that was written down so far.
    """

    def __init__(self) -> None:
        self.written: Counter[str] = Counter()
        self._counts: dict[Key, Count] = {}
        # uuid of an account -> its newest hand-out, of those that are not written down yet.
        self._newest: dict[str, Count] = {}
        self._turn = asyncio.Lock()

    def __bool__(self) -> bool:
        return bool(self._counts)

    def count(self, account: Account, app: str, now: float) -> None:
        """Note one hand-out."""
        key = ("", account.uuid, app, account.generation)
        seen = self._counts.get(key)
        if seen is None:
            seen = self._counts[key] = Count(account.uuid, app, account.generation, now, now, 1)
        else:
            seen.last, seen.count = now, seen.count + 1
        self._newest[account.uuid] = seen

    def refuse(self, action: str, account: str | None, app: str | None, now: float, detail: str) -> None:
        """Note that somebody was turned away.

        Args:
            action: ``refused``, or ``unauthorized`` where nobody knows who it was.
            account: the name that was asked for, whether there is such an account or not; None where none was.
            app: the app's name or ``owner``; None where nobody knows.
            now: epoch seconds.
            detail: why; the newest one is kept.
        """
        if len(self._counts) >= MOST_REFUSALS and (action, account, app, None) not in self._counts:
            account = None
        key = (action, account, app, None)
        seen = self._counts.get(key)
        if seen is None:
            self._counts[key] = Count(None, app, None, now, now, 1, action, account, detail)
        else:
            seen.last, seen.count, seen.detail = now, seen.count + 1, detail

    def newest(self, account_uuid: str) -> Count | None:
        """Return an account's newest hand-out, if it is not written down yet."""
        return self._newest.get(account_uuid)

    async def flush(self, store: Store) -> None:
        """Write down what was counted, a few counts at a time. What cannot be written now is counted on.

        Raises:
            StoreUnavailable: nothing was lost by it.
        """
        async with self._turn:
            left, self._counts = self._counts, {}
            taken = iter([*left])
            try:
                while several := [*islice(taken, AT_ONCE)]:
                    await store.note_counts([left[key] for key in several])
                    for key in several:
                        self._wrote(left.pop(key))
            except BaseException:
                for key, entry in left.items():
                    later = self._counts.setdefault(key, entry)
                    if later is not entry:
                        later.first, later.count = entry.first, entry.count + later.count
                raise

    def _wrote(self, entry: Count) -> None:
        self.written[entry.action] += entry.count
        if entry.account_uuid is not None and self._newest.get(entry.account_uuid) is entry:
            del self._newest[entry.account_uuid]
