"""The race at an OpenID provider that notices a refresh token spent twice: hundreds of requests, one refresh.

Called by ``walk`` for oidc_provider and django_oauth_toolkit.
"""

import json
import time
from collections.abc import Callable, Sequence

from .byhand import Tokens, Tool
from .journey import Journey
from .keyfob import Running
from .rush import PATIENCE, PROCESSES, Outcome, Rush
from .servers import fingerprint, now
from .steps import Steps, Unmet, expect, fail, wait_for

LIFETIME = 10  # seconds that an access token lives: AT_TTL of tests/servers/run
# A process makes so many requests; so many `keyfob token` run beside them.
REQUESTS, COMMANDS = 25, 3
ASKED = PROCESSES * REQUESTS + COMMANDS
# Rounds of each kind: the token has expired; it lives, but not as long as everybody wants.
EXPIRED, TOO_SHORT = 2, 2
# What everybody wants in the latter, and the age at which the token does not offer it any more; the schedule's own
# refresh comes at 6.2 s at the earliest.
WISH, TOO_OLD = 6.0, 4.5
# How long an answer is on its way: long enough for every request to find the refresh under way.
ON_ITS_WAY = 0.5
USER, CONTROL = "alice", "bob"


class RaceWalk:
    """The walk's steps; each says in its docstring what it promises.

    Args:
        journey: daemon and server.
        provider: the name that the provider gets at Keyfob; its redirect path is registered at the server.
    """

    def __init__(self, journey: Journey, provider: str) -> None:
        self.journey, self.keyfob, self.server = journey, journey.keyfob, journey.server
        self.provider = provider
        self.door: dict[str, object] = {}
        self.began = now()

    def walk(self, steps: Steps) -> None:
        """Go through all of it."""
        steps.run("control: a refresh token that is spent again costs the whole login", self.reuse_is_noticed)
        steps.run("control: programs that share a token file fail the check of the race", self.shared_file)
        steps.run("race: a daemon, a login, an app's key", self.starts, vital=True)
        steps.run(f"race: {ASKED} requests for an expired token, one refresh, one token for all", self.expired)
        steps.run(f"race: {ASKED} requests for a token that is too short for them, the same", self.too_short)
        steps.run("race: no token stands in clear in log or state", self.journey.no_leaks)
        steps.run("race: SIGTERM ends the daemon with exit 0", self.stops)

    def reuse_is_noticed(self) -> str:
        """Rotation and reuse detection are on: without them no race could be lost, and the walk would say nothing.

        Where the server has a grace, the token that is spent again is one that it does not cover: of two refreshes ago.
        """
        tool, began = Tool(self.server), now()
        first = last = tool.log_in(CONTROL)
        issued = []
        for _ in range(2 if self.server.grace else 1):
            last = self._refreshed(tool, last)
            issued.append(fingerprint(last.refresh_token))
        expect(len({fingerprint(first.refresh_token), *issued}) == len(issued) + 1, "no rotation: a token came back")
        expect(self.server.who(last.access_token), "the newest access token does not work")
        expect(tool.refresh(first.refresh_token) is None, "the spent refresh token was taken again")
        expect(self.server.who(last.access_token) is None, "the newest access token outlived the reuse")
        expect(tool.refresh(last.refresh_token) is None, "the newest refresh token, never spent, outlived the reuse")
        log = [refresh.issued for refresh in self.server.refreshes(began)]
        expect(log == [*issued, "", ""], f"the server's log says {log}")
        return (
            f"{len(issued)} refreshed in order, then the first token again: refused, with all that came of that login"
        )

    def _refreshed(self, tool: Tool, tokens: Tokens) -> Tokens:
        new = tool.refresh(tokens.refresh_token)
        if new is None:
            fail("a refresh token that was never spent is refused")
        return new

    def shared_file(self) -> str:
        """The same processes without Keyfob are found out by the very check that Keyfob has to pass."""
        tool = Tool(self.server)
        tokens = tool.log_in(CONTROL)
        shared = self.keyfob.home / "shared-tokens.json"
        shared.write_text(json.dumps({"access_token": tokens.access_token, "refresh_token": tokens.refresh_token}))
        with Rush({"file": str(shared), "token_endpoint": tool.token_endpoint, "count": 1}) as rush:
            began, clock = now(), time.monotonic()
            rush.go()
            outcome = self._outcome(rush, (), began, clock, CONTROL)
        kept = json.loads(shared.read_text())["refresh_token"]
        shared.unlink()
        fault = ""
        try:
            outcome.judge()
        except Unmet as exc:
            fault = str(exc).partition(";")[0]
        expect(fault, f"the check cannot fail: {outcome}")
        return f"{PROCESSES} programs, {fault}; {'still logged in' if tool.refresh(kept) else 'logged out'}"

    def starts(self) -> None:
        """A daemon that knows nothing of the walk before."""
        self.keyfob.start()
        self.journey.add_provider(self.provider)
        _, done = self.journey.login(USER, self.journey.browser(USER), *self.journey.words(self.provider))
        done.exits(0)
        added = self.keyfob.run("app", "add", "crowd", "--account", USER, "--json").exits(0).json()
        self.journey.tokens.add(added["key"])
        self.door = {"socket": str(self.keyfob.socket), "url": self.keyfob.app_url(), "key": added["key"]}
        self.began = now()

    def expired(self) -> str:
        """The machine sleeps while the token expires and everybody asks; then it wakes up."""
        return self._rounds(EXPIRED, self._expired)

    def _expired(self) -> Outcome:
        with Rush(self._plan(0.0)) as rush:
            expires_at = self._fresh() + LIFETIME
            with self.keyfob.paused():
                began = now()
                commands = self._commands()
                rush.go()
                wait_for("the end of the token", lambda: now() > expires_at, 2 * LIFETIME)
                expect(not self.server.refreshes(began), "there was a refresh before anybody woke up")
            return self._outcome(rush, commands, began, time.monotonic(), USER)

    def too_short(self) -> str:
        """Nobody sleeps; all come at the same moment and want more than the token has left."""
        return self._rounds(TOO_SHORT, self._too_short)

    def _too_short(self) -> Outcome:
        with Rush(self._plan(WISH)) as rush:
            old_at = self._fresh() + TOO_OLD
            wait_for("the token's age", lambda: now() > old_at, LIFETIME)
            began, clock = now(), time.monotonic()
            rush.go()
            commands = self._commands("--min-ttl", f"{WISH:g}")
            return self._outcome(rush, commands, began, clock, USER)

    def _rounds(self, count: int, play: Callable[[], Outcome]) -> str:
        said = []
        for _ in range(count):
            with self.server.answers_held(ON_ITS_WAY):
                outcome = play()
            self.journey.tokens.update(outcome.tokens)
            outcome.judge()
            expect(len(outcome.tokens) == ASKED, f"{outcome}")
            said.append(f"after {outcome.seconds:.2f} s")
        refused = [refresh for refresh in self.server.refreshes(self.began) if not refresh.issued]
        expect(not refused, f"the server refused refreshes: {refused}")
        return f"{count} rounds; the last request had it {', '.join(said)}"

    def _commands(self, *words: str) -> list[Running]:
        return [self.keyfob.begin("token", USER, *words) for _ in range(COMMANDS)]

    def _outcome(self, rush: Rush, commands: Sequence[Running], began: float, clock: float, user: str) -> Outcome:
        tokens, errors = rush.answers()
        for command in commands:
            done = command.end(PATIENCE)
            (errors if done.code else tokens).append(str(done) if done.code else done.out.strip())
        seconds = time.monotonic() - clock
        refreshes = [refresh for refresh in self.server.refreshes(began) if refresh.user == user]
        valid = sum(self.server.who(token) is not None for token in set(tokens))
        return Outcome(tokens, errors, refreshes, valid, seconds)

    def _fresh(self) -> float:
        """Refresh the token by hand; return when, so that nothing of the schedule comes between."""
        self.keyfob.run("refresh", USER).exits(0)
        return now()

    def _plan(self, min_ttl: float) -> dict[str, object]:
        return {**self.door, "account": USER, "min_ttl": min_ttl, "count": REQUESTS}

    def stops(self) -> None:
        """Nothing is left over."""
        code = self.keyfob.stop()
        expect(code == 0, f"exit {code}")
