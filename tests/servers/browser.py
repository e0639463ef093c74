"""A person at a browser, without the browser: follows redirects, keeps cookies, fills in forms, presses buttons.

Used by the walks. It shares nothing with Keyfob's own code, so that a mistake there is not repeated here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

import httpx2

from .steps import Unmet

# More pages than any of these servers shows between the first and the last.
MOST_STEPS = 25
AGREE = re.compile(r"\b(allow|authori[sz]e|accept|continue|confirm|verify|sign[ -]?in|log[ -]?in)\b", re.IGNORECASE)
REFUSE = re.compile(r"\b(cancel|deny|abort)\b", re.IGNORECASE)


@dataclass
class Button:
    """A button, or a link that looks like one."""

    label: str = ""
    name: str = ""
    value: str = ""


@dataclass
class Form:
    """A form of a page: where it goes and what it sends."""

    action: str
    method: str
    id: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    buttons: list[Button] = field(default_factory=list)

    @property
    def is_login(self) -> bool:
        """Whether it asks for a password."""
        return "password" in self.kinds.values()


class Page(HTMLParser):
    """The forms, links and text of an HTML page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[Form] = []
        self.links: list[tuple[str, str]] = []
        self.inputs: dict[str, str] = {}
        self._words: list[str] = []
        self._form: Form | None = None
        self._button: Button | None = None
        self._skip = False
        self.feed(html)

    @property
    def text(self) -> str:
        """What a person reads, on one line."""
        return " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See html.parser."""
        given = {name: value or "" for name, value in attrs}
        name, kind = given.get("name", ""), given.get("type", "").lower()
        if tag == "form":
            self._form = Form(given.get("action", ""), given.get("method", "get").lower(), given.get("id", ""))
            self.forms.append(self._form)
        elif tag == "button" or (tag == "input" and kind == "submit"):
            button = Button(given.get("value", ""), name, given.get("value", ""))
            self._button = button if tag == "button" else None
            # A button may stand outside of its form and name it.
            owner = next((form for form in self.forms if form.id and form.id == given.get("form")), self._form)
            if owner is not None:
                owner.buttons.append(button)
        elif tag == "input":
            self.inputs[given.get("id", name)] = given.get("value", "")
            if self._form is not None and name and (kind not in ("checkbox", "radio") or "checked" in given):
                self._form.fields[name] = given.get("value", "on" if kind == "checkbox" else "")
                self._form.kinds[name] = kind or "text"
        elif tag == "a" and "href" in given:
            self.links.append((given["href"], ""))
        self._skip = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        """See html.parser."""
        if tag == "form":
            self._form = None
        elif tag == "button":
            self._button = None
        self._skip = False

    def handle_data(self, data: str) -> None:
        """See html.parser."""
        if self._skip:
            return
        self._words.append(data)
        if self._button is not None:
            self._button.label += data
        if self.links and not self.links[-1][1]:
            self.links[-1] = (self.links[-1][0], data.strip())


@dataclass(frozen=True)
class Seen:
    """Where a walk ended: the address bar and what stands there."""

    url: str
    status: int = 0
    page: Page | None = None

    @property
    def text(self) -> str:
        """What a person reads."""
        return self.page.text if self.page is not None else ""

    def __str__(self) -> str:
        return f"HTTP {self.status} {self.url}: {self.text[:200]}"


class Browser:
    """One browser with its own cookies.

    Args:
        server: origin of the authorization server, whose forms are filled in.
        user: who sits there; the password is ``USER-password``.
        refuses: presses Cancel where consent is asked.
        code: what to type where a code from another device is asked for.
    """

    def __init__(self, server: str, user: str, *, refuses: bool = False, code: str = "") -> None:
        self.server, self.user, self.refuses, self.code = server, user, refuses, code
        self._http = httpx2.Client(
            trust_env=False, timeout=20, headers={"accept": "text/html", "accept-language": "en"}
        )

    def get(self, url: str) -> httpx2.Response:
        """Open a URL and follow nothing."""
        return self._http.get(url)

    def open(self, url: str, *, stop_before: Callable[[str], bool] = lambda _url: False) -> Seen:
        """Open a URL; log in and consent on the way; return the first page where there is nothing more to do.

        Args:
            url: where to begin.
            stop_before: a URL that this accepts is not opened any more but returned, with status 0.

        Raises:
            Unmet: the walk goes in a circle.
        """
        response = self._http.get(url)
        for _ in range(MOST_STEPS):
            where, body = self._next(response)
            if where is None:
                return Seen(str(response.url), response.status_code, Page(response.text))
            if stop_before(where):
                return Seen(where)
            response = self._http.get(where) if body is None else self._post(where, body, str(response.url))
        raise Unmet(f"after {MOST_STEPS} pages the browser is still on its way, at {response.url}")

    def _next(self, response: httpx2.Response) -> tuple[str | None, dict[str, str] | None]:
        """Return the URL to go to and the form to send there, or None where the walk ends."""
        here = str(response.url)
        if response.is_redirect:
            return urljoin(here, response.headers["location"]), None
        if _origin(here) != self.server or response.status_code >= httpx2.codes.BAD_REQUEST:
            return None, None
        page = Page(response.text)
        form = next((form for form in page.forms if form.method == "post"), None)
        if form is None:
            return None, None
        if form.is_login:
            named = (name for name, kind in form.kinds.items() if kind in ("text", "email"))
            secret = next(name for name, kind in form.kinds.items() if kind == "password")
            return urljoin(here, form.action), form.fields | {next(named): self.user, secret: f"{self.user}-password"}
        if form.kinds.get("login") == "text":
            # The name comes first, on a page of its own.
            return urljoin(here, form.action), form.fields | {"login": self.user}
        if form.kinds.get("user_code") == "text":
            # Once: a page that asks again has refused it, or the login was refused.
            code, self.code = self.code, ""
            return (urljoin(here, form.action), form.fields | {"user_code": code}) if code else (None, None)
        wanted = REFUSE if self.refuses else AGREE
        link = next((href for href, label in page.links if wanted.search(label)), None)
        if self.refuses and link is not None:
            return urljoin(here, link), None
        button = next((button for button in form.buttons if wanted.search(f"{button.label} {button.value}")), None)
        if button is None:
            return None, None
        pressed = {button.name: button.value} if button.name else {}
        return urljoin(here, form.action), form.fields | pressed

    def _post(self, url: str, form: dict[str, str], referer: str) -> httpx2.Response:
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "referer": referer,
            "origin": _origin(referer),
        }
        return self._http.post(url, content=urlencode(form), headers=headers)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
