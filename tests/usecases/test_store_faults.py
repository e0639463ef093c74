"""The database is locked, full, read-only or damaged: what lives is served, and no login is lost by it.

Faults of a real disk under a real process are in ``tests/lanes``.
"""

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Connection, insert, text

from broker.core.policy import AppGrant, Caller, Owner
from broker.core.secret import Secret
from broker.errors import StoreUnavailable
from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.store import tables
from broker.store.journal import beside, is_empty
from broker.usecases import apps, health, refresh
from tests.store import made
from tests.usecases.house import DUE, TTL, Clock, House, opened, ready
from tests.usecases.world import crash

Fault = Callable[[House], contextlib.AbstractAsyncContextManager[None]]


async def _on_the_writer(house: House, pragma: str) -> None:
    database = house.store._db  # noqa: SLF001 -- SQLite has no other way in to the faults of one connection
    async with database._turn:  # noqa: SLF001 -- as above
        with database._writer.one() as connection:  # noqa: SLF001 -- as above
            connection.execute(text(f"PRAGMA {pragma}"))


@contextlib.asynccontextmanager
async def locked(house: House) -> AsyncIterator[None]:
    """Let another program hold the database."""
    await _on_the_writer(house, "busy_timeout = 20")
    with contextlib.closing(sqlite3.connect(made.database(house.place), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextlib.asynccontextmanager
async def full(house: House) -> AsyncIterator[None]:
    """Let the file not grow any more, and leave no page in it: a row may still change, an answer finds no room."""
    await _on_the_writer(house, "max_page_count = 1")
    owner = (await house.account()).uuid
    for number, size in enumerate((2000, 200, 1)):
        with contextlib.suppress(StoreUnavailable):
            for generation in itertools.count(number * 1_000_000):
                await house.store._db.write(partial(_fill, owner=owner, generation=generation, size=size))  # noqa: SLF001 -- as above
    yield
    await _on_the_writer(house, "max_page_count = 100000")


def _fill(tx: Connection, *, owner: str, generation: int, size: int) -> None:
    values = {"uuid": uuid4().hex, "owner": owner, "kind": "filler", "generation": generation, "sealed": bytes(size)}
    tx.execute(insert(tables.secret).values(values))


@contextlib.asynccontextmanager
async def read_only(house: House) -> AsyncIterator[None]:
    """Let SQLite take no write."""
    await _on_the_writer(house, "query_only = ON")
    yield
    await _on_the_writer(house, "query_only = OFF")


@contextlib.asynccontextmanager
async def damaged(house: House) -> AsyncIterator[None]:
    """Let the file hold nothing but noise for a while, for writers and readers."""
    path = made.database(house.place)
    made.behind(house.place, "PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.write(b"\x55" * len(whole))
    for connections in (house.store._db._writer, house.store._db._readers):  # noqa: SLF001 -- what is cached still opens
        connections.dispose()
    yield
    with path.open("r+b") as file:
        file.write(whole)


@pytest.mark.parametrize("fault", [locked, read_only, damaged])
def test_what_lives_is_served_and_nothing_is_sent(tmp_path: Path, fault: Fault) -> None:
    """Owner and app get the living token, no refresh is begun, health says why; afterwards all goes on by itself."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            token, _ = await house.secrets_of(await house.log_in())
            key = await apps.add(house.ctx, "backup", [AppGrant("me")], None)
            assert await apps.identify(house.ctx, key.reveal()) is not None
            async with fault(house):
                app = await apps.identify(house.ctx, key.reveal())
                assert app is not None
                callers: tuple[Caller, ...] = (Owner(), app)
                for caller in callers:
                    assert ready(await house.token(caller=caller)) == token
                house.clock.forward(DUE)
                with contextlib.suppress(StoreUnavailable):
                    await house.tick()
                await house.landed()
                assert (house.asked(), ready(await house.token())) == (0, token)
                report = await health.report(house.ctx)
                assert report.state == "degraded"
                assert "database" in report.reasons[0]
                assert await health.is_alive(house.ctx)
                house.clock.forward(TTL - DUE)
                with pytest.raises(StoreUnavailable):
                    await house.token()
                assert house.asked() == 0
            assert ready(await house.token()) != token
            assert (house.asked(), (await health.report(house.ctx)).state) == (1, "ok")

    asyncio.run(live())


@pytest.mark.parametrize("fault", [locked, full, read_only])
@pytest.mark.parametrize("ends", ["by itself", "with the process"])
def test_it_strikes_between_the_request_and_the_answer(tmp_path: Path, fault: Fault, ends: str) -> None:
    """The answer waits in the journal: for the database to take it, or for the next start. Nobody asks twice."""

    async def live() -> None:
        clock = Clock()
        settings = PracticeSettings(auto_approve=True, rotation="single-use")
        with practice_in_thread(settings, clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                token, _ = await house.secrets_of(await house.log_in())
                journal = beside(made.database(tmp_path))

                async def written() -> bool:
                    return not is_empty(journal)

                clock.forward(DUE)
                practice.set_faults(["refresh:hold"])
                flight = refresh.join(house.ctx, await house.account())
                await house.until_asked()
                async with fault(house):
                    practice.set_faults([])
                    await house.until(written)
                    report = await health.report(house.ctx)
                    assert report.state == "degraded"
                    assert "the answers of 1 refreshes" in report.reasons[-1]
                    assert ready(await house.token()) == token
                    if ends == "with the process":
                        await crash(house)
                if ends == "by itself":
                    await flight
                    assert is_empty(journal)
                    assert await house.holds_newest()
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await refresh.settle(house.ctx)
                assert ready(await house.token()) != token
                assert await house.holds_newest()
                assert is_empty(journal)
                assert house.asked() == 1
                assert (await health.report(house.ctx)).state == "ok"

    asyncio.run(live())


@pytest.mark.parametrize("fault", [locked, read_only])
def test_it_strikes_between_the_answer_and_its_use(tmp_path: Path, fault: Fault) -> None:
    """The new token comes into force as soon as the database takes it, and nobody asks for another one."""

    async def live() -> None:
        clock = Clock()
        settings = PracticeSettings(auto_approve=True, rotation="single-use")
        with practice_in_thread(settings, clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                token, _ = await house.secrets_of(await house.log_in())
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                clock.forward(DUE)
                # Nobody knows the provider's keys after a start: the answer is on the disk and waits for them.
                seen = house.asked("jwks")
                practice.set_faults(["jwks:hold"])
                flight = refresh.join(house.ctx, await house.account())
                await house.until_asked("jwks", seen + 1)
                async with fault(house):
                    practice.set_faults([])
                    assert not (await asyncio.wait({flight}, timeout=0.3))[0]
                    assert ready(await house.token()) == token
                await flight
                assert ready(await house.token()) != token
                assert await house.holds_newest()
                assert house.asked() == 1

    asyncio.run(live())


def test_a_start_while_nothing_can_be_written(tmp_path: Path) -> None:
    """What the last run left open is settled once the database takes it, and nothing is sent before."""

    async def live() -> None:
        clock = Clock()
        settings = PracticeSettings(auto_approve=True, rotation="single-use", grace=30.0)
        with practice_in_thread(settings, clock=clock) as practice:
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                await house.add_provider(refresh={"reuse_grace_s": 30})
                token, _ = await house.secrets_of(await house.log_in())
                clock.forward(DUE)
                practice.set_faults(["refresh:hold"])
                refresh.join(house.ctx, await house.account())
                await house.until_asked()
                await crash(house)
                practice.set_faults([])
            async with opened(tmp_path, practice=practice, clock=clock) as house:
                async with read_only(house):
                    with pytest.raises(StoreUnavailable):
                        await refresh.settle(house.ctx)
                    assert ready(await house.token()) == token
                    with pytest.raises(StoreUnavailable):
                        await house.tick()
                    with pytest.raises(StoreUnavailable):
                        await refresh.join(house.ctx, await house.account())
                    assert house.asked() == 1
                await house.tick()
                account = await house.account()
                assert (account.state.name, house.asked()) == ("active", 2)
                assert await house.holds_newest()

    asyncio.run(live())


def test_a_database_that_cannot_be_read_settles_nothing(tmp_path: Path) -> None:
    """Then no answer is taken for lost, and nothing is sent before it can be told."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            begun = await house.store.begin_refresh(await house.log_in(), house.clock())
            assert begun is not None
            assert await house.store.keep_answer(begun, Secret('{"access_token": "x", "expires_in": 600}'), None)
            async with damaged(house):
                with pytest.raises(StoreUnavailable):
                    await refresh.settle(house.ctx)
            await house.tick()
            assert (ready(await house.token()), house.asked()) == ("x", 0)

    asyncio.run(live())


def test_what_is_taken_away_is_not_served_from_memory(tmp_path: Path) -> None:
    """A revoked grant, a rotated key, a removed app and another name count also when nothing can be read any more."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            keys = {
                name: await apps.add(house.ctx, name, [AppGrant("me")], None)
                for name in ("revoked", "rotated", "removed", "kept")
            }
            for key in keys.values():
                assert await apps.identify(house.ctx, key.reveal()) is not None
            await apps.revoke(house.ctx, "revoked", "me")
            await apps.rotate(house.ctx, "rotated")
            await apps.remove(house.ctx, "removed")
            kept = await apps.identify(house.ctx, keys["kept"].reveal())
            assert kept is not None
            renamed = await house.store.rename_account(await house.account(), "other")
            async with damaged(house):
                for name in ("revoked", "rotated", "removed", "kept"):
                    with pytest.raises(StoreUnavailable):
                        await apps.identify(house.ctx, keys[name].reveal())
                with pytest.raises(StoreUnavailable):
                    await house.store.account("me")
                assert await house.store.account("other") == renamed
            await house.store.delete_account(renamed)
            async with damaged(house):
                with pytest.raises(StoreUnavailable):
                    await house.store.account("other")
                with pytest.raises(StoreUnavailable):
                    await house.store.access_token(renamed)

    asyncio.run(live())
