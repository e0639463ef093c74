"""What a walk in the browser happens in: a person's home with a daemon, a practice provider, and programs that ask.

Made by the fixtures of ``conftest``.
"""

import contextlib
from collections.abc import Iterator

import httpx2

from broker.practice.server import PracticeServer
from tests.e2e.home import START_URL, Daemon, Home, Running, browser


class Program:
    """An app with a key of its own, at the app port, where containers and other people's programs come.

    Args:
        home: whose Keyfob it asks.
        key: what it shows there.
    """

    def __init__(self, home: Home, key: str) -> None:
        self._home, self.key = home, key

    def ask(self, account: str) -> httpx2.Response:
        """Ask for a token."""
        with self._home.app_port(self.key) as port:
            return port.get(f"/v1/accounts/{account}/token")

    def refused(self, account: str) -> str:
        """Ask for what it was not granted; return the code of the question that the owner now has."""
        answer = self.ask(account)
        assert answer.status_code == 403, answer.text
        code: str = answer.json()["approval_url"].rpartition("/")[2]
        return code

    def token(self, account: str) -> str:
        """Ask for a token, and get it."""
        answer = self.ask(account)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token


class Room:
    """One machine: everything here is a real process or a real server, and nothing of it outlives the test.

    Args:
        home: the person's home; its daemon runs.
        daemon: that.
        practice: a provider that asks the person who logs in.

    Attributes:
        url: origin of the browser port.
    """

    def __init__(self, home: Home, daemon: Daemon, practice: PracticeServer) -> None:
        self.home, self.daemon, self.practice = home, daemon, practice
        self.url = self._origin()

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[None]:
        """End the daemon, and start it again after the block. It has another address then."""
        self.daemon.stop()
        yield
        self.daemon = self.home.serve()
        self.url = self._origin()

    def _origin(self) -> str:
        origin: str = self.home.run("status", "--json").json()["doors"]["browser"]
        return origin

    def entrance(self) -> str:
        """Return the address that signs in the browser that opens it first."""
        done = self.home.run("ui", "--no-browser")
        assert done.code == 0, done
        return done.out.strip()

    def begin_login(self, account: str, *where: str, scope: tuple[str, ...] = ()) -> tuple[Running, str]:
        """Begin a login in a terminal, at the practice provider if nowhere else; return it, and its start page."""
        where = where or ("--provider", "practice", "--base-url", self.practice.url)
        scopes = (word for name in scope for word in ("--scope", name))
        waiting = self.home.begin("login", account, *where, *scopes, "--no-browser")
        return waiting, waiting.says(START_URL)

    def log_in(self, account: str, *where: str, user: str = "ada") -> None:
        """Log in at the practice provider without a look at its page: for walks that are about something else."""
        waiting, start = self.begin_login(account, *where)
        with browser() as person:
            leads_to = person.get(start, follow_redirects=False).headers["location"]
            page = person.get(f"{leads_to}&auto_approve=1&login_hint={user}")
        assert page.status_code == 200, page.text
        done = waiting.end()
        assert done.code == 0, done

    def program(self, name: str) -> Program:
        """Make an app that was granted nothing."""
        with self.home.door() as owner:
            made = owner.post("/v1/apps", json={"name": name})
        assert made.status_code == 201, made.text
        return self.holder(made.json()["key"])

    def holder(self, key: str) -> Program:
        """Return a program that has a key, however it came by it."""
        return Program(self.home, key)

    def state_of(self, code: str) -> str:
        """Return how a question stands, as the daemon knows it."""
        with self.home.door() as owner:
            state: str = owner.get(f"/v1/approvals/{code}").json()["state"]
        return state
