"""The accounts that are due and whose refresh has not been begun: a herd is begun bit by bit, as places become free.

Part of ``Flights``; formed anew at each look of ``refresh``, which takes the next one from it whenever a flight lands.
"""

import heapq
from collections import Counter, deque
from collections.abc import Iterable

from broker.core.account import Account


class Line:
    """Who is next; with those that were taken from here and have not landed, at each issuer and in all."""

    def __init__(self) -> None:
        # Issuer -> its accounts in order; and the place of each issuer's first one among all.
        self._waiting: dict[str, deque[tuple[int, Account]]] = {}
        self._first: list[tuple[int, str]] = []
        self._taken: dict[str, str] = {}
        self._at: Counter[str] = Counter()

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._first)

    def form(self, accounts: Iterable[tuple[str, Account]]) -> None:
        """Let these wait, each with its issuer, in this order, and nobody else; who is named twice waits once."""
        self._waiting = {}
        named = {*self._taken}
        for place, (issuer, account) in enumerate(accounts):
            if account.uuid not in named:
                named.add(account.uuid)
                self._waiting.setdefault(issuer, deque()).append((place, account))
        self._first = [(waiting[0][0], issuer) for issuer, waiting in self._waiting.items()]
        heapq.heapify(self._first)

    def take(self, per_issuer: int, in_all: int) -> Account | None:
        """Return the first one at whose issuer there is room; None where nobody can be taken now.

        Args:
            per_issuer: how many may have been taken of one issuer and not have landed.
            in_all: how many of all.
        """
        if len(self._taken) >= in_all:
            return None
        full = []
        while self._first and self._at[self._first[0][1]] >= per_issuer:
            full.append(heapq.heappop(self._first))
        taken = None
        if self._first:
            _, issuer = heapq.heappop(self._first)
            waiting = self._waiting[issuer]
            _, taken = waiting.popleft()
            self._taken[taken.uuid] = issuer
            self._at[issuer] += 1
            if waiting:
                full.append((waiting[0][0], issuer))
        for entry in full:
            heapq.heappush(self._first, entry)
        return taken

    def landed(self, uuid: str) -> None:
        """Make room again, where that account was taken from here."""
        issuer = self._taken.pop(uuid, None)
        if issuer is not None:
            self._at[issuer] -= 1
            if not self._at[issuer]:
                del self._at[issuer]
