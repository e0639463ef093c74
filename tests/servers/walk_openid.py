"""The whole walk at an OpenID provider: discovery, login, scheduled refreshes, restart, refusals, logout.

Called by ``walk`` for oidc_provider and django_oauth_toolkit, and made another one of by ``walk_canaille``.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx2

from .browser import Browser, Seen
from .journey import Journey, clean_address, refused, succeeded
from .keyfob import Done
from .servers import PEOPLE, now
from .steps import Steps, expect, fail, say

CODE = re.compile(r"open \S+ and type the code \S+")
# Refreshes that the server must have seen by the schedule alone, and how many of them after the restart.
REFRESHES, AFTER_RESTART = 5, 2
# Each comes after two thirds of a token's life; a slow machine has patience for more.
PATIENCE = 1.5

# Who logs in with a client that comes and goes: what is left of that at the server is nobody's whom a step counts.
GUEST = PEOPLE[0]


class OpenIDWalk:
    """The walk's steps; each says in its docstring what it promises.

    Args:
        journey: daemon and server.
        provider: the name that the provider gets at Keyfob; its redirect path is registered at the server.
        artifacts: where pictures go.
    """

    def __init__(self, journey: Journey, provider: str, artifacts: Path) -> None:
        self.journey, self.keyfob, self.server = journey, journey.keyfob, journey.server
        self.provider, self.artifacts = provider, artifacts
        self.words = journey.words(provider)
        self.polling_since = 0.0
        self.last_page = Seen("")
        self.wanted, self.wanted_after = REFRESHES, AFTER_RESTART

    def walk(self, steps: Steps) -> None:
        """Go through all of it."""
        steps.run("the daemon starts and is healthy", self.starts, vital=True)
        steps.run("a provider is added by its issuer", self.provider_added, vital=True)
        steps.run("a site under another name leads to the issuer as that writes itself", self.site)
        steps.run("a refused consent is a failed login that says so", self.consent_refused)
        steps.run("a forged iss at the callback ends the login before the code is spent", self.forged_issuer)
        steps.run("login; the start page serves the first browser only", self.logs_in, vital=True)
        steps.run("the browser ends at a clean page that names the account", self.result_page)
        steps.run("the account is active and tells who it is", self.shown)
        steps.run("the token works at the server and lives ten seconds", self.token_works)
        steps.run("an app with a key gets the token at the app port, nobody else does", self.app_key)
        steps.run("the token is good at every moment, refreshed by the schedule", self.polled)
        steps.run("a restart changes nothing: no login, same person", lambda: self.journey.restart("alice"))
        steps.run("five scheduled refreshes and more, seen by the server", self.polled_on)
        steps.run("a reported rejection brings another token; a second report of the old one costs nothing", self.heals)
        steps.run("keyfob refresh brings another token", self.refreshes)
        steps.run("somebody else who logs in to the account is refused, both are named", self.somebody_else)
        steps.run("the same person may log in again", self.logs_in_again)
        steps.run("a second person gets an account of his own", self.second_account)
        steps.run("device: a code that the person enters elsewhere makes an account", self.by_code)
        steps.run("device: a person who refuses there ends the login, and is told so here", self.code_refused)
        if self.server.name == "oidc_provider":
            self.in_chromium(steps)
            steps.run("registration: Keyfob registers itself, logs in, removes itself", self.registers)
        steps.run("logout ends both tokens at the server", lambda: self.journey.logged_out("bob", "bob"))
        steps.run("... and leaves the other account alone", lambda: self.journey.works("alice", "alice") and None)
        steps.run("no token stands in clear in log or state", self.journey.no_leaks)
        steps.run("SIGTERM ends the daemon at once, with exit 0", self.stops)

    def starts(self) -> None:
        """The daemon comes up from nothing: no configuration file, no key file."""
        self.keyfob.start()
        self.keyfob.run("healthcheck").exits(0)

    def provider_added(self) -> None:
        """The issuer URL and a client id are enough."""
        issuer = self.server.issuer
        self.keyfob.run("provider", "add", self.provider, "--issuer", issuer, "--client-id", "native").exits(0)
        listed = self.keyfob.run("provider", "list", "--json").exits(0).json()["providers"]
        expect(self.provider in [provider["name"] for provider in listed], f"not listed: {listed}")

    def site(self) -> str:
        """The same server under another name names its issuer, which then speaks for itself (RFC 8414 3.3)."""
        other = self.server.issuer.replace("127.0.0.1", "localhost")
        self.keyfob.run("provider", "add", "site", "--issuer", f"{other}/some/page").exits(0)
        shown = self.keyfob.run("provider", "show", "site", "--json").exits(0).json()
        self.keyfob.run("provider", "remove", "site").exits(0)
        expect(shown["issuer"] == self.server.issuer, f"{shown}")
        hosts = {urlsplit(shown[f"{name}_endpoint"]).hostname for name in ("token", "authorization", "revocation")}
        expect(hosts == {"127.0.0.1"}, f"the site's word about the endpoints was believed: {shown}")
        return f"{other}/some/page -> {shown['issuer']}"

    def registers(self) -> str:
        """RFC 7591 and 7592 with a server of others: made once, changed with a scope, deleted at the end."""
        self.keyfob.run("provider", "add", "own", "--issuer", self.server.issuer).exits(0)
        told = self.keyfob.run("provider", "show", "own", "--json").exits(0).json()
        expect(told["registration"] == "rfc7591", f"{told}")
        expect(told["pushed_authorization_request_endpoint"], f"its metadata of PAR was not read: {told}")
        for scope in ("openid offline_access", "openid offline_access email"):
            words = ("--provider", "own", "--scope", scope)
            end, done = self.journey.login("registered", self.journey.browser(GUEST), *words)
            done.exits(0)
            succeeded(end, "registered")
        self.journey.works("registered", GUEST)
        (client,) = self.keyfob.run("provider", "show", "own", "--json").exits(0).json()["clients"]
        self.keyfob.run("logout", "registered").exits(0)
        removed = self.keyfob.run("provider", "remove", "own").exits(0)
        expect(f"{client}: Deleted" in removed.err, f"{removed}")
        did = [event["event"] for event in self.server.events() if event.get("registered") == client]
        made = [f"registration_{what}.success" for what in ("create", "update", "delete")]
        expect(did == made, f"the server saw {did}")
        return removed.err.strip().splitlines()[-1]

    def consent_refused(self) -> str:
        """The person presses Cancel."""
        end, done = self.journey.login("denied", self.journey.browser("alice", refuses=True), *self.words)
        # django-oauth-toolkit leaves iss out of its refusals although it promises it: then that may be the reason.
        said = refused(end, done, "allow|denied|iss")
        expect("denied" not in self.journey.names(), "an account came of it")
        return said

    def forged_issuer(self) -> str:
        """The answer carries another server's issuer (RFC 9207 2.4): no token request is made."""
        spent = self.server.granted("authorization_code")
        browser = self.journey.browser("alice")
        running = self.keyfob.begin("login", "forged", *self.words, "--no-browser", "--json")
        stopped = browser.open(running.url(), stop_before=lambda url: "/callback/" in urlsplit(url).path)
        parts = urlsplit(stopped.url)
        expect("iss=" in parts.query, f"the server sent no iss: {stopped.url}")
        forged = re.sub(r"iss=[^&]*", "iss=https%3A%2F%2Fevil.example", parts.query)
        end = browser.open(urlunsplit(parts._replace(query=forged)))
        said = refused(end, running.end(), "another server|issuer")
        # The honest answer comes too late: its state is used up.
        late = browser.open(stopped.url)
        expect(late.status >= httpx2.codes.BAD_REQUEST, f"a used state was taken again: {late}")
        expect(self.server.granted("authorization_code") == spent, "the code was spent all the same")
        return said

    def logs_in(self) -> None:
        """A person logs in; somebody with the same link does not get in between."""
        browser, other = self.journey.browser("alice"), self.journey.browser("mallory")
        running = self.keyfob.begin("login", "alice", *self.words, "--no-browser", "--json")
        start = running.url()
        first = browser.get(start)
        expect(first.is_redirect, f"the start page does not redirect: HTTP {first.status_code} {first.text[:200]}")
        second = other.get(start)
        expect(second.status_code == httpx2.codes.FORBIDDEN, f"another browser got HTTP {second.status_code}")
        self.last_page = browser.open(first.headers["location"])
        done = running.end().exits(0)
        expect(done.json()["account"] == "alice", f"--json does not name the account: {done}")

    def result_page(self) -> str:
        """Code and state have left the address bar."""
        return succeeded(self.last_page, "alice")

    def shown(self) -> str:
        """``show`` tells state and identity, and no token."""
        shown = self.keyfob.show("alice")
        expect(shown["state"] == "active", f"{shown}")
        identity = shown["identity"]
        expect(identity["issuer"] == self.server.issuer, f"{identity}")
        expect(identity["subject"] == self.server.subjects["alice"], f"{identity}")
        expect("access_token" not in json.dumps(shown), f"{sorted(shown)}")
        expect(shown["next_refresh_at"], "no refresh is planned")
        return f"{identity['label']} ({identity['subject']}) at {identity['issuer']}"

    def token_works(self) -> str:
        """The command line and the API tell the same token."""
        self.journey.works("alice", "alice")
        told = self.keyfob.run("token", "alice", "--json").exits(0).json()
        self.journey.tokens.add(told["access_token"])
        expect(told["token_type"].lower() == "bearer", f"token_type {told['token_type']}")
        expect(0 < told["expires_in"] <= self.server.lifetime, f"expires_in {told['expires_in']}")
        show = ("--env", "TOKEN", "--", "sh", "-c", 'printf %s "$TOKEN"')
        self.journey.good(lambda: self.keyfob.run("exec", "alice", *show).exits(0).out, "alice")
        return f"scope {told['scope']}, {told['expires_in']} s left"

    def app_key(self) -> None:
        """A key opens what it was granted, and nothing opens without one."""
        key = self.keyfob.run("app", "add", "walker", "--account", "alice", "--json").exits(0).json()["key"]
        self.journey.tokens.add(key)
        url = f"{self.keyfob.app_url()}/v1/accounts"
        with httpx2.Client(trust_env=False, timeout=20) as door:
            bare = door.get(f"{url}/alice/token")
            expect(bare.status_code == httpx2.codes.UNAUTHORIZED, f"without a key: HTTP {bare.status_code}")
            door.headers["authorization"] = f"Bearer {key}"

            def granted() -> str:
                answer = door.get(f"{url}/alice/token")
                expect(answer.status_code == httpx2.codes.OK, f"with the key: HTTP {answer.status_code} {answer.text}")
                return str(answer.json()["access_token"])

            self.journey.good(granted, "alice")
            deleted = door.delete(f"{url}/alice")
            expect(deleted.status_code == httpx2.codes.FORBIDDEN, f"an app deletes: HTTP {deleted.status_code}")

    def polled(self) -> str:
        """First half: before the restart."""
        self.polling_since = now()
        return self._poll(self.wanted - self.wanted_after, self.polling_since)

    def polled_on(self) -> str:
        """Second half: after the restart."""
        said = self._poll(self.wanted_after, now())
        all_of_it = self.server.granted("refresh_token", self.polling_since)
        expect(all_of_it >= self.wanted, f"only {all_of_it} refreshes in all")
        return f"{said}; {all_of_it} refreshes in all"

    def _poll(self, refreshes: int, since: float) -> str:
        def seen() -> int:
            return self.server.granted("refresh_token", since)

        patience = self.wanted * self.server.lifetime * PATIENCE
        told = self.journey.poll("alice", lambda: seen() >= refreshes, patience)
        expect(seen() >= refreshes, f"{seen()} refreshes in {patience:.0f} s; the log ends:\n{self.keyfob.tail()}")
        expect(not told.failures, f"{len(told.failures)} of {told.uses} uses failed: {told.failures[:5]}")
        return f"{told.uses} uses, 0 failures, {told.healed} healed, {len(told.tokens)} tokens, {seen()} refreshes"

    def heals(self) -> None:
        """Only the stored token can be reported: a flood of late reports is no flood of refreshes."""
        old = self.journey.token("alice")
        new = self.journey.report("alice", old)
        expect(self.server.who(new) == self.server.subjects["alice"], "the new token does not work")
        before = self.server.granted("refresh_token")
        late = self.keyfob.api("POST", "/v1/accounts/alice/token/rejected", {"access_token": old})
        expect(late.status_code == httpx2.codes.OK, f"HTTP {late.status_code} {late.text}")
        expect(late.json()["access_token"] == new, "a late report brought yet another token")
        expect(self.server.granted("refresh_token") == before, "a late report caused a refresh")

    def refreshes(self) -> None:
        """By hand, at any time."""
        old = self.journey.token("alice")
        self.keyfob.run("refresh", "alice").exits(0)
        expect(self.journey.works("alice", "alice") != old, "the token is the same as before")

    def somebody_else(self) -> str:
        """The account keeps its person and its token."""
        label = self.keyfob.show("alice")["identity"]["label"]
        end, done = self.journey.login("alice", self.journey.browser("bob"), *self.words)
        said = refused(end, done, label, f"bob|'{self.server.subjects['bob']}'")
        shown = self.keyfob.show("alice")
        expect(shown["state"] == "active" and shown["identity"]["label"] == label, f"the account changed: {shown}")
        self.journey.works("alice", "alice")
        return said

    def logs_in_again(self) -> None:
        """A new grant replaces the old one."""
        end, done = self.journey.login("alice", self.journey.browser("alice"), *self.words)
        done.exits(0)
        succeeded(end, "alice")
        self.journey.works("alice", "alice")
        expect(self.keyfob.show("alice")["state"] == "active", "not active")

    def second_account(self) -> None:
        """Two accounts at one provider do not mix; the issuer's URL names the provider as well as its name does."""
        by_url = ("--provider", self.server.issuer, *self.words[2:])
        end, done = self.journey.login("bob", self.journey.browser("bob"), *by_url)
        done.exits(0)
        succeeded(end, "bob")
        listed = self.keyfob.run("provider", "list", "--json").exits(0).json()["providers"]
        expect([provider["name"] for provider in listed] == [self.provider], f"providers: {listed}")
        self.journey.works("bob", "bob")
        self.journey.works("alice", "alice")
        expect(self.journey.names() >= {"alice", "bob"}, f"{self.journey.names()}")

    def in_chromium(self, steps: Steps) -> None:
        """Where there is no Chromium, a person's machine may go without this step; CI may not."""
        if shutil.which("chromium") is None and "CI" not in os.environ:
            say(f"INFO {steps.name}: no chromium here, so the walk in a real browser is left out")
            return
        steps.run("a real browser logs in and ends at the clean result page", self.chromium)

    def chromium(self) -> str:
        """Headless Chromium: content security policy, cookies and redirects as a browser really treats them."""
        prefix = Path(os.environ.get("AS_PREFIX") or Path.home() / ".cache/keyfob-test-servers")
        script = Path(__file__).parent / "lib/chromium.mjs"
        picture = self.artifacts / "result-page.png"
        running = self.keyfob.begin("login", "carol", *self.words, "--no-browser", "--json")
        walked = subprocess.run(
            [prefix / "oidc_provider/node", script, running.url(), "carol", "carol-password", picture],
            env={**os.environ, "MODULES": str(prefix / "browser/node_modules")},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        expect(walked.returncode == 0, f"exit {walked.returncode}: {walked.stdout}\n{walked.stderr}")
        running.end().exits(0)
        told = json.loads(walked.stdout)
        expect(not told["problems"], f"the browser complained: {told['problems']}")
        clean_address(told["url"])
        expect("carol" in told["text"], f"the page does not name the account: {told['text'][:300]}")
        self.journey.works("carol", "carol")
        return f"{told['title']}: {' '.join(told['text'].split())[:100]}"

    def by_code(self) -> str:
        """Nothing is opened here; what the server gave is renewed like any other login."""
        end, done = self._enter_code("code", self.journey.browser("bob"))
        done.exits(0)
        expect(done.json()["account"] == "code", f"--json does not name the account: {done}")
        token = self.journey.token("code")
        self.keyfob.run("refresh", "code").exits(0)
        expect(self.journey.token("code") != token, "the token is the same as before")
        self.keyfob.run("logout", "code").exits(0)
        return end.text[:120]

    def code_refused(self) -> str:
        """No account comes of it."""
        end, done = self._enter_code("refused", self.journey.browser("bob", refuses=True))
        done.exits(1)
        expect("refused" in done.err, f"it does not say so: {done}")
        expect("refused" not in self.journey.names(), "an account came of it")
        return end.text[:120]

    def _enter_code(self, account: str, browser: Browser) -> tuple[Seen, Done]:
        """Begin a device login, and enter its code in a browser somewhere else."""
        server, provider, client = self.server, self.provider, self.server.device_client
        if server.device_endpoint:
            provider = f"{self.provider}-device"
            ends = ("--issuer", server.issuer, "--device-authorization-endpoint", server.device_endpoint)
            if provider not in [known["name"] for known in self._providers()]:
                self.keyfob.run("provider", "add", provider, *ends, f"--client-id={client}").exits(0)
        words = ("--provider", provider, "--scope", *server.scope, "--flow", "device", "--json")
        running = self.keyfob.begin("login", account, *words)
        where, browser.code = running.url(CODE).removeprefix("open ").split(" and type the code ")
        return browser.open(where), running.end()

    def _providers(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self.keyfob.run("provider", "list", "--json").exits(0).json()["providers"]
        return found

    def stops(self) -> None:
        """Nothing is left over."""
        code = self.keyfob.stop()
        expect(code == 0, f"exit {code}")
        log = self.keyfob.log.read_text(errors="replace")
        if "Traceback" in log:
            fail(f"the daemon's log holds a traceback:\n{log[log.index('Traceback') :][:1500]}")
