"""The story: twenty programs share one login whose tokens live ten seconds, and something is killed now and then.

Run by ``make race`` as ``python -m tests.lanes story``, and in small by ``test_race``. The same twenty programs get
their tokens in four ways, side by side and at the same providers: from Keyfob; from a shared file, as tools do today;
from such a file under a lock; and from a file that they read once. The provider ends the login when a spent refresh
token comes back. Where Keyfob is asked, its daemon is the one that is killed; elsewhere it is one of the programs.
"""

import argparse
import contextlib
import multiprocessing
import random
import secrets
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.lanes import programs
from tests.lanes.crash_verdict import Kill, carried_out, look
from tests.lanes.person import Site
from tests.lanes.programs import ACCOUNT, Place
from tests.lanes.stage import Broken, House, house, say, table

KINDS = {
    "keyfob": "Keyfob",
    "file": "a shared file",
    "flock": "a shared file, locked",
    "memory": "a file read once",
}
# The time that a provider's answer is on its way, as over the internet: what is spent there is not yet known here.
ON_ITS_WAY = 0.1
# So long before the end nothing is killed any more: programs that would call too late have ended by then.
LAST_WORDS = max(programs.THINKS) + 1.0
# Programs end at a fixed moment; a last call may take so much longer.
LAST_CALL = 60.0


@dataclass(frozen=True)  # no slots: the command line shows the defaults
class Plan:
    """What is done; times in seconds.

    Attributes:
        seed: of the kills and of the programs' pauses.
        seconds: how long.
        programs: how many in each set.
        ttl: lifetime of an access token.
        every: between two kills, at the least and at the most.
        graces: one group of sets for each: how long the provider accepts a spent refresh token.
        kinds: the sets of a group.
    """

    seed: int
    seconds: float = 600.0
    programs: int = 20
    ttl: float = 10.0
    every: tuple[float, float] = (10.0, 30.0)
    graces: tuple[float, ...] = (0.0, 10.0)
    kinds: tuple[str, ...] = tuple(KINDS)


@dataclass(slots=True)
class Set:
    """Twenty programs, their provider, and what was killed.

    Attributes:
        kind: a key of ``KINDS``.
        grace: of the provider.
        practice: the provider.
        place: where the programs meet.
        home: of the daemon, where there is one.
        processes: the programs that run.
        kills: so far.
    """

    kind: str
    grace: float
    practice: PracticeServer
    place: Place
    home: House | None
    processes: list[ForkServerProcess] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of one set.

    Attributes:
        kind: a key of ``KINDS``.
        grace: of the provider.
        calls: of the API.
        logins: that a person had to repeat.
        refused: calls with a token that was not valid.
        failed: calls that got no token, in words.
        refreshes: that the provider carried out.
        kills: of the daemon or of a program.
        lost_answers: kills of the daemon between the provider's answer and the disk.
        longest: the longest wait for a token, in seconds.
    """

    kind: str
    grace: float
    calls: int
    logins: int
    refused: int
    failed: tuple[str, ...]
    refreshes: int
    kills: int
    lost_answers: int
    longest: float


def run(plan: Plan) -> list[Tally]:
    """Run all sets side by side and return what became of each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([programs.__name__])
    with contextlib.ExitStack() as stack:
        sets = [stack.enter_context(_set(kind, grace, plan)) for grace in plan.graces for kind in plan.kinds]
        until = time.time() + plan.seconds
        for each in sets:
            each.processes += [_start(context, each, number, plan, until) for number in range(plan.programs)]
        _kill_now_and_then(context, sets, plan, until)
        for each in sets:
            for process in each.processes:
                process.join(max(0.0, until + LAST_CALL - time.time()))
                if process.exitcode != 0:
                    raise Broken(f"a program of the set {each.kind!r} ended with {process.exitcode}")
        return [_tally(each) for each in sets]


@contextlib.contextmanager
def _set(kind: str, grace: float, plan: Plan) -> Iterator[Set]:
    """Log in once and make everything ready; at the end no program of the set runs any more."""
    slow = (f"refresh:delay={ON_ITS_WAY:g}",)
    settings = PracticeSettings(ttl=plan.ttl, rotation="single-use", grace=grace, faults=slow, auto_approve=True)
    with contextlib.ExitStack() as stack:
        practice = stack.enter_context(practice_in_thread(settings))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kf-")))
        home = stack.enter_context(house(grace)) if kind == "keyfob" else None
        place = Place(directory, practice.url, str(home.socket) if home is not None else "")
        site = Site(practice.url)
        tokens = site.log_in(ACCOUNT)
        if home is None:
            programs.write(place.tokens, tokens)
        else:
            home.begin_daemon()
            home.wait_for_daemon()
            with home.client() as client:
                home.bring(client, ACCOUNT, tokens.refresh_token, practice.url)
        made = Set(kind, grace, practice, place, home)
        try:
            yield made
        finally:
            for process in made.processes:
                process.kill()
                process.join()


def _start(context: ForkServerContext, each: Set, number: int, plan: Plan, until: float) -> ForkServerProcess:
    process = context.Process(target=programs.run, args=(each.kind, each.place, number, plan.seed, until), daemon=True)
    process.start()
    return process


def _kill_now_and_then(context: ForkServerContext, sets: list[Set], plan: Plan, until: float) -> None:
    """At the same moments in all sets, kill the daemon or a program, and start it again at once."""
    chance = random.Random(plan.seed)  # noqa: S311 -- a schedule, not a secret
    number = 0
    while (pause := chance.uniform(*plan.every)) < until - LAST_WORDS - time.time():
        time.sleep(pause)  # not a wait for anything: the moment is the experiment
        victim = chance.randrange(plan.programs)
        number += 1
        for each in sets:
            if each.home is not None:
                at = each.home.kill_daemon()
                flights = look(each.home.database)
                each.kills.append(Kill(number, "now and then", at, time.time(), flights))
                each.home.begin_daemon()
            else:
                process, at = each.processes[victim], time.time()
                process.kill()
                process.join()
                if process.exitcode != -signal.SIGKILL:
                    raise Broken(f"a program of the set {each.kind!r} had ended with {process.exitcode}")
                each.kills.append(Kill(number, "now and then", at, time.time(), ()))
                each.processes[victim] = _start(context, each, victim, plan, until)


def _tally(each: Set) -> Tally:
    lines = [
        line for log in sorted(each.place.directory.glob("program-*.log")) for line in log.read_text().splitlines()
    ]
    words = Counter(line.partition(" ")[0] for line in lines)
    events = each.practice.log.all("refresh")
    lost = sum(
        any(not flight.kept and carried_out(flight, kill, events) for flight in kill.flights) for kill in each.kills
    )
    return Tally(
        kind=each.kind,
        grace=each.grace,
        calls=len(lines),
        logins=words["logged-out"],
        refused=words["refused"],
        failed=tuple(line for line in lines if line.startswith("failed")),
        refreshes=sum(event.result in ("ok", "grace") for event in events),
        kills=len(each.kills),
        lost_answers=lost,
        longest=max((float(line.split()[1]) for line in lines if line.startswith("good")), default=0.0),
    )


def judge(tallies: Sequence[Tally]) -> None:
    """Hold what became of Keyfob's programs against the promise.

    Raises:
        Broken: a login was lost, or a call failed, that need not have been.
    """
    for tally in tallies:
        if tally.kind != "keyfob":
            continue
        where = f"with grace {tally.grace:g} s"
        allowed = 0 if tally.grace else tally.lost_answers
        if tally.logins > allowed:
            raise Broken(f"{tally.logins} logins had to be repeated {where}; {allowed} can be explained by a kill")
        if tally.refused:
            raise Broken(f"{tally.refused} tokens were handed out that were not valid {where}")
        if tally.failed and not allowed:
            raise Broken(f"{len(tally.failed)} calls got no token {where}: {sorted(set(tally.failed))[:3]}")


def summary(tallies: Sequence[Tally]) -> str:
    """Return the table for the README."""
    head = (
        "the programs have their tokens from",
        "grace",
        "calls",
        "refreshes",
        "kills",
        "refused calls",
        "**log-outs**",
    )
    rows = [
        (
            KINDS[tally.kind],
            f"{tally.grace:g} s",
            tally.calls,
            tally.refreshes,
            tally.kills,
            tally.refused,
            f"**{tally.logins}**",
        )
        for tally in tallies
    ]
    return table(head, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Tell the story and print the table; 1 where Keyfob's promise did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.lanes story", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of the kills and the programs")
    parser.add_argument("--minutes", type=float, default=Plan.seconds / 60)
    parser.add_argument("--programs", type=int, default=Plan.programs, help="in each set")
    given = parser.parse_args(arguments)
    plan = Plan(given.seed, given.minutes * 60, given.programs)
    say(f"\n{plan.programs} programs share a login, tokens of {plan.ttl:g} s, {given.minutes:g} minutes. To repeat it:")
    say(f"  python -m tests.lanes story --seed {plan.seed} --minutes {given.minutes:g} --programs {plan.programs}")
    try:
        tallies = run(plan)
        say(summary(tallies))
        for tally in tallies:
            if tally.kind == "keyfob":
                say(
                    f"Keyfob, grace {tally.grace:g} s: {tally.lost_answers} kills took an answer with them, "
                    f"{len(tally.failed)} calls got no token, longest wait for one {tally.longest:.2f} s"
                )
        judge(tallies)
    except Broken as exc:
        say(f"BROKEN: {exc}")
        return 1
    return 0
