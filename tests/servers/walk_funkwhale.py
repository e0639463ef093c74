"""The walk at the Funkwhale stand-in: self-registration, no metadata, pasted codes and tokens, throttling in disguise.

Called by ``walk``.
"""

import json
import re
import time
from functools import partial
from typing import Any

import httpx2

from .journey import Journey, succeeded
from .servers import now
from .steps import Steps, expect, wait_for
from .walk_limits import LimitsWalk

LIFETIME = 10  # seconds that an access token lives: AT_TTL of tests/servers/run
REFRESHES = 3
PATIENCE = REFRESHES * LIFETIME * 1.5
# Long enough that a token outlives the throttling and the back-off after it.
LONG_LIFETIME = 90
# ... and so long that a slow machine gets through the step.
THROTTLED_SECONDS = 6
# Longer than all the windows that eight programs share.
SHARING_LIFETIME = 900
# The first back-off is 7.5 to 15 s; see broker/core/timing.py.
HEALED_SECONDS = 25.0
# What users/me tells beside name and id: none of it may be kept.
PERSONAL = ("listen-token", "example.test", "old records", "quota", "instance_support")


class FunkwhaleWalk:
    """The walk's steps; each says in its docstring what it promises.

    Args:
        journey: daemon and server.
    """

    def __init__(self, journey: Journey) -> None:
        self.journey, self.keyfob, self.pod = journey, journey.keyfob, journey.server
        self.words = ("--provider", "funkwhale", "--base-url", self.pod.base)

    def walk(self, steps: Steps) -> None:
        """Go through all of it."""
        steps.run("the daemon starts", self.keyfob.start, vital=True)
        steps.run("login at a pod that never heard of Keyfob", self.logs_in)
        steps.run("one anonymous registration, loopback without a port", self.registered)
        steps.run("of the identity only id and name are kept", self.identity)
        steps.run("a second account at the same pod uses the same client", self.second_account)
        steps.run("a refresh kills the old access token; the new one is served", self.refreshes)
        steps.run("the token is good whenever it is used, refreshed by the schedule", self.polled)
        steps.run("a code copied from the pod's page logs in", self.pasted_code)
        steps.run("a consent that never comes ends with the time limit", self.never_consented)
        steps.run("an application token becomes a static account", self.application_token)
        steps.run("a restart changes nothing", lambda: self.journey.restart("music", "second", "box"))
        steps.run("a throttled token endpoint is a throttle, not an outage and no login", self.throttled)
        steps.run("... and heals by itself", self.heals)
        steps.run("logout ends both tokens at the pod", lambda: self.journey.logged_out("second", "bob"))
        steps.run("... and leaves the other account alone", lambda: self.journey.works("music", "alice") and None)
        steps.run("logout of an application token says that the pod still takes it", self.static_logout)
        steps.run("still one registration", self.registered)
        steps.run("no token stands in clear in log or state", self.journey.no_leaks)
        steps.run("a token that outlives what eight programs do", self.long_token)
        LimitsWalk(self.journey, "music").walk(steps)
        steps.run("SIGTERM ends the daemon at once, with exit 0", self.stops)

    def control(self, knob: str, **given: float | str) -> None:
        """Turn one of the stand-in's own knobs."""
        httpx2.post(f"{self.pod.base}/control/{knob}", json=given, trust_env=False).raise_for_status()

    def apps(self) -> list[dict[str, Any]]:
        """Return the applications that the pod knows."""
        answer = httpx2.get(f"{self.pod.base}/control/apps", trust_env=False).raise_for_status()
        apps: list[dict[str, Any]] = answer.json()["apps"]
        return apps

    def logs_in(self) -> str:
        """Base URL in, account out."""
        end, done = self.journey.login("music", self.journey.browser("alice"), *self.words)
        done.exits(0)
        self.journey.works("music", "alice")
        return succeeded(end, "music")

    def registered(self) -> str:
        """Registration is limited to ten a day, and an anonymous one can never be taken back."""
        apps = self.apps()
        expect(len(apps) == 1, f"{len(apps)} registrations: {apps}")
        expect(not apps[0]["owned"], "it was made with a bearer and so belongs to a user")
        loopback = [uri for uri in apps[0]["redirect_uris"].split() if uri.startswith("http")]
        expect(loopback, f"no loopback redirect URI: {apps[0]}")
        for uri in loopback:
            expect(re.fullmatch(r"http://127\.0\.0\.1/callback/[a-z0-9.-]+", uri), f"redirect URI {uri}")
        return f"{apps[0]['name']}: {apps[0]['redirect_uris']}, {apps[0]['scopes']}"

    def identity(self) -> str:
        """The answer of users/me holds another token and much that is personal."""
        shown = self.keyfob.show("music")
        expect(shown["state"] == "active", f"{shown}")
        identity = shown["identity"]
        expect("alice" in identity["label"], f"{identity}")
        expect(identity["issuer"].rstrip("/") == self.pod.base, f"{identity}")
        kept = [word for word in PERSONAL if word in json.dumps(shown)]
        for file in self.keyfob.state.rglob("*"):
            content = file.read_bytes() if file.is_file() else b""
            kept += [f"{word} in {file.name}" for word in PERSONAL if word.encode() in content]
        expect(not kept, f"kept: {kept}")
        return f"{identity['label']} ({identity['subject']})"

    def second_account(self) -> None:
        """Another person at the same pod."""
        end, done = self.journey.login("second", self.journey.browser("bob"), *self.words)
        done.exits(0)
        succeeded(end, "second")
        self.journey.works("second", "bob")
        self.journey.works("music", "alice")
        expect(len(self.apps()) == 1, f"{len(self.apps())} registrations")

    def refreshes(self) -> None:
        """The pod knows no grace."""
        old = self.journey.token("music")
        self.keyfob.run("refresh", "music").exits(0)
        expect(self.pod.who(old) is None, "the stand-in still takes the old token")
        self.journey.works("music", "alice")

    def polled(self) -> str:
        """A token that dies between two requests is healed by a report; nothing else may go wrong."""
        since = now()

        def seen() -> int:
            return self.pod.granted("refresh_token", since)

        # Two accounts are refreshed: twice the number, of which the polled one has about half.
        told = self.journey.poll("music", lambda: seen() >= 2 * REFRESHES, PATIENCE)
        expect(seen() >= 2 * REFRESHES, f"{seen()} refreshes in {PATIENCE:.0f} s; the log ends:\n{self.keyfob.tail()}")
        expect(not told.failures, f"{len(told.failures)} of {told.uses} uses failed: {told.failures[:5]}")
        return f"{told.uses} uses, 0 failures, {told.healed} healed, {len(told.tokens)} tokens, {seen()} refreshes"

    def pasted_code(self) -> None:
        """``--flow paste`` where the pod shows the code: no callback is needed, no second client either."""
        running = self.keyfob.begin("login", "pasted", *self.words, "--flow", "paste", "--no-browser")
        url = running.url(re.compile(re.escape(f"{self.pod.base}/authorize") + r"\?\S+"))
        page = self.journey.browser("alice").open(url).page
        expect(page is not None and page.inputs.get("code"), "the pod showed no code")
        assert page is not None
        running.type(page.inputs["code"])
        running.end().exits(0)
        self.journey.works("pasted", "alice")
        expect(len(self.apps()) == 1, f"{len(self.apps())} registrations")
        self.keyfob.run("logout", "pasted").exits(0)

    def never_consented(self) -> str:
        """There is no Deny button: the person closes the tab, or the pod shows an error and redirects nowhere."""
        words = (*self.words, "--scope", "nonsense", "--no-browser", "--timeout", "2")
        running = self.keyfob.begin("login", "never", *words)
        end = self.journey.browser("alice").open(running.url())
        expect(end.url.startswith(self.pod.base), f"the pod redirected after all: {end}")
        done = running.end().exits(1)
        expect("never" not in self.journey.names(), "an account came of it")
        return done.err.strip().splitlines()[-1]

    def application_token(self) -> str:
        """Made by a person at the pod: never refreshed, never registered."""
        token = (self.pod.state / "application-token").read_text()
        words = (*self.words, "--flow", "token", "--token-file", "-")
        self.keyfob.run("login", "box", *words, stdin=token).exits(0)
        shown = self.keyfob.show("box")
        expect(shown["state"] == "static", f"{shown}")
        expect(shown["expires_at"] is None, f"it expires: {shown['expires_at']}")
        expect(self.journey.works("box", "alice") == token, "another token came back")
        refused = self.keyfob.run("refresh", "box")
        expect(refused.code != 0, f"refreshed: {refused}")
        expect("Traceback" not in refused.said, f"{refused}")
        return refused.err.strip()

    def throttled(self) -> str:
        """500 HTML with X-RateLimit-Remaining: 0: the refresh token was not spent, the old token still lives."""
        self.control("expires_in", seconds=LONG_LIFETIME)
        self.keyfob.run("refresh", "music").exits(0)
        grants = self.pod.granted("refresh_token", user="alice")  # another account's own refresh may come between
        self.control("throttle", scope="oauth-token", seconds=THROTTLED_SECONDS)
        done = self.keyfob.run("refresh", "music").exits(5)
        expect("throttl" in done.err.lower(), f"it does not speak of throttling: {done}")
        again = self.keyfob.api("POST", "/v1/accounts/music/refresh")
        expect(again.status_code == httpx2.codes.SERVICE_UNAVAILABLE, f"HTTP {again.status_code} {again.text}")
        expect(0 < again.json()["retry_after"] <= THROTTLED_SECONDS + 1, f"retry_after in {again.text}")
        shown = self.keyfob.show("music")
        expect(shown["state"] == "refreshing-failed", f"{shown['state']}: {shown['reason']}")
        expect("throttl" in shown["reason"].lower(), f"reason: {shown['reason']}")
        self.journey.works("music", "alice")
        expect(self.pod.granted("refresh_token", user="alice") == grants, "the pod was asked and answered all the same")
        return str(shown["reason"])

    def heals(self) -> str:
        """Nobody does anything. The other account's short-lived token was due meanwhile: it has to come back too."""
        began = time.monotonic()
        for account, user in (("music", "alice"), ("second", "bob")):
            wait_for(f"'{account}' active again", partial(self._active, account), HEALED_SECONDS)
            self.journey.works(account, user)
        return f"after {time.monotonic() - began:.0f} s"

    def _active(self, account: str) -> bool:
        return bool(self.keyfob.show(account)["state"] == "active")

    def long_token(self) -> None:
        """A refresh in the middle would end the token of those that go without Keyfob."""
        self.control("expires_in", seconds=SHARING_LIFETIME)
        self.keyfob.run("refresh", "music").exits(0)

    def static_logout(self) -> str:
        """Revoking one is answered with 200 and does nothing, so Keyfob must not claim it."""
        answer = self.keyfob.api("DELETE", "/v1/accounts/box")
        expect(answer.status_code == httpx2.codes.OK, f"HTTP {answer.status_code} {answer.text}")
        expect(answer.json()["revoked"] is False, answer.text)
        expect("box" not in self.journey.names(), "the account is still listed")
        return str(answer.json()["detail"])

    def stops(self) -> None:
        """Nothing is left over."""
        code = self.keyfob.stop()
        expect(code == 0, f"exit {code}")
        log = self.keyfob.log.read_text(errors="replace")
        expect("Traceback" not in log, f"the daemon's log holds a traceback: {self.keyfob.log}")
