"""What is counted in place of being listed: hand-outs of tokens, and refusals.

Used by ``audit``. A count grows in one row, under a seal of its own, and a sum of all such rows stands in the head of
the chain. It becomes an entry of the chain when it can grow no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Float, Table, and_, bindparam, case, or_, select, update

from broker.store import tables as t
from broker.store.chain import DAMAGED, GROWS, NO_SEAL, Chain, growing, plain, put, seal_of_count, values_of
from broker.store.counts import Sum, fits
from broker.store.memory import Row
from broker.store.prepared import Prepared

HANDOUT = "handout"
REFUSED = "refused"
UNAUTHORIZED = "unauthorized"
# One entry tells of so many seconds of refusals: whoever is refused all day cannot fill the record.
REFUSALS_FOR = 3600.0
# A request that began before a new token was stored may still hand out the old one; none takes so many seconds.
LATE_HANDOUTS = 60.0


# So many of the counts that still grow are looked at each time, for those that can grow no more; the others have their
# turn later. Where there are not so many, that is all.
LOOKED_AT = 500


def _same(condition: ColumnElement[bool]) -> Prepared:
    """Build what finds the count that goes on."""
    a = t.audit.c
    which = (
        a.action == bindparam("its_action"),
        a.account_uuid.is_not_distinct_from(bindparam("its_account")),
        a.app.is_not_distinct_from(bindparam("its_app")),
        a.generation.is_not_distinct_from(bindparam("its_generation")),
    )
    return Prepared(select(t.audit).where(condition, *which).order_by(a.id.desc()).limit(1))


def _ended() -> Prepared:
    """Build what finds, among some counts, those that can grow no more."""
    a, account = t.audit.c, t.account.c
    # A token that was replaced, or whose account is gone; and refusals of an hour that is over.
    done = and_(
        a.action == HANDOUT,
        a.at < bindparam("late"),
        or_(account.uuid.is_(None), account.generation > a.generation),
    )
    over = and_(a.action != HANDOUT, or_(a.first <= bindparam("hour"), a.first > bindparam("now")))
    among = t.audit.outerjoin(t.account, account.uuid == a.account_uuid)
    within = a.id.between(bindparam("low"), bindparam("high"))
    return Prepared(select(t.audit).select_from(among).where(GROWS, within, or_(done, over)).order_by(a.id))


def _last_used(table: Table, key: ColumnElement[Any]) -> Prepared:
    """Build what notes when something was last used; never an earlier time than it has."""
    column, at = table.c.last_used_at, bindparam("used", type_=Float)
    later = case((column > at, column), else_=at)
    return Prepared(update(table).where(key == bindparam("whose")).values({column: later}))


_GROWING, _UNSEALED, _ENDED = _same(GROWS), _same(NO_SEAL), _ended()
_NEXT = Prepared(
    select(t.audit.c.id).where(GROWS, t.audit.c.id > bindparam("after")).order_by(t.audit.c.id).limit(bindparam("most"))
)
_BY_UUID, _BY_NAME = (
    Prepared(select(t.account.c.uuid, t.account.c.name).where(column == bindparam("is")))
    for column in (t.account.c.uuid, t.account.c.name)
)
_CHANGE = Prepared(update(t.audit).where(t.audit.c.id == bindparam("row")))
_USED_ACCOUNT, _USED_APP = _last_used(t.account, t.account.c.uuid), _last_used(t.app, t.app.c.name)


@dataclass(slots=True)
class Count:
    """How often something happened that is only counted.

    Attributes:
        account_uuid: whose token; None of refusals, where ``account`` says it.
        app: the app's name, or ``owner``; None where nobody knows who it was.
        generation: which token of the account; None of refusals.
        first: when it was first, epoch seconds.
        last: when it was last.
        count: how often.
        action: ``handout``, ``refused`` or ``unauthorized``.
        account: of refusals: the name that was asked for, if any. It is kept only if there is such an account.
        detail: of refusals: the last reason, for people.
    """

    account_uuid: str | None
    app: str | None
    generation: int | None
    first: float
    last: float
    count: int
    action: str = HANDOUT
    account: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """How far the counts were gone through for those that can grow no more.

    Attributes:
        version: what tells whether another program has written to the database since; None: nobody knows.
        after: the id up to which they were.
    """

    version: object = None
    after: int = 0


def note(tx: Connection, chain: Chain | None, items: Sequence[Count], place: Place) -> Place:
    """Add to the counts, and put those into the chain that can grow no more.

    Args:
        tx: the transaction.
        chain: None while there is no key; then counts have no seal.
        items: what was counted; not empty.
        place: as this returned it the last time, with what the version is now. What it costs depends on the items alone
            if that is the one of then.

    Returns:
        The place for the next time, once this is durable.
    """
    newest = max(item.last for item in items)
    grown = _Grown(tx, chain, newest, known=place.version is not None)
    for item in items:
        grown.add(item)
    _used(tx, items)
    return grown.close(place)


class _Grown:
    """The counts that still grow, in one transaction."""

    def __init__(self, tx: Connection, chain: Chain | None, now: float, *, known: bool) -> None:
        self._tx = tx
        self._chain = chain
        self._now = now
        self._damaged = False
        if chain is None:
            return
        # All of them are looked at where another program may have changed one; what we write ourselves is right.
        before = Sum.read(chain.sealer, chain.head.counts) if known else None
        if before is None:
            seals = growing(tx).items()
            if not fits(chain.sealer, chain.head.counts, seals):
                self._damage("A count was added, removed or put back outside Keyfob.")
            before = Sum.of(chain.sealer, seals)
        self._sum = before

    def add(self, item: Count) -> None:
        """Add one item to its row, or begin one."""
        known = _BY_UUID.row(self._tx, {"is": item.account_uuid}) if item.account_uuid else None
        if not item.account_uuid and item.account:
            known = _BY_NAME.row(self._tx, {"is": item.account})
        account_uuid = item.account_uuid or (None if known is None else known["uuid"])
        which = {
            "its_action": item.action,
            "its_account": account_uuid,
            "its_app": item.app,
            "its_generation": item.generation,
        }
        found = (_UNSEALED if self._chain is None else _GROWING).row(self._tx, which)
        if found is not None and not (item.action != HANDOUT and _is_over(found, item.last)):
            self._check(found)
            grown = {
                "at": max(found["at"], item.last),
                "first": min(found["first"], item.first),
                "count": found["count"] + item.count,
                "detail": plain(item.detail),
            }
            self._take(found)
            self._put({**found, **grown})
            return
        values = {
            "at": item.last,
            "action": item.action,
            "account_uuid": account_uuid,
            "account": None if known is None else known["name"],
            "app": item.app,
            "detail": plain(item.detail),
            "generation": item.generation,
            "first": item.first,
            "count": item.count,
        }
        self._put(put(self._tx, values))

    def close(self, place: Place) -> Place:
        """Put what can grow no more into the chain, of so many, and the sum of the rest into its head."""
        if self._chain is None:
            return place
        looked = [row["id"] for row in _NEXT.rows(self._tx, {"after": place.after, "most": LOOKED_AT})]
        if looked:
            moments = {"late": self._now - LATE_HANDOUTS, "hour": self._now - REFUSALS_FOR, "now": self._now}
            for row in _ENDED.rows(self._tx, {"low": looked[0], "high": looked[-1], **moments}):
                self._check(row)
                self._take(row)
                self._chain.link(row)
        self._chain.set_counts(self._sum)
        return replace(place, after=looked[-1] if len(looked) == LOOKED_AT else 0)

    def _take(self, row: Row) -> None:
        if self._chain is not None:
            self._sum.take(row["id"], row["hash"])

    def _put(self, row: Row) -> None:
        changes = {name: row[name] for name in ("at", "first", "count", "detail")}
        if self._chain is not None:
            seal = seal_of_count(self._chain.sealer, values_of(row))
            self._sum.add(row["id"], seal)
            changes["hash"] = seal
        _CHANGE.run(self._tx, {"row": row["id"], **changes})

    def _check(self, row: Row) -> None:
        """Look whether a row is as it was written: what is added to it would make it look so."""
        if self._chain is not None and seal_of_count(self._chain.sealer, values_of(row)) != row["hash"]:
            whose = f"account {row['account']!r}, app {row['app']!r}, token {row['generation']}"
            self._damage(f"A count ({row['action']}: {whose}) was changed outside Keyfob.")

    def _damage(self, detail: str) -> None:
        # Once in a transaction: one is enough to look closely, and thousands would push out what is to be looked at.
        if self._chain is not None and not self._damaged:
            self._damaged = True
            self._chain.write({"at": self._now, "action": DAMAGED, "detail": detail})


def _is_over(row: Row, now: float) -> bool:
    # A beginning that is still to come was written down by a clock that was wrong.
    return not 0 <= now - row["first"] < REFUSALS_FOR


def _used(tx: Connection, items: Sequence[Count]) -> None:
    """Note when accounts and apps were last used. The account's version stays: that is nothing to conflict with."""
    given = [item for item in items if item.action == HANDOUT]
    for name, statement in (("account_uuid", _USED_ACCOUNT), ("app", _USED_APP)):
        newest: dict[str, float] = {}
        for item in given:
            whose = getattr(item, name)
            newest[whose] = max(item.last, newest.get(whose, item.last))
        statement.run_each(tx, [{"whose": whose, "used": at} for whose, at in newest.items()])
