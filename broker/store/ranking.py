"""Accounts in the order in which a person is shown them: what needs one first, and of the others as many as fit a page.

Part of ``Store``. Without a search all of it is answered by the indexes of ``attention``: what it costs depends on what
needs a person and on what is shown, not on how many accounts there are. A search looks at the names of all, in SQLite.
"""

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Row,
    Select,
    String,
    TextClause,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    text,
    union_all,
)

from broker.core import advice
from broker.core.account import Account
from broker.store import attention, readable
from broker.store import tables as t
from broker.store.engine import CASEFOLD
from broker.store.listing import Listing
from broker.store.prepared import Prepared

a = t.account.c
_rowid = readable.rowid_of(t.account)
_NOTABLE, _CALM, _ENDS = (text(words) for words in (attention.NOTABLE, attention.CALM, attention.ENDS))
# The index narrows by a sum of floats near 1.7e9, which may be another one than the condition's by the last digit.
_SLACK = 1.0
# Stands for all accounts where a rank would.
_ALL = -1
# Who searches for more, or for longer ones, has those looked for.
MOST_WORDS, LONGEST_WORD = 20, 200
# As ``Account.label`` tells it.
_LABEL = case(
    (a.identity_subject.is_not(None), a.identity_label), (a.renewal != "refresh_token", a.client_id), else_=""
)


@dataclass(frozen=True, slots=True)
class Order:
    """By what accounts are ranked, and which.

    Attributes:
        now: epoch seconds.
        lacking: the uuids of those that need a person as much as one whose token ends soon: their scope is too little.
        words: only those with each of these words in the name, the provider or the label; none for all.
    """

    now: float
    lacking: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    @property
    def kind(self) -> tuple[int, bool]:
        """How many words are looked for, and whether there is any that lacks scope: what the questions depend on."""
        return min(len(self.words), MOST_WORDS), bool(self.lacking)

    def values(self) -> dict[str, Any]:
        """Return what the questions are asked with."""
        words = [word[:LONGEST_WORD] for word in self.words[:MOST_WORDS]]
        values = {f"word_{number}": word for number, word in enumerate(words)}
        values |= {f"like_{number}": _pattern(word) for number, word in enumerate(words)}
        return {"now": self.now, **values, **({"lacking": json.dumps(self.lacking)} if self.lacking else {})}


class Ranking(Listing):
    """The part of ``Store`` that ranks accounts. All of it works while locked."""

    async def ranked(self, order: Order) -> dict[int, int]:
        """Return how many accounts there are of each rank: see ``advice.RANKS``."""
        query, values = _counting(*order.kind), order.values()
        counts = dict.fromkeys((*advice.RANKS, _ALL), 0)
        for row in await self._db.read(lambda tx: query.rows(tx, values)):
            counts[row["rank"]] += row["count"]
        every = counts.pop(_ALL)
        if not order.words:
            counts[advice.WELL] = every - sum(counts.values())
        return counts

    async def of_ranks(self, order: Order, which: Mapping[int, slice]) -> dict[int, list[Account]]:
        """Return some accounts of each of these ranks, by name: those that the slice takes of all of them."""

        def work(tx: Connection) -> dict[int, list[Row[Any]]]:
            found = {}
            for rank, some in which.items():
                if rank != advice.BEGUN:
                    values = {"most": some.stop - some.start, "skip": some.start, **order.values()}
                    found[rank] = readable.rows(tx, _reading(rank, *order.kind), self._vault, values)
            return found

        accounts: dict[int, list[Account]] = {}
        seen: set[str] = set()  # whose rank changed from one question to the next would come twice
        for rank, rows in (await self._db.read(work)).items():
            read = (readable.one(row._mapping, self._again, self._vault) for row in rows)  # noqa: SLF001 -- SQLAlchemy's public name for it
            accounts[rank] = [one for one in read if one is not None and one.uuid not in seen]
            seen |= {one.uuid for one in accounts[rank]}
        return accounts


@functools.cache
def _counting(words: int, lacks: bool) -> Prepared:  # noqa: FBT001 -- as ``Order.kind`` has them
    """Build what counts the accounts of each rank; without a search the last one is left out: it has all others."""
    parts = [(rank, one) for rank, one in _parts(words, lacks) if words or rank != advice.WELL]
    asked = [
        select(literal_column(str(rank), Integer).label("rank"), func.count().label("count")).select_from(
            one.subquery()
        )
        for rank, one in parts
    ]
    every = select(literal_column(str(_ALL), Integer), func.count()).select_from(t.account)
    return Prepared(select(union_all(*asked, every).subquery()))


@functools.cache
def _reading(rank: int, words: int, lacks: bool) -> Select[Any]:  # noqa: FBT001 -- as ``Order.kind`` has them
    """Build what reads some accounts of a rank: which they are is found first, so that no other row is read."""
    every = union_all(*(one for of, one in _parts(words, lacks) if of == rank))
    names = every.order_by(text("name")).limit(bindparam("most")).offset(bindparam("skip")).subquery()
    return select(t.account).join(names, names.c.row == _rowid).order_by(a.name)


def _parts(words: int, lacks: bool) -> Iterator[tuple[int, Select[Any]]]:  # noqa: FBT001 -- as ``Order.kind`` has them
    """Build what finds the accounts of each rank, with their names; each account is found once."""
    now: ColumnElement[float] = bindparam("now", type_=Float)
    ended, soon = and_(_ENDS, a.expires_at <= now), and_(_ENDS, _reminded(now))
    listed = func.json_each(bindparam("lacking", type_=String)).table_valued("value")
    lacking = a.uuid.in_(select(listed.c.value))
    # Who searches looks at all of these: in the order of the disk, not of the names.
    calm = text(f"+{attention.CALM}") if words else _CALM
    found: list[tuple[int, list[ColumnElement[bool] | TextClause]]] = [
        (advice.WAITS, [_NOTABLE, a.state == state]) for state in attention.WAITING
    ]
    found += [
        (advice.WAITS, [ended, text(f"state NOT IN {attention.WAITING}")]),
        (advice.IN_DOUBT, [_NOTABLE, a.state == "uncertain", _not_among(ended)]),
        (advice.FAILING, [_NOTABLE, a.state == "refreshing-failed", _not_among(ended)]),
        (advice.ENDING, [soon, _CALM]),
        (advice.WELL, [calm, _not_among(ended), _not_among(soon)]),
    ]
    if lacks:
        found[-1][1].append(_not_among(lacking))
        found.append((advice.ENDING, [lacking, _CALM, _not_among(ended), _not_among(soon)]))
    sought = [_holds(number) for number in range(words)]
    for rank, conditions in found:
        yield rank, select(a.name, _rowid.label("row")).select_from(t.account).where(*conditions, *sought)


def _not_among(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return _rowid.not_in(select(_rowid).select_from(t.account).where(condition).correlate(None))


def _reminded(now: ColumnElement[float]) -> ColumnElement[bool]:
    """Build what ``advice.need`` tells of a token that will end."""
    reminders = advice.REMINDERS.values()
    begun = or_(*(and_(a.issued_at < a.expires_at - before, a.expires_at - before <= now) for before in reminders))
    return and_(a.expires_at > now, a.expires_at <= now + (max(reminders) + _SLACK), begun)


def _holds(number: int) -> ColumnElement[bool]:
    """Build the condition that a word, in the letters that ``str.casefold`` makes of it, stands in what is searched.

    SQLite knows the small letters of ASCII only, and names and providers have no others. A label that has is folded in
    Python, unless the word is found as it is.
    """
    like, word = (bindparam(f"{what}_{number}", type_=String) for what in ("like", "word"))
    written = func.length(_LABEL) < func.length(cast(_LABEL, LargeBinary))
    folded = getattr(func, CASEFOLD)(cast(_LABEL, LargeBinary))
    return or_(
        *(one.like(like, escape="!") for one in (a.name, a.provider, _LABEL)),
        and_(written, func.instr(folded, word) > 0),
    )


def _pattern(word: str) -> str:
    escaped = "".join(f"!{letter}" if letter in "!%_" else letter for letter in word)
    return f"%{escaped}%"
