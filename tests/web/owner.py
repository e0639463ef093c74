"""The owner's browser, signed in, and the forms of the page as its script reads and sends them.

Used by the tests of this room that add an account as a person does.
"""

import contextlib
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from tests.web.desktop import Desktop
from tests.web.house import running
from tests.web.walk import new_browser


class Form(HTMLParser):
    """The form of a part that begins a login, or sends something, as the page's script reads it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action, self.method, self.then = "", "", ""
        self.fields: dict[str, dict[str, str]] = {}
        self.values: dict[str, str] = {}
        self._open = self._select = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the last form that sends something, and its fields."""
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = found["data-method"]
            if self._open == "POST":
                self.action, self.method, self.then = found["action"], self._open, found.get("data-then", "")
                self.fields, self.values = {}, {}
        elif tag in ("input", "select") and self._open == "POST":
            self.fields[found["name"]] = found
            if found.get("type") != "checkbox":
                self.values[found["name"]] = found.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """A form is over."""
        self._open = "" if tag == "form" else self._open

    def filled(self, **typed: str) -> dict[str, Any]:
        """Return the body that the script makes of what is there and what a person types."""
        assert set(typed) <= set(self.fields)
        body: dict[str, Any] = {}
        for name, value in {**self.values, **typed}.items():
            if value:
                first, _, member = name.partition(".")
                words = value.split() if self.fields[name].get("data-kind") == "words" else value
                body.update({first: {**body.get(first, {}), member: words}} if member else {first: words})
        return body


class Owner:
    """The owner's browser, signed in."""

    def __init__(self, desktop: Desktop) -> None:
        self.desktop, self.house = desktop, desktop.house
        self._session = desktop.session()

    def part(self, path: str, status: int = 200) -> str:
        """Return a part."""
        answer = self.desktop.send("GET", f"/ui/parts/{path}", self._session)
        assert answer.status_code == status, answer.text
        return answer.text

    def send(self, form: Form, status: int = 201, **typed: str) -> dict[str, Any]:
        """Fill a form in and send it."""
        answer = self.desktop.send(form.method, form.action, self._session, json=form.filled(**typed))
        assert answer.status_code == status, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def begin(self, path: str, status: int = 201, **typed: str) -> dict[str, Any]:
        """Fill in the form of a provider and send it."""
        return self.send(Form(self.part(path)), status, **typed)


@contextlib.contextmanager
def a_desktop(home: Path) -> Iterator[Desktop]:
    """Run a daemon whose clock the test moves."""
    found = Desktop()
    with running(home, found.clock) as found.house:
        yield found


@contextlib.contextmanager
def signed_in(desktop: Desktop) -> Iterator[Owner]:
    """Sign a new browser in, now."""
    desktop.now = time.time()
    with new_browser() as desktop.browser:
        yield Owner(desktop)
