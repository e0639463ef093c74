"""The sealed rows: puts secrets into the table ``secret`` and takes them out, or says that the store is locked.

Used by the noun modules inside their transactions.
"""

import contextlib
import hmac
import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from broker.core.account import Destination
from broker.core.secret import Secret
from broker.errors import Locked, SecretChanged
from broker.store import tables as t
from broker.store.memory import Row
from broker.store.seal import Binding, Broken, Sealer

FIRST_KEY = 1
REMAKE = "Put back a backup of the database (keyfob restore FILE), or remove it and make it again."
# Whoever plants rows by the thousand is told of by the first of them.
MOST_SUSPECTS = 100
# The columns that opening a sealed row needs, for queries that join them to their own.
SEALED = (
    t.secret.c.uuid.label("secret_uuid"),
    t.secret.c.sealed,
    t.data_key.c.wrapped,
    t.data_key.c.generation.label("key_generation"),
)


class Vault:
    """The sealer of this database, or the reason why there is none.

    Attributes:
        locked: why nothing may be handed out; empty while it may. The key may still be here then, for what is in the
            air: see :attr:`holds_key`.
        hint: what to do about it.
    """

    def __init__(self, sealer: Sealer | None, locked: str = "", hint: str = "") -> None:
        self._sealer = sealer
        # The one before a rotation: for rows that were read just before it and are opened just after it.
        self._former: Sealer | None = None
        # The one after it, for rows that are read before the writer has heard that they are durable.
        self._coming: Sealer | None = None
        self.locked = locked
        self.hint = hint
        # Grows with each other key, and when there is none any more.
        self.turn = 0
        # What was found changed outside Keyfob -> whether somebody has been told.
        self._suspects: dict[str, bool] = {}

    def suspect(self, whose: str, hint: str = REMAKE) -> SecretChanged:
        """Remember that what is stored of something was changed outside Keyfob; return what to say to who asked."""
        if len(self._suspects) < MOST_SUSPECTS:
            self._suspects.setdefault(whose, False)
        return SecretChanged(f"What is stored of {whose} was changed outside Keyfob, so it is not used.", hint)

    def newly_suspect(self) -> list[str]:
        """Return what was found changed outside Keyfob since the last call, as people call it."""
        found = [whose for whose, told in list(self._suspects.items()) if not told]  # a transaction may find another
        self._suspects.update(dict.fromkeys(found, True))
        return found

    def lock(self, why: str, hint: str) -> None:
        """Say that nothing may be handed out any more; the key stays until :meth:`drop_key`."""
        self.locked, self.hint = why, hint

    def unlock(self, sealer: Sealer) -> None:
        """Take the opened master key."""
        self._sealer, self.locked, self.hint = sealer, "", ""
        self.turn += 1

    def drop_key(self) -> None:
        """Forget the opened master key. Python cannot wipe memory: it is gone once that is used again."""
        self._sealer = self._former = self._coming = None
        self.turn += 1

    def expect(self, sealer: Sealer | None) -> None:
        """Be ready to open what a rotation seals, from before its commit on; None where that has ended."""
        self._coming = sealer

    def rotate(self, sealer: Sealer) -> None:
        """Take the new master key; the one before opens what was read already, until :meth:`drop_former`."""
        self._sealer, self._former = sealer, self._sealer
        self.turn += 1

    def drop_former(self) -> None:
        """Forget the master key from before a rotation."""
        self._former = None

    def proves(self, stored: object, mac: Callable[[Sealer], bytes]) -> bool:
        """Whether what ``mac`` authenticates is as it was when ``stored`` was written; not where that is no MAC at all.

        Raises:
            Locked: there is no key to tell with.
        """
        sealers = self._sealers()
        return isinstance(stored, bytes) and any(hmac.compare_digest(mac(sealer), stored) for sealer in sealers)

    def fits(self, judge: Callable[[Sealer], bool]) -> bool:
        """Whether something that has more than one MAC is as it was written, judged with each master key that may be.

        Raises:
            Locked: there is no key to tell with.
        """
        return any(judge(sealer) for sealer in self._sealers())

    def _sealers(self) -> list[Sealer]:
        return [self.sealer, *(other for other in (self._former, self._coming) if other is not None)]

    @property
    def holds_key(self) -> bool:
        """Whether the opened master key is here."""
        return self._sealer is not None

    @property
    def sealer(self) -> Sealer:
        """The opened master key.

        Raises:
            Locked: there is none.
        """
        sealer = self._sealer  # looked at once: a transaction asks for it in its thread, while the key may be dropped
        if sealer is None:
            raise Locked(self.locked, self.hint)
        return sealer

    def put(
        self,
        tx: Connection,
        value: Secret,
        *,
        owner: str,
        kind: str,
        generation: int,
        destination: Destination,
        client: str,
    ) -> dict[str, Any]:
        """Seal ``value`` into a row of its own, in the place of the one of the same owner, kind and generation.

        Returns the columns :data:`SEALED` of it.
        """
        key = tx.execute(
            select(t.data_key.c.generation, t.data_key.c.wrapped).where(t.data_key.c.owner == owner)
        ).one_or_none()
        if key is None:
            wrapped = self.sealer.new_data_key(owner, FIRST_KEY)
            tx.execute(insert(t.data_key).values(owner=owner, generation=FIRST_KEY, wrapped=wrapped))
            key_generation = FIRST_KEY
        else:
            key_generation, wrapped = key
        row = str(uuid.uuid4())
        sealed = self.sealer.seal(
            value, Binding(owner, row, kind, generation, destination, client), key_generation, wrapped
        )
        self.drop(tx, owner, kind, t.secret.c.generation == generation)
        tx.execute(insert(t.secret).values(uuid=row, owner=owner, kind=kind, generation=generation, sealed=sealed))
        return {"secret_uuid": row, "sealed": sealed, "wrapped": wrapped, "key_generation": key_generation}

    def open(
        self,
        row: Row,
        *,
        owner: str,
        kind: str,
        generation: int,
        destination: Destination,
        client: str,
        whose: str,
    ) -> Secret:
        """Open a row that has the columns :data:`SEALED`.

        Raises:
            Locked: there is no key.
            SecretChanged: the row, its key or its destination was changed behind Keyfob's back.
        """
        sealers = self._sealers()
        if row["secret_uuid"] is None:
            raise changed(whose)
        binding = Binding(owner, row["secret_uuid"], kind, generation, destination, client)
        for sealer in sealers:
            with contextlib.suppress(Broken):
                return sealer.open(row["sealed"], binding, row["key_generation"], row["wrapped"])
        self.suspect(whose)
        raise changed(whose)

    @staticmethod
    def drop(tx: Connection, owner: str, kind: str, *which: object) -> None:
        """Delete the sealed rows of one kind; ``which`` narrows them by generation."""
        clauses = [t.secret.c.owner == owner, t.secret.c.kind == kind, *which]
        tx.execute(delete(t.secret).where(*clauses))  # type: ignore[arg-type]  # SQLAlchemy types a comparison as bool

    @staticmethod
    def forget(tx: Connection, owner: str) -> None:
        """Delete everything sealed of ``owner``, and the key that opens it."""
        tx.execute(delete(t.secret).where(t.secret.c.owner == owner))
        tx.execute(delete(t.data_key).where(t.data_key.c.owner == owner))


def changed(whose: str) -> SecretChanged:
    """A stored secret does not open although the master key does."""
    return SecretChanged(
        f"A stored secret of {whose} was changed outside Keyfob and does not open.",
        "Nothing was sent. Put back a backup of the database (keyfob restore FILE), or log in again.",
    )
