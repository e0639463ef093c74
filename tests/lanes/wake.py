"""The wake lane: a machine with hundreds of accounts wakes up after a night, and all of its tokens have expired.

Run by ``python -m tests.lanes wake``, and in small by ``test_wake``. A real daemon in a process of its own, whose wall
clock and boot clock jump together as they do while a machine sleeps; the providers' clock jumps with them. The
scheduler's bell is rung right after the jump: after a real sleep it rings by itself, up to 37 s later
(``broker.core.timing.LONGEST_SLEEP``), because timers stand still while the machine sleeps. An app that asks for a
token does not wait for the bell.
"""

import argparse
import multiprocessing
import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from broker.core.timing import LONGEST_SLEEP
from broker.practice.settings import PracticeSettings
from tests.lanes import sleeper
from tests.lanes.several import (
    Login,
    Seen,
    check_tokens,
    log_in,
    providers,
    refreshes,
    set_faults,
    try_all,
    wait_until_fresh,
)
from tests.lanes.stage import PATIENCE, Broken, House, house, say, table, until

HOUR = 3600.0
# Refresh tokens that are not used for so many days die, says the preset: so it is known who dies first.
IDLE_DAYS = 30
# ``broker.usecases.flights``: so many refreshes at a time in all, and at one provider with a grace or without.
IN_ALL, PER_ISSUER, ONE_BY_ONE = 8, 2, 1
# 300 accounts one by one at 0.1 s each take 40 s; this is a machine in trouble.
LONGEST_HERD = 300.0
# Before an account stands at the gate its provider is read from the store, and such reads overtake each other: the
# first ones come out of turn by so many places, at the most. Without any order it would be most of the crowd.
OUT_OF_TURN = 3


@dataclass(frozen=True)  # no slots: the command line shows the defaults
class Plan:
    """What is done; times in seconds.

    Attributes:
        accounts: how many, with tokens of an hour.
        issuers: at how many providers.
        grace: in which these accept a spent refresh token.
        latency: how long an answer takes.
        apps: how many tokens apps ask for meanwhile, one after the other, of the accounts whose turn comes last.
        slept: how long the machine sleeps.
    """

    accounts: int = 300
    issuers: int = 1
    grace: float = 0.0
    latency: float = 0.1
    apps: int = 10
    slept: float = 8 * HOUR


CASES = (Plan(), Plan(grace=10.0), Plan(issuers=10), Plan(issuers=10, grace=10.0))


@dataclass(frozen=True, slots=True)
class Awake:
    """What became of it.

    Attributes:
        plan: what was done.
        seconds: from the bell until every account was fresh.
        refreshes: that the providers saw.
        at_one: refreshes that were under way at one provider at the same time, at the most.
        in_all: ... and in all.
        out_of_turn: by how many places an account was refreshed before or after its turn, at the most.
        waits: how long apps waited for a token.
        load: of the machine, at the end.
    """

    plan: Plan
    seconds: float
    refreshes: int
    at_one: int
    in_all: int
    out_of_turn: int
    waits: tuple[float, ...]
    load: float


def run(plan: Plan) -> Awake:
    """Run one case.

    Raises:
        Broken: the stage does not stand, or an account is not fresh.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([sleeper.__name__])
    slept = context.Value("d", 0.0, lock=False)

    def clock() -> float:
        return time.time() + float(slept.value)

    settings = PracticeSettings(ttl=HOUR, rotation="single-use", grace=plan.grace, auto_approve=True)
    with providers(plan.issuers, settings, clock) as practices, house(plan.grace) as home:
        # [refresh] is the last section of the preset.
        with (home.place / ".config/keyfob/presets/practice.toml").open("a") as preset:
            preset.write(f"idle_days = {IDLE_DAYS}\n")
        names = [f"account-{number:03}" for number in range(plan.accounts)]
        random.Random(plan.accounts).shuffle(names)  # noqa: S311 -- so that the order of death is not that of the names
        with _living(home, context, slept) as ring:
            logins = log_in(home, practices, names)
            set_faults(practices, f"refresh:delay={plan.latency:g}")
            before = len(refreshes(practices))
            asking = names[len(names) - plan.apps :]
            slept.value = plan.slept
            began = time.monotonic()
            ring()
            waits = tuple(_wait_for_a_token(home, name) for name in asking)
            until("every account was refreshed", lambda: len(refreshes(practices)) - before >= len(names), LONGEST_HERD)
            wait_until_fresh(home, names, clock, PATIENCE)
            seconds = time.monotonic() - began
            set_faults(practices)
            check_tokens(home, logins)
        seen = refreshes(practices)[before:]
        queue = {name: login for name, login in logins.items() if name not in asking}
        return Awake(
            plan,
            seconds,
            len(seen),
            max(_at_once([each for each in seen if each.provider == practice.url], plan) for practice in practices),
            _at_once(seen, plan),
            max(_out_of_turn(seen, queue, practice.url) for practice in practices),
            waits,
            os.getloadavg()[0],
        )


@contextmanager
def _living(home: House, context: Any, slept: Any) -> Iterator[Callable[[], None]]:  # noqa: ANN401 -- as in sleeper
    """Run the daemon for a block; what is handed over rings its bell."""
    process = context.Process(target=sleeper.live, args=(home.environ, slept), daemon=True)
    process.start()
    try:
        until("the daemon answers", lambda: home.socket.exists() and _answers(home))
        yield lambda: os.kill(process.pid, signal.SIGUSR1)
        process.terminate()
        process.join(PATIENCE)
        if process.exitcode != 0:
            raise Broken(f"the daemon ended with {process.exitcode}")
    finally:
        process.kill()
        process.join()


def _answers(home: House) -> bool:
    with home.client() as client:
        return client.send("GET", "/healthz").status == 200


def _wait_for_a_token(home: House, name: str) -> float:
    began = time.monotonic()
    with home.client() as client:
        client.token(name)
    return time.monotonic() - began


def _at_once(seen: Sequence[Seen], plan: Plan) -> int:
    """Return how many requests were at the provider together: each stays there for the latency."""
    arrived = [each.at for each in seen]
    return max(sum(at - plan.latency < earlier <= at for earlier in arrived) for at in arrived)


def _out_of_turn(seen: Sequence[Seen], queue: dict[str, Login], provider: str) -> int:
    """Return how far from its turn an account was refreshed; turns go by death, deaths by login."""
    turns = [login.grant for login in queue.values() if login.practice.url == provider]
    came = [each.grant for each in seen if each.provider == provider and each.grant in turns]
    return max((abs(came.index(grant) - turn) for turn, grant in enumerate(turns)), default=0)


def judge(awake: Awake) -> None:
    """Hold the result against the promise.

    Raises:
        Broken: too many at once, twice, out of turn, or an app that waited for the herd.
    """
    plan = awake.plan
    places = PER_ISSUER if plan.grace else ONE_BY_ONE
    if awake.refreshes != plan.accounts:
        raise Broken(f"{awake.refreshes} refreshes for {plan.accounts} accounts")
    if awake.at_one > places or awake.in_all > IN_ALL:
        raise Broken(f"{awake.at_one} at once at one provider, {awake.in_all} in all")
    if awake.out_of_turn > OUT_OF_TURN:
        raise Broken(f"an account was refreshed {awake.out_of_turn} places from its turn")
    if max(awake.waits, default=0.0) > awake.seconds / 2:
        raise Broken(f"an app waited {max(awake.waits):.2f} s of {awake.seconds:.2f} s")


def summary(all_awake: Sequence[Awake]) -> str:
    """Return the table that is printed."""
    head = (
        "accounts", "providers", "grace", "an answer takes", "all fresh after", "refreshes",
        "at once at one provider", "at once in all", "an app's token: median", "the slowest", "out of turn by", "load",
    )  # fmt: skip
    rows = [
        (
            each.plan.accounts,
            each.plan.issuers,
            f"{each.plan.grace:g} s",
            f"{each.plan.latency:g} s",
            f"{each.seconds:.1f} s",
            each.refreshes,
            each.at_one,
            each.in_all,
            f"{statistics.median(each.waits):.2f} s" if each.waits else "-",
            f"{max(each.waits):.2f} s" if each.waits else "-",
            each.out_of_turn,
            f"{each.load:.1f}",
        )
        for each in all_awake
    ]
    return table(head, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every case and print the table; 1 where a promise did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.lanes wake", description=__doc__)
    parser.add_argument("--accounts", type=int, default=Plan.accounts, help="with tokens of 1 h (default %(default)s)")
    parser.add_argument("--latency", type=float, default=Plan.latency, help="of an answer in seconds (%(default)s)")
    given = parser.parse_args(arguments)
    say(f"{given.accounts} accounts with tokens of 1 h, and 8 h of sleep:")
    plans = (replace(case, accounts=given.accounts, latency=given.latency) for case in CASES)
    done, held = try_all(plans, run, judge)
    say(summary(done))
    say(f"Counted from the scheduler's bell. After a real sleep it rings within {LONGEST_SLEEP:.0f} s; no app has to")
    say("wait for it: whoever asks for a token has it renewed at once.")
    return int(not held)
