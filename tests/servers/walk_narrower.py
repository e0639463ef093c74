"""Pushed requests and narrower tokens at an OpenID provider that nobody here wrote.

Called by ``walk`` for oidc_provider.
"""

from urllib.parse import parse_qs, urlsplit

import httpx2

from .journey import Journey, succeeded
from .steps import Steps, expect

# What a person writes down who knows that the server takes pushed requests, and keeps to a grant's scope. It says
# nothing of other resources: this server spends the refresh token before it refuses one.
PRESET = """\
title = "{server.name}"
issuer = "{server.issuer}"
discovery = true

[endpoints]
pushed_authorization = "{server.issuer}/request"

[refresh]
rotation = "always"
narrows = true
"""
USER, ACCOUNT = "alice", "slim"
LESS = {"openid", "email"}


class NarrowerWalk:
    """The walk's steps; each says in its docstring what it promises.

    Args:
        journey: daemon and server.
        provider: the name of its preset.
    """

    def __init__(self, journey: Journey, provider: str) -> None:
        self.journey, self.keyfob, self.server = journey, journey.keyfob, journey.server
        self.provider = provider

    def walk(self, steps: Steps) -> None:
        """Go through all of it."""
        steps.run("narrower: a login whose request is pushed", self.logs_in, vital=True)
        steps.run("narrower: a token with less scope, got once", self.narrows, vital=True)
        steps.run("narrower: the login is as wide as before, after two more refreshes", self.still_wide)
        steps.run("narrower: another resource is refused, and harms nothing", self.refused)
        steps.run("narrower: no token stands in clear in log or state", self.journey.no_leaks)
        steps.run("narrower: SIGTERM ends the daemon with exit 0", self.stops)

    def logs_in(self) -> str:
        """The browser carries a reference and nothing of the request (RFC 9126 4)."""
        self.keyfob.start()
        words = (*self.journey.words(self.provider), "--client-id", "native", "--no-browser", "--json")
        self.keyfob.run("provider", "add", self.provider, "--preset", self.provider, "--client-id", "native").exits(0)
        running = self.keyfob.begin("login", ACCOUNT, *words)
        browser = self.journey.browser(USER)
        sent = browser.get(running.url())
        carried = parse_qs(urlsplit(sent.headers["location"]).query)
        expect(set(carried) == {"client_id", "request_uri"}, f"the browser carries {sorted(carried)}")
        end = browser.open(sent.headers["location"])
        running.end().exits(0)
        succeeded(end, ACCOUNT)
        return carried["request_uri"][0].rpartition(":")[0]

    def narrows(self) -> str:
        """It carries what was asked for, as the server's own answer says, and is kept."""
        before = self.server.granted("refresh_token")
        first, again = self._token(scope=" ".join(sorted(LESS))), self._token(scope=" ".join(sorted(LESS)))
        expect(first["access_token"] == again["access_token"], "the second request brought another token")
        expect(set(first["scope"].split()) == LESS, f"it carries {first['scope']}")
        expect(self.server.who(first["access_token"]) == self.server.subjects[USER], "it does not work")
        expect(self.server.granted("refresh_token") == before + 1, "it was not one refresh")
        whole = self._token()
        expect(whole["access_token"] != first["access_token"], "the account's own token is the narrower one")
        expect(set(whole["scope"].split()) > LESS, f"the account's own carries {whole['scope']}")
        return f"{first['scope']} of {whole['scope']}"

    def still_wide(self) -> None:
        """What a refresh with less scope left behind is the whole grant (RFC 6749 6)."""
        scope = set(self._token()["scope"].split())
        for _ in range(2):
            self.keyfob.run("refresh", ACCOUNT).exits(0)
            now = set(self._token()["scope"].split())
            expect(now == scope, f"the login has shrunk from {sorted(scope)} to {sorted(now)}")
        self.journey.works(ACCOUNT, USER)

    def refused(self) -> str:
        """The caller is told, nothing is sent that could cost the login, and that stays as well as it was."""
        before = len(self.server.refreshes())
        answer = self._ask(resource="https://other.example.org/")
        expect(answer.status_code == httpx2.codes.FORBIDDEN, f"HTTP {answer.status_code} {answer.text}")
        expect("no token for another resource" in answer.json()["detail"], answer.text)
        expect(len(self.server.refreshes()) == before, "the server was asked")
        expect(self.keyfob.show(ACCOUNT)["state"] == "active", "the account is not active any more")
        self.keyfob.run("refresh", ACCOUNT).exits(0)
        self.journey.works(ACCOUNT, USER)
        return str(answer.json()["detail"])

    def _ask(self, **params: str) -> httpx2.Response:
        return self.keyfob.api("GET", f"/v1/accounts/{ACCOUNT}/token", None, **params)

    def _token(self, **params: str) -> dict[str, str]:
        answer = self._ask(**params)
        expect(answer.status_code == httpx2.codes.OK, f"HTTP {answer.status_code} {answer.text}")
        told: dict[str, str] = answer.json()
        self.journey.tokens.add(told["access_token"])
        return told

    def stops(self) -> None:
        """Nothing is left over."""
        code = self.keyfob.stop()
        expect(code == 0, f"exit {code}")
