"""Lock and unlock while tokens are asked for and renewed: nothing is handed out, and nothing is lost."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.account import Active
from broker.core.secret import Secret
from broker.errors import InvalidRequest, Locked
from broker.usecases import judging, keeping, locking, refresh
from broker.usecases.outcomes import Ready
from tests.store import made
from tests.usecases import kin
from tests.usecases.house import DUE, TTL, House, opened, ready


async def forgotten(house: House) -> None:
    """Wait until the key has been forgotten."""
    assert house.ctx.latch.forgetting is not None
    await asyncio.wait([house.ctx.latch.forgetting])
    assert not house.store.holds_key


def test_locked_hands_out_nothing_and_renews_nothing(tmp_path: Path) -> None:
    """A token that lives stays where it is, one that is due waits, and after the unlock both go on."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            first = ready(await house.token())
            locking.lock(house.ctx)
            with pytest.raises(Locked, match="by its owner"):
                await house.token()
            await forgotten(house)
            house.clock.forward(DUE)
            await house.tick()
            with pytest.raises(Locked):
                await house.token()
            assert house.asked() == 0
            await locking.unlock(house.ctx, None)
            assert ready(await house.token()) == first
            await house.tick()
            assert house.asked() == 1
            assert await house.holds_newest()
            assert [event.kind for event in await house.heard() if "lock" in event.kind] == ["locked", "unlocked"]

    asyncio.run(live())


def test_what_is_due_while_locked_keeps_nobody_busy(tmp_path: Path) -> None:
    """A due refresh that may not begin is no reason to look again at once, and again, for as long as it is locked."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            locking.lock(house.ctx)
            house.clock.forward(DUE - 60.0)
            coming = await refresh.refresh_due(house.ctx)
            assert coming is not None
            assert coming > house.clock()
            house.clock.forward(TTL)
            assert await refresh.refresh_due(house.ctx) is None

    asyncio.run(live())


def test_a_reply_in_flight_is_kept(tmp_path: Path) -> None:
    """The rotated token of a refresh that was sent before the lock is written down, though nobody gets it."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold", settings={"rotation": "single-use"}) as house:
            await house.log_in()
            house.clock.forward(TTL)
            caller = asyncio.create_task(house.token())
            await house.until_asked()
            assert locking.lock(house.ctx) == 1
            house.practice.set_faults([])
            with pytest.raises(Locked):
                await caller
            await forgotten(house)
            await locking.unlock(house.ctx, None)
            assert await house.holds_newest()
            assert isinstance(await house.token(), Ready)
            assert house.asked() == 1

    asyncio.run(live())


def test_who_waited_over_the_lock_gets_nothing(tmp_path: Path) -> None:
    """A request that waits for a refresh ends with 423, though the key is still here for something else."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            await house.log_in()
            house.clock.forward(TTL)
            caller = asyncio.create_task(house.token())
            await house.until_asked()
            with locking.working(house.ctx):
                locking.lock(house.ctx)
                house.practice.set_faults([])
                with pytest.raises(Locked, match="by its owner"):
                    await caller
                assert house.store.holds_key

    asyncio.run(live())


def test_locked_and_unlocked_while_the_reply_is_in_the_air(tmp_path: Path) -> None:
    """What is in the air at the unlock is no lost answer: the flight lands as if nothing had been."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold", settings={"rotation": "single-use"}) as house:
            await house.log_in()
            house.clock.forward(TTL)
            caller = asyncio.create_task(house.token())
            await house.until_asked()
            locking.lock(house.ctx)
            await locking.unlock(house.ctx, None)
            assert house.store.holds_key
            house.practice.set_faults([])
            assert isinstance(await caller, Ready)
            assert isinstance((await house.account()).state, Active)
            assert await house.holds_newest()
            assert house.asked() == 1

    asyncio.run(live())


def test_what_stands_at_the_gate_is_not_sent(tmp_path: Path) -> None:
    """A refresh that was begun and has not been sent when the lock comes is not sent, and comes after the unlock."""

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold") as house:
            house.ctx.flights.per_issuer_places = 1
            for name in ("one", "two"):
                await house.log_in(name)
            house.clock.forward(TTL)
            for name in ("one", "two"):
                refresh.join(house.ctx, await house.account(name))
            await house.until_asked()
            assert locking.lock(house.ctx) == 2
            house.practice.set_faults([])
            await forgotten(house)
            assert house.asked() == 1
            await locking.unlock(house.ctx, None)
            await house.tick()
            assert house.asked() == 2
            assert {type((await house.account(name)).state) for name in ("one", "two")} == {Active}

    asyncio.run(live())


@pytest.mark.parametrize("journal", [True, False], ids=["in the journal", "in memory only"])
def test_an_answer_without_a_place_outlives_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, journal: bool
) -> None:
    """The database refuses, and the key is forgotten after its time: the answer waits, sealed or in memory."""
    monkeypatch.setattr(keeping, "KEEP_PAUSE", 0.01)  # real seconds
    monkeypatch.setattr(keeping, "KEEP_SOON", 0.01)
    monkeypatch.setattr(locking, "LONGEST_LANDING", 0.2)

    async def live() -> None:
        async with opened(tmp_path, "refresh:hold", settings={"rotation": "single-use"}) as house:
            await house.log_in()
            house.clock.forward(TTL)
            refresh.join(house.ctx, await house.account())
            await house.until_asked()
            made.behind(tmp_path, "ALTER TABLE secret RENAME TO gone")
            if not journal:
                house.store.lock("x")  # so that the journal is closed before the answer comes
                house.store.drop_key()
                house.store._vault.locked = ""  # noqa: SLF001 -- as if the lock came now
            house.practice.set_faults([])
            locking.lock(house.ctx)
            await forgotten(house)
            # In a thread: an answer that waits in memory begins a transaction again and again, on this loop.
            await asyncio.to_thread(made.behind, tmp_path, "ALTER TABLE gone RENAME TO secret")
            await locking.unlock(house.ctx, None)
            await house.landed()
            assert isinstance((await house.account()).state, Active)
            assert await house.holds_newest()
            assert house.asked() == 1

    asyncio.run(live())


def test_work_that_waits_for_a_provider_keeps_the_key(tmp_path: Path) -> None:
    """Whatever says that it is at work holds the key until it is done."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            with locking.working(house.ctx):
                assert locking.lock(house.ctx) == 1
                await asyncio.sleep(0)
                assert house.store.holds_key
            await forgotten(house)

    asyncio.run(live())


def test_lock_and_unlock_twice(tmp_path: Path) -> None:
    """The second word changes nothing and breaks nothing."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            locking.lock(house.ctx)
            assert locking.lock(house.ctx, locking.BY_SLEEP) == 0
            await forgotten(house)
            assert house.store.locked == locking.BY_OWNER
            await asyncio.gather(*(locking.unlock(house.ctx, None) for _ in range(3)))
            await locking.unlock(house.ctx, None)
            assert isinstance(await house.token(), Ready)
            with pytest.raises(InvalidRequest, match="'file'"):
                await locking.unlock(house.ctx, Secret("correct horse battery"))

    asyncio.run(live())


def test_it_locks_itself_when_nobody_uses_it(tmp_path: Path) -> None:
    """A hand-out is use, a look is none; after the set time the next look or request finds it locked."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            house.ctx.latch.idle, house.ctx.latch.used_at = 60.0, house.ctx.steady()
            house.clock.forward(59)
            locking.watch(house.ctx)
            await house.token()
            house.clock.forward(59)
            locking.watch(house.ctx)
            assert house.store.locked == ""
            house.clock.forward(1)
            locking.watch(house.ctx)
            assert house.store.locked == locking.BY_IDLENESS
            await locking.unlock(house.ctx, None)
            locking.watch(house.ctx)
            assert house.store.locked == ""

    asyncio.run(live())


@pytest.mark.parametrize(("on", "why"), [(True, locking.BY_SLEEP), (False, "")])
def test_it_locks_itself_when_the_machine_slept(tmp_path: Path, why: str, *, on: bool) -> None:
    """Where that is wanted, the first look or request after a sleep locks; once for each sleep."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            asleep = 100.0
            ctx = replace(house.ctx, slept=lambda: asleep)
            ctx.latch.on_sleep, ctx.latch.slept = on, asleep
            locking.watch(ctx)
            assert ctx.store.locked == ""
            asleep += 30.0
            locking.watch(ctx)
            assert ctx.store.locked == why
            await locking.unlock(ctx, None)
            locking.watch(ctx)
            assert ctx.store.locked == ""

    asyncio.run(live())


def test_the_last_hand_outs_are_sealed(tmp_path: Path) -> None:
    """What was handed out before the lock is in the audit before the key is forgotten, under a seal."""

    async def live() -> None:
        async with opened(tmp_path) as house:
            await house.log_in()
            ready(await house.token())
            locking.lock(house.ctx)
            await forgotten(house)
            assert made.behind(tmp_path, "SELECT count FROM audit WHERE action = 'handout' AND hash NOT NULL") == [(1,)]
            await locking.unlock(house.ctx, None)
            verdict = await house.store.verify_audit()
            assert (verdict.broken, verdict.late, verdict.unsealed) == (None, 0, 0)

    asyncio.run(live())


def test_what_hangs_on_another_login_waits_for_the_key(tmp_path: Path) -> None:
    """A derived account that waits for its login's refresh over a lock is not told that this one has no token."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await kin.begin(house)
            await kin.derived_from(house)
            house.practice.set_faults(["refresh:hold"])
            house.clock.forward(TTL + 1)
            flights = [refresh.join(house.ctx, await house.account(name)) for name in ("me", "bill")]
            await house.until_asked()
            assert locking.lock(house.ctx) == len(flights)
            house.practice.set_faults([])
            await forgotten(house)
            assert house.asked(kin.KIND) == 1
            assert [await flight for flight in flights] == ["", ""]
            assert isinstance((await house.account("bill")).state, Active)
            await locking.unlock(house.ctx, None)
            assert isinstance(await house.token("bill"), Ready)
            assert (house.asked(kin.KIND), house.asked()) == (2, 1)

    asyncio.run(live())


def test_an_answer_that_is_kept_is_put_in_force_after_the_unlock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key goes between the two commits of an answer: the first one is enough, and nothing is asked again."""

    async def live() -> None:
        async with opened(tmp_path, settings={"rotation": "single-use"}) as house:
            await house.log_in()
            house.clock.forward(TTL)

            async def late(*_: object) -> str:
                locking.lock(house.ctx)
                house.store.drop_key()
                raise Locked(house.store.locked, "")

            with monkeypatch.context() as patch:
                patch.setattr(judging, "judge", late)
                with pytest.raises(Locked):
                    await refresh.join(house.ctx, await house.account())
            await forgotten(house)
            await locking.unlock(house.ctx, None)
            assert isinstance((await house.account()).state, Active)
            assert isinstance(await house.token(), Ready)
            assert await house.holds_newest()
            assert house.asked() == 1

    asyncio.run(live())
