"""A daemon whose clock the test moves, and a browser that asks it as the page's own script does.

Used by the tests of this room that look at the owner's pages.
"""

import time
from urllib.parse import urlsplit

import httpx2

from tests.web.house import House


class Desktop:
    """A house with one question on the desk, a clock that the test moves, and the owner's browser."""

    def __init__(self) -> None:
        self.now = time.time()
        self.house: House
        self.browser: httpx2.Client

    def clock(self) -> float:
        """Tell the time."""
        return self.now

    def question(self) -> str:
        """Put a question on the desk; return its code."""
        name = f"app-{time.monotonic_ns()}"
        key = self.house.owner.ask("POST", "/v1/apps", 201, json={"name": name})["key"]
        with (app := self.house.app(key)).http:
            told = app.ask("GET", "/v1/accounts/{account}/token", 403, path={"account": "work"})
        code: str = told["approval_url"].rpartition("/")[2]
        return code

    def ticket(self) -> str:
        """Return what ``keyfob ui --no-browser`` prints, as far as it is a secret."""
        url = urlsplit(self.house.owner.ask("POST", "/v1/session", 201, json={})["url"])
        assert f"{url.scheme}://{url.netloc}" == self.house.browser_url
        return str(url.fragment).removeprefix("s=")

    def send(self, method: str, path: str, session: str = "", **more: object) -> httpx2.Response:
        """Ask as the page's own script does."""
        headers = {"Origin": self.house.browser_url, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
        headers |= {"Authorization": f"Bearer {session}"} if session else {}
        return self.browser.request(method, self.house.browser_url + path, headers=headers, **more)  # type: ignore[arg-type]

    def sign_in(self, ticket: str = "") -> httpx2.Response:
        """Trade a ticket."""
        return self.send("POST", "/ui/session", json={"ticket": ticket or self.ticket()})

    def session(self) -> str:
        """Sign in."""
        secret: str = self.sign_in().json()["session"]
        return secret
