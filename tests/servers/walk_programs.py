"""Accounts of programs at a real server: by a secret, and where the server takes it, by a key that Keyfob makes.

Called by ``walk`` for all but funkwhale, with a daemon of its own.
"""

import json
from typing import Any

import httpx2

from .journey import Journey
from .servers import now
from .steps import Steps, expect, wait_for

# Scheduled renewals that the server must have seen, and the seconds within which: two thirds of ten each, and patience.
RENEWALS, PATIENCE = 3, 60.0
GRANT = "client_credentials"
# The confidential client that each server comes with, if it does: who may ask what a token is worth.
ASKER = {"oidc_provider": ("basic", "basic-secret"), "django_oauth_toolkit": ("machine", "machine-secret")}


class ProgramsWalk:
    """The walk's steps; each says in its docstring what it promises.

    Args:
        journey: daemon and server.
        provider: the name that the provider gets at Keyfob.
    """

    def __init__(self, journey: Journey, provider: str) -> None:
        self.journey, self.keyfob, self.server = journey, journey.keyfob, journey.server
        self.provider = provider
        self.since = now()
        self.asker = ASKER.get(self.server.name, ("", ""))

    def walk(self, steps: Steps) -> None:
        """Go through all of it."""
        steps.run("programs: the daemon starts", self.keyfob.start, vital=True)
        if self.server.name == "oidc_provider":
            steps.run("programs: a key is made with the provider, and the server learns its public half", self.by_key)
            steps.run("programs: a client secret signs, and is not sent", self.by_signed_secret)
        else:
            login = self.by_registered_secret if self.server.name == "canaille" else self.by_secret
            steps.run("programs: a client logs in by its secret, at once", login)
            steps.run("programs: a wrong secret is a failed login that says so", self.wrong_secret)
        steps.run("programs: the schedule renews the token, without a refresh token", self.renewed)
        steps.run("programs: the account's name alone logs in again", self.again)
        steps.run("programs: logout ends the token at the server", self.logged_out)
        steps.run("programs: no token stands in clear in log or state", self.journey.no_leaks)

    def by_key(self) -> str:
        """``provider add`` prints the JWK set, the server registers a client with it (RFC 7591), and that works."""
        issuer, method = self.server.issuer, "private_key_jwt"
        words = ("--issuer", issuer, "--token-endpoint-auth-method", method)
        jwks = self.keyfob.run("provider", "add", self.provider, *words).exits(0).json()
        client = self._registered(token_endpoint_auth_method=method, jwks=jwks)
        self._log_in("ci", f"--client-id={client['client_id']}")
        return f"{jwks['keys'][0]['alg']}, client {client['client_id']}"

    def by_signed_secret(self) -> None:
        """The server's own secret, as HS256 (OpenID Connect Core 9)."""
        method = "client_secret_jwt"
        client = self._registered(token_endpoint_auth_method=method)
        words = (f"--client-id={client['client_id']}", "--token-endpoint-auth-method", method)
        self._log_in("signed", *words, secret=client["client_secret"])
        self.keyfob.run("logout", "signed").exits(0)  # its renewals would be counted for the other's

    def by_secret(self) -> None:
        """One command, no browser."""
        self.keyfob.run("provider", "add", self.provider, "--issuer", self.server.issuer).exits(0)
        self._log_in("ci", "--client-id", "machine", "--scope", "api:read", secret="machine-secret")

    def by_registered_secret(self) -> None:
        """The same with a client that registered itself (RFC 7591); it alone may ask what its tokens are worth."""
        self.keyfob.run("provider", "add", self.provider, "--issuer", self.server.issuer).exits(0)
        client = self._registered(token_endpoint_auth_method="client_secret_basic", scope="profile")
        self.asker = (client["client_id"], client["client_secret"])
        self._log_in("ci", f"--client-id={client['client_id']}", secret=client["client_secret"])

    def wrong_secret(self) -> str:
        """The account that works is left alone."""
        done = self.keyfob.run("login", "ci", "--client-secret-file", "-", stdin="not-the-secret").exits(1)
        expect("invalid_client" in done.err, f"it does not say why: {done}")
        self._works("ci")
        return done.err.strip().splitlines()[0]

    def renewed(self) -> str:
        """Each token is another one, and the server has seen nothing but client credentials."""

        def seen() -> int:
            return self.server.granted(GRANT, self.since)

        logins = seen()
        tokens = {self._works("ci")}
        for count in range(1, RENEWALS + 1):
            wait_for("a scheduled renewal", lambda count=count: seen() >= logins + count, PATIENCE)  # type: ignore[misc]  # a default is all that tells the counts apart
            tokens.add(self._works("ci"))
        expect(len(tokens) > 1, "the token stayed the same")
        shown = self.keyfob.show("ci")
        expect((shown["state"], shown["renewal"]) == ("active", GRANT), f"{shown}")
        expect(self.server.granted("refresh_token", self.since) == 0, "a refresh token was spent")
        return f"{seen() - logins} renewals, {len(tokens)} tokens"

    def again(self) -> None:
        """The client, its proof and the scope are those of before."""
        self.keyfob.run("login", "ci").exits(0)
        self._works("ci")

    def logged_out(self) -> str:
        """The server says itself that the token is worth nothing."""
        token = self._works("ci")
        said = self.keyfob.run("logout", "ci").exits(0).said.strip()
        expect(not self._introspected(token)["active"], "the token is still good")
        return said

    def _log_in(self, account: str, *words: str, secret: str = "") -> None:
        where = ("--provider", self.provider, "--flow", "client-credentials")
        by = ("--client-secret-file", "-") if secret else ()
        self.keyfob.run("login", account, *where, *by, *words, stdin=secret).exits(0)
        self._works(account)

    def _works(self, account: str) -> str:
        """Expect that the account's token is good at the server and the client's own; return it."""
        token = self.journey.token(account)
        told = self._introspected(token)
        expect(told["active"], f"the server does not take the token: {told}")
        client = self.keyfob.show(account)["client_id"]
        expect(told["client_id"] == client, f"the token is of client {told['client_id']}, not of {client}")
        return token

    def _introspected(self, token: str) -> dict[str, Any]:
        """Ask the server what a token is worth (RFC 7662)."""
        endpoint = self.server.metadata().get("introspection_endpoint") or f"{self.server.issuer}/introspect/"
        answer = httpx2.post(endpoint, data={"token": token}, auth=self.asker, trust_env=False, timeout=20)
        told: dict[str, Any] = answer.raise_for_status().json()
        return told

    def _registered(self, **wanted: object) -> dict[str, Any]:
        body = {"grant_types": [GRANT], "response_types": [], "redirect_uris": [], **wanted}
        endpoint = self.server.metadata()["registration_endpoint"]
        answer = httpx2.post(endpoint, json=body, trust_env=False, timeout=20)
        expect(answer.status_code == httpx2.codes.CREATED, f"HTTP {answer.status_code} {answer.text}")
        client: dict[str, Any] = json.loads(answer.text)
        return client
