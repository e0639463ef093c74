"""Is the record as it was written? Walks the chain from its beginning to its end and names the first thing that is not.

Called by ``audit`` in a thread of its own, on a snapshot. Entries are read one after the other, however many there are.
"""

import contextlib
import hmac
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from broker.store.chain import DAMAGED, FIELDS, GENESIS, Head, seal_of, seal_of_count, seal_of_head
from broker.store.counts import fits
from broker.store.seal import Broken, Sealer, Stamp

Kind = Literal["head", "missing", "changed", "moved", "added", "cut", "damaged"]
_FIELDS = ", ".join(FIELDS)
_HEAD = "SELECT first, before, last, hash, old, counts, mac FROM audit_head"
_LINKED = f"SELECT link, hash, {_FIELDS} FROM audit WHERE link IS NOT NULL ORDER BY link"  # noqa: S608 -- our own names
_COUNTS = f"SELECT hash, {_FIELDS} FROM audit WHERE link IS NULL AND hash IS NOT NULL ORDER BY id"  # noqa: S608 -- the same
_KEYS = "SELECT until, wrapped FROM audit_key ORDER BY until"
_NO_SEAL = "SELECT count(*) FROM audit WHERE link IS NULL AND hash IS NULL AND id"


@dataclass(frozen=True, slots=True)
class Break:
    """The first thing in the record that is not as it was written.

    Attributes:
        kind: ``head`` (where it begins and ends is not known), ``missing``, ``changed``, ``moved`` (another entry
            stands in its place), ``added``, ``cut`` (its end is missing), ``damaged`` (Keyfob came upon it before).
        number: of the entry, or None where it has none.
        detail: what is wrong, for people.
        at: when the entry that stands there says it was, epoch seconds; None where none stands there.
        action: what it says was done, or empty.
        account: the account in it, or None.
        app: the app in it, or None.
    """

    kind: Kind
    number: int | None
    detail: str
    at: float | None = None
    action: str = ""
    account: str | None = None
    app: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a check.

    Attributes:
        checked: how many entries fit, counts that still grow among them.
        first: the number of the oldest entry, or None where there is none.
        last: the number of the newest one that fits, or None.
        seal: its seal; empty where there is none.
        begins_at: when the oldest one was, epoch seconds, or None.
        old: how many entries are from before there was a chain; nobody can say anything about them.
        late: how many were written while there was no key, and sealed when it was back.
        unsealed: how many were written while there was no key, and wait for their seal.
        broken: the first thing that does not fit, or None.
    """

    checked: int = 0
    first: int | None = None
    last: int | None = None
    seal: bytes = b""
    begins_at: float | None = None
    old: int = 0
    late: int = 0
    unsealed: int = 0
    broken: Break | None = None


def verify(connection: sqlite3.Connection, sealer: Sealer, told: int, *, unsealed: bool) -> Verdict:
    """Check the whole record.

    Args:
        connection: all its reads see the same commit.
        sealer: the opened master key.
        told: the newest number that was known of before the snapshot was taken.
        unsealed: entries that still wait for their seal are to be expected.
    """
    row = connection.execute(_HEAD).fetchone()
    if row is None:
        linked = connection.execute("SELECT count(*) FROM audit WHERE hash IS NOT NULL").fetchone()[0]
        if told or linked:
            return Verdict(broken=Break("head", None, "Where the record begins and ends was removed outside Keyfob."))
        return Verdict(old=connection.execute(f"{_NO_SEAL} > 0").fetchone()[0])
    head = Head(*row[:-1])
    if not _same(seal_of_head(sealer, head), row[-1]):
        return Verdict(broken=Break("head", None, "Where the record begins and ends was changed outside Keyfob."))
    if head.before == GENESIS and head.first != 1:
        lost = f"What told where the record began and ended was lost before entry {head.first}."
        return Verdict(broken=Break("head", head.first, f"{lost} It was changed or removed outside Keyfob."))
    return _Walk(connection, sealer, head).walk(told, unsealed=unsealed)


class _Walk:
    """One walk along the chain that a head tells of."""

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer, head: Head) -> None:
        self._connection = connection
        self._sealer = sealer
        self._head = head
        # The keys from before rotations, each with the number of the last entry that it sealed.
        self._former = list(_former(connection, sealer))
        # The number that comes next, and the seal before it.
        self._next, self._before = head.first, head.before
        self._seen = Verdict()

    def walk(self, told: int, *, unsealed: bool) -> Verdict:
        """Check the entries, the end, the counts that grow, and what has no seal."""
        steps = (self._entries(), self._end(told), self._counts(), self._unsealed(expected=unsealed))
        broken = next((found for step in steps for found in step), None)
        old: int = self._connection.execute(f"{_NO_SEAL} <= ?", (self._head.old,)).fetchone()[0]
        return replace(self._seen, old=old, broken=broken)

    def _entries(self) -> Iterator[Break]:
        first = begins_at = None
        checked = late = 0
        fault = None
        for link, seal, *values in self._connection.execute(_LINKED):
            fault = self._fault(link, seal, values)
            if fault is not None:
                break
            if first is None:
                first, begins_at = link, values[1]
            checked, late = checked + 1, late + bool(values[-1])
            self._before, self._next = seal, link + 1
        last = self._next - 1 if checked else None
        seal_of_last = self._before if checked else b""
        self._seen = Verdict(checked, first, last, seal_of_last, begins_at, late=late)
        if fault is not None:
            yield fault

    def _fault(self, link: Any, seal: Any, values: list[Any]) -> Break | None:  # noqa: ANN401 -- whatever stands there
        if not isinstance(link, int):
            return _break("added", None, "An entry has no proper number.", values)
        if link < self._next:
            return _break("added", link, f"Entry {link} stands before the beginning of the record.", values)
        if link > self._head.last:
            if self._next <= self._head.last:
                return self._gap(self._next, self._head.last)
            return _break("added", link, f"Entry {link} stands behind the end of the record.", values)
        if link > self._next:
            return self._gap(self._next, link - 1)
        if not self._fits(seal, values):
            other = self._elsewhere(link)
            if other is not None:
                said = f"Entry {link} is not the one that was written there: that one stands at {other} now."
                return _break("moved", link, said, values)
            return _break("changed", link, f"Entry {link} was changed.", values)
        if values[FIELDS.index("action")] == DAMAGED:
            said = f"At entry {link} Keyfob wrote down: {values[FIELDS.index('detail')]}"
            return _break("damaged", link, said, values)
        return None

    def _fits(self, seal: object, values: list[Any]) -> bool:
        by: Stamp = next((stamp for until, stamp in self._former if self._next <= until), self._sealer)
        return _same(seal_of(by, self._before, self._next, values), seal)

    def _elsewhere(self, link: int) -> int | None:
        """Return the number under which the entry stands that belongs here; None where it is nowhere."""
        further = f"SELECT link, hash, {_FIELDS} FROM audit WHERE link > ? ORDER BY link"  # noqa: S608 -- our own names
        rows = self._connection.execute(further, (link,))
        return next((other for other, seal, *values in rows if self._fits(seal, values)), None)

    @staticmethod
    def _gap(first: int, last: int) -> Break:
        which = f"Entry {first} is" if first == last else f"Entries {first} to {last} are"
        return Break("missing", first, f"{which} missing.")

    def _end(self, told: int) -> Iterator[Break]:
        last = self._next - 1
        end = max(self._head.last, told)
        if last < end:
            yield Break("cut", last + 1, f"The record ends with entry {last}, but entry {end} was written.")
        elif not _same(self._before, self._head.hash):
            yield Break("head", last, f"Entry {last} is not the one that the record ended with.")

    def _counts(self) -> Iterator[Break]:
        found = []
        for seal, *values in self._connection.execute(_COUNTS):
            if not _same(seal_of_count(self._sealer, values), seal):
                yield _break("changed", None, "A count that still grows was changed.", values)
            found.append((values[0], seal))
        self._seen = replace(self._seen, checked=self._seen.checked + len(found))
        if not fits(self._sealer, self._head.counts, found):
            yield Break("missing", None, "A count that still grows was removed, or an older one was put back.")

    def _unsealed(self, *, expected: bool) -> Iterator[Break]:
        waiting: int = self._connection.execute(f"{_NO_SEAL} > ?", (self._head.old,)).fetchone()[0]
        self._seen = replace(self._seen, unsealed=waiting)
        if waiting and not expected:
            yield Break("added", None, f"Without a seal: {waiting}. Keyfob did not write that while it had its key.")


def _former(connection: sqlite3.Connection, sealer: Sealer) -> Iterator[tuple[int, Stamp]]:
    for until, wrapped in connection.execute(_KEYS):
        with contextlib.suppress(Broken):  # then the entries that it sealed do not fit
            yield until, sealer.open_stamp(wrapped, until)


def _same(expected: bytes, found: object) -> bool:
    return isinstance(found, bytes) and hmac.compare_digest(expected, found)


def _break(kind: Kind, number: int | None, detail: str, values: list[Any]) -> Break:
    _, at, action, _, account, app, *_ = values
    when = float(at) if isinstance(at, (int, float)) else None
    return Break(kind, number, detail, when, str(action), account and str(account), app and str(app))
