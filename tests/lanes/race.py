"""The race lane: hundreds of requests at the same moment for a token that has just expired.

Run by ``make race`` as ``python -m tests.lanes race``, and in small by ``test_race``. The provider ends the login when
a spent refresh token comes back: a second refresh would not only be one too many. The daemon is stopped (SIGSTOP, as a
suspended machine stops it) while its token expires and the requests pile up at its socket; then it goes on.
"""

import argparse
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.lanes import crowd
from tests.lanes.person import Site
from tests.lanes.stage import Broken, House, house, say, table, until

ACCOUNT = "me"
# What the daemon is told of the token that shall expire, in seconds.
SHORT = 2
# How long the provider takes to answer: long enough for every request to find the refresh under way.
ANSWER = 0.3
# A client gives up after 45 s by itself; when nothing comes for longer than that, a process is gone.
LONGEST_ANSWER = 60.0


@dataclass(frozen=True)  # no slots: the command line shows the defaults
class Plan:
    """What is done: so many rounds of so many requests by so many processes."""

    rounds: int = 5
    processes: int = 8
    requests: int = 500


@dataclass(frozen=True, slots=True)
class Round:
    """One expiry.

    Attributes:
        requests: that were made in parallel.
        tokens: how many different tokens they got.
        valid: how many of these the provider accepts afterwards.
        errors: what the others were told instead.
        refreshes: that the provider saw meanwhile, whatever it answered.
        seconds: from the moment the daemon went on to the last answer.
    """

    requests: int
    tokens: int
    valid: int
    errors: tuple[str, ...]
    refreshes: int
    seconds: float


def run(plan: Plan) -> list[Round]:
    """Run the rounds; raises ``Broken`` where the stage does not stand."""
    settings = PracticeSettings(rotation="single-use", auto_approve=True)
    with practice_in_thread(settings) as practice, house(0.0) as home:
        home.begin_daemon()
        home.wait_for_daemon()
        site = Site(practice.url)
        with home.client() as client:
            home.bring(client, ACCOUNT, site.log_in(ACCOUNT).refresh_token, practice.url)
        return [_round(home, practice, plan) for _ in range(plan.rounds)]


def _round(home: House, practice: PracticeServer, plan: Plan) -> Round:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([crowd.__name__])
    waiting, answers = context.Value("i", 0), context.Queue()
    shares = [plan.requests // plan.processes + (i < plan.requests % plan.processes) for i in range(plan.processes)]
    with _expired(home, practice):
        before = len(practice.log.all("refresh"))
        processes: list[ForkServerProcess] = [
            context.Process(target=crowd.ask, args=(str(home.socket), ACCOUNT, share, waiting, answers), daemon=True)
            for share in shares
        ]
        try:
            for process in processes:
                process.start()
            until("every request is on its way", lambda: waiting.value == plan.requests)
            _signal(home, signal.SIGCONT)
            began = time.monotonic()
            got = [answers.get(timeout=LONGEST_ANSWER) for _ in range(plan.requests)]
            seconds = time.monotonic() - began
        finally:
            for process in processes:
                process.kill()
                process.join()
    tokens = {said for word, said in got if word == "token"}
    return Round(
        requests=plan.requests,
        tokens=len(tokens),
        valid=sum(map(Site(practice.url).accepts, tokens)),
        errors=tuple(said for word, said in got if word == "error"),
        refreshes=len(practice.log.all("refresh")) - before,
        seconds=seconds,
    )


@contextmanager
def _expired(home: House, practice: PracticeServer) -> Iterator[None]:
    """Hand over a daemon that is stopped and whose token has expired; it goes on at the end in any case."""
    practice.set_faults([f"refresh:expires_in={SHORT}"])
    with home.client() as client:
        client.request("POST", f"/v1/accounts/{ACCOUNT}/refresh", {})
    expired_at = time.time() + SHORT
    _signal(home, signal.SIGSTOP)
    try:
        practice.set_faults([f"refresh:delay={ANSWER:g}"])
        until("the token has expired", lambda: time.time() > expired_at)
        yield
    finally:
        _signal(home, signal.SIGCONT)


def _signal(home: House, signum: int) -> None:
    if home.daemon is None:
        raise Broken("no daemon was started")
    os.kill(home.daemon.process.pid, signum)


def judge(rounds: Sequence[Round]) -> None:
    """Hold the rounds against the promise: one refresh, one token, for everybody.

    Raises:
        Broken: with what happened instead.
    """
    for each in rounds:
        if each.errors:
            raise Broken(f"{len(each.errors)} requests got no token: {sorted(set(each.errors))[:3]}")
        if (each.refreshes, each.tokens, each.valid) != (1, 1, 1):
            raise Broken(f"{each.refreshes} refreshes and {each.tokens} tokens instead of one; {each.valid} are valid")


def summary(rounds: Sequence[Round]) -> str:
    """Return the table that is printed."""
    head = ("requests at once", "refreshes at the provider", "different tokens", "errors", "until the last had it")
    return table(
        head,
        [(each.requests, each.refreshes, each.tokens, len(each.errors), f"{each.seconds:.2f} s") for each in rounds],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the lane and print its table; 1 where the promise did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.lanes race", description=__doc__)
    parser.add_argument("--rounds", type=int, default=Plan.rounds)
    parser.add_argument("--processes", type=int, default=Plan.processes)
    parser.add_argument("--requests", type=int, default=Plan.requests)
    plan = Plan(**vars(parser.parse_args(arguments)))
    say(f"{plan.requests} requests of {plan.processes} processes for an expired token, {plan.rounds} times:")
    try:
        rounds = run(plan)
        say(summary(rounds))
        judge(rounds)
    except Broken as exc:
        say(f"BROKEN: {exc}")
        return 1
    return 0
