"""Stops and kills of the daemon at an OpenID provider that notices a spent refresh token, and who is logged in then.

Called by ``walk`` for oidc_provider and django_oauth_toolkit.
"""

import os
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.lanes.crash_verdict import APART, Flight, look

from .journey import Journey
from .servers import PEOPLE, Refresh, now
from .steps import Steps, expect, wait_for

# SIGTERM at any moment, and while an answer is on its way.
STOPS, STOPS_IN_ANSWER = 7, 3
# SIGKILL while an answer is on its way for sure; around the moment of a refresh; with none near. Fewer of the first two
# than people: where the server has no grace, each may cost a login, and some have to be left.
KILLS_IN_ANSWER, KILLS_AROUND, KILLS_CALM = 2, 5, 10
# How long an answer is on its way in the first case, and in the second, where it is as over the internet.
LONG_WAY, SHORT_WAY = 1.5, 0.05
# A kill around a refresh comes so long after the server carried it out, at the most.
AROUND = 0.1
# The longest life of a daemon that is stopped or killed at any moment.
LIFE = 1.0
# Before and after a planned refresh nothing is killed that shall not be: so long does one take on a busy machine.
NEAR = (0.3, 0.05)
# So long may a request lie at the server before it is carried out.
BACKLOG = 2.0
# Eight people, tokens of 10 s: somebody's refresh comes every second.
NEXT_REFRESH = 60.0
# A lost answer: the old token's 10 s, or a first pause of 15 s; after a second failure it is 30 s.
QUIET = 100.0


@dataclass(frozen=True)
class Kill:
    """One SIGKILL.

    Attributes:
        why: in which case.
        at: when the next daemon was started, epoch seconds.
        in_flight: accounts whose refresh the server had carried out, and whose answer did not reach the disk.
    """

    why: str
    at: float
    in_flight: tuple[str, ...]


class RestartWalk:
    """The walk's steps; each says in its docstring what it promises. Each person's account has the person's name.

    Args:
        journey: daemon and server.
        provider: the name that the provider gets at Keyfob; its redirect path is registered at the server.
    """

    def __init__(self, journey: Journey, provider: str) -> None:
        self.journey, self.keyfob, self.server = journey, journey.keyfob, journey.server
        self.provider = provider
        self.seed = int(os.environ.get("SEED") or secrets.randbelow(10**6))
        self.chance = random.Random(self.seed)  # noqa: S311 -- when to kill, not a secret
        self.kills: list[Kill] = []
        self.lost: list[str] = []
        self.began = now()

    def walk(self, steps: Steps) -> None:
        """Go through all of it."""
        steps.run(f"restarts: a daemon and {len(PEOPLE)} logins", self.starts, vital=True)
        steps.run(f"{STOPS} SIGTERMs at any moment: every login survives", self.stopped)
        steps.run(f"{STOPS_IN_ANSWER} SIGTERMs while an answer is on its way: it is waited for", self.stopped_in_answer)
        steps.run(f"{KILLS_IN_ANSWER} SIGKILLs while an answer is on its way", self.killed_in_answer, vital=True)
        steps.run(f"{KILLS_AROUND} SIGKILLs around a refresh", self.killed_around, vital=True)
        steps.run(f"{KILLS_CALM} SIGKILLs at any other moment", self.killed_calm, vital=True)
        steps.run("only logins whose answer was in flight at a kill may be lost", self.judged)
        steps.run("a lost login says that an answer was lost", self.said)
        steps.run("after another login everything goes on by itself", self.goes_on)
        steps.run("restarts: no token stands in clear in log or state", self.journey.no_leaks)
        steps.run("restarts: SIGTERM ends the daemon with exit 0", lambda: f"down in {self._stop():.1f} s")

    def starts(self) -> str:
        """Everybody logs in once."""
        self.keyfob.start()
        self.journey.add_provider(self.provider)
        for person in PEOPLE:
            self._log_in(person)
        return f"to repeat the moments: SEED={self.seed}"

    def _log_in(self, person: str) -> None:
        _, done = self.journey.login(person, self.journey.browser(person), *self.journey.words(self.provider))
        done.exits(0)

    # --- SIGTERM

    def stopped(self) -> str:
        """Whatever the daemon is doing."""
        seconds = []
        for _ in range(STOPS):
            time.sleep(self.chance.uniform(0, LIFE))  # not a wait for anything: the moment is the experiment
            seconds.append(self._stop())
            self.keyfob.start()
        return f"{self._nothing_lost()}; down in {max(seconds):.1f} s at the most"

    def stopped_in_answer(self) -> str:
        """The server has spent the refresh token, and the new one is still to come."""
        seconds = []
        for _ in range(STOPS_IN_ANSWER):
            with self.server.answers_held(LONG_WAY):
                left = self._next_refresh() + LONG_WAY - now()
                seconds.append(self._stop())
                expect(seconds[-1] > left - APART, f"down in {seconds[-1]:.2f} s; the answer took {left:.2f} s more")
            self.keyfob.start()
        return f"{self._nothing_lost()}; down in {', '.join(f'{each:.1f}' for each in seconds)} s"

    def _stop(self) -> float:
        began = time.monotonic()
        code = self.keyfob.stop()
        expect(code == 0, f"exit {code}; the log ends:\n{self.keyfob.tail()}")
        return time.monotonic() - began

    def _nothing_lost(self) -> str:
        """Expect that everybody is logged in, at Keyfob and at the server, and that no spent token was sent."""
        refused = [refresh for refresh in self._refreshes() if not refresh.issued]
        expect(not refused, f"the server refused refreshes: {refused}")
        for person in PEOPLE:
            self._is_well(person)
        return f"{len(self._refreshes())} refreshes so far, none refused"

    def _is_well(self, person: str) -> None:
        self.journey.works(person, person)
        shown = self._accounts()[person]
        expect(shown["state"] == "active", f"{shown}")

    # --- SIGKILL

    def killed_in_answer(self) -> str:
        """Nothing can be done about these without a grace; the point is what is said afterwards."""
        for _ in range(KILLS_IN_ANSWER):
            with self.server.answers_held(LONG_WAY):
                self._next_refresh()
                kill = self._kill("while an answer is on its way")
            expect(kill.in_flight, "the kill came too late: nothing was in flight")
        return self._counted()

    def killed_around(self) -> str:
        """A little after the server carried one out: before, at and after the moment when the answer is on the disk."""
        with self.server.answers_held(SHORT_WAY):
            for _ in range(KILLS_AROUND):
                self._next_refresh()
                time.sleep(self.chance.uniform(0, AROUND))  # the moment is the experiment
                self._kill("around a refresh")
        return self._counted()

    def killed_calm(self) -> str:
        """Nothing is planned for this moment, so nothing may come of it."""
        for _ in range(KILLS_CALM):
            time.sleep(self.chance.uniform(0, LIFE))  # the moment is the experiment
            wait_for("a calm moment", self._is_calm, NEXT_REFRESH)
            self._kill("at a calm moment")
        return self._counted()

    def _is_calm(self) -> bool:
        planned = [shown["next_refresh_at"] for shown in self._accounts().values() if shown["next_refresh_at"]]
        before, after = NEAR
        return all(not -before < datetime.fromisoformat(at).timestamp() - now() < after for at in planned)

    def _next_refresh(self) -> float:
        """Wait until the server has carried out a refresh; return when."""
        since = now()
        deadline = time.monotonic() + NEXT_REFRESH
        while not (seen := [refresh for refresh in self._refreshes(since) if refresh.issued]):
            expect(time.monotonic() < deadline, f"no refresh within {NEXT_REFRESH:.0f} s")
            time.sleep(0.005)  # nearer to the moment than wait_for looks
        return seen[-1].at

    def _kill(self, why: str) -> Kill:
        """Kill the daemon, check its database, find what was in flight, start the next one."""
        self.keyfob.kill()
        open_ones = look(self.keyfob.database)  # raises where PRAGMA integrity_check finds fault
        at = now()
        self.keyfob.start()
        kill = Kill(why, at, tuple(flight.account for flight in open_ones if self._is_in_flight(flight, at)))
        self.kills.append(kill)
        return kill

    def _is_in_flight(self, flight: Flight, restart_at: float) -> bool:
        # What a dead daemon has sent is carried out all the same, if somewhat later on a busy machine. With a grace the
        # next daemon asks again at once, so there nothing later can be told from that.
        until = restart_at if self.server.grace else restart_at + BACKLOG
        seen = [each for each in self._refreshes(flight.started_at - APART) if each.user == flight.account]
        return not flight.kept and any(refresh.issued and refresh.at <= until for refresh in seen)

    def _counted(self) -> str:
        last = [kill for kill in self.kills if kill.why == self.kills[-1].why]
        return f"{sum(len(kill.in_flight) for kill in last)} answers in flight in all"

    # --- afterwards

    def judged(self) -> str:
        """The server's log and the state of every account agree, and no login was lost that need not have been."""
        since = self.kills[-1].at
        wait_for("the end of every doubt", lambda: not self._undecided(since), QUIET)
        self.lost = [person for person, shown in self._accounts().items() if shown["state"] == "needs-login"]
        in_flight = {person for kill in self.kills for person in kill.in_flight}
        expect(in_flight >= set(self.lost), f"lost: {self.lost}, but in flight at a kill: {sorted(in_flight)}")
        if self.server.grace:
            expect(not self.lost, f"lost in spite of {self.server.grace:g} s of grace: {self.lost}")
        else:
            # So the check is no empty one: the server does end a login whose answer was lost for sure.
            sure = {person for kill in self.kills[:KILLS_IN_ANSWER] for person in kill.in_flight}
            expect(sure <= set(self.lost), f"in flight for sure: {sorted(sure)}, but lost only: {self.lost}")
        refused = {refresh.user for refresh in self._refreshes() if not refresh.issued}
        expect(refused == set(self.lost), f"lost: {self.lost}, but the server refused refreshes of {sorted(refused)}")
        for person in self._others():
            self._is_well(person)
        kinds = Counter(kill.why for kill in self.kills)
        told = ", ".join(f"{count} {why}" for why, count in kinds.items())
        flights = sum(len(kill.in_flight) for kill in self.kills)
        grace = f"grace {self.server.grace:g} s"
        return f"{grace}: {len(self.kills)} kills ({told}), {flights} answers in flight, {len(self.lost)} logins lost"

    def _undecided(self, since: float) -> list[str]:
        """Return who is neither logged out nor refreshed by the daemon that runs now."""
        fresh = {refresh.user for refresh in self._refreshes(since) if refresh.issued}
        accounts = self._accounts()
        states = {person: accounts[person]["state"] for person in PEOPLE}
        return [p for p, state in states.items() if state != "needs-login" and not (state == "active" and p in fresh)]

    def said(self) -> str:
        """In the listing, by ``show`` and by ``token``: an answer was lost, and nobody is said to have revoked."""
        told = ""
        for person in self.lost:
            told = str(self.keyfob.show(person)["reason"])
            done = self.keyfob.run("token", person).exits(3)
            for where, text in (
                ("show", told),
                ("token", done.err),
                ("the listing", self._accounts()[person]["reason"]),
            ):
                expect("answer" in text and "was lost" in text, f"{where} does not say that an answer was lost: {text}")
                expect("revoked" not in text.lower(), f"{where} speaks of a revocation: {text}")
        return f"{len(self.lost)} times: {told}" if told else "none was lost"

    def goes_on(self) -> str:
        """The lost ones log in again; then everybody is refreshed by the schedule, over another restart."""
        refused = sum(not refresh.issued for refresh in self._refreshes())
        for person in self.lost:
            self._log_in(person)
        since = now()
        self._stop()
        self.keyfob.start()
        wait_for("everybody's next refresh", lambda: not self._undecided(since), NEXT_REFRESH)
        for person in PEOPLE:
            self._is_well(person)
        more = sum(not refresh.issued for refresh in self._refreshes()) - refused
        expect(not more, f"the server refused {more} more refreshes")
        return f"{len(self.lost)} logged in again, {len(PEOPLE)} refreshed since"

    def _others(self) -> list[str]:
        return [person for person in PEOPLE if person not in self.lost]

    def _refreshes(self, since: float | None = None) -> list[Refresh]:
        """Return what the server saw of these people."""
        seen = self.server.refreshes(self.began if since is None else since)
        return [refresh for refresh in seen if refresh.user in PEOPLE]

    def _accounts(self) -> dict[str, dict[str, Any]]:
        return {shown["account"]: shown for shown in self.keyfob.api("GET", "/v1/accounts").json()["accounts"]}
