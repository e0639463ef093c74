"""Out-of-band logins at a server whose answer goes to an address that no browser can open: it is copied and pasted.

Called by ``walk`` for django_oauth_toolkit.
"""

import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from .browser import Seen
from .journey import Journey
from .keyfob import Done
from .steps import Steps, expect

# Name at Keyfob -> its out-of-band address. Those who still have that way know one of these two.
ADDRESSES = {"oob": "urn:ietf:wg:oauth:2.0:oob", "auto": "urn:ietf:wg:oauth:2.0:oob:auto"}
# What a person writes down who knows that the client was registered with such an address.
PRESETS = {
    name: f"""\
title = "django-oauth-toolkit"
issuer = "{{server.issuer}}"
discovery = true
client_id = "native"

[redirect]
out_of_band = "{address}"
"""
    for name, address in ADDRESSES.items()
}
USER = "alice"


class PasteWalk:
    """The walk's steps; each says in its docstring what it promises.

    Args:
        journey: daemon and server; it has the presets.
    """

    def __init__(self, journey: Journey) -> None:
        self.journey, self.keyfob, self.server = journey, journey.keyfob, journey.server

    def walk(self, steps: Steps) -> None:
        """Go through all of it."""
        steps.run("out of band: a daemon, and a provider for each address", self.starts, vital=True)
        steps.run("out of band: the address that the browser cannot open is pasted whole", self.whole_address)
        steps.run("out of band: the code alone does as well, at the other address", self.code_alone)
        steps.run("out of band: an address of another login is refused, and no code is spent", self.mistaken)
        steps.run("out of band: a refusal is pasted, too, and is a failed login that says so", self.refusal)
        steps.run("out of band: such a login is refreshed and logged out as any other", self.lives)
        steps.run("out of band: no token stands in clear in log or state", self.journey.no_leaks)
        steps.run("out of band: SIGTERM ends the daemon with exit 0", self.stops)

    def starts(self) -> None:
        """Each is named; a login alone would take the one that is there already for the same issuer."""
        self.keyfob.start()
        for name in ADDRESSES:
            self.keyfob.run("provider", "add", name, "--preset", name).exits(0)

    def whole_address(self) -> str:
        """With its state and issuer, so that both are checked."""
        sent, done = self._log_in("whole", "oob", lambda url: url)
        done.exits(0)
        expect({"code", "state", "iss"} <= set(parse_qs(urlsplit(sent.url).query)), f"the server answered {sent.url}")
        self.journey.works("whole", USER)
        return sent.url.partition("?")[0]

    def code_alone(self) -> str:
        """As a server would have it that shows a page with nothing else on it."""
        sent, done = self._log_in("bare", "auto", lambda url: parse_qs(urlsplit(url).query)["code"][0])
        done.exits(0)
        self.journey.works("bare", USER)
        self.keyfob.run("logout", "bare").exits(0)
        return sent.url.partition("?")[0]

    def mistaken(self) -> str:
        """Whoever sends a person such an address gets that person into no account of theirs."""
        spent = self.server.granted("authorization_code")
        _, done = self._log_in("mistaken", "oob", lambda url: re.sub(r"state=[^&]*", "state=anothers", url))
        done.exits(2)
        expect("another login" in done.err, f"it does not say so: {done}")
        expect(self.server.granted("authorization_code") == spent, "the code was spent all the same")
        expect("mistaken" not in self.journey.names(), "an account came of it")
        return next(line for line in done.err.splitlines() if "another login" in line).strip()

    def refusal(self) -> str:
        """Cancel has an address as well, and it says why."""
        _, done = self._log_in("refused", "oob", lambda url: url, refuses=True)
        done.exits(1)
        expect("refused" not in self.journey.names(), "an account came of it")
        return done.err.strip().splitlines()[-1]

    def lives(self) -> str:
        """Nothing of it remembers how it began."""
        old = self.journey.token("whole")
        self.keyfob.run("refresh", "whole").exits(0)
        expect(self.journey.works("whole", USER) != old, "the token is the same as before")
        return self.journey.logged_out("whole", USER)

    def _log_in(
        self, account: str, provider: str, pasted: Callable[[str], str], *, refuses: bool = False
    ) -> tuple[Seen, Done]:
        """Begin a paste login, go to the end of it in a browser elsewhere, and paste something of what stands there."""
        scopes = (word for scope in self.server.scope for word in ("--scope", scope))
        words = ("--provider", provider, *scopes, "--flow", "paste", "--no-browser")
        running = self.keyfob.begin("login", account, *words)
        where = running.url(re.compile(re.escape(self.server.metadata()["authorization_endpoint"]) + r"\?\S+"))
        browser = self.journey.browser(USER, refuses=refuses)
        sent = browser.open(where, stop_before=lambda url: url.startswith("urn:"))
        expect(sent.url.startswith(f"{ADDRESSES[provider]}?"), f"the browser was not sent there: {sent}")
        running.type(pasted(sent.url))
        running.close_stdin()
        return sent, running.end()

    def stops(self) -> None:
        """Nothing is left over."""
        code = self.keyfob.stop()
        expect(code == 0, f"exit {code}")
