"""The chain through the audit: each entry is sealed with all its fields and the seal of the one before.

Used by ``audit`` and ``tally`` inside their transactions; checked by ``verify``. The seals need the master key, so
whoever can write the database and has no key can take nothing out of the chain, put nothing in, and change nothing,
without a trace. The head tells where the chain begins and ends. It is written in the transaction of each entry, and
what it says of the end is repeated in the fence and in memory: an older head that is put back is behind them.

A rotation of the master key seals no entry anew: the key that sealed those so far is kept under the new one, and the
head, and then the next entry, hold them as they are. So a seal never changes, and the old key alone can change nothing.

Nothing is mended in silence. Where the head cannot be believed, or entries are missing at the end, the chain goes on
with a gap that stays to be found until the entries around it are pruned.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from broker.store import tables as t
from broker.store.counts import Sum, fits
from broker.store.memory import Row
from broker.store.prepared import Prepared
from broker.store.seal import Broken, Sealer, Stamp

# Takes the place of a seal before the first entry. Only the entry with number 1 has nothing before it.
GENESIS = bytes(32)
# What is sealed of an entry, in this order.
FIELDS = ("id", "at", "action", "account_uuid", "account", "app", "detail", "generation", "first", "count", "late")
# SQLite stores whole numbers in these columns as floats.
_FLOATS = ("at", "first")
# Found by Keyfob itself, and then part of the record.
DAMAGED = "damaged"
# At most so many entries are pruned with each that is added: a limit that was lowered must not hold up a refresh.
PRUNED_AT_ONCE = 500
# What of a detail is kept: an app or a provider may have had a say in it.
MOST_DETAIL = 500

NO_SEAL = t.audit.c.link.is_(None) & t.audit.c.hash.is_(None)
GROWS = t.audit.c.link.is_(None) & t.audit.c.hash.is_not(None)


_PUT = Prepared(insert(t.audit).returning(t.audit.c.id, t.audit.c.account_uuid))
_SEAL = Prepared(update(t.audit).where(t.audit.c.id == bindparam("row")))
_HEAD = Prepared(select(t.audit_head))
_NEWEST = Prepared(select(func.max(t.audit.c.link)).where(t.audit.c.link.is_not(None)))
_save = upsert(t.audit_head)
_SAVE = Prepared(
    _save.on_conflict_do_update(
        index_elements=["id"], set_={column.name: _save.excluded[column.name] for column in t.audit_head.c}
    )
)


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain begins and ends.

    Attributes:
        first: the number of the oldest entry that is kept.
        before: the seal of the entry before that, which was pruned.
        last: the number of the newest entry.
        hash: its seal.
        old: the id of the last entry from before there was a chain; 0 where none is left.
        counts: the sum of all counts that still grow: see counts.py.
    """

    first: int
    before: bytes
    last: int
    hash: bytes
    old: int
    counts: bytes


def seal_of(sealer: Stamp, before: bytes, number: int, values: Sequence[object]) -> bytes:
    """Return the seal of an entry, given its :data:`FIELDS`."""
    return sealer.audit_mac("entry|v1", before.hex(), str(number), *map(_text, values))


def seal_of_count(sealer: Sealer, values: Sequence[object]) -> bytes:
    """Return the seal of a count that still grows, given its :data:`FIELDS`."""
    return sealer.audit_mac("count|v1", *map(_text, values))


def seal_of_head(sealer: Sealer, head: Head) -> bytes:
    """Return the seal of a head."""
    return sealer.audit_mac("head|v1", *map(_text, astuple(head)))


def put(tx: Connection, values: Mapping[str, object]) -> Row:
    """Write a row without a seal, and return it."""
    # No float is taken from SQLite's answer: what it returns of one is not always what it stores.
    (written,) = _PUT.rows(tx, values)
    return {**dict.fromkeys(FIELDS), "late": False, **values, **written}


def growing(tx: Connection) -> dict[int, bytes]:
    """Return the ids and seals of all counts that still grow."""
    return {row.id: row.hash for row in tx.execute(select(t.audit.c.id, t.audit.c.hash).where(GROWS))}


def values_of(row: Row) -> tuple[object, ...]:
    """Return the :data:`FIELDS` of a row, as SQLite has them."""
    return tuple(_stored(name, row[name]) for name in FIELDS)


def _stored(name: str, value: object) -> object:
    if not isinstance(value, int):
        return value
    return float(value) if name in _FLOATS else int(value)


def _text(value: object) -> str:
    # None, "" and "None" are three values.
    return "" if value is None else f"={value!r}"


class Chain:
    """The chain within one transaction; :meth:`save` ends it.

    Args:
        tx: the transaction.
        sealer: the opened master key.
        told: the newest number that fence and memory know of.
    """

    def __init__(self, tx: Connection, sealer: Sealer, told: int) -> None:
        self._tx = tx
        self.sealer = sealer
        self._trusted = True
        row = _HEAD.row(tx)
        newest: int = _NEWEST.value(tx) or 0
        if row is not None:
            head = Head(**{name: row[name] for name in Head.__slots__})
            if hmac.compare_digest(seal_of_head(sealer, head), row["mac"]):
                self.head = head
                self._next = max(told, head.last, newest) + 1
                return
        if row is None and not told and not newest:
            old = tx.execute(select(func.max(t.audit.c.id))).scalar_one() or 0
            self.head, self._next = Head(1, GENESIS, 0, GENESIS, old, Sum(sealer).written()), 1
            return
        self._trusted = False
        # A beginning other than 1 with nothing before it is what ``verify`` knows a lost head by.
        self._next = max(told, newest, 1) + 1
        counts = Sum.of(sealer, growing(tx).items())
        self.head = Head(self._next, GENESIS, self._next - 1, GENESIS, 0, counts.written())

    def write(self, values: Mapping[str, object]) -> None:
        """Add an entry."""
        self.link(put(self._tx, values))

    def link(self, row: Row, *, late: bool = False) -> None:
        """Seal a row that is there already, as the newest entry.

        Args:
            row: with all :data:`FIELDS`.
            late: it was written without a key.
        """
        number = self._next
        seal = seal_of(self.sealer, self.head.hash, number, values_of({**row, "late": late}))
        _SEAL.run(self._tx, {"row": row["id"], "link": number, "hash": seal, "late": late})
        self.head = replace(self.head, last=number, hash=seal)
        self._next = number + 1

    def seal_late(self) -> None:
        """Seal what was written while there was no key, marked as such."""
        late = select(t.audit).where(NO_SEAL, t.audit.c.id > self.head.old).order_by(t.audit.c.id)
        for row in self._tx.execute(late).mappings().all():
            self.link(row, late=True)

    def set_counts(self, counts: Sum) -> None:
        """Say what the sum of all counts that still grow is now."""
        self.head = replace(self.head, counts=counts.written())

    def prune(self, most: int) -> None:
        """Delete the oldest entries beyond ``most``, and move the beginning. Counts that still grow stay."""
        room = most - (self.head.last - self.head.first + 1)
        if self.head.old:
            old = select(t.audit.c.id).where(NO_SEAL, t.audit.c.id <= self.head.old)
            left: int = self._tx.execute(select(func.count()).select_from(old.subquery())).scalar_one()
            if left > max(room, 0):
                gone = old.order_by(t.audit.c.id).limit(min(left - max(room, 0), PRUNED_AT_ONCE))
                self._tx.execute(delete(t.audit).where(t.audit.c.id.in_(gone)))
                return
            if not left:
                self.head = replace(self.head, old=0)
        if room >= 0:
            return
        first = self.head.first + min(-room, PRUNED_AT_ONCE)
        below = select(t.audit.c.hash).where(t.audit.c.link < first).order_by(t.audit.c.link.desc()).limit(1)
        before = self._tx.execute(below).scalar_one_or_none()
        self._tx.execute(delete(t.audit).where(t.audit.c.link < first))
        self.head = replace(self.head, first=first, before=self.head.before if before is None else before)

    def hand_over(self, new: Sealer) -> None:
        """Let another master key seal from here on. What does not fit under this one does not fit afterwards either."""
        for until, wrapped in self._tx.execute(select(t.audit_key.c.until, t.audit_key.c.wrapped)).all():
            try:
                anew = new.wrap_stamp(self.sealer.open_stamp(wrapped, until), until)
            except Broken:
                continue
            self._tx.execute(update(t.audit_key).where(t.audit_key.c.until == until).values(wrapped=anew))
        if (until := self._next - 1) > 0:
            # Where nothing was sealed since the rotation before this one, the key of then stays.
            kept = upsert(t.audit_key).values(until=until, wrapped=new.wrap_stamp(self.sealer, until))
            self._tx.execute(kept.on_conflict_do_nothing())
        if not self._trusted:
            return  # what cannot be believed gets no seal that could be
        self._tx.execute(delete(t.audit_key).where(t.audit_key.c.until < self.head.first))
        counts = growing(self._tx)
        fitting = fits(self.sealer, self.head.counts, counts.items())
        for row in self._tx.execute(select(t.audit).where(GROWS)).mappings().all():
            values = values_of(row)
            if hmac.compare_digest(seal_of_count(self.sealer, values), row["hash"]):
                counts[row["id"]] = seal = seal_of_count(new, values)
                self._tx.execute(update(t.audit).where(t.audit.c.id == row["id"]).values(hash=seal))
        if fitting:
            self.set_counts(Sum.of(new, counts.items()))
        self.sealer = new
        self.save()

    def save(self) -> None:
        """Write the head."""
        head = self.head
        values = {name: getattr(head, name) for name in Head.__slots__} | {"mac": seal_of_head(self.sealer, head)}
        _SAVE.run(self._tx, {"id": 1, **values})


def prune_unsealed(tx: Connection, most: int) -> None:
    """Delete the oldest entries without a seal beyond ``most``: while there is no key, nothing else can be pruned."""
    count: int = tx.execute(select(func.count()).select_from(t.audit).where(NO_SEAL)).scalar_one()
    if count > most:
        gone = select(t.audit.c.id).where(NO_SEAL).order_by(t.audit.c.id).limit(count - most)
        tx.execute(delete(t.audit).where(t.audit.c.id.in_(gone)))


def plain(text: str) -> str:
    """Return a text as the record takes it: of bounded length, on one line, without control characters."""
    cut = text if len(text) <= MOST_DETAIL else f"{text[:MOST_DETAIL]}..."
    return "".join(character if character.isprintable() else " " for character in cut)
