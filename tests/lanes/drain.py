"""The drain lane: SIGTERM meets a daemon whose refreshes wait in a queue, and is to end it soon and cost nothing.

Run by ``python -m tests.lanes drain``, and in small by ``test_drain``. The accounts become due together while the
daemon is stopped (SIGSTOP). When it goes on, the providers hold the first answers back, so that a few refreshes are in
the air and the others wait at the gates; then comes SIGTERM. Measured is how long the process stays.
"""

import argparse
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from broker.practice.server import PracticeServer
from broker.practice.settings import PracticeSettings
from tests.lanes.several import Login, check_tokens, log_in, providers, refreshes, set_faults, try_all, wait_until_fresh
from tests.lanes.stage import NEVER_SAID, Broken, House, house, say, table, until

# ``broker.daemon.DRAIN``: so long a stop waits for refreshes, and no longer ...
DRAIN = 20.0
# ... plus what the rest of a stop takes, and a busy machine adds.
REST = 2.0
# A process that is not gone by then never goes.
NEVER = 60.0
# At the next start: a back-off of 15 s passes, and once more.
QUIET = 60.0


@dataclass(frozen=True)  # no slots: the command line shows the defaults
class Plan:
    """What is done; times in seconds.

    Attributes:
        accounts: how many, all of them due.
        issuers: at how many providers.
        grace: in which these accept a spent refresh token.
        answer_after: when they answer, counted from SIGTERM; None: never.
        life: what the daemon is told of a token's life while the accounts are made: all of them are, within it.
    """

    accounts: int = 20
    issuers: int = 1
    grace: float = 0.0
    answer_after: float | None = 1.0
    life: int = 5

    @property
    def in_the_air(self) -> int:
        """How many refreshes may be under way: one at a provider without a grace, two with one, eight in all."""
        return min(self.issuers * (2 if self.grace else 1), 8, self.accounts)


# Without a grace an answer that never comes is a login lost, whatever one does: so those cases have one.
CASES = (
    Plan(grace=0.0),
    Plan(grace=10.0),
    Plan(issuers=10, grace=10.0),
    Plan(grace=60.0, answer_after=None),
    Plan(issuers=10, grace=60.0, answer_after=None),
)


@dataclass(frozen=True, slots=True)
class Drained:
    """What became of it.

    Attributes:
        plan: what was done.
        in_the_air: requests that the providers had at SIGTERM.
        seconds: from SIGTERM until the process was gone.
        begun_after: requests that came after SIGTERM all the same.
        code: the process's exit code.
        refreshed_later: accounts that the next start refreshed.
        reused: spent refresh tokens that came back after their grace.
    """

    plan: Plan
    in_the_air: int
    seconds: float
    begun_after: int
    code: int
    refreshed_later: int
    reused: int


def run(plan: Plan) -> Drained:
    """Run one case.

    Raises:
        Broken: the stage does not stand, or an account is not fresh after the next start.
    """
    settings = PracticeSettings(rotation="single-use", grace=plan.grace, auto_approve=True)
    with providers(plan.issuers, settings) as practices, house(plan.grace) as home:
        home.begin_daemon()
        home.wait_for_daemon()
        names = [f"account-{number:03}" for number in range(plan.accounts)]
        set_faults(practices, f"refresh:expires_in={plan.life}")
        logins = log_in(home, practices, names)
        before = _until_in_the_air(home, practices, plan)
        in_the_air = len(refreshes(practices)) - before
        seconds, code = _terminate(home, practices, plan)
        begun_after = len(refreshes(practices)) - before - in_the_air
        set_faults(practices)
        return _restarted(home, logins, practices, Drained(plan, in_the_air, seconds, begun_after, code, 0, 0))


def _until_in_the_air(home: House, practices: Sequence[PracticeServer], plan: Plan) -> int:
    """Let everything become due at once; return how many requests there were before."""
    _signal(home, signal.SIGSTOP)
    try:
        expired_at = time.time() + plan.life
        set_faults(practices, "refresh:hold")
        until("every token has expired", lambda: time.time() > expired_at)
        before = len(refreshes(practices))
    finally:
        _signal(home, signal.SIGCONT)
    # The scheduler begins all that is due in one go: when the first request is out, the others stand at the gates.
    until("all places are taken", lambda: len(refreshes(practices)) - before >= plan.in_the_air)
    return before


def _terminate(home: House, practices: Sequence[PracticeServer], plan: Plan) -> tuple[float, int]:
    """Send SIGTERM; return how long the process stayed, and its exit code."""
    if home.daemon is None:
        raise Broken("no daemon was started")
    began = time.monotonic()
    home.daemon.process.send_signal(signal.SIGTERM)
    if plan.answer_after is not None:
        time.sleep(plan.answer_after)  # not a wait for anything: it is how long the provider takes
        set_faults(practices)
    code = home.daemon.process.wait(NEVER)
    seconds = time.monotonic() - began
    said = home.daemon.end().err
    for words in NEVER_SAID:
        if words in said:
            raise Broken(f"the daemon said: {said}")
    return seconds, code


def _restarted(home: House, logins: dict[str, Login], practices: Sequence[PracticeServer], drained: Drained) -> Drained:
    """Start again, wait until all is well, and use every token."""
    seen = len(refreshes(practices))
    home.begin_daemon()
    home.wait_for_daemon()
    wait_until_fresh(home, list(logins), time.time, QUIET)
    check_tokens(home, logins)
    all_of_them = refreshes(practices)
    return Drained(
        drained.plan,
        drained.in_the_air,
        drained.seconds,
        drained.begun_after,
        drained.code,
        refreshed_later=len({(each.provider, each.grant) for each in all_of_them[seen:]}),
        reused=sum(each.result == "reuse" for each in all_of_them),
    )


def _signal(home: House, signum: int) -> None:
    if home.daemon is None:
        raise Broken("no daemon was started")
    os.kill(home.daemon.process.pid, signum)


def judge(drained: Drained) -> None:
    """Hold the result against the promise.

    Raises:
        Broken: the stop took too long, began something, or cost something.
    """
    plan = drained.plan
    if drained.code != 0:
        raise Broken(f"the process ended with {drained.code}")
    if drained.in_the_air != plan.in_the_air:
        raise Broken(f"{drained.in_the_air} refreshes were in the air, not {plan.in_the_air}")
    if drained.begun_after:
        raise Broken(f"{drained.begun_after} refreshes began after SIGTERM")
    if drained.reused:
        raise Broken(f"{drained.reused} spent refresh tokens were sent after their grace")
    if drained.seconds > REST + (DRAIN if plan.answer_after is None else plan.answer_after):
        raise Broken(f"the process was gone after {drained.seconds:.1f} s only")
    landed = 0 if plan.answer_after is None else plan.in_the_air
    if drained.refreshed_later != plan.accounts - landed:
        raise Broken(f"the next start refreshed {drained.refreshed_later} accounts, not {plan.accounts - landed}")


def summary(all_drained: Sequence[Drained]) -> str:
    """Return the table that is printed."""
    head = (
        "accounts due", "providers", "grace", "in the air at SIGTERM", "they answer after", "process gone after",
        "begun after SIGTERM", "refreshed by the next start", "lost",
    )  # fmt: skip
    rows = [
        (
            each.plan.accounts,
            each.plan.issuers,
            f"{each.plan.grace:g} s",
            each.in_the_air,
            "never" if each.plan.answer_after is None else f"{each.plan.answer_after:g} s",
            f"{each.seconds:.2f} s",
            each.begun_after,
            each.refreshed_later,
            each.reused,
        )
        for each in all_drained
    ]
    return table(head, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every case and print the table; 1 where a promise did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.lanes drain", description=__doc__)
    parser.add_argument("--accounts", type=int, default=Plan.accounts, help="that are due (default %(default)s)")
    given = parser.parse_args(arguments)
    say(f"SIGTERM while {given.accounts} refreshes wait (load {os.getloadavg()[0]:.1f}):")
    done, held = try_all((replace(case, accounts=given.accounts) for case in CASES), run, judge)
    say(summary(done))
    return int(not held)
