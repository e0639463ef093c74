"""The SIGKILL lane: a real daemon with many accounts is killed again and again, and no login may be lost by it.

Run by ``make crash`` as ``python -m tests.lanes crash``, and in small by ``test_crash``. The provider rotates strictly:
a spent refresh token that comes back ends the login. It lives in this process, so it outlives every kill, and its log
is the witness. The seed sets the moments of the kills; what the daemon does at these moments is up to the machine.
"""

import argparse
import random
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from broker.client import Client, ClientError
from broker.practice.grants import fingerprint
from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.lanes.crash_verdict import Kill, Verdict, look
from tests.lanes.person import Site
from tests.lanes.stage import PATIENCE, Broken, House, house, say, until

# One kill in eight falls into the start, where what the last one left is settled.
WHILE_STARTING = 1 / 8
# A start takes half a second; a kill of the start falls anywhere into it.
STARTING = 0.6
# How long a daemon lives that was let start, at the most: many refreshes, and still minutes for all the kills.
LONGEST_LIFE = 1.2
# Without a grace one refresh at a time is under way at a provider: so many answers can be lost by one kill.
AT_ONCE = 1
# After the last start: a lost answer is asked for again when nothing can be lost by it; back-off doubles from 15 s.
QUIET = 300.0


@dataclass(frozen=True)  # no slots: the command line shows the defaults
class Plan:
    """What is done.

    Attributes:
        seed: of the kills' moments.
        kills: how many.
        accounts: how many.
        grace: seconds in which the provider still accepts a spent refresh token.
        ttl: lifetime of an access token in seconds: the shorter, the more refreshes.
        aimed: the part of the kills that come when the provider has just carried out a refresh ...
        after: ... or so many seconds later at the most.
        confirm: at the end, say "ask again" for every account in doubt, as a person can, instead of waiting.
    """

    seed: int
    kills: int = 200
    accounts: int = 400
    grace: float = 0.0
    ttl: float = 40.0
    aimed: float = 0.25
    after: float = 0.02
    confirm: bool = False


def run(plan: Plan) -> Verdict:
    """Run the lane and return what is to be judged.

    Raises:
        Broken: the daemon does not start again, the database is damaged, or an account neither lives nor is lost.
    """
    settings = PracticeSettings(ttl=plan.ttl, rotation="single-use", grace=plan.grace, auto_approve=True)
    with practice_in_thread(settings) as practice, house(plan.grace) as home:
        home.begin_daemon()
        home.wait_for_daemon()
        began = time.monotonic()
        grants = log_in(home, practice, plan.accounts)
        say(f"  {plan.accounts} accounts in {time.monotonic() - began:.0f} s; killing {plan.kills} times ...")
        kills = kill_again_and_again(home, practice, plan)
        home.wait_for_daemon()
        quiet_after = settle(home, practice, grants, kills[-1].restart_at, confirm=plan.confirm)
        with home.client() as client:
            gone = [name for name, shown in home.accounts(client).items() if shown["state"] == "needs-login"]
        verdict = Verdict(kills, practice.log.all("refresh"), grants, gone)
        say(verdict.summary(plan.accounts, quiet_after))
        check_tokens(home, practice, grants, gone)
        return verdict


def log_in(home: House, practice: PracticeServer, accounts: int) -> dict[str, str]:
    """Make the accounts; return account -> the provider's name for its grant."""
    site = Site(practice.url)
    names: dict[str, str] = {}
    with home.client() as client:
        for number in range(1, accounts + 1):
            name = f"account-{number:03}"
            tokens = site.log_in(name)
            names[fingerprint(tokens.refresh_token)] = name
            home.bring(client, name, tokens.refresh_token, practice.url)
    return {names[event.issued_refresh_token]: event.grant for event in practice.log.all("code", "ok")}


def kill_again_and_again(home: House, practice: PracticeServer, plan: Plan) -> list[Kill]:
    """Kill the daemon that runs, look at what is left, start the next one, and so on; the last one lives."""
    chance = random.Random(plan.seed)  # noqa: S311 -- a schedule, not a secret
    refreshed = threading.Event()
    practice.log.subscribe(lambda event: refreshed.set() if event.kind == "refresh" else None)
    kills: list[Kill] = []
    for number in range(1, plan.kills + 1):
        draw = chance.random()
        if kills and draw < WHILE_STARTING:
            moment, life = "while it starts", chance.uniform(0, STARTING)
        elif draw < WHILE_STARTING + plan.aimed:
            moment, life = "at an answer", chance.uniform(0, plan.after)
            home.wait_for_daemon()
            refreshed.clear()
            if not refreshed.wait(PATIENCE):
                raise Broken(f"no refresh within {PATIENCE:g} s")
        else:
            moment, life = "at any time", chance.uniform(0, LONGEST_LIFE)
            home.wait_for_daemon()
        time.sleep(life)  # not a wait for anything: the moment is the experiment
        at = home.kill_daemon()
        flights = look(home.database)
        kills.append(Kill(number, moment, at, time.time(), flights))
        home.begin_daemon()
    return kills


def settle(home: House, practice: PracticeServer, grants: dict[str, str], since: float, *, confirm: bool) -> float:
    """Wait until every account has either been refreshed by the last daemon or is gone; return the seconds it took.

    Raises:
        Broken: some account is still in between.
    """
    began = time.monotonic()
    waiting: dict[str, str] = {}

    def quiet() -> bool:
        fresh = {event.grant for event in practice.log.all("refresh") if event.at > since and event.result != "reuse"}
        with home.client() as client:
            shown = home.accounts(client)
            waiting.clear()
            for name, grant in grants.items():
                state = shown[name]["state"]
                if confirm and state == "uncertain":
                    ask_again(client, name)
                if state != "needs-login" and not (state == "active" and grant in fresh):
                    waiting[name] = f"{state}: {shown[name]['reason']}"
        return not waiting

    try:
        until("every account is fresh or gone", quiet, QUIET)
    except Broken as exc:
        raise Broken(f"{exc}; still waiting: {waiting}") from exc
    return time.monotonic() - began


def ask_again(client: Client, name: str) -> None:
    """Do as ``keyfob refresh --confirm``."""
    reply = client.send("POST", f"/v1/accounts/{name}/refresh", {"confirm": True})
    if reply.status not in (200, 409):  # fresh, or gone for good
        raise Broken(f"the refresh of {name}: {reply.status} {reply.body!r}")


def check_tokens(home: House, practice: PracticeServer, grants: dict[str, str], gone: list[str]) -> None:
    """Use every account that is said to live, and see the provider's word for every one that is said to be gone.

    Raises:
        Broken: a token is not good, or a login was given up that the provider did not end.
    """
    site = Site(practice.url)
    revoked = {event.grant for event in practice.log.all("refresh", "reuse")}
    with home.client() as client:
        for name, grant in grants.items():
            if name in gone:
                if grant not in revoked:
                    raise Broken(f"{name} was given up although the provider never ended it")
                continue
            try:
                good = site.accepts(client.token(name).access_token)
            except ClientError as exc:
                raise Broken(f"no token for {name}: {exc}") from exc
            if not good:
                raise Broken(f"the token of {name} was handed out and is not valid")


def judge(plan: Plan, verdict: Verdict) -> None:
    """Hold the result against the promise.

    Raises:
        Broken: a login was lost that need not have been.
    """
    if verdict.unexplained:
        raise Broken(f"lost although no answer was in flight at a kill: {', '.join(verdict.unexplained)}")
    if plan.grace and verdict.losses:
        story = "\n".join(line for loss in verdict.losses[:3] for line in verdict.story_of(loss))
        raise Broken(f"{len(verdict.losses)} logins were lost although the provider has a grace; of some:\n{story}")
    if verdict.most_in_a_kill > AT_ONCE:
        raise Broken(f"one kill took {verdict.most_in_a_kill} logins with it")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the lane once for each grace and print a table each; 1 where a promise did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.lanes crash", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of the moments of the kills")
    parser.add_argument("--kills", type=int, default=Plan.kills)
    parser.add_argument("--accounts", type=int, default=Plan.accounts)
    parser.add_argument("--ttl", type=float, default=Plan.ttl, help="seconds that an access token lives")
    parser.add_argument("--grace", type=float, nargs="*", default=[0.0, 10.0], help="of the provider; one run for each")
    given = parser.parse_args(arguments)
    failed = False
    for grace in given.grace:
        plan = Plan(given.seed, given.kills, given.accounts, grace, given.ttl)
        say(f"\nStrict rotation, grace {grace:g} s. To repeat it:")
        say(
            f"  python -m tests.lanes crash --seed {plan.seed} --kills {plan.kills} --accounts {plan.accounts} "
            f"--ttl {plan.ttl:g} --grace {grace:g}"
        )
        try:
            judge(plan, run(plan))
        except Broken as exc:
            failed = True
            say(f"BROKEN: {exc}")
    return int(failed)
