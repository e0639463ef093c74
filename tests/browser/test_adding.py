"""A first account by clicks: at the practice provider, at a server that nobody here wrote, and with a code."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.room import Room
from tests.browser.visit import DESKTOP, PHONE, Look, OpenVisit, Visit


def to_practice(page: Page, address: str) -> None:
    """Go from the first page to the form of the practice provider, and say where that is."""
    page.get_by_role("link", name="Choose a provider").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Add an account")
    page.get_by_role("searchbox").fill("practice")
    page.get_by_role("link", name="Practice").click()
    page.get_by_role("textbox", name="Its address").fill(address)


@pytest.mark.parametrize("look", [DESKTOP, PHONE], ids=lambda look: look.name)
def test_a_first_account(room: Room, open_visit: OpenVisit, look: Look) -> None:
    """From nothing to a fresh token without a terminal; the last page leads back to the account."""
    visit = open_visit(look)
    page = visit.page
    expect(page.get_by_role("heading", level=1)).to_have_text("Add your first account")
    to_practice(page, room.practice.url)
    page.get_by_label("Call the account").fill("ledger")
    visit.inspect("add-practice")
    page.get_by_role("button", name="Log in").click()
    page.get_by_label("Your user name").fill("grace")
    page.get_by_role("button", name="Allow").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("You are logged in")
    visit.inspect("added")
    page.get_by_role("main").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("ledger")
    expect(page.get_by_role("main")).to_contain_text("grace")
    assert room.home.token("ledger").startswith("practice_at_")


def test_three_clicks_where_a_provider_is_known(room: Room, visit: Visit) -> None:
    """Choose a provider, the provider, Log in; whatever else there is may be left as it is."""
    added = room.home.run("provider", "add", "trial", "--preset", "practice", "--base-url", room.practice.url)
    assert added.code == 0, added
    page = visit.page

    page.get_by_role("link", name="Choose a provider").click()
    page.get_by_role("link", name="Practice server at").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Practice server at")
    page.get_by_role("button", name="Log in").click()

    expect(page.get_by_label("Your user name")).to_be_visible()


def test_a_server_that_nobody_here_wrote(room: Room, oidc_provider: str, open_visit: OpenVisit) -> None:
    """Its address is enough: Keyfob asks what it is, registers itself, and its own pages ask for name and consent."""
    visit = open_visit(foreign=oidc_provider)
    page = visit.page
    page.get_by_role("link", name="Choose a provider").click()
    page.get_by_role("textbox", name="Address").fill(oidc_provider)
    page.get_by_role("button", name="Log in").click()
    page.get_by_placeholder("Enter any login").fill("carol")
    page.get_by_placeholder("and password").fill("carol-password")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("You are logged in")
    page.get_by_role("main").get_by_role("link").first.click()
    expect(page.get_by_role("main")).to_contain_text("carol")
    expect(page.get_by_text("Fresh", exact=True)).to_be_visible()
    (account,) = room.home.run("accounts", "--json").json()["accounts"]
    assert room.home.token(account["account"])


def test_a_code_on_another_device(room: Room, visit: Visit, open_visit: OpenVisit) -> None:
    """The page shows the code and its picture, somebody types it elsewhere, and the page goes on by itself."""
    page = visit.page
    page.goto(f"{room.url}/ui/add/practice?way=device")
    page.get_by_role("textbox", name="Its address").fill(room.practice.url)
    page.get_by_label("Call the account").fill("ledger")
    page.get_by_role("button", name="Log in").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Log in with a code")
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    visit.inspect("device")
    there = page.get_by_role("link", name="go there with the code filled in").get_attribute("href")
    assert there is not None
    phone = open_visit(PHONE, signed_in=False).page
    phone.goto(there)
    phone.get_by_label("Your user name").fill("grace")
    phone.get_by_role("button", name="Allow").tap()

    expect(page.get_by_role("heading", level=1)).to_have_text("You are logged in")
    page.get_by_role("link", name="Show the account").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("ledger")
    assert room.home.token("ledger")


def test_what_is_wrong_is_said_where_it_was_typed(room: Room, visit: Visit) -> None:
    """A server that is not there: the form says what to do, and keeps what was typed."""
    page = visit.page
    visit.watch.allow(r"status of (400|502|503)")
    page.goto(f"{room.url}/ui/add")
    page.get_by_role("textbox", name="Address").fill("http://127.0.0.1:9/")
    page.get_by_role("button", name="Log in").click()

    expect(page.get_by_role("alert")).to_contain_text("Check the address")
    expect(page.get_by_role("textbox", name="Address")).to_have_value("http://127.0.0.1:9/")
    visit.inspect("add-wrong")
