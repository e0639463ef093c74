"""The owner's browser, signed in, as the page's own script asks with it.

Used by the tests of the pages that the owner sees.
"""

import time
from collections.abc import Callable
from html.parser import HTMLParser
from urllib.parse import urlsplit

import httpx2

from tests.web.house import PATIENCE, House

# Text that would act in a page, paint over its neighbours, or be a template, if anybody let it.
HOSTILE = (
    "<img src=x onerror=alert(1)>\u202e\x1b[2J\"'`{{7*7}}",
    "\" autofocus onfocus=alert(1) x='",
    "</select></ul></form><form action=//evil.example><button>Yes",
    "</textarea></template><script>alert(1)</script>",
    "javascript:alert(1)",
    "//evil.example/?#&a=b",
    "{app} {account} {{ page }} {% include 'x' %}",
)


class Desk:
    """One browser that is signed in at a house."""

    def __init__(self, house: House, browser: httpx2.Client) -> None:
        self.house, self.browser = house, browser
        url = urlsplit(house.owner.ask("POST", "/v1/session", 201, json={})["url"])
        ticket = url.fragment.removeprefix("s=")
        self._session = ""
        self._session = self.send("POST", "/ui/session", 201, {"ticket": ticket}).json()["session"]

    def send(self, method: str, path: str, status: int, body: object = None) -> httpx2.Response:
        """Ask, and expect a status."""
        headers = {"Origin": self.house.browser_url, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
        headers |= {"Authorization": f"Bearer {self._session}"} if self._session else {}
        answer = self.browser.request(method, self.house.browser_url + path, headers=headers, json=body)
        assert answer.status_code == status, answer.text
        return answer

    def part(self, path: str) -> str:
        """Return a part's HTML."""
        return self.send("GET", f"/ui/parts/{path}", 200).text

    def until(self, path: str, fits: Callable[[str], bool]) -> str:
        """Return a part once it fits: what happened is written down beside the doors."""
        give_up = time.monotonic() + PATIENCE
        while not fits(html := self.part(path)):
            assert time.monotonic() < give_up, html
        return html

    def refused(self, method: str, path: str) -> None:
        """Hold that a route wants the session."""
        headers = {"Origin": self.house.browser_url}
        body: dict[str, str] | None = {} if method in ("POST", "PUT") else None
        answer = self.browser.request(method, self.house.browser_url + path, headers=headers, json=body)
        assert answer.status_code == 401, answer.text


class _Tags(HTMLParser):
    """Every tag with its attributes' names, and with the values of those that lead somewhere or do something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one."""
        assert not any(name.startswith("on") or name in ("style", "srcdoc") for name, _ in attrs), attrs
        for name, value in attrs:
            if name in ("href", "src", "action", "data-then"):
                assert not value or (value.startswith(("/ui/", "#")) and "//" not in value) or value == "key", value
        self.found.append((tag, tuple(name for name, _ in attrs)))


def tags(html: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return what a part is made of, and hold that none of it leads away or acts."""
    parser = _Tags()
    parser.feed(html)
    return parser.found


def assert_inert(hostile: str, plain: str) -> None:
    """Hold that a part with hostile text is made of the same as with plain text, and paints over nothing."""
    assert tags(hostile) == tags(plain)
    assert not {"\u202e", "\x1b"} & set(hostile)
    assert "49" not in hostile
