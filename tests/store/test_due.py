"""What is due is asked for by index, and SQLite finds what the schedule says."""

import asyncio
import random
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from broker.core import timing
from broker.core.account import Account
from broker.core.timing import DAY, Policy
from broker.errors import StoreUnavailable
from broker.store import tables as t
from broker.store.accounts import find
from broker.store.store import Store
from tests.store.made import DESTINATION, NOW, PROVIDER, behind, gone_through, opened, statements, with_account

HOUR = 3600.0
ROWS = 250
# The moments are sums of floats near 1.7e9, added up in another order.
EXACT = 1e-5
TROUBLE = ("refreshing-failed", "uncertain", "misconfigured", "needs-login", "suspect", "static")
STATES = ("active", "active", "active", *TROUBLE)


def any_row(like: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Make an account of any state, with lives of any length, some of it missing."""
    owner, issued = str(uuid.UUID(int=rng.getrandbits(128), version=4)), NOW - rng.uniform(0, 90 * DAY)
    lives, lasts = rng.choice((30.0, HOUR, DAY, 90 * DAY)), rng.choice((600.0, DAY, 30 * DAY, 120 * DAY))
    held = rng.random() < 0.9
    return like | {
        "uuid": owner,
        "name": owner,
        "generation": rng.randrange(50),
        "access_generation": 1 if held else None,
        "refresh_generation": rng.choice((1, 1, 1, None)),
        "renewal": rng.choice(("refresh_token", "refresh_token", "client_credentials")),
        "state": rng.choice(STATES),
        "state_since": issued,
        "retry_at": NOW + rng.uniform(-HOUR, HOUR),
        "lost_at": rng.choice((0.0, NOW - HOUR)),
        "throttled_until": rng.choice((0.0, NOW + rng.uniform(-HOUR, HOUR))),
        "issued_at": issued,
        "expires_at": rng.choice((None, issued + lives, NOW + rng.uniform(-HOUR, HOUR))),
        "last_refresh_at": rng.choice((None, issued, issued)),
        "refresh_expires_at": rng.choice((None, issued + lasts)),
    }


async def filled(store: Store) -> list[Account]:
    """Put many such accounts into a store, and return them."""
    made = await with_account(store)

    def work(tx: Connection) -> None:
        computed = {"due_at", "due_late_at"}
        like = {name: value for name, value in (find(tx, made.uuid) or {}).items() if name not in computed}
        rng = random.Random(1)  # noqa: S311 -- the same rows in every run
        tx.execute(insert(t.account), [any_row(like, rng) for _ in range(ROWS)])

    await store._db.write(work)  # noqa: SLF001 -- rows that no story makes by the hundred
    return await store.accounts()


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(kills_old_access_token=True),
        Policy(idle_days=60.0),
        Policy(kills_old_access_token=True, idle_days=15.0, least_between=DAY),
    ],
)
def test_sqlite_finds_what_the_schedule_says(tmp_path: Path, policy: Policy) -> None:
    """Whatever the state, the lives and the rules of the provider: who is due, in which order, and who comes next."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            accounts = await filled(store)
            policies = {PROVIDER.name: policy}
            dues = {one.uuid: at for one in accounts if (at := timing.next_refresh_at(one, policy)) is not None}
            for now in (NOW - 30 * DAY, NOW, NOW + 600, NOW + 30 * DAY):
                due = {owner for owner, at in dues.items() if at <= now + EXACT}
                assert 0 < len(due) < len(accounts)
                look = await store.look(policies, now)
                assert look.overdue == {PROVIDER.name: len(due)}
                found = await store.most_urgent(PROVIDER.name, policy, now, ROWS + 1)
                assert {one.uuid for one in found} == due
                deaths = [timing.dies_at(one, policy) or float("inf") for one in found]
                assert deaths == sorted(deaths)
                few = await store.most_urgent(PROVIDER.name, policy, now, 3)
                assert few == found[:3]
                later = [at for at in dues.values() if at > now + EXACT]
                coming = look.coming
                assert (coming is None) == (not later)
                # A quota may hold it up for longer.
                assert coming is None or now < coming <= min(later) + EXACT
                assert coming is None or policy.least_between or coming == pytest.approx(min(later), abs=EXACT)
                assert (await store.look(policies, now, {DESTINATION.token_endpoint})).overdue == {}

    asyncio.run(story())


def test_a_look_reads_no_account_that_is_not_due(tmp_path: Path) -> None:
    """Every question of a look is answered by an index, never by going through all accounts."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await with_account(store)
            policy = Policy(kills_old_access_token=True, idle_days=15.0, least_between=HOUR)
            with statements() as asked:
                await store.providers_in_use()
                for some in (policy, Policy()):
                    await store.look({PROVIDER.name: some}, NOW)
                    await store.most_urgent(PROVIDER.name, some, NOW, 10, {"https://example.org/token"})
            assert gone_through(tmp_path, asked) == []

    asyncio.run(story())


UNREADABLE = ("state_reason = CAST(x'ff' AS TEXT)", "scope = '['", "asked_scope = '5'")


@pytest.mark.parametrize("what", UNREADABLE)
@pytest.mark.parametrize("whose", ["child", "parent"])
def test_a_derived_account_that_cannot_be_read_stops_no_look(tmp_path: Path, what: str, whose: str) -> None:
    """One that waits for a person, or what it is derived from, is left out; the others are found as before."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            parents = [await with_account(store, name) for name in ("parent", "well")]
            for name, parent in zip(("child", "other"), parents, strict=True):
                await with_account(store, name)
                derived = f"renewal = 'token_exchange', renewal_subject = '{parent.uuid}', state = 'needs-login'"
                behind(tmp_path, f"UPDATE account SET {derived} WHERE name = '{name}'")  # noqa: S608 -- our own
            behind(tmp_path, f"UPDATE account SET {what} WHERE name = '{whose}'")  # noqa: S608 -- as above
            waiting = (await store.look({PROVIDER.name: Policy()}, NOW)).waiting
            assert [(child.name, parent and parent.name) for child, parent in waiting] == [("other", "well")]
            assert f"account '{whose}'" in store.newly_changed() or whose == "parent"

    asyncio.run(story())


def test_a_disk_that_fails_is_no_damaged_row(tmp_path: Path) -> None:
    """Where SQLite itself refuses, that is said, and nobody's account is called changed."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await with_account(store)
            behind(tmp_path, "ALTER TABLE account RENAME TO gone")
            with pytest.raises(StoreUnavailable, match="no such table"):
                await store.most_urgent(PROVIDER.name, Policy(), NOW, 10)
            assert store.newly_changed() == []
            behind(tmp_path, "ALTER TABLE gone RENAME TO account")

    asyncio.run(story())
