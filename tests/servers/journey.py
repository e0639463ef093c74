"""What every walk does in the same way: log a person in, use a token again and again, look for leaked secrets.

Used by the walks.
"""

import time
from collections.abc import Callable
from contextlib import suppress

import httpx2

from .browser import Browser, Page, Seen
from .keyfob import Done, Keyfob
from .servers import Polled, Server
from .steps import expect, fail, wait_for

# One use of the token a second, as a busy program would.
POLL_SECONDS = 1.0


class Journey:
    """One daemon and one server, and what happened between them so far.

    Args:
        keyfob: the command and its daemon.
        server: the authorization server.
    """

    def __init__(self, keyfob: Keyfob, server: Server) -> None:
        self.keyfob, self.server = keyfob, server
        # Every token that this walk saw, to look for them later where they must not be.
        self.tokens: set[str] = set()

    def add_provider(self, provider: str) -> None:
        """Add the server under a name: by its issuer, or by a preset that knows its grace, where it has one."""
        server = self.server
        by = ("--issuer", server.issuer)
        if server.grace:
            by = ("--preset", provider)
        self.keyfob.run("provider", "add", provider, *by, "--client-id", "native").exits(0)

    def words(self, provider: str) -> tuple[str, ...]:
        """Return what ``keyfob login`` is told beside the account's name."""
        return ("--provider", provider, *(word for scope in self.server.scope for word in ("--scope", scope)))

    def browser(self, user: str, *, refuses: bool = False) -> Browser:
        """Return a fresh browser with somebody before it."""
        return Browser(self.server.base, user, refuses=refuses)

    def login(self, account: str, browser: Browser, *words: str) -> tuple[Seen, Done]:
        """Run ``keyfob login`` and walk its start URL in a browser, to the page where it ends."""
        wait_for("the next second", lambda: self.server.takes_a_login(browser.user), 5)
        running = self.keyfob.begin("login", account, *words, "--no-browser", "--json")
        end = browser.open(running.url())
        return end, running.end()

    def token(self, account: str) -> str:
        """Return the account's token as the command line prints it."""
        token = self.keyfob.token(account)
        self.tokens.add(token)
        return token

    def works(self, account: str, user: str) -> str:
        """Expect that the account's token is good at the server and is that user's; return it."""
        return self.good(lambda: self.keyfob.token(account), user)

    def good(self, get: Callable[[], str], user: str) -> str:
        """Expect that a token got in some way is good at the server and is that user's; return it."""
        token = get()
        who = self.server.who(token)
        if who is None and self.server.kills_old_access_token:
            # A scheduled refresh may have come between the two requests; it will not come twice.
            dead, token = token, get()
            expect(token != dead, "the server does not take the token, and no refresh has replaced it")
            who = self.server.who(token)
        self.tokens.add(token)
        expect(who == self.server.subjects[user], f"the server says that the token is of {who!r}, not of {user}")
        return token

    def poll(self, account: str, enough: Callable[[], bool], seconds: float) -> Polled:
        """Ask for the token and use it, once a second, until ``enough`` or the time is over."""
        told = Polled(0, 0, [], set())
        until = time.monotonic() + seconds
        while not enough() and time.monotonic() < until:
            began = time.monotonic()
            told.uses += 1
            problem = self._use(account, told)
            if problem:
                told.failures.append(problem)
            time.sleep(max(0.0, POLL_SECONDS - (time.monotonic() - began)))
        self.tokens |= told.tokens
        return told

    def _use(self, account: str, told: Polled) -> str:
        # min_ttl=1: such a request never causes a refresh itself, so what the server sees is the schedule's.
        answer = self.keyfob.api("GET", f"/v1/accounts/{account}/token", min_ttl=1)
        if answer.status_code != httpx2.codes.OK:
            return f"HTTP {answer.status_code} {answer.text[:300]}"
        token = answer.json()["access_token"]
        told.tokens.add(token)
        if self.server.who(token) is not None:
            return ""
        if not self.server.kills_old_access_token:
            return f"the server refused a token that it said would live {answer.json()['expires_in']} s more"
        # A refresh came between the two requests: a program reports it and goes on with what it gets.
        again = self.keyfob.api("POST", f"/v1/accounts/{account}/token/rejected", {"access_token": token})
        if again.status_code == httpx2.codes.OK and self.server.who(again.json()["access_token"]) is not None:
            told.healed += 1
            told.tokens.add(again.json()["access_token"])
            return ""
        return f"a reported rejection did not help: HTTP {again.status_code} {again.text[:300]}"

    def report(self, account: str, token: str) -> str:
        """Report a token as rejected; return the one that comes instead. Waits where reports came too fast."""
        for _ in range(2):
            answer = self.keyfob.api("POST", f"/v1/accounts/{account}/token/rejected", {"access_token": token})
            if answer.status_code != httpx2.codes.TOO_MANY_REQUESTS:
                break
            time.sleep(float(answer.headers["retry-after"]))
            token = self.token(account)
        expect(answer.status_code == httpx2.codes.OK, f"HTTP {answer.status_code} {answer.text}")
        new: str = answer.json()["access_token"]
        self.tokens.add(new)
        expect(new != token, "the rejected token came back")
        return new

    def names(self) -> set[str]:
        """Return the names of all accounts."""
        told = self.keyfob.run("accounts", "--json").exits(0).json()
        return {account["account"] for account in told["accounts"] if account["state"] != "pending"}

    def restart(self, *accounts: str) -> str:
        """Stop the daemon with SIGTERM, start it again, expect the accounts as they were."""
        before = {account: self.keyfob.show(account)["identity"] for account in accounts}
        began = time.monotonic()
        code = self.keyfob.stop()
        expect(code == 0, f"after SIGTERM: exit {code}; the log ends:\n{self.keyfob.tail()}")
        stopped = time.monotonic()
        done = self.keyfob.run("healthcheck")
        expect(done.code == 1, f"no daemon, and yet: {done}")
        done = self.keyfob.run("token", accounts[0])
        expect(done.code == 6, f"no daemon, and yet not exit 6: {done}")
        started = time.monotonic()
        self.keyfob.start()
        up = time.monotonic()
        for account, identity in before.items():
            shown = self.keyfob.show(account)
            expect(shown["state"] in ("active", "static"), f"after the restart: {shown}")
            expect(shown["identity"] == identity, f"after the restart: {shown['identity']}, before: {identity}")
        return f"down in {stopped - began:.1f} s, up in {up - started:.1f} s"

    def logged_out(self, account: str, user: str) -> str:
        """Log an account out; expect that the server takes neither of its tokens any more."""
        token = self.works(account, user)
        before = self.server.live_refresh_tokens(user)
        expect(before > 0, f"the server knows no refresh token of {user}")
        done = self.keyfob.run("logout", account).exits(0)
        expect(self.server.who(token) is None, "the access token still works")
        wait_for(
            "the end of the refresh token at the server",
            lambda: self.server.live_refresh_tokens(user) == before - 1,
            3,
        )
        expect(account not in self.names(), "the account is still listed")
        self.keyfob.run("token", account).exits(1)
        return done.said.strip()

    def no_leaks(self) -> str:
        """Look for every token that was seen in what the daemon logged and keeps."""
        found = []
        for file in sorted([self.keyfob.log, *self.keyfob.home.rglob("*")]):
            if not file.is_file():
                continue
            with suppress(FileNotFoundError):  # SQLite removes its -wal and -shm when it likes
                content = file.read_bytes()
                found += [file.name for token in self.tokens if token.encode() in content]
        expect(not found, f"a token stands in clear in {sorted(set(found))}")
        return f"{len(self.tokens)} tokens looked for"


def refused(end: Seen, done: Done, *words: str) -> str:
    """Expect a login that failed: exit 1, a clean page, and each of the words both on the page and in the terminal.

    A word may be several, with ``|`` between.
    """
    done.exits(1)
    clean(end)
    for word in words:
        for what, text in (("the page", end.text), ("the terminal", done.said)):
            if not any(option.lower() in text.lower() for option in word.split("|")):
                fail(f"{what} does not say {word!r}: {text[:600]}\n{done}")
    return end.text[:160]


def succeeded(end: Seen, account: str) -> str:
    """Expect the page that says so: clean, and naming the account."""
    clean(end)
    expect(end.status == httpx2.codes.OK, f"the last page: {end}")
    expect(account in end.text, f"the page does not name '{account}': {end}")
    return end.text[:120]


def clean(end: Seen) -> None:
    """Expect a page of Keyfob without code or state in its address."""
    expect(isinstance(end.page, Page) and end.text, f"no page came: {end}")
    clean_address(end.url)


def clean_address(url: str) -> None:
    """Expect nothing of the provider's answer in the address bar: it stays in the browser's history."""
    leftover = [name for name in ("code=", "state=", "error=", "iss=") if name in url]
    expect(not leftover, f"the address bar still holds {leftover}: {url}")
