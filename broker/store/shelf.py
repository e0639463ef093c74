"""What the noun modules of the store have in common: the database, the vault, the fence, and whose clock wrote a time.

Inherited by each of them; ``Store`` is all of them together.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Column, Connection, update

from broker.core.account import Account
from broker.core.secret import Secret
from broker.store import tables as t
from broker.store.engine import Database
from broker.store.fence import Fence
from broker.store.journal import Journal
from broker.store.memory import Memory
from broker.store.prepared import Prepared
from broker.store.register import Register
from broker.store.tally import Place
from broker.store.transactions import after_commit
from broker.store.vault import Vault

_COUNT = Prepared(update(t.instance).values(sequence=t.instance.c.sequence + 1).returning(t.instance.c.sequence))


@dataclass(frozen=True, slots=True)
class Saved:
    """An answer that the database did not take, as the emergency journal has it.

    Attributes:
        owner: uuid of the account.
        generation: the account's when the refresh began.
        raw: the whole reply.
        refresh_token: the new refresh token in it, if one is plainly there.
    """

    owner: str
    generation: int
    raw: Secret
    refresh_token: Secret | None

    def written(self) -> Secret:
        """Return it as text."""
        new = None if self.refresh_token is None else self.refresh_token.reveal()
        return Secret(json.dumps([self.owner, self.generation, self.raw.reveal(), new]))

    @classmethod
    def read(cls, text: Secret) -> Self:
        """Read what :meth:`written` wrote."""
        owner, generation, raw, new = json.loads(text.reveal())
        return cls(owner, generation, Secret(raw), None if new is None else Secret(new))


class Shelf:
    """One part of ``Store``.

    There is no fence and no journal while the database has no key yet, or is a copy that nobody has adopted.
    """

    _db: Database
    _vault: Vault
    _fence: Fence | None = None
    _journal: Journal | None = None
    # What stands in the journal and is not in the database yet.
    _saved: list[Saved]
    # One passphrase at a time: each try costs 64 MiB, and has to see how the one before it ended. Whoever needs one key
    # for long (a check of the audit) holds it too, against a rotation.
    _turn: asyncio.Lock
    # Held while the journal is written to or emptied, each in one go with the look at what stands in it.
    _at_journal: asyncio.Lock
    # Held while all rows are looked at, for what was changed outside Keyfob.
    _sweeping: asyncio.Lock
    _memory: Memory
    # The newest number in the audit's chain that fence and memory know of, and how many entries are kept.
    _told: int = 0
    _most_entries: int
    # The newest epoch of the register of apps that fence and memory know of.
    _register_told: int = 0
    # There may be entries of the audit without a seal: from while there was no key.
    _unsealed: bool = True
    # How far the counts of the audit were gone through.
    _place: Place
    # uuid -> the rows of accounts that were proven when all were read last, and what they say.
    _proven: dict[str, tuple[tuple[Any, ...], Account]]
    # Column of a time -> keys of the rows in which this start wrote it. What an earlier start wrote may be by another
    # clock, and by its value alone the two cannot be told apart.
    _dated: dict[Column[Any], set[str]]

    def _count(self, tx: Connection) -> None:
        """Count that a refresh token is about to be sent or is replaced: an older copy does not know of it."""
        fence, sequence = self._fence, _COUNT.value(tx)
        if fence is not None and sequence is not None:
            after_commit(tx, lambda: fence.follow(sequence))

    def _register(self, tx: Connection) -> Register:
        """Read the register of apps.

        Raises:
            Locked: there is no key to judge it with.
        """
        return Register(tx, self._vault.sealer, self._register_told)

    def _save(self, tx: Connection, here: Register) -> None:
        """Write the register, and tell the fence once that is durable."""
        epoch = here.save()
        after_commit(tx, lambda: self._registered(epoch))

    def _registered(self, epoch: int) -> None:
        self._register_told = max(self._register_told, epoch)
        if self._fence is not None:
            self._fence.follow_apps(epoch)

    def _date(self, tx: Connection, key: str, *columns: Column[Any]) -> None:
        """Remember, once this is durable, that these times of the row with that key were written by today's clock."""

        def remember() -> None:
            for column in columns:
                self._dated.setdefault(column, set()).add(key)

        after_commit(tx, remember)
