"""What is due, asked for by index: what a look costs depends on what is due, not on how many accounts there are.

Part of ``Store``. Of each provider the caller brings its part of the schedule; what the accounts add stands in columns
that SQLite computes, see ``timetable``.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, exists, func, or_, select, text, update

from broker.core.account import Account, Destination
from broker.core.timing import DAY, KEEP_ALIVE_LEAST, SHORT_PART, Policy
from broker.store import attention, readable, timetable
from broker.store import tables as t
from broker.store.listing import Listing
from broker.store.transactions import after_commit

a = t.account.c
_PARENT = t.account.alias("parent")
# Accounts that are derived from another and wait for a person, in the words of the index.
_WAITING = (
    select(t.account, _PARENT)
    .outerjoin(_PARENT, _PARENT.c.uuid == a.renewal_subject)
    .where(text(f"account.{timetable.DERIVED}"), a.renewal_subject > "", a.state.in_(("needs-login", "misconfigured")))
)


@dataclass(frozen=True, slots=True)
class Look:
    """What is there to do.

    Attributes:
        overdue: provider -> how many of its accounts are due now, of those that have any.
        coming: when another one will be due, epoch seconds; None where none will. Where a quota holds it up, that may
            be sooner than it is.
        waiting: the derived accounts that wait for a person, each with what it is derived from.
    """

    overdue: dict[str, int]
    coming: float | None
    waiting: list[tuple[Account, Account | None]]


class Due(Listing):
    """The part of ``Store`` that tells what is due. All of it works while locked."""

    async def providers_in_use(self) -> tuple[str, ...]:
        """Return the names of the providers that accounts are at."""
        query = select(t.provider.c.name).where(exists().where(a.provider == t.provider.c.name))
        return tuple(await self._db.read(lambda tx: tx.execute(query).scalars().all()))

    async def look(self, policies: Mapping[str, Policy], now: float, silent: Collection[str] = ()) -> Look:
        """Return how many accounts are due now, and what else a look of the scheduler has to know; in one read.

        Args:
            policies: provider -> its part of the schedule.
            now: epoch seconds.
            silent: addresses without their query: what refreshes there is left alone.
        """

        def work(tx: Connection) -> tuple[dict[str, int], list[float | None], Sequence[Row[Any]]]:
            counts = {}
            for provider, policy in policies.items():
                due = select(func.count()).select_from(t.account).where(_are_due(provider, policy, now), *_but(silent))
                counts[provider] = tx.execute(due).scalar_one()
            queries = (query for one in policies.items() for query in _coming(*one, now))
            moments = [tx.execute(query.where(*_but(silent))).scalar() for query in queries]
            return counts, moments, readable.rows(tx, _WAITING, self._vault)

        counts, moments, waiting = await self._db.read(work)
        return Look(
            {provider: count for provider, count in counts.items() if count},
            # What is no number was written by nobody that knows: SQLite sorts it behind all that are.
            min((at for at in moments if isinstance(at, int | float) and at < math.inf), default=None),
            [pair for row in waiting if (pair := self._with_parent(row)) is not None],
        )

    async def most_urgent(
        self, provider: str, policy: Policy, now: float, most: int, silent: Collection[str] = ()
    ) -> list[Account]:
        """Return so many of a provider's accounts that are due, those first whose refresh token dies first."""
        query = select(t.account).where(_are_due(provider, policy, now), *_but(silent))
        return await self._readable(query.order_by(_death(policy).nulls_last(), _due_at(policy)).limit(most))

    async def recall(self, destination: Destination, now: float) -> int:
        """Make the accounts of a client due that was refused, each as soon as nothing can be lost by it.

        Args:
            destination: whose secrets go there: the client, and where it is one.
            now: epoch seconds.

        Returns:
            How many they are.

        Raises:
            StoreUnavailable: nothing was changed.
        """
        issuer, endpoint, client = destination.issuer, destination.token_endpoint, destination.client_id
        mine = and_(a.issuer == issuer, a.token_endpoint == endpoint, a.client_id == client)
        late = and_(mine, a.state == "misconfigured", a.retry_at > now)

        def work(tx: Connection) -> int:
            after_commit(tx, self._memory.accounts_changed)
            # The version grows: whoever has read such a row puts nothing back.
            return tx.execute(update(t.account).where(late).values(retry_at=now, version=a.version + 1)).rowcount

        if not await self._db.read(lambda tx: tx.execute(select(a.uuid).where(late).limit(1)).first()):
            return 0
        return await self._db.write(work)

    async def children(self, account: Account) -> list[Account]:
        """Return the accounts that are derived from this one, by name."""
        mine = and_(text(timetable.DERIVED), a.renewal_subject == account.uuid)
        return await self._readable(select(t.account).where(mine).order_by(a.name))

    async def lost_answers(self) -> list[Account]:
        """Return the accounts whose last request got no answer, which can be had again for a while."""
        lost = select(t.account).where(text(attention.NOTABLE), a.state == "refreshing-failed", a.lost_at > 0)
        return await self._readable(lost)

    def _with_parent(self, row: Row[Any]) -> tuple[Account, Account | None] | None:
        """Return a derived account and what it is derived from; None where one of the two cannot be read."""
        names = t.account.c.keys()
        child, parent = (dict(zip(names, half, strict=True)) for half in (row[: len(names)], row[len(names) :]))
        account = readable.one(child, self._account, self._vault)
        of = None if parent["uuid"] is None else readable.one(parent, self._account, self._vault)
        return None if account is None or (of is None and parent["uuid"] is not None) else (account, of)


def _but(silent: Collection[str]) -> list[ColumnElement[bool]]:
    where = func.substr(a.token_endpoint, 1, func.instr(a.token_endpoint + "?", "?") - 1)
    return [where.not_in(silent)] if silent else []


def _due_at(policy: Policy) -> ColumnElement[float]:
    return a.due_late_at if policy.kills_old_access_token else a.due_at


def _idle_seconds(policy: Policy) -> float | None:
    """Return how long after its last use a refresh token is used to keep it alive; None where nobody has to."""
    life = None if policy.idle_days is None else policy.idle_days * DAY
    return None if life is None or life < KEEP_ALIVE_LEAST else life * (1 - SHORT_PART)


def _idles() -> ColumnElement[bool]:
    """Build the condition for accounts that their provider may forget, in the words of the index."""
    lasts = func.coalesce(a.refresh_expires_at - a.last_refresh_at, KEEP_ALIVE_LEAST)
    return and_(text(timetable.IDLES), a.access_generation.is_not(None), lasts >= KEEP_ALIVE_LEAST)


def _allowed_at(policy: Policy) -> ColumnElement[float]:
    return func.coalesce(a.last_refresh_at, 0.0) + policy.least_between


def _are_due(provider: str, policy: Policy, now: float) -> ColumnElement[bool]:
    due = and_(a.provider == provider, _due_at(policy) <= now)
    if (idle := _idle_seconds(policy)) is not None:
        due = or_(due, and_(a.provider == provider, a.last_refresh_at <= now - idle, _idles()))
    return and_(due, _allowed_at(policy) <= now) if policy.least_between else due


def _coming(provider: str, policy: Policy, now: float) -> Iterator[Select[Any]]:
    """Build the queries for the next moments at which accounts of a provider are due."""
    due, last = _due_at(policy), a.last_refresh_at
    yield select(due).where(a.provider == provider, due > now).order_by(due).limit(1)
    if (idle := _idle_seconds(policy)) is not None:
        coming = select(last + idle).where(a.provider == provider, last > now - idle, _idles(), due > now)
        yield coming.order_by(last).limit(1)
    if policy.least_between:
        allowed = _allowed_at(policy)
        yield select(func.min(allowed)).where(a.provider == provider, due <= now, allowed > now)


def _death(policy: Policy) -> ColumnElement[Any]:
    """Build what ``timing.dies_at`` tells: when the refresh token dies of not being used; NULL where never."""
    death: ColumnElement[Any] = a.refresh_expires_at
    if policy.idle_days is not None:
        idle = a.last_refresh_at + policy.idle_days * DAY
        death = func.min(func.coalesce(idle, death), func.coalesce(death, idle))
    return case((a.renewal == "refresh_token", death))
