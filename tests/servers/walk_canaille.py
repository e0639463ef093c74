"""The walk at Canaille: Keyfob registers itself, and that follows it; a refresh token that dies young; a client's key.

Called by ``walk``.
"""

import base64
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2

from .browser import Page
from .journey import Journey, succeeded
from .servers import now
from .steps import Steps, expect, wait_for
from .walk_openid import OpenIDWalk

# Scheduled refreshes, each after ten seconds, and how many of them after the restart.
REFRESHES, AFTER_RESTART = 3, 1
# What a person writes down whose client has a key: Canaille knows itself in assertions by its token endpoint only.
KEY_PRESET = """\
title = "Canaille"
issuer = "{server.issuer}"
discovery = true

[token]
assertion_audience = "token_endpoint"
"""
KEY, MORE = "signed", "email"


class CanailleWalk(OpenIDWalk):
    """The walk's steps; each says in its docstring what it promises.

    Args:
        journey: daemon and server.
        provider: the name that the provider gets at Keyfob.
        artifacts: where pictures go.
    """

    def __init__(self, journey: Journey, provider: str, artifacts: Path) -> None:
        super().__init__(journey, provider, artifacts)
        self.wanted, self.wanted_after = REFRESHES, AFTER_RESTART
        self.keyfob.preset(KEY, KEY_PRESET.format(server=self.server))

    def walk(self, steps: Steps) -> None:
        """Go through all of it."""
        steps.run("the daemon starts and is healthy", self.starts, vital=True)
        steps.run("a provider is added by its issuer, without a client", self.provider_added, vital=True)
        steps.run("a refused consent is a failed login that says so", self.consent_refused)
        steps.run("Keyfob registers itself, as a client that may revoke", self.registered)
        steps.run("a forged iss at the callback ends the login before the code is spent", self.forged_issuer)
        steps.run("login; the start page serves the first browser only", self.logs_in, vital=True)
        steps.run("the browser ends at a clean page that names the account", self.result_page)
        steps.run("the account is active and tells who it is", self.shown)
        steps.run("the token works at the server and lives fifteen seconds", self.token_works)
        steps.run("the ID token is the client's own", self.id_token)
        steps.run("the token is good at every moment, refreshed by the schedule", self.polled)
        steps.run("a restart changes nothing: no login, same person", self.restarted)
        steps.run("three scheduled refreshes and more, seen by the server", self.polled_on)
        steps.run("each refresh token was spent once, and brought the next one", self.rotates)
        steps.run("a reported rejection brings another token; a second report of the old one costs nothing", self.heals)
        steps.run("keyfob refresh brings another token", self.refreshes)
        steps.run("somebody else who logs in to the account is refused, both are named", self.somebody_else)
        steps.run("the same person may log in again", self.logs_in_again)
        steps.run("a second person gets an account of his own", self.second_account)
        steps.run("the registration followed Keyfob to its new port", lambda: self.changes(1))
        steps.run("a login with more scope widens the registration", self.widened)
        steps.run("a consent that its person takes back ends that login alone, and says so", self.taken_back)
        steps.run("a client with a key of Keyfob's logs a person in, and refreshes", self.by_key)
        steps.run("... which the server lets end no login, and that is said", self.key_logout)
        steps.run("logout ends both tokens at the server", lambda: self.journey.logged_out("bob", "bob"))
        steps.run("... and leaves the other account alone", lambda: self.journey.works("alice", "alice") and None)
        steps.run("a sleep longer than the refresh token lives: the login is over, and says so", self.slept)
        steps.run("the registration is deleted with the provider", self.removed)
        steps.run("no token stands in clear in log or state", self.journey.no_leaks)
        steps.run("SIGTERM ends the daemon at once, with exit 0", self.stops)

    # --- the registration (RFC 7591, RFC 7592)

    def provider_added(self) -> None:
        """The issuer URL is enough: the server registers whoever asks."""
        self.keyfob.run("provider", "add", self.provider, "--issuer", self.server.issuer).exits(0)
        told = self.keyfob.run("provider", "show", self.provider, "--json").exits(0).json()
        expect(told["registration"] == "rfc7591", f"{told}")

    def registered(self) -> str:
        """Only a client with a secret may revoke there, as its metadata says; one without would do for logins."""
        made = [event for event in self.server.events() if event["event"] == "registration_create.success"]
        expect([event["registered"] for event in made] == self._clients(), f"{made}, but Keyfob has {self._clients()}")
        expect(made[0]["auth_method"] == "client_secret_basic", f"{made}")
        return f"client {made[0]['registered']}, {made[0]['auth_method']}"

    def changes(self, count: int) -> str:
        """Made once, changed so often."""
        (client,) = self._clients()
        did = [event["event"] for event in self.server.events() if event.get("registered") == client]
        made = ["registration_create.success", *["registration_update.success"] * count]
        expect(did == made, f"the server saw {did}")
        return f"client {client}"

    def widened(self) -> str:
        """What the client may ask for is written at the server; beyond that the scope would be dropped in silence."""
        scope = (*self.server.scope, MORE)
        words = ("--provider", self.provider, *(word for each in scope for word in ("--scope", each)))
        end, done = self.journey.login("carol", self.journey.browser("carol"), *words)
        done.exits(0)
        succeeded(end, "carol")
        shown = self.keyfob.show("carol")
        expect(set(shown["scope"].split()) == set(scope), f"granted: {shown['scope']}")
        self.journey.works("carol", "carol")
        return f"{self.changes(2)}: {shown['scope']}"

    def removed(self) -> str:
        """Nothing of Keyfob stays at the server."""
        (client,) = self._clients()
        for account in sorted(self.journey.names()):
            self.keyfob.run("logout", account).exits(0)
        said = self.keyfob.run("provider", "remove", self.provider).exits(0)
        expect(f"{client}: Deleted" in said.err, f"{said}")
        did = [event["event"] for event in self.server.events() if event.get("registered") == client]
        expect(did[-1] == "registration_delete.success", f"the server saw {did}")
        return said.err.strip().splitlines()[-1]

    def _clients(self) -> list[str]:
        shown = self.keyfob.run("provider", "show", self.provider, "--json").exits(0).json()
        clients: list[str] = shown["clients"]
        return clients

    # --- tokens

    def id_token(self) -> str:
        """What Keyfob hands out as such is of this server, for this client, about this person."""
        token = self.keyfob.run("token", "alice", "--id-token").exits(0).out.strip()
        self.journey.tokens.add(token)
        claims = _claims(token)
        (client,) = self._clients()
        expect((claims["iss"], claims["sub"]) == (self.server.issuer, "alice"), f"{claims}")
        expect(client in claims["aud"], f"{claims}")
        return f"aud {claims['aud']}"

    def restarted(self) -> str:
        """The refresh token ends with the access token, so the daemon comes back while there is time."""
        self._young()
        return self.journey.restart("alice")

    def rotates(self) -> str:
        """As the server saw it: no refresh token came twice, none was refused."""
        seen = [refresh for refresh in self.server.refreshes(self.polling_since) if refresh.user == "alice"]
        for before, after in pairwise(seen):
            expect(after.spent == before.issued, f"not the newest one was spent: {seen}")
        expect(len({refresh.spent for refresh in seen}) == len(seen), f"one was spent twice: {seen}")
        return f"{len(seen)} of them"

    def heals(self) -> None:
        """Only the stored token can be reported: a flood of late reports is no flood of refreshes."""
        self._young()
        super().heals()

    def refreshes(self) -> None:
        """By hand, at any time."""
        self._young()
        super().refreshes()

    def logs_in_again(self) -> None:
        """A new grant replaces the old one."""
        self._young()
        super().logs_in_again()

    def _young(self) -> None:
        """Wait until the account's token is a second old and no refresh is near.

        Tokens of one second are one token there, for nothing in them differs; the server then confuses the old and
        the new one.
        """

        def age() -> float:
            return now() - float(_claims(self.journey.token("alice"))["iat"])

        wait_for("a young token", lambda: 1 < age() < self.server.lifetime / 3, self.server.lifetime)

    # --- ends

    def taken_back(self) -> str:
        """In the settings there, as Keyfob's own pages advise; a new consent brings the account back."""
        browser = self.journey.browser("carol")
        browser.open(f"{self.server.base}/login")
        page = Page(browser.get(f"{self.server.base}/consent/").text)
        expect(self.server.live_refresh_tokens("carol") == 1, "carol has no refresh token")
        revoke = next((href for href, _ in page.links if "/consent/revoke/" in href), "")
        expect(revoke, f"there is no consent to take back: {page.text[:300]}")
        browser.open(f"{self.server.base}{revoke}")
        expect(self.server.live_refresh_tokens("carol") == 0, "carol's refresh token outlived her consent")
        said = self.keyfob.run("refresh", "carol").exits(3)
        shown = self.keyfob.show("carol")
        expect(shown["state"] == "needs-login", f"{shown}")
        expect(self.keyfob.show("alice")["state"] == "active", "another login went with it")
        end, done = self.journey.login("carol", self.journey.browser("carol"))
        done.exits(0)
        succeeded(end, "carol")
        self.journey.works("carol", "carol")
        self.keyfob.run("logout", "carol").exits(0)
        return said.err.strip().splitlines()[0]

    def slept(self) -> str:
        """The server ends both tokens at once: nobody could have kept this login, and the server is asked once."""
        self._young()
        until = now() + self.server.lifetime + 1
        with self.keyfob.paused():
            wait_for("the end of the refresh token", lambda: now() > until, 2 * self.server.lifetime)
        since = until - 1
        wait_for("the account's need of a login", lambda: self.keyfob.show("alice")["state"] == "needs-login", 15)
        done = self.keyfob.run("token", "alice").exits(3)
        asked = [refresh for refresh in self.server.refreshes(since) if refresh.user == "alice"]
        expect(len(asked) == 1 and not asked[0].issued, f"the server was asked: {asked}")
        end, again = self.journey.login("alice", self.journey.browser("alice"))
        again.exits(0)
        succeeded(end, "alice")
        self.journey.works("alice", "alice")
        return done.err.strip().splitlines()[0]

    # --- a key in place of a secret

    def by_key(self) -> str:
        """Code and refresh token are redeemed by a signature; the server is told the public half (RFC 7591)."""
        method = ("--token-endpoint-auth-method", "private_key_jwt")
        jwks = self.keyfob.run("provider", "add", KEY, "--preset", KEY, *method).exits(0).json()
        shown = self.keyfob.run("provider", "show", KEY, "--json").exits(0).json()
        wanted = {
            "client_name": "by hand",
            "redirect_uris": [shown["redirect_uri"]],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "scope": " ".join(self.server.scope),
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": jwks,
        }
        endpoint = self.server.metadata()["registration_endpoint"]
        answer = httpx2.post(endpoint, json=wanted, trust_env=False, timeout=20)
        expect(answer.status_code == httpx2.codes.CREATED, f"HTTP {answer.status_code} {answer.text}")
        client = answer.json()["client_id"]
        since = now()
        words = (*self.journey.words(KEY), f"--client-id={client}")
        end, done = self.journey.login(KEY, self.journey.browser("p1"), *words)
        done.exits(0)
        succeeded(end, KEY)
        first = self.journey.works(KEY, "p1")
        wait_for("the token's next second", lambda: now() > _claims(first)["iat"] + 1, 5)
        self.keyfob.run("refresh", KEY).exits(0)
        expect(self.journey.works(KEY, "p1") != first, "the token is the same as before")
        signed = [event["grant_type"] for event in self.server.events() if event.get("signed") and event["t"] >= since]
        expect({"authorization_code", "refresh_token"} <= set(signed), f"signed: {signed}")
        return f"{jwks['keys'][0]['alg']}, client {client}"

    def key_logout(self) -> str:
        """Its revocation endpoint takes a secret only: forgotten here, and the person is told what is left to do."""
        done = self.keyfob.run("logout", KEY).exits(0)
        expect("not revoked" in done.err, f"{done}")
        expect(self.server.live_refresh_tokens("p1") == 1, "the server ended it all the same")
        self.keyfob.run("provider", "remove", KEY).exits(0)
        return done.err.strip().splitlines()[0]


def _claims(token: str) -> dict[str, Any]:
    """Return what a JWT says, unchecked: it came from the server itself."""
    body = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims
