"""One browser window of a walk: how it looks, what it must never do, and what is kept of it.

Opened by the fixtures of ``conftest``. The page itself is Playwright's, and is used as that.
"""

import importlib.resources
import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Locator, Page, Request, WebError

PICTURES = Path(__file__).parents[2] / "artifacts/screenshots"
# Playwright waits until something is so; this is for two cores that do other things as well.
PATIENCE_MS = 20_000
# No page has so many things to tab through.
MOST_TABS = 200
# axe-core, as Deque publishes it; what a script of Playwright's does is not under the page's policy.
_AXE = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
# Colours are judged as they are in the end, not on their way there.
_RUN_AXE = """async () => {
  for (const moving of document.getAnimations())
    if (moving.effect.getComputedTiming().endTime === Infinity) moving.cancel(); else moving.finish();
  return (await axe.run(document, { resultTypes: ["violations"] })).violations;
}"""
SERIOUS = ("serious", "critical")


@dataclass(frozen=True, slots=True)
class Look:
    """What somebody looks at a page with.

    Attributes:
        name: for the names of pictures.
        width: of the window, in CSS pixels.
        height: the same.
        dark: wants dark colours.
        still: wants nothing to move.
    """

    name: str
    width: int = 1280
    height: int = 800
    dark: bool = False
    still: bool = False


DESKTOP = Look("desktop")
DARK = Look("dark", dark=True)
PHONE = Look("phone", width=360, height=740)
PHONE_DARK = Look("phone-dark", width=360, height=740, dark=True)
STILL = Look("still", still=True)
# Both widths and both kinds of colours; each costs a second or two.
LOOKS = (DESKTOP, PHONE_DARK)


class Watch:
    """Notes every error and warning in the console, the policy's too, every foreign request, every box of a script.

    Args:
        context: what is watched.
        own: where pages of ours come from and may ask.
        foreign: where the browser may go too. What a page from there says or loads is not ours.
    """

    def __init__(self, context: BrowserContext, own: AbstractSet[str], foreign: str = "") -> None:
        self._own, self._foreign = own, foreign
        self._allowed: list[str] = []
        self._seen: list[str] = []
        context.on("console", self._console)
        context.on("weberror", self._error)
        context.on("request", self._request)
        context.on("dialog", self._dialog)

    def allow(self, pattern: str) -> None:
        """Say what this walk brings about on purpose; it has to come, too."""
        self._allowed.append(pattern)

    def _console(self, message: ConsoleMessage) -> None:
        about, page = message.location["url"], message.page
        if self._foreign and self._foreign in (_origin(about), _origin(page.url) if page is not None else ""):
            return
        # A browser asks for /favicon.ico by itself where a page names none.
        if message.type in ("error", "warning") and urlsplit(about).path != "/favicon.ico":
            self._seen.append(f"console {message.type}: {message.text} {about}".strip())

    def _error(self, error: WebError) -> None:
        if error.page is None or _origin(error.page.url) != self._foreign:
            self._seen.append(f"uncaught: {error.error}")

    def _dialog(self, dialog: Dialog) -> None:
        self._seen.append(f"{dialog.type}: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        to = _origin(request.url)
        if to in self._own or request.url.startswith(("data:", "blob:")):
            return
        # The frame of a navigation is not there yet; who led to it is a page of ours or a redirect.
        if self._foreign and (to if request.is_navigation_request() else _origin(request.frame.url)) == self._foreign:
            return
        self._seen.append(f"foreign request: {request.method} {request.url}")

    def problems(self) -> list[str]:
        """Return what was seen and not allowed, and what was allowed and not seen."""
        unasked = [line for line in self._seen if not any(re.search(pattern, line) for pattern in self._allowed)]
        unseen = [pattern for pattern in self._allowed if not any(re.search(pattern, line) for line in self._seen)]
        return [*unasked, *(f"allowed, and never seen: {pattern}" for pattern in unseen)]


class Visit:
    """One window with cookies and storage of its own.

    Args:
        chromium: the browser.
        look: what somebody looks at it with.
        own: where pages of ours come from and may ask.
        foreign: where the browser may go too.

    Attributes:
        page: Playwright's page.
        watch: what it must never do.
    """

    def __init__(self, chromium: Browser, look: Look, own: AbstractSet[str], foreign: str = "") -> None:
        self.look = look
        phone = look.width < DESKTOP.width
        self._context = chromium.new_context(
            viewport={"width": look.width, "height": look.height},
            color_scheme="dark" if look.dark else "light",
            reduced_motion="reduce" if look.still else "no-preference",
            is_mobile=phone,
            has_touch=phone,
            locale="en-GB",
        )
        self._context.set_default_timeout(PATIENCE_MS)
        self.watch = Watch(self._context, own, foreign)
        self.page: Page = self._context.new_page()

    def open_account(self, name: str) -> None:
        """Go from the first page to an account's, once it stands there as one: a login under way has a link as well."""
        self.page.locator(f'a[href="/ui/accounts/{name}"]').click()

    def sign_in(self, entrance: str) -> int:
        """Open an address of ``keyfob ui``; return the status with which the page's own script was answered."""
        with self.page.expect_response(lambda answer: urlsplit(answer.url).path == "/ui/session") as session:
            self.page.goto(entrance)
        if session.value.ok:  # nobody leaves before something is shown, and the sign-in kept for that
            self.page.locator("main > [data-title]").wait_for()
        return session.value.status

    def tab_to(self, target: Locator) -> None:
        """Press Tab until the focus is there, as somebody without a mouse does."""
        for _ in range(MOST_TABS):
            if target.evaluate("it => it === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"{MOST_TABS} times Tab did not lead to {target}")

    def clipboard(self) -> str:
        """Return what was copied last in this window."""
        self._context.grant_permissions(["clipboard-read", "clipboard-write"])
        copied: str = self.page.evaluate("navigator.clipboard.readText()")
        return copied

    def inspect(self, name: str) -> None:
        """See the page large and light, small and dark: axe finds nothing serious, it fits; keep pictures."""
        ids: list[str] = self.page.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
        assert len(ids) == len(set(ids)), sorted(ids)
        for look in LOOKS:
            self._wear(look)
            self.axe()
            self.fits()
            self.shot(f"{name}-{look.name}")
        self._wear(self.look)

    def _wear(self, look: Look) -> None:
        self.page.set_viewport_size({"width": look.width, "height": look.height})
        self.page.emulate_media(color_scheme="dark" if look.dark else "light")

    def shot(self, name: str) -> Path:
        """Keep a picture of the whole page, ``artifacts/screenshots/NAME.png``."""
        picture = PICTURES / f"{name}.png"
        self.page.screenshot(path=picture, full_page=True, animations="disabled")
        return picture

    def fits(self) -> None:
        """Expect that nothing has to be scrolled sideways."""
        assert self.page.viewport_size is not None
        width = self.page.evaluate("document.scrollingElement.scrollWidth")
        assert width <= self.page.viewport_size["width"], f"{self.page.url} is {width} px wide"

    def axe(self) -> None:
        """Expect that axe-core finds nothing serious."""
        found = [one for one in self.violations() if one["impact"] in SERIOUS]
        assert not found, "\n".join([f"axe finds at {self.page.url}:", *(_told(one) for one in found)])

    def violations(self) -> list[dict[str, Any]]:
        """Return all that axe-core finds."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(_AXE)
        found: list[dict[str, Any]] = self.page.evaluate(_RUN_AXE)
        return found

    def problems(self) -> list[str]:
        """Return what went on in this window that must not, up to now."""
        self.page.evaluate("0")  # whatever was said before this is answered has been heard then
        return self.watch.problems()

    def close(self) -> None:
        """Close the window."""
        self._context.close()


class OpenVisit(Protocol):
    """What the fixture ``open_visit`` is."""

    def __call__(self, look: Look = DESKTOP, *, signed_in: bool = True, foreign: str = "") -> Visit:
        """Open a window; ``foreign`` is an origin that it may go to beside Keyfob's and the practice provider's."""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _told(violation: dict[str, Any]) -> str:
    nodes = (f"    {' '.join(map(str, node['target']))}\n      {node['failureSummary']}" for node in violation["nodes"])
    return "\n".join([f"  {violation['impact']}: {violation['id']}: {violation['help']}", *nodes])
