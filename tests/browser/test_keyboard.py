"""Without a mouse: everything is reached by Tab, and the focus is always where one would look for it."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.room import Room
from tests.browser.visit import Visit

# Inside of a dialog, or on the way round from its end to its beginning, where a browser has its own buttons.
KEPT_IN = "it => it.contains(document.activeElement) || document.activeElement === document.body"


def press(visit: Visit, target: Locator) -> None:
    """Tab there and press Enter."""
    expect(target).to_be_visible()
    visit.tab_to(target)
    visit.page.keyboard.press("Enter")


def write(visit: Visit, target: Locator, text: str) -> None:
    """Tab there and type over what stands there."""
    expect(target).to_be_visible()
    visit.tab_to(target)
    visit.page.keyboard.press("ControlOrMeta+a")
    visit.page.keyboard.type(text)


def arrived(page: Page, heading: str) -> None:
    """Expect to be on a page, with the focus on its heading, from where a screen reader reads on."""
    expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    expect(page.get_by_role("heading", level=1)).to_be_focused()


def test_a_first_account_by_keyboard(room: Room, visit: Visit) -> None:
    """From nothing to a fresh token by Tab, Enter and typing, over the provider's page and back."""
    page = visit.page
    press(visit, page.get_by_role("link", name="Choose a provider"))
    arrived(page, "Add an account")
    write(visit, page.get_by_role("searchbox"), "practice")
    expect(page.get_by_role("searchbox")).to_be_focused()
    press(visit, page.get_by_role("link", name="Practice"))
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    write(visit, page.get_by_role("textbox", name="Its address"), room.practice.url)
    write(visit, page.get_by_label("Call the account"), "ledger")
    visit.shot("keyboard-add")
    page.keyboard.press("Enter")
    write(visit, page.get_by_label("Your user name"), "grace")
    press(visit, page.get_by_role("button", name="Allow"))
    expect(page.get_by_role("heading", level=1)).to_have_text("You are logged in")
    press(visit, page.get_by_role("main").get_by_role("link").first)

    expect(page.get_by_role("heading", level=1)).to_have_text("ledger")
    assert room.home.token("ledger").startswith("practice_at_")


def test_what_is_on_every_page_can_be_skipped(room: Room, visit: Visit) -> None:
    """The first Tab shows a link to the content; after it, Tab goes on there."""
    page = visit.page
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    skip = page.get_by_role("link", name="Skip to the content")
    page.keyboard.press("Tab")
    expect(skip).to_be_focused()
    box = skip.bounding_box()
    assert box is not None
    assert box["width"] > 50
    visit.inspect("skip")
    page.evaluate("main.firstElementChild.same = true")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{room.url}/ui/#main")
    expect(page.locator("#main")).to_be_focused()  # from there on Tab goes on there
    page.keyboard.press("Tab")

    choose = page.get_by_role("link", name="Choose a provider")
    expect(choose).to_be_focused()
    page.evaluate("ask('GET', '/ui/parts/overview').then((answer) => answer.text())")  # after what was asked before
    assert page.evaluate("main.firstElementChild.same"), "what stood there was drawn anew, under the person's hands"
    expect(choose).to_be_focused()


def test_back_and_forward(room: Room, visit: Visit) -> None:
    """The browser's buttons lead through the pages that were seen; the heading takes the focus each time."""
    page = visit.page
    page.evaluate("window.same = true")
    for link, heading in (("Apps", "Apps"), ("Activity", "Activity"), ("Settings", "Settings and health")):
        press(visit, page.get_by_role("navigation", name="Keyfob").get_by_role("link", name=link))
        arrived(page, heading)
        expect(page).to_have_title(re.compile(f"^{link} · Keyfob$"))
        expect(page.get_by_role("link", name=link)).to_have_attribute("aria-current", "page")

    for back in ("Activity", "Apps", "Add your first account"):
        page.go_back()
        arrived(page, back)
    page.go_forward()
    arrived(page, "Apps")
    expect(page).to_have_url(f"{room.url}/ui/apps")
    assert page.evaluate("window.same")


def test_a_question_keeps_the_focus(room: Room, visit: Visit) -> None:
    """What asks before something is lost stands on No, lets Tab go nowhere else, and takes Escape for No."""
    room.log_in("ledger")
    room.program("report")
    page, dialog = visit.page, visit.page.get_by_role("dialog")
    press(visit, page.get_by_role("navigation", name="Keyfob").get_by_role("link", name="Apps"))
    press(visit, page.get_by_role("link", name="report"))
    remove = page.get_by_role("button", name="Remove this app")
    press(visit, remove)
    expect(dialog.get_by_role("button", name="No, leave it")).to_be_focused()
    visit.shot("keyboard-sure")
    for key in 4 * ["Tab"] + 4 * ["Shift+Tab"]:
        page.keyboard.press(key)
        assert dialog.evaluate(KEPT_IN)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(remove).to_be_focused()
    expect(page.get_by_role("heading", level=1)).to_have_text("report")

    press(visit, page.get_by_role("button", name="Make a new key"))
    press(visit, dialog.get_by_role("button", name="Make a new key"))
    expect(dialog.get_by_role("textbox", name="The app key")).to_be_focused()
    for key in ("Escape", "Tab", "Escape", "Escape", "Shift+Tab", "Tab", "Tab", "Tab"):
        page.keyboard.press(key)
        expect(dialog).to_be_visible()
        assert dialog.evaluate(KEPT_IN)
    press(visit, dialog.get_by_role("button", name="I have it"))
    expect(dialog).to_be_hidden()

    press(visit, remove)
    press(visit, dialog.get_by_role("button", name="Remove it"))
    expect(page.get_by_role("status")).to_contain_text("It is gone")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
