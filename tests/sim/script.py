"""What happens in a seed, and when: the bad hours, the quiet ones after them, and the last questions.

Called by ``world.run``.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from broker.core import timing
from tests.sim.judge import Fault
from tests.sim.profile import HOUR
from tests.sim.world import BOUND, World

Act = Callable[[World], Awaitable[None] | None]
# People look at their accounts so often, and log in where that is asked for.
ROUNDS = 9 * HOUR
# The longest life of a token, after which nothing is uncertain any more.
LONGEST_LIFE = 24 * HOUR
OUTAGES: tuple[dict[str, float], ...] = ({"refused": 1.0}, {"no route": 1.0}, {"503": 1.0}, {"portal": 1.0})


async def play(world: World) -> None:
    """Play all of it, or as far as the invariants hold."""
    await world.set_up()
    for when, act in _drawn(world):
        await world.until(when)
        if world.judge.failed:
            return
        done = act(world)
        if done is not None:
            await done
    await _quiet(world)


def _drawn(world: World) -> list[tuple[float, Act]]:
    """Draw when what happens."""
    rng, end = world.rng, world.hours * HOUR
    plan: list[tuple[float, Act]] = [(rng.uniform(0, end), _ask) for _ in range(world.profile.asks)]
    for kind, count in world.profile.events.items():
        plan += [(rng.uniform(0, end), ACTS[kind]) for _ in range(count)]
    plan += [(rng.uniform(0.3, 1.0) * HOUR + number * ROUNDS, _rounds) for number in range(int(end / ROUNDS))]
    return sorted([entry for entry in plan if entry[0] < end], key=lambda entry: entry[0])


def _some(world: World) -> str:
    return world.rng.choice(list(world.profile.accounts))


def _long(rng: random.Random, least: float, most: float) -> float:
    """Draw a duration; short ones are as likely as long ones."""
    return math.exp(rng.uniform(math.log(least), math.log(most)))


def _ask(world: World) -> None:
    min_ttl = world.rng.choice((None, None, 0.0, 300.0, 3000.0, 90000.0))
    world.spawn(partial(world.ask, _some(world), min_ttl))


def _crowd(world: World) -> None:
    account = _some(world)
    for _ in range(6):
        world.spawn(partial(world.ask, account, 90000.0))


def _less(world: World) -> None:
    """Programs want a token with less scope, while others want the account's own."""
    account = _some(world)
    for _ in range(2):
        world.spawn(partial(world.ask, account, scope=("read",)))
    world.loop.call_later(world.rng.uniform(0.0, 2.0), world.spawn, partial(world.ask, account, 90000.0))


def _rejected(world: World) -> None:
    world.spawn(partial(world.reject, _some(world)))


def _insist(world: World) -> None:
    world.spawn(partial(world.insist, _some(world)))


def _log_in_again(world: World) -> None:
    account = _some(world)
    world.spawn(partial(world.log_in, account))
    # Meanwhile a refresh of the login that is being replaced may be sent, and answered after it was.
    delay = world.rng.choice((0.0, world.rng.uniform(0.0, 2.0)))
    world.loop.call_later(delay, world.spawn, partial(world.ask, account, 90000.0))


def _log_out(world: World) -> None:
    world.spawn(partial(world.log_out, _some(world)))


def _user_revokes(world: World) -> None:
    account = _some(world)
    found = world.login(account)
    if found is not None:
        world.judge.note(f"    the user revokes {account} at {world.provider(account).name}")
        world.provider(account).revoke(found, world.clocks.real(), "user")


def _kill(world: World) -> None:
    if not world.disk.life.dead:
        world.cut()


def _kill_at_work(world: World) -> None:
    world.fuse = world.rng.randint(1, 30)


def _rounds(world: World) -> None:
    """People see what Keyfob asks of them."""
    for account in world.profile.accounts:
        row = world.judge.row(account)
        if row is None or row["state"] == "needs-login":
            if row is not None:
                world.judge.death(account, world.provider(account))
            world.spawn(partial(world.log_in, account))


def _after(world: World, fault: Fault, seconds: float, mend: Callable[[], None]) -> None:
    def over() -> None:
        if fault.end == math.inf:
            mend()
            world.judge.over(fault)

    world.open_faults.append(over)
    world.loop.call_later(seconds, over)


def _network(world: World) -> None:
    link = world.rng.choice(list(world.network.links.values()))
    link.fates, link.retry_after = dict(world.profile.fates), world.profile.retry_after
    _after(world, world.judge.begin("network"), _long(world.rng, 30.0, 3 * HOUR), link.fates.clear)


def _outage(world: World) -> None:
    link = world.rng.choice(list(world.network.links.values()))
    link.fates = dict(world.rng.choice(OUTAGES))
    _after(world, world.judge.begin("outage"), _long(world.rng, 300.0, 4 * HOUR), link.fates.clear)


def _store(world: World) -> None:
    world.disk.troubles = dict(world.profile.troubles)
    _after(world, world.judge.begin("store"), _long(world.rng, 2.0, 0.4 * HOUR), world.disk.troubles.clear)


def _invalid_client(world: World) -> None:
    provider = world.rng.choice(world.providers)
    provider.client_unknown = True

    def mend() -> None:
        provider.client_unknown = False

    _after(world, world.judge.begin("client unknown"), _long(world.rng, 60.0, 6 * HOUR), mend)


def _odd_answers(world: World) -> None:
    provider = world.rng.choice(world.providers)
    provider.odd_part = 0.6

    def mend() -> None:
        provider.odd_part = 0.0

    _after(world, world.judge.begin("odd answers"), _long(world.rng, 60.0, 6 * HOUR), mend)


def _suspend(world: World) -> None:
    seconds = _long(world.rng, 10.0, 10 * HOUR)
    world.judge.note(f"--- the machine sleeps for {seconds:.0f} s")
    world.clocks.sleep(seconds)
    if world.engine is not None:
        world.engine.disturbed()


def _set_clock(world: World) -> None:
    """Somebody sets the wall clock, or NTP finds that it is wrong; the next one sets it right again."""
    wrong = 0.0 if world.rng.random() < 0.4 else world.rng.choice((-1, 1)) * _long(world.rng, 5.0, 40 * 24 * HOUR)
    world.judge.note(f"--- the wall clock is set: wrong by {wrong:+.0f} s now")
    world.clocks.step(wrong)
    if world.engine is not None:
        world.engine.disturbed()


ACTS: dict[str, Act] = {
    "kill": _kill,
    "killed at work": _kill_at_work,
    "restart": World.restart,
    "user revokes": _user_revokes,
    "log in again": _log_in_again,
    "log out": _log_out,
    "rejected": _rejected,
    "refresh now": _insist,
    "suspend": _suspend,
    "clock set": _set_clock,
    "invalid client": _invalid_client,
    "odd answers": _odd_answers,
    "network": _network,
    "outage": _outage,
    "store": _store,
    "crowd": _crowd,
    "less": _less,
}


async def _quiet(world: World) -> None:
    """All faults are over: wait, and ask the last questions."""
    for over in world.open_faults:
        over()
    world.fuse = None
    world.clocks.step(0.0)
    if world.engine is not None:
        world.engine.disturbed()
    world.judge.note("=== all faults are over")
    await world.until(world.loop.time() + 60.0)
    _rounds(world)
    await world.until(world.loop.time() + BOUND)
    for account in world.profile.accounts:
        world.judge.settle(account)
    if _any_is(world, "misconfigured"):  # nobody has to log in for that
        await world.until(world.loop.time() + timing.REFUSED_CAP + BOUND)
    await _each(world, _is_fresh)
    if _any_is(world, "uncertain"):
        await world.until(world.loop.time() + LONGEST_LIFE + BOUND)
    await _each(world, _is_kept)
    if world.engine is not None:
        await world.until(world.loop.time() + 60.0)
        if world.engine.ctx.flights.tasks and not world.judge.failed:
            world.judge.fail("I8", "a refresh never ends")


def _any_is(world: World, state: str) -> bool:
    return any((world.judge.row(account) or {}).get("state") == state for account in world.profile.accounts)


async def _each(world: World, question: Callable[[World, str], Coroutine[Any, Any, None]]) -> None:
    for account in world.profile.accounts:
        if not world.judge.failed:
            await asyncio.wait([world.spawn(partial(question, world, account), may_fail=False)])


async def _is_fresh(world: World, account: str) -> None:
    row = world.judge.row(account)
    if row is None and account in world.logged_out:
        return
    if row is not None and row["state"] == "needs-login":
        world.judge.death(account, world.provider(account))
        return
    outcome = await world.outcome(account)
    world.judge.fresh_in_the_end(account, outcome, world.provider(account))


async def _is_kept(world: World, account: str) -> None:
    if world.engine is None:
        return
    row = await world.engine.ctx.store.account(account)
    if row is None and account in world.logged_out:
        return
    secret = None if row is None else await world.engine.ctx.store.refresh_token(row)
    world.judge.kept_in_the_end(account, secret.reveal() if secret else None, world.provider(account))
