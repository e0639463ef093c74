"""A login, and the browser that goes through it step by step.

Used by the tests of this room that log in as a person does.
"""

import contextlib
from collections.abc import Iterator

import httpx2

from broker.practice.server import PracticeServer
from broker.practice.settings import PUBLIC_CLIENT
from tests.loopback import NO_TLS
from tests.web.house import PATIENCE, House

# What every answer with a page, or on the way to one, carries.
GUARDS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Walk:
    """One login that was begun, and the browser in which it will be opened."""

    def __init__(self, house: House, practice: PracticeServer, browser: httpx2.Client, account: str = "") -> None:
        new = {"account": account, "provider": "practice", "base_url": practice.url, "client_id": PUBLIC_CLIENT}
        begun = house.owner.ask("POST", "/v1/logins", 201, json=new)
        self.house, self.practice, self.browser = house, practice, browser
        self.id: str = begun["id"]
        self.provider: str = begun["provider"]
        self.start_url: str = begun["start_url"]

    @property
    def cookie(self) -> str:
        """The cookie that ties this browser to this login."""
        return self.browser.cookies[self.cookie_name]

    @property
    def cookie_name(self) -> str:
        """What it is called: each login has its own."""
        return f"kf_login_{self.id[:12]}"

    def answered(self) -> str:
        """Open the start page and let the provider say yes; return the address that it sends the browser to."""
        sent = self.browser.get(self.start_url)
        assert sent.status_code == 302, sent.text
        return str(self.browser.get(sent.headers["location"]).headers["location"])

    def result(self, browser: httpx2.Client | None = None) -> httpx2.Response:
        """Look how it went, in the same browser or in another."""
        return (browser or self.browser).get(f"{self.house.browser_url}/ui/logins/{self.id}")

    def state(self) -> str:
        """Return the login's state, as the owner sees it."""
        state: str = self.house.owner.ask("GET", "/v1/logins/{id}", 200, path={"id": self.id})["state"]
        return state


@contextlib.contextmanager
def new_browser() -> Iterator[httpx2.Client]:
    """Return a browser without a cookie, which goes from redirect to redirect only when it is told to."""
    with httpx2.Client(trust_env=False, verify=NO_TLS, timeout=PATIENCE) as found:
        yield found


def is_guarded_page(answer: httpx2.Response) -> bool:
    """Whether an answer is a page that nothing can frame, load into or learn an address from."""
    policy = {part.strip() for part in answer.headers["content-security-policy"].split(";")}
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert {name: answer.headers[name] for name in GUARDS} == GUARDS
    return {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} <= policy
