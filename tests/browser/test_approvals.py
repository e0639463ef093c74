"""A program asks for an account that it was not granted, and the owner answers in the browser."""

from playwright.sync_api import expect

from tests.browser.room import Room
from tests.browser.visit import PHONE, OpenVisit, Visit

# Nobody has read a question so soon; and so late nobody should still have to wait.
HASTY_MS, ARMED_MS = 300, 2_000


def test_the_owner_allows_always_without_a_mouse(room: Room, visit: Visit) -> None:
    """A question shows up on the open page by itself, the keyboard answers it, and the program has its token."""
    room.log_in("ledger")
    page = visit.page
    expect(page.get_by_role("heading", name="ledger")).to_be_visible()

    program = room.program("harvester")
    program.refused("ledger")

    question = page.get_by_role("link", name="harvester")
    expect(question).to_be_visible()
    visit.inspect("approvals")
    visit.tab_to(question)
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("harvester asks for account ledger")
    always = page.get_by_role("button", name="Allow always")
    expect(always).to_be_enabled()
    visit.inspect("approval")
    visit.tab_to(always)
    page.keyboard.press("Enter")

    expect(page.get_by_role("status")).to_contain_text("harvester: allowed")
    visit.inspect("approval-answered")
    assert program.token("ledger") == room.home.token("ledger")


def test_buttons_take_no_click_in_the_first_moment(room: Room, guest: Visit) -> None:
    """A click that was meant for what stood there before answers nothing."""
    room.log_in("ledger")
    code = room.program("harvester").refused("ledger")
    assert guest.sign_in(room.entrance()) == 201
    page = guest.page
    page.clock.install()
    page.clock.pause_at("2035-01-01")
    page.goto(f"{room.url}/ui/approvals/{code}")

    once = page.get_by_role("button", name="Allow once")
    expect(once).to_be_disabled()
    page.clock.run_for(HASTY_MS)
    once.click(force=True)
    assert room.state_of(code) == "pending"

    page.clock.run_for(ARMED_MS - HASTY_MS)
    once.click()
    expect(page.get_by_role("status")).to_contain_text("allowed once")
    assert room.state_of(code) == "once"


def test_a_refusal_on_a_phone(room: Room, open_visit: OpenVisit) -> None:
    """Everything is within reach of a thumb at 360 pixels, and Not now gives nothing."""
    room.log_in("ledger")
    program = room.program("harvester")
    code = program.refused("ledger")
    visit = open_visit(PHONE)
    page = visit.page

    page.get_by_role("link", name="harvester").tap()
    no = page.get_by_role("button", name="Not now")
    expect(no).to_be_enabled()
    visit.fits()
    no.tap()

    expect(page.get_by_role("status")).to_contain_text("harvester: not allowed")
    assert room.state_of(code) == "denied"
    assert program.ask("ledger").status_code == 403
