"""The judge: sees the providers' log, every hand-out and the stored rows, and knows the invariants I1 to I8.

Told by ``network`` and ``world``. The invariants are those of the reliability design (docs/security.md); each check
names its own, and the first one that fails ends the seed. The rows are read through a connection of its own, so what
it sees is what is committed.
"""

import sqlite3
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.core import timing
from broker.usecases.outcomes import Ready
from tests.sim.loop import Clocks
from tests.sim.provider import Access, Answer, Login, Provider

# Lines of the story that are remembered.
LAST = 2000
# Requests that an outage's first hour may cost an account, beside those that people force.
MOST_AN_HOUR = 12
# ... and beside one that a start makes at once, and the short pauses that may begin anew with it.
A_START = 6
# ... and how many may be under way at once, at one issuer and in all.
PER_ISSUER = 2
IN_ALL = 8
HOUR = 3600.0
# Between a look at the row and the moment at which its token is used, a refresh may land.
SKEW = 1.0
# A life is counted from the request's start, and a request takes no longer than this: Keyfob takes a token for dead so
# much sooner than its provider does, at the most.
EXCHANGE = 20.0
# A grace of this length is long enough to notice a lost answer (20 s), to pass a busy gate (20 s each), to ask again.
LONG_GRACE = 120.0
# ... and so much of it must be left where Keyfob was away for a part of it.
ROOM = 60.0
# Wishes to be left alone are in whole seconds, and what is on its way already is on its way.
MANNERS = 2.0
CHECKS = {
    "I1": "no access token leaves before its generation is durable",
    "I2": "a spent refresh token is sent again only within its grace, or once nothing can be lost by it any more",
    "I3": "in the end the stored refresh token is the provider's, or the login's death has a cause in the log",
    "I4": "at most one refresh of an account is under way",
    "I5": "a token that is handed out is good at the provider",
    "I6": "an issuer is not asked more, or sooner, than it allows",
    "I7": "nothing is sent that could not be written down first",
    "I8": "when the faults are over, every healthy account is fresh within twice the back-off's cap",
    "sound": "nothing breaks in a way that has no name",
}


class Broken(Exception):
    """An invariant does not hold."""


@dataclass(slots=True)
class Fault:
    """Something that was wrong for a while, in real time: a network, a provider, the disk, or no engine at all."""

    kind: str
    start: float
    end: float = float("inf")


@dataclass(slots=True)
class _Sent:
    """A refresh that has left: of which login, under which generation, and which refresh token it brings."""

    login: Login
    generation: int
    number: int | None = None
    access: Access | None = None
    fate: str = ""
    store_failed: bool = False


@dataclass(slots=True)
class _Record:
    """What the judge remembers of one account."""

    sent: _Sent | None = None
    asked_at: deque[float] = field(default_factory=lambda: deque(maxlen=200))
    forced: deque[float] = field(default_factory=lambda: deque(maxlen=200))
    confirmed: bool = False


class Judge:
    """Watches one seed.

    Args:
        database: the file, read behind the engine's back.
        clocks: all of them.
        alarm: called at the first check that fails.
        step: called whenever the engine touches the world: it may be killed there.
    """

    def __init__(self, database: Path, clocks: Clocks, alarm: Callable[[], None], step: Callable[[], None]) -> None:
        self.clocks = clocks
        self.failed = ""
        self.story: deque[str] = deque(maxlen=LAST)
        self.counts: dict[str, int] = defaultdict(int)
        self.store_failing = False
        self.faults: list[Fault] = []
        self.belief: Callable[[], float] = clocks.wall
        self.life = 0
        self._alarm = alarm
        self._step = step
        self._accounts: dict[str, _Record] = defaultdict(_Record)
        self._flying: list[tuple[Provider, Login | None]] = []
        self._silence: dict[Provider, tuple[int, float, float]] = {}
        self._starts: deque[float] = deque(maxlen=200)
        self._rows = sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)
        self._rows.row_factory = sqlite3.Row

    def close(self) -> None:
        """Put the glasses down."""
        self._rows.close()

    def note(self, line: str) -> None:
        """Write a line of the story."""
        hours, seconds = divmod(self.clocks.boottime(), HOUR)
        self.story.append(f"{int(hours):4d}h {seconds:9.3f}s  {line}")

    def fail(self, check: str, why: str) -> None:
        """Say that an invariant does not hold; the first one counts."""
        if not self.failed:
            self.note(f"{check} BROKEN: {why}")
            self.failed = f"{check} ({CHECKS[check]}): {why}"
            self._alarm()

    def row(self, account: str) -> dict[str, Any] | None:
        """Return the committed row of an account, with its open intent."""
        found = self._rows.execute(
            "SELECT account.*, refresh_intent.generation AS intent FROM account "
            "LEFT JOIN refresh_intent ON refresh_intent.account = account.uuid WHERE name = ?",
            (account,),
        ).fetchone()
        return None if found is None else dict(found)

    # --- what the network sees ----------------------------------------------------------------------------------------

    def io(self) -> None:
        """See ``network.Observer``."""
        self._step()

    def sent(self, provider: Provider, form: dict[str, str]) -> None:
        """See ``network.Observer``: I2, I4, I6 and I7 are judged at the moment of sending."""
        self.counts["requests"] += 1
        if form.get("grant_type") != "refresh_token":
            self.note(f"{provider.name} <- {form.get('grant_type', 'revocation')}")
            return
        self.counts["refreshes"] += 1
        found = provider.login_of(form["refresh_token"])
        if found is None:
            self.fail(
                "I2", f"a refresh token was sent to {provider.name} that it never gave: {form['refresh_token']!r}"
            )
            return
        login, number = found
        self.note(f"{provider.name} <- refresh {login.account} with {form['refresh_token']}")
        self._check_flights(provider, login)
        life, heard_at, until = self._silence.get(provider, (0, 0.0, 0.0))
        if life == self.life and heard_at + MANNERS < self.clocks.real() < until - MANNERS:
            self.fail("I6", f"{provider.name} wants to be left alone for another {until - self.clocks.real():.0f} s")
        self._flying.append((provider, login))
        row = self.row(login.account)
        if row is None or login.replaced:
            return  # A refresh of what has been logged out or replaced meanwhile: nothing hangs on it.
        self.settle(login.account)
        if login is provider.newest[login.account]:
            login.arrived()
            self._check_row(login, row)
            if form["refresh_token"] != login.tokens[-1] and not login.dead:
                self._check_spent(provider, login, number, row)
        record = self._accounts[login.account]
        record.confirmed = False
        record.sent = _Sent(login, row["generation"], store_failed=self.store_failing)

    def arrived(self, provider: Provider, answer: Answer, fate: str) -> None:
        """See ``network.Observer``."""
        who = f" {answer.login.account}" if answer.login else ""
        brought = f", brings {answer.fields.get('refresh_token')}" if answer.brought is not None else ""
        self.note(f"{provider.name} -> {answer.result}{who}{brought}" + (f" [{fate}]" if fate else ""))
        record = self._accounts[answer.login.account] if answer.login is not None else None
        if record is not None and record.sent is not None and record.sent.login is answer.login:
            record.sent.number, record.sent.fate, record.sent.access = answer.brought, fate, answer.access
        if record is not None and answer.result in ("ok", "kept", "grace"):
            record.asked_at.clear()
        if answer.access is not None and record is not None and record.sent and record.sent.login is answer.login:
            answer.access.under = record.sent.generation
        if answer.access is not None:
            answer.access.clock = self.life, self.belief() - self.clocks.real()

    def throttled(self, provider: Provider, form: dict[str, str], seconds: float) -> None:
        """See ``network.Observer``."""
        if form.get("grant_type") == "refresh_token":
            self.note(f"{provider.name} -> leave me alone for {seconds:.0f} s")
            now = self.clocks.real()
            self._silence[provider] = self.life, now, now + min(seconds, timing.RETRY_AFTER_CAP)

    def ended(self, provider: Provider, form: dict[str, str]) -> None:
        """See ``network.Observer``."""
        if form.get("grant_type") == "refresh_token":
            found = provider.login_of(form["refresh_token"])
            entry = (provider, found[0] if found else None)
            if entry in self._flying:
                self._flying.remove(entry)

    def _check_flights(self, provider: Provider, login: Login) -> None:
        if any(other is login for _, other in self._flying):
            self.fail("I4", f"two refreshes of {login.account} at once")
        # Where a lost answer cannot be had again, a crash shall lose one at the most.
        places = 1 if provider.rules.rotation != "never" and not provider.rules.grace else PER_ISSUER
        if sum(other is provider for other, _ in self._flying) >= places or len(self._flying) >= IN_ALL:
            self.fail("I6", f"too many refreshes at once at {provider.name}")

    def _check_row(self, login: Login, row: dict[str, Any]) -> None:
        account, now = login.account, self.clocks.real()
        if row["intent"] != row["generation"]:
            self.fail("I7", f"{account} is refreshed without a durable intent for generation {row['generation']}")
        if row["state"] in ("needs-login", "static", "suspect"):
            self.fail("I6", f"{account} is refreshed although it is {row['state']}")
        if row["state"] == "misconfigured" and row["retry_at"] > self.belief():
            self.fail("I6", f"{account} is refreshed {row['retry_at'] - self.belief():.0f} s too soon")
        if row["throttled_until"] > self.belief():
            self.fail("I6", f"{account} is refreshed {row['throttled_until'] - self.belief():.0f} s too soon")
        record = self._accounts[account]
        record.asked_at.append(now)
        recent = sum(at > now - HOUR for at in record.asked_at)
        forced, starts = (sum(at > now - HOUR for at in times) for times in (record.forced, self._starts))
        if recent > MOST_AN_HOUR + 2 * forced + A_START * starts:
            self.fail("I6", f"{recent} requests for {account} in an hour without success")

    def _check_spent(self, provider: Provider, login: Login, number: int, row: dict[str, Any]) -> None:
        """Judge a refresh token that the provider has replaced already."""
        now, account = self.clocks.real(), login.account
        spent_at = login.spent_at[number] if number < len(login.spent_at) else now
        self.note(f"   ... which was spent {now - spent_at:.1f} s ago; grace is {provider.rules.grace:.0f} s")
        if now <= spent_at + provider.rules.grace or self._accounts[account].confirmed:
            return
        # The one exception (``refresh._put_off``): an answer was lost, the grace is over, and the access token has
        # died by now. Whatever the provider does about it, nothing that lives can be lost any more.
        held = _held(login)
        lives = held is not None and held.dead_at is None and held.expires_at > now + EXCHANGE
        if row["state"] in ("uncertain", "misconfigured") and not lives:
            return
        if held is not None and self._by_another_clock(held):
            return
        self.fail("I2", f"a spent refresh token of {account} is sent while it is {row['state']} and its token lives")

    def settle(self, account: str, why: str = "") -> None:
        """Find out whether the last answer for an account was kept, and remember who swallowed it if not."""
        record = self._accounts[account]
        sent, row = record.sent, self.row(account)
        record.sent = None
        if sent is None or row is None or row["generation"] != sent.generation or sent.login.replaced:
            return
        if sent.access is not None:
            sent.access.known = False
        if sent.number is None:
            return
        cause = sent.fate or why or ("the store failed" if sent.store_failed or self.store_failing else "")
        if cause:
            sent.login.lost[sent.number] = cause
        else:
            self.fail("I3", f"an answer for {account} came whole, and its refresh token was not kept")

    # --- what the world tells -----------------------------------------------------------------------------------------

    def begin(self, kind: str) -> Fault:
        """Something is wrong from now on, until its ``end`` is set by :meth:`over`."""
        fault = Fault(kind, self.clocks.real())
        self.faults.append(fault)
        self.note(f"--- {kind}")
        if kind == "store":
            self.store_failing = True
            for record in self._accounts.values():
                if record.sent is not None:
                    record.sent.store_failed = True
        return fault

    def over(self, fault: Fault) -> None:
        """It is well again."""
        fault.end = self.clocks.real()
        self.note(f"--- {fault.kind} over")
        self.store_failing = any(fault.kind == "store" and fault.end > self.clocks.real() for fault in self.faults)

    def forced(self, account: str, *, confirmed: bool = False) -> None:
        """A person or a program insists on a refresh."""
        self._accounts[account].forced.append(self.clocks.real())
        self._accounts[account].confirmed |= confirmed

    def died(self) -> None:
        """The engine's life has ended: what was in the air is lost, unless it was kept."""
        self._flying.clear()
        self._starts.append(self.clocks.real())
        for account, record in self._accounts.items():
            if record.sent is not None and record.sent.access is not None:
                self.settle(account, "killed")
            elif record.sent is not None and not record.sent.fate:
                record.sent.fate = "killed"  # it may still arrive at the provider

    def handed_out(self, account: str, outcome: Ready, provider: Provider) -> Access | None:
        """Judge a token that an app has just been given: I1 and I5."""
        self.counts["tokens"] += 1
        now, row = self.clocks.real(), self.row(account)
        if row is not None and row["uuid"] == outcome.account.uuid and row["generation"] < outcome.account.generation:
            self.fail("I1", f"{account} gave generation {outcome.account.generation}, stored is {row['generation']}")
        access = provider.access.get(outcome.access_token.reveal())
        if access is None:
            self.fail("I5", f"{account} gave a token that {provider.name} never issued")
            return None
        self.counts["narrower"] += bool(access.scope)
        if access.scope and set(access.scope.split()) != set(outcome.facts.scope):
            self.fail("I5", f"{account} gave a token for {access.scope} as one for {outcome.facts.scope}")
        if row is not None and not access.login.replaced and row["generation"] <= access.under:
            self.fail(
                "I1", f"{account} gave a token before what brought it was stored: still generation {access.under}"
            )
        if access.expires_at + SKEW < now and not self._by_another_clock(access):
            self.fail("I5", f"{account} gave a token that expired {now - access.expires_at:.1f} s ago")
        # A token that the provider killed without Keyfob's knowledge cannot be known to be dead; one that was replaced
        # by an answer that Keyfob has kept can.
        if access.dead_at is not None and access.dead_why == "refreshed" and access.dead_at + SKEW < now:
            newest = access.login.access[-1]
            served = row is not None and row["generation"] == outcome.account.generation
            if newest is not access and not served:
                self.fail("I5", f"{account} gave a token that its own refresh killed {now - access.dead_at:.1f} s ago")
        return access

    def _by_another_clock(self, access: Access) -> bool:
        """Whether a token came in an earlier life whose clock was another: nobody can tell how old it is."""
        life, wrong = access.clock
        return life != self.life and abs(self.belief() - self.clocks.real() - wrong) > SKEW

    def cause_of_death(self, provider: Provider, account: str) -> str:
        """Return why a login may have died, as the provider's log tells it; empty where it had no reason to."""
        for login in provider.newest[account].candidates:
            if login.dead in ("user", "logout", "new login"):
                return login.dead
            for number, why in login.lost.items():
                begun = login.spent_at[number - 1]
                if provider.rules.grace < LONG_GRACE or not self._calm(begun, begun + provider.rules.grace):
                    return f"the answer that brought token {number} was lost: {why}"
        return ""

    def _calm(self, start: float, end: float) -> bool:
        """Whether Keyfob had every chance between two times: one short absence at most, and no other fault."""
        met = [fault for fault in self.faults if fault.start <= end and fault.end >= start]
        absent = [fault for fault in met if fault.kind == "absent"]
        return len(met) == len(absent) <= 1 and all(fault.end < end - ROOM for fault in absent)

    def death(self, account: str, provider: Provider) -> None:
        """Judge I3 where Keyfob says that a login is needed."""
        row = self.row(account)
        if row is not None and row["state"] == "needs-login" and not self.cause_of_death(provider, account):
            self.fail("I3", f"{account} needs a login ({row['state_reason']}), and nothing in the log says why")

    def fresh_in_the_end(self, account: str, outcome: object, provider: Provider) -> None:
        """Judge I8: some time after the last fault, an account that is not logged out has a good token."""
        if isinstance(outcome, Ready):
            access = self.handed_out(account, outcome, provider)
            # Where the answer that killed it was lost, nobody knows: until the token ends, or an API refuses it.
            if access is not None and access.dead_why == "refreshed" and _held(provider.newest[account]) is not access:
                self.fail("I8", f"{account} still gives a token that its own refresh killed")
            return
        self.fail("I8", f"{account} gives no token, {2 * timing.BACKOFF_CAP:.0f} s after the last fault: {outcome}")

    def kept_in_the_end(self, account: str, stored: str | None, provider: Provider) -> None:
        """Judge I3."""
        row = self.row(account)
        if row is None:
            self.fail("I3", f"{account} is gone, and nobody logged it out")
            return
        if row["state"] == "needs-login":
            self.death(account, provider)
            return
        newest = [login.tokens[-1] for login in provider.newest[account].candidates if login.tokens]
        if stored not in newest and not self.cause_of_death(provider, account):
            self.fail("I3", f"{account} is {row['state']} with {stored}; {provider.name} has {newest}")


def _held(login: Login) -> Access | None:
    """Return the newest access token of a login that Keyfob was given for itself; whatever was lost, it has not."""
    return next((access for access in reversed(login.access) if access.known and not access.scope), None)
