"""What is counted in place of being listed: hand-outs of tokens, and refusals.

Used by ``audit``. A count grows in one row, under a seal of its own, and a digest of all such rows stands in the head
of the chain. It becomes an entry of the chain when it can grow no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, case, or_, select, update

from broker.store import tables as t
from broker.store.chain import DAMAGED, GROWS, NO_SEAL, Chain, digest, growing, plain, put, seal_of_count, values_of
from broker.store.memory import Row

HANDOUT = "handout"
REFUSED = "refused"
UNAUTHORIZED = "unauthorized"
# One entry tells of so many seconds of refusals: whoever is refused all day cannot fill the record.
REFUSALS_FOR = 3600.0
# A request that began before a new token was stored may still hand out the old one; none takes so many seconds.
LATE_HANDOUTS = 60.0


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


def note(tx: Connection, chain: Chain | None, items: Sequence[Count]) -> None:
    """Add to the counts, and put those into the chain that can grow no more.

    Args:
        tx: the transaction.
        chain: None while there is no key; then counts have no seal.
        items: what was counted; not empty.
    """
    newest = max(item.last for item in items)
    grown = _Grown(tx, chain, newest)
    for item in items:
        grown.add(item)
        _used(tx, item)
    grown.close()


class _Grown:
    """The counts that still grow, in one transaction."""

    def __init__(self, tx: Connection, chain: Chain | None, now: float) -> None:
        self._tx = tx
        self._chain = chain
        self._now = now
        self._seals: dict[int, bytes] = {}
        self._damaged = False
        if chain is not None:
            self._seals = growing(tx)
            if digest(self._seals.items()) != chain.head.counts:
                self._damage("A count was added, removed or put back outside Keyfob.")

    def add(self, item: Count) -> None:
        """Add one item to its row, or begin one."""
        who = select(t.account.c.uuid, t.account.c.name)
        mine = t.account.c.uuid == item.account_uuid if item.account_uuid else t.account.c.name == item.account
        known = self._tx.execute(who.where(mine)).one_or_none()
        account_uuid = item.account_uuid or (None if known is None else known.uuid)
        a = t.audit.c
        row = self._tx.execute(
            select(t.audit)
            .where(
                NO_SEAL if self._chain is None else GROWS,
                a.action == item.action,
                a.account_uuid.is_not_distinct_from(account_uuid),
                a.app.is_not_distinct_from(item.app),
                a.generation.is_not_distinct_from(item.generation),
            )
            .order_by(a.id.desc())
            .limit(1)
        ).mappings()
        found = row.one_or_none()
        if found is not None and not (item.action != HANDOUT and _is_over(found, item.last)):
            self._check(found)
            grown = {
                "at": max(found["at"], item.last),
                "first": min(found["first"], item.first),
                "count": found["count"] + item.count,
                "detail": plain(item.detail),
            }
            self._put({**found, **grown})
            return
        values = {
            "at": item.last,
            "action": item.action,
            "account_uuid": account_uuid,
            "account": None if known is None else known.name,
            "app": item.app,
            "detail": plain(item.detail),
            "generation": item.generation,
            "first": item.first,
            "count": item.count,
        }
        self._put(put(self._tx, values))

    def close(self) -> None:
        """Put what can grow no more into the chain, and the digest of the rest into its head."""
        if self._chain is None:
            return
        a, account = t.audit.c, t.account.c
        # A token that was replaced, or whose account is gone; and refusals of an hour that is over.
        done = and_(
            a.action == HANDOUT,
            a.at < self._now - LATE_HANDOUTS,
            or_(account.uuid.is_(None), account.generation > a.generation),
        )
        over = and_(a.action != HANDOUT, or_(a.first <= self._now - REFUSALS_FOR, a.first > self._now))
        ended = (
            select(t.audit)
            .outerjoin(t.account, account.uuid == a.account_uuid)
            .where(GROWS, or_(done, over))
            .order_by(a.id)
        )
        for row in self._tx.execute(ended).mappings().all():
            self._check(row)
            self._chain.link(row)
            del self._seals[row["id"]]
        self._chain.set_counts(digest(self._seals.items()))

    def _put(self, row: Row) -> None:
        changes = {name: row[name] for name in ("at", "first", "count", "detail")}
        if self._chain is not None:
            seal = seal_of_count(self._chain.sealer, values_of(row))
            self._seals[row["id"]] = changes["hash"] = seal
        self._tx.execute(update(t.audit).where(t.audit.c.id == row["id"]).values(**changes))

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


def _used(tx: Connection, item: Count) -> None:
    """Note when an account and an app were last used. The account's version stays: that is nothing to conflict with."""
    if item.action != HANDOUT:
        return
    account, app = t.account, t.app
    tx.execute(
        update(account)
        .where(account.c.uuid == item.account_uuid)
        .values(last_used_at=_later(account.c.last_used_at, item.last))
    )
    tx.execute(update(app).where(app.c.name == item.app).values(last_used_at=_later(app.c.last_used_at, item.last)))


def _later(column: Any, at: float) -> Any:  # noqa: ANN401 -- SQLAlchemy's expressions
    return case((column > at, column), else_=at)
