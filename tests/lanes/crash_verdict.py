"""What a kill left behind, and what became of every account: the daemon's notes held against the provider's log.

Called by ``crash``. Nothing here talks to the daemon: it is dead when ``look`` comes, and at the end it is only asked
what it shows anybody.
"""

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.practice.events import Event
from tests.lanes.stage import Broken, table

OPEN_INTENTS = """
    SELECT account.name, refresh_intent.started_at, EXISTS (
        SELECT 1 FROM secret WHERE secret.owner = account.uuid AND secret.kind = 'answer'
            AND secret.generation = account.generation AND secret.generation > refresh_intent.generation)
    FROM refresh_intent JOIN account ON account.uuid = refresh_intent.account
"""
CARRIED_OUT = ("ok", "grace")
# Lines that tell how a login was lost, beside the last one: what mattered came within the first seconds.
STORY = 16
# Seconds by which the daemon's clock, held steady while it runs, and the provider's may differ.
APART = 0.02


@dataclass(frozen=True, slots=True)
class Flight:
    """A refresh that was open when the daemon was killed.

    Attributes:
        account: its name.
        started_at: when its intent was written down, epoch seconds; the request was sent after that.
        kept: its answer was on disk already.
    """

    account: str
    started_at: float
    kept: bool


@dataclass(frozen=True, slots=True)
class Kill:
    """One SIGKILL; times in epoch seconds.

    Attributes:
        number: from 1.
        moment: where in the daemon's life it was meant to fall.
        at: when it was sent.
        restart_at: when the next daemon was started; nothing the dead one sent reached the provider after that.
        flights: what was open.
    """

    number: int
    moment: str
    at: float
    restart_at: float
    flights: tuple[Flight, ...]


@dataclass(frozen=True, slots=True)
class Loss:
    """An account whose login is gone.

    Attributes:
        account: its name.
        kill: the number of the kill that took the answer with it, or 0: none did, and the promise is broken.
        before: seconds from the provider's answer to the kill.
        again: seconds from that answer until the spent token was sent once more, and ended the login.
    """

    account: str
    kill: int
    before: float
    again: float


def look(database: Path) -> tuple[Flight, ...]:
    """Check the database of a killed daemon, and return the refreshes that were open.

    It is a copy that is opened: the daemon shall find the write-ahead log as the kill left it.

    Raises:
        Broken: ``PRAGMA integrity_check`` finds fault.
    """
    with tempfile.TemporaryDirectory(prefix="kf-") as place:
        copy = Path(place) / database.name
        for suffix in ("", "-wal"):
            original = Path(f"{database}{suffix}")
            if original.exists():
                shutil.copyfile(original, f"{copy}{suffix}")
        connection = sqlite3.connect(copy)
        try:
            (said,) = connection.execute("PRAGMA integrity_check").fetchone()
            if said != "ok":
                raise Broken(f"integrity_check of the database: {said}")
            return tuple(Flight(name, at, bool(kept)) for name, at, kept in connection.execute(OPEN_INTENTS))
        finally:
            connection.close()


def carried_out(flight: Flight, kill: Kill, events: Iterable[Event]) -> Event | None:
    """Return the provider's note of a flight's request, if it got that far; ``events`` are those of its account."""
    for event in events:
        if event.result in CARRIED_OUT and flight.started_at - APART <= event.at <= kill.restart_at:
            return event
    return None


class Verdict:
    """All kills, all events of the provider, and the accounts that are gone.

    Args:
        kills: in order.
        events: the provider's refresh events, in order.
        grants: account -> the provider's name for its grant.
        gone: the accounts that need a login at the end.

    Attributes:
        losses: one for each account that is gone.
        unanswered: kill number -> accounts whose refresh the provider had carried out and whose answer was not on disk.
    """

    def __init__(
        self, kills: list[Kill], events: Iterable[Event], grants: Mapping[str, str], gone: Iterable[str]
    ) -> None:
        self.kills = kills
        self._grants = grants
        self._by_grant: dict[str, list[Event]] = {}
        for event in events:
            self._by_grant.setdefault(event.grant, []).append(event)
        self.unanswered: dict[int, list[str]] = {}
        seen: set[Flight] = set()
        for kill in kills:
            # Killed while it starts, a daemon leaves open what it found open: that was the kill before.
            new = [flight for flight in kill.flights if not flight.kept and flight not in seen]
            seen.update(new)
            self.unanswered[kill.number] = [flight.account for flight in new if self._carried_out(flight, kill)]
        self.losses = [self._loss(account) for account in gone]

    def _events_of(self, account: str) -> list[Event]:
        return self._by_grant.get(self._grants[account], [])

    def _carried_out(self, flight: Flight, kill: Kill) -> Event | None:
        return carried_out(flight, kill, self._events_of(flight.account))

    def _loss(self, account: str) -> Loss:
        """Find the answer that was lost: the one to the request that spent the token which came back as reuse."""
        events = self._events_of(account)
        reused = {event.refresh_token: event.at for event in events if event.result == "reuse"}
        spent = [event for event in events if event.result == "ok" and event.refresh_token in reused]
        for kill in self.kills:
            for flight in kill.flights:
                if flight.account == account and not flight.kept and self._carried_out(flight, kill) in spent[-1:]:
                    again = reused[spent[-1].refresh_token] - spent[-1].at
                    return Loss(account, kill.number, max(0.0, kill.at - spent[-1].at), again)
        return Loss(account, 0, 0.0, 0.0)

    @property
    def unexplained(self) -> list[str]:
        """The accounts that no kill can have taken."""
        return [loss.account for loss in self.losses if not loss.kill]

    @property
    def most_in_a_kill(self) -> int:
        """How many logins the worst kill took."""
        return max(Counter(loss.kill for loss in self.losses).values(), default=0)

    def story_of(self, loss: Loss) -> Iterator[str]:
        """Tell what happened to a login from the lost answer to its end, line by line: for a run that failed."""
        events = [event for event in self._events_of(loss.account) if event.result in (*CARRIED_OUT, "reuse")]
        happened = [(event.at, f"the provider answered: {event.result}") for event in events]
        for kill, next_kill in zip(self.kills, [*self.kills[1:], None], strict=True):
            flights = [flight for flight in kill.flights if flight.account == loss.account]
            left = "".join(", its answer on disk" if flight.kept else ", its refresh open" for flight in flights)
            happened.append((kill.at, f"kill {kill.number} {kill.moment}{left}"))
            lived = f"for {next_kill.at - kill.restart_at:.1f} s" if next_kill else "to the end"
            happened.append((kill.restart_at, f"a daemon was started, which lived {lived}"))
        spent = next((kill.at - loss.before for kill in self.kills if kill.number == loss.kill), 0.0)
        seen = [(at, what) for at, what in sorted(happened) if -APART <= at - spent <= loss.again + APART]
        for at, what in seen[:STORY] + seen[STORY:][-1:]:
            yield f"  {loss.account} {at - spent:+7.2f} s  {what}"

    def summary(self, accounts: int, quiet_after: float) -> str:
        """Return the table that is printed."""
        flights = [flight for kill in self.kills for flight in kill.flights]
        unanswered = [len(found) for found in self.unanswered.values()]
        spread = Counter(unanswered)
        refreshes = sum(event.result in CARRIED_OUT for events in self._by_grant.values() for event in events)
        oldest = max((loss.before for loss in self.losses), default=0.0)
        again = [loss.again for loss in self.losses]
        moments = Counter(kill.moment for kill in self.kills)
        rows = [
            ("accounts", accounts),
            ("refreshes that the provider carried out", refreshes),
            ("kills", f"{len(self.kills)} ({', '.join(f'{count} {moment}' for moment, count in moments.items())})"),
            ("`integrity_check` ok after a kill", f"{len(self.kills)} of {len(self.kills)}"),
            (
                "refreshes open at a kill",
                f"{len(flights)}, at most {self._most(len(k.flights) for k in self.kills)} a kill",
            ),
            ("... whose answer was on disk already", sum(flight.kept for flight in flights)),
            (
                "... carried out, the answer not on disk yet",
                f"{sum(unanswered)}, at most {self._most(unanswered)} a kill",
            ),
            ("kills by the number of such answers", ", ".join(f"{n}: {spread[n]}" for n in sorted(spread))),
            ("**accounts lost**", f"**{len(self.losses)}**, at most {self.most_in_a_kill} a kill"),
            ("... that were not in flight at a kill", len(self.unexplained)),
            ("longest time from such an answer to the kill", f"{oldest * 1000:.0f} ms" if self.losses else "-"),
            ("spent tokens that were sent again and ended a login", self._span(again)),
            ("until all others were fresh after the last start", f"{quiet_after:.1f} s"),
        ]
        return table(("", "here"), rows)

    @staticmethod
    def _span(seconds: list[float]) -> str:
        return f"after {min(seconds):.1f} to {max(seconds):.1f} s" if seconds else "-"

    @staticmethod
    def _most(counts: Iterable[int]) -> int:
        return max(counts, default=0)
