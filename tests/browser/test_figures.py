"""What the page weighs, how soon it is there, and what a click costs. ``pytest -s`` prints the figures."""

import sys

from playwright.sync_api import expect

from tests.browser.room import Room
from tests.browser.visit import OpenVisit

# All that a first visit and every page after it load, unpacked: the promise of the page is 100 KB.
MOST_BYTES = 100_000
# How soon something is seen, on two cores that do other things as well; on an idle machine it is a tenth.
MOST_MS = 5_000
# What was loaded, unpacked. A browser does not count the picture of the tab there: it is asked for once more.
ICON = "fetch(document.querySelector('link[rel=icon]').href).then(it => it.text())"
LOADED = """["navigation", "resource"].flatMap(it => performance.getEntriesByType(it))
  .map(it => [it.name.split("#")[0], it.decodedBodySize])"""
PAINTS = "performance.getEntriesByType('paint').map(it => [it.name, it.startTime])"


def test_what_the_page_weighs(room: Room, open_visit: OpenVisit) -> None:
    """A first visit, all pages one after the other, and every script, style and picture: less than 100 KB."""
    room.log_in("ledger")
    code = room.program("harvester").refused("ledger")
    visit = open_visit(signed_in=False)
    page = visit.page
    assert visit.sign_in(room.entrance()) == 201
    expect(page.get_by_role("heading", name="ledger")).to_be_visible()
    (painted,) = [at for name, at in page.evaluate(PAINTS) if name == "first-contentful-paint"]
    page.evaluate("window.same = true")

    for link, heading in (("ledger", "ledger"), ("All apps", "Apps"), ("Look and answer", "harvester asks")):
        page.get_by_role("main").get_by_role("link", name=link).first.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(heading)
    for link, heading in (("Apps", "Apps"), ("Activity", "Activity"), ("Settings", "Settings and health")):
        page.get_by_role("navigation", name="Keyfob").get_by_role("link", name=link).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    page.get_by_role("link", name="Accounts").click()
    page.get_by_role("link", name="Add an account").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Add an account")
    page.get_by_role("link", name="Practice server at").click()
    expect(page.get_by_role("heading", name="Practice server at")).to_be_visible()

    assert page.evaluate("window.same")  # no click loaded a page: all of them came as parts
    page.evaluate(ICON)
    sizes: dict[str, int] = {}
    for url, size in page.evaluate(LOADED):
        sizes[url] = max(sizes.get(url, 0), size)
    assert sizes[f"{room.url}/ui/parts/overview"] > 0
    assert sizes[f"{room.url}/ui/parts/approvals/{code}"] > 0
    assert len([url for url, size in sizes.items() if "/ui/static/" in url and size]) == 5
    told = [f"{size:7} {url.removeprefix(room.url)}" for url, size in sorted(sizes.items(), key=lambda one: -one[1])]
    sys.stdout.write("\n".join(["", *told, f"{sum(sizes.values()):7} in all", f"{painted:7.0f} ms to first paint", ""]))
    assert sum(sizes.values()) < MOST_BYTES
    assert painted < MOST_MS
