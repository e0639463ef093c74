"""Any order of the public verbs, outages, stops and kills: who logged in once stays logged in, and gets what works.

``KEYFOB_STORIES=2000`` tells so many stories in the place of a few. A story that ends badly is printed as the steps
that lead there.
"""

import os
from dataclasses import dataclass, field

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker.core import timing
from broker.core.policy import App, AppGrant, Caller, Denied, Owner
from broker.core.secret import Secret
from broker.errors import ConfirmNeeded, Conflict, TooManyRequests, UnknownAccount
from broker.usecases import accounts, apps, refresh, rename
from broker.usecases.outcomes import MustLogin, Outcome, Ready, Unavailable
from tests.stateful.story import Story
from tests.usecases.house import DUE, TTL

STORIES, STEPS = int(os.environ.get("KEYFOB_STORIES", "25")), 30
NAMES = ("ada", "bob", "eve")
GRACE = 30.0
# What a provider can do at a refresh that it does not carry out, and what can become of an answer.
OUTAGES = ("refresh:status=503", "refresh:throttle=60", "refresh:html", "refresh:empty", "refresh:error=slow_down")
LOSSES = ("refresh:drop*1", "refresh:cut*1", "refresh:garbage*1", "refresh:status=502*1", "refresh:status=504*1")
# Twice the longest back-off, and the longest Retry-After.
LONG_ENOUGH = 2 * timing.BACKOFF_CAP + timing.RETRY_AFTER_CAP


@dataclass(slots=True)
class Known:
    """What the model knows of an account.

    Attributes:
        person: who logged in.
        dead: its login was revoked at the provider.
        lost: an answer for it may have been lost for good.
        ailing: something went wrong since it was last known to be well.
    """

    person: str
    dead: bool = False
    lost: bool = False
    ailing: bool = False


@dataclass(slots=True)
class Model:
    """What there should be.

    Attributes:
        known: the accounts.
        granted: which of them the app may have.
        faults: what goes wrong at the provider now.
        lossy: an answer may have been lost for good, of whomever.
    """

    known: dict[str, Known] = field(default_factory=dict)
    granted: set[str] = field(default_factory=set)
    faults: str = ""
    lossy: bool = False


class Verbs(RuleBasedStateMachine):
    """One story, with a model beside it."""

    @initialize(grace=st.sampled_from([0.0, GRACE]))
    def begin(self, grace: float) -> None:
        """Start Keyfob for the first time."""
        self.story = Story(grace)
        self.grace = grace
        self.model = Model()
        self.key: Secret | None = None

    def teardown(self) -> None:
        """When the trouble is over, everybody whose login lives is served again."""
        if not hasattr(self, "story"):
            return
        try:
            self.set_faults("")
            self.story.pass_time(LONG_ENOUGH)
            for name, known in self.model.known.items():
                account = self.story.accounts()[name]
                if known.dead or not self.story.holds_newest(account):
                    assert known.dead or known.lost, f"{name} has not the newest refresh token, and no answer was lost"
                    continue
                assert account.state.name == "active", f"{name} is {account.state.name}: {account.state.reason}"
                assert self.story.works(self.served(name))
        finally:
            self.story.close()

    # --- the verbs

    @rule(name=st.sampled_from(NAMES))
    def log_in(self, name: str) -> None:
        """Log in, for the first time or again; whatever was wrong with the account is over."""
        person = self.model.known[name].person if name in self.model.known else name
        self.story.run(self.story.house.log_in(name, user=person))
        faults = self.model.faults
        self.model.known[name] = Known(person, ailing=bool(faults), lost=faults in LOSSES)

    @rule(
        name=st.sampled_from(NAMES),
        min_ttl=st.sampled_from([None, 0.0, 300.0, TTL, 10 * TTL]),
        as_app=st.booleans(),
    )
    def ask(self, name: str, min_ttl: float | None, as_app: bool) -> None:  # noqa: FBT001 -- as hypothesis gives it
        """Ask for a token, as the owner or as the app."""
        caller = self.app() if as_app else Owner()
        if caller is None:
            return
        try:
            outcome = self.story.run(self.story.house.token(name, caller, min_ttl=min_ttl))
        except UnknownAccount:
            assert name not in self.model.known
            assert isinstance(caller, Owner), "an app is not told which names there are"
            return
        self.judge(name, caller, outcome)

    @rule(name=st.sampled_from(NAMES), confirm=st.booleans())
    def refresh_now(self, name: str, confirm: bool) -> None:  # noqa: FBT001 -- as above
        """Refresh because a person says so."""
        if name not in self.model.known:
            return
        try:
            outcome = self.story.run(accounts.refresh_now(self.story.house.ctx, name, confirm=confirm))
        except ConfirmNeeded:
            assert self.model.known[name].lost
            return
        if isinstance(outcome, MustLogin | Unavailable):
            self.judge(name, Owner(), outcome)
        else:
            assert self.story.works(self.served(name)) or self.model.known[name].dead

    @rule(name=st.sampled_from(NAMES), token=st.sampled_from(["the stored one", "another"]))
    def reject(self, name: str, token: str) -> None:
        """Report that an API refused a token."""
        account = self.story.accounts().get(name)
        if account is None:
            return
        stored, _ = self.story.run(self.story.house.secrets_of(account))
        reported = Secret(stored if token == "the stored one" and stored else "nobody's")
        try:
            self.story.run(accounts.rejected(self.story.house.ctx, Owner(), name, reported))
        except TooManyRequests:
            assert account.forced_at is not None

    @rule(name=st.sampled_from(NAMES), new_name=st.sampled_from(NAMES))
    def rename(self, name: str, new_name: str) -> None:
        """Give an account another name; its grants go with it."""
        account = self.story.accounts().get(name)
        if account is None:
            return
        try:
            self.story.run(rename.rename(self.story.house.ctx, name, new_name))
        except Conflict:
            assert new_name in self.model.known
            return
        self.model.known[new_name] = self.model.known.pop(name)
        if name in self.model.granted:
            self.model.granted = self.model.granted - {name} | {new_name}

    @rule(name=st.sampled_from(NAMES))
    def log_out(self, name: str) -> None:
        """Log out: here everything is forgotten, and the provider is told."""
        if name in self.model.known:
            self.story.run(accounts.log_out(self.story.house.ctx, name))
            del self.model.known[name]
            self.model.granted.discard(name)

    @rule(name=st.sampled_from(NAMES))
    def grant(self, name: str) -> None:
        """Let the app have an account."""
        if name not in self.model.known:
            return
        ctx = self.story.house.ctx
        if self.key is None:
            self.key = self.story.run(apps.add(ctx, "robot", [AppGrant(name)], None))
        else:
            self.story.run(apps.grant(ctx, "robot", AppGrant(name)))
        self.model.granted.add(name)

    @rule(name=st.sampled_from(NAMES))
    def revoke(self, name: str) -> None:
        """Take an account away from the app."""
        if name in self.model.granted:
            self.story.run(apps.revoke(self.story.house.ctx, "robot", name))
            self.model.granted.discard(name)

    # --- what happens to it

    @rule(seconds=st.sampled_from([1.0, 20.0, 40.0, DUE, TTL, 3 * TTL, 86_400.0]))
    def time_passes(self, seconds: float) -> None:
        """Let time pass."""
        self.story.pass_time(seconds)

    @rule(fault=st.sampled_from(["", *OUTAGES, *LOSSES]))
    def trouble(self, fault: str) -> None:
        """Let something go wrong at the provider, or on the way from there; or be well again."""
        self.set_faults(fault)

    @rule()
    def provider_revokes(self) -> None:
        """Let the provider end every login."""
        self.story.practice.revoke_grants()
        for known in self.model.known.values():
            known.dead = True

    @rule(killed=st.booleans())
    def restart(self, killed: bool) -> None:  # noqa: FBT001 -- as above
        """Stop, or die, and start again."""
        self.story.stop(killed=killed)
        self.story.start()

    @precondition(lambda self: not self.model.faults)
    @rule(name=st.sampled_from(NAMES))
    def die_with_a_request_in_the_air(self, name: str) -> None:
        """Die after the provider has carried a refresh out, and before its answer has come; start again at once."""
        account = self.story.accounts().get(name)
        known = self.model.known.get(name)
        if account is None or known is None or known.dead or account.state.name != "active":
            return
        story = self.story
        before = story.house.asked()
        story.practice.set_faults(["refresh:hold"])
        story.run(self._ask_once(name, before))
        story.stop(killed=True)
        story.practice.set_faults([])
        known.ailing = True
        known.lost = known.lost or not self.grace
        self.model.lossy = self.model.lossy or not self.grace
        story.start()

    async def _ask_once(self, name: str, before: int) -> None:
        house = self.story.house
        refresh.join(house.ctx, await house.account(name))
        await house.until_asked(count=before + 1)

    # --- what must hold

    @invariant()
    def nobody_is_lost(self) -> None:
        """Every account is there, and waits for a person only where nothing else can help."""
        if not hasattr(self, "story"):
            return
        found = self.story.accounts()
        assert set(found) == set(self.model.known)
        for name, known in self.model.known.items():
            state = found[name].state.name
            if state in ("needs-login", "uncertain"):
                assert known.dead or known.lost, f"{name} is {state}: {found[name].state.reason}"
                gone = state == "uncertain" or not self.story.holds_newest(found[name])
                assert known.dead or gone, f"{name} needs a login though its refresh token is the newest"
            else:
                assert state == "active" or known.ailing or known.dead, f"{name} is {state}"
            if state == "active" and not (known.dead or known.lost):
                assert self.story.holds_newest(found[name]), f"{name} does not hold its newest refresh token"

    @invariant()
    def nobody_is_taken_for_a_thief(self) -> None:
        """A spent refresh token comes back to the provider only where an answer was lost for good."""
        if hasattr(self, "story") and self.story.reuses():
            assert self.model.lossy, "a spent refresh token was sent, and no answer was lost"

    # --- helpers

    def set_faults(self, fault: str) -> None:
        """Put a fault in force, and note whom it may befall."""
        self.story.practice.set_faults([fault] if fault else [])
        self.model.faults = fault
        for known in self.model.known.values():
            known.ailing = known.ailing or bool(fault)
            # Within the grace an answer can be had again; but not if the next refresh comes after it, or is lost too.
            known.lost = known.lost or fault in LOSSES
        self.model.lossy = self.model.lossy or fault in LOSSES

    def app(self) -> Caller | None:
        """Return the app, as its key proves it."""
        if self.key is None:
            return None
        found = self.story.run(apps.identify(self.story.house.ctx, self.key.reveal()))
        assert isinstance(found, App)
        assert {given.account for given in found.grants} == self.model.granted
        return found

    def served(self, name: str) -> str:
        """Return the token that the owner gets; there must be one."""
        outcome = self.story.run(self.story.house.token(name))
        assert isinstance(outcome, Ready), f"{name}: {outcome}"
        return outcome.access_token.reveal()

    def judge(self, name: str, caller: Caller, outcome: Outcome) -> None:
        """Hold an answer against the model."""
        if isinstance(caller, App) and name not in self.model.granted:
            assert isinstance(outcome, Denied)
            return
        known = self.model.known[name]
        match outcome:
            case Ready(access_token=token, facts=facts):
                assert not timing.is_expired(facts, self.story.clock())
                assert self.story.works(token.reveal()) or known.dead or known.lost
            case MustLogin():
                assert known.dead or known.lost, outcome.reason
            case Unavailable():
                assert known.ailing or known.dead, outcome.reason
                assert outcome.retry_after > 0
            case _:
                raise AssertionError(outcome)


Verbs.TestCase.settings = hypothesis.settings(
    max_examples=STORIES,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize=STORIES <= 25,
    database=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)
TestAnyOrderOfVerbs = Verbs.TestCase
