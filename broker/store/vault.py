"""The sealed rows: puts secrets into the table ``secret`` and takes them out, or says that the store is locked.

Used by the noun modules inside their transactions.
"""

import contextlib
import functools
import hmac
import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal

from sqlalchemy import Connection, Delete, and_, bindparam, delete, insert, or_, select, update

from broker.core.account import Destination
from broker.core.secret import Secret
from broker.errors import Locked, SecretChanged
from broker.store import tables as t
from broker.store.memory import Row
from broker.store.prepared import Prepared
from broker.store.seal import Binding, Broken, Sealer

log = logging.getLogger(__name__)

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
# Which of the rows of one kind are meant, by their generation.
Which = Literal["all", "others", "before"]

_bound = bindparam("bound", type_=t.secret.c.generation.type)
_OF_KIND = delete(t.secret).where(t.secret.c.owner == bindparam("of"), t.secret.c.kind == bindparam("a"))
_DROPPED: dict[Which, Delete] = {
    "all": _OF_KIND,
    "others": _OF_KIND.where(t.secret.c.generation != _bound),
    "before": _OF_KIND.where(t.secret.c.generation < _bound),
}
_DROP = {which: Prepared(statement) for which, statement in _DROPPED.items()}
_KEY_OF = Prepared(select(t.data_key.c.generation, t.data_key.c.wrapped).where(t.data_key.c.owner == bindparam("of")))
_MAKE_KEY = Prepared(insert(t.data_key))
_PUT = Prepared(insert(t.secret))


@functools.cache
def _dropping(alone: int, others: int) -> Prepared:
    """Build what deletes the rows of so many kinds, and of so many others those of one generation."""
    kind = t.secret.c.kind
    which = [kind == bindparam(f"alone_{number}") for number in range(alone)]
    which += [and_(kind == bindparam(f"other_{number}"), t.secret.c.generation == _bound) for number in range(others)]
    return Prepared(delete(t.secret).where(t.secret.c.owner == bindparam("of"), or_(*which)))


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
        try:
            return isinstance(stored, bytes) and any(hmac.compare_digest(mac(sealer), stored) for sealer in sealers)
        except (TypeError, ValueError, AttributeError):
            return False  # a value of a kind that Keyfob never writes there

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
        where: dict[str, Any] = {"owner": owner, "generation": generation, "destination": destination, "client": client}
        return self.put_all(tx, {kind: value}, **where)[kind]

    def put_all(
        self,
        tx: Connection,
        values: Mapping[str, Secret],
        *,
        owner: str,
        generation: int,
        destination: Destination,
        client: str,
        alone: tuple[str, ...] = (),
    ) -> dict[str, dict[str, Any]]:
        """Seal values of one owner, each into a row of its own and in the place of the one of the same generation.

        Those of the kinds that are ``alone``, in the place of those of every generation; what is of such a kind goes
        also where there is no new value for it.

        Returns for each kind the columns :data:`SEALED`.
        """
        others = [kind for kind in values if kind not in alone]
        which: dict[str, Any] = {f"alone_{number}": kind for number, kind in enumerate(alone)}
        which |= {f"other_{number}": kind for number, kind in enumerate(others)} | (
            {"bound": generation} if others else {}
        )
        _dropping(len(alone), len(others)).run(tx, {"of": owner, **which})
        key_generation, wrapped = self._data_key(tx, owner)
        rows = {kind: str(uuid.uuid4()) for kind in values}
        bound = [
            (value, Binding(owner, rows[kind], kind, generation, destination, client)) for kind, value in values.items()
        ]
        try:
            blobs = self.sealer.seal_all(owner, bound, key_generation, wrapped)
        except (Broken, TypeError):
            if self._opens(owner, key_generation, wrapped):
                raise
            # Somebody changed the data key, and nothing that it sealed opens any more. What has come now must not be
            # lost, too, nor tried again and again.
            log.error("a data key was changed outside Keyfob; a new one takes its place")  # noqa: TRY400 -- that says it all
            key_generation, wrapped = self._replaced(tx, owner, key_generation)
            blobs = self.sealer.seal_all(owner, bound, key_generation, wrapped)
        sealed = dict(zip(values, blobs, strict=True))
        whose = {"owner": owner, "generation": generation}
        _PUT.run_each(
            tx, [{"uuid": rows[kind], "kind": kind, "sealed": blob, **whose} for kind, blob in sealed.items()]
        )
        key = {"wrapped": wrapped, "key_generation": key_generation}
        return {kind: {"secret_uuid": rows[kind], "sealed": blob, **key} for kind, blob in sealed.items()}

    def _data_key(self, tx: Connection, owner: str) -> tuple[int, bytes]:
        """Return the generation of the owner's data key, and the key, wrapped; one is made where there is none."""
        key = _KEY_OF.row(tx, {"of": owner})
        if key is not None:
            return key["generation"], key["wrapped"]
        wrapped = self.sealer.new_data_key(owner, FIRST_KEY)
        _MAKE_KEY.run(tx, {"owner": owner, "generation": FIRST_KEY, "wrapped": wrapped})
        return FIRST_KEY, wrapped

    def _replaced(self, tx: Connection, owner: str, before: object) -> tuple[int, bytes]:
        """Make another data key for an owner; what the one before has sealed stays where it is."""
        generation = before + 1 if isinstance(before, int) else FIRST_KEY
        wrapped = self.sealer.new_data_key(owner, generation)
        mine = update(t.data_key).where(t.data_key.c.owner == owner)
        tx.execute(mine.values(generation=generation, wrapped=wrapped))
        return generation, wrapped

    def _opens(self, owner: str, generation: int, wrapped: bytes) -> bool:
        """Whether a data key is one still. With the master key of before it would be, and then nothing is replaced."""
        for sealer in self._sealers():
            with contextlib.suppress(Broken, TypeError):
                sealer.seal_all(owner, (), generation, wrapped)
                return True
        return False

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
    def drop(tx: Connection, owner: str, kind: str, which: Which = "all", generation: int = 0) -> None:
        """Delete the sealed rows of one kind, or those of all generations but this one, or of those before it."""
        bound = {} if which == "all" else {"bound": generation}
        _DROP[which].run(tx, {"of": owner, "a": kind, **bound})

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
