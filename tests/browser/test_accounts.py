"""Accounts on the owner's page: seen live, renewed, renamed, locked away, logged in again, logged out."""

import re

from playwright.sync_api import expect

from tests.browser.room import Room
from tests.browser.visit import PHONE, OpenVisit, Visit


def test_a_refresh_is_seen_live(room: Room, visit: Visit) -> None:
    """What a terminal does shows up on the open page by itself, and what was typed there stays."""
    room.log_in("ledger")
    page = visit.page
    visit.open_account("ledger")
    expect(page.get_by_role("heading", level=1)).to_have_text("ledger")
    expect(page.get_by_text("1 renewed, nothing went wrong")).to_be_visible()
    page.locator("summary", has_text="Rename").click()
    name = page.get_by_label("New name")
    name.fill("half a na")

    assert room.home.run("refresh", "ledger").code == 0

    expect(page.get_by_text("2 renewed, nothing went wrong")).to_be_visible()
    expect(name).to_have_value("half a na")
    expect(name).to_be_focused()
    visit.inspect("account")


def test_many_tabs_are_told_by_one(room: Room, visit: Visit) -> None:
    """A browser holds six connections to a host: nine tabs share one of them, and all of them are live."""
    room.log_in("ledger")
    pages = [visit.page, *(visit.page.context.new_page() for _ in range(8))]
    for page in pages:
        page.goto(f"{room.url}/ui/accounts/ledger")
        expect(page.get_by_text("1 renewed, nothing went wrong")).to_be_visible()

    assert room.home.run("refresh", "ledger").code == 0

    for page in pages:
        expect(page.get_by_text("2 renewed, nothing went wrong")).to_be_visible()
    pages[0].close()
    assert room.home.run("refresh", "ledger").code == 0
    for page in pages[1:]:
        expect(page.get_by_text("3 renewed, nothing went wrong")).to_be_visible()
    visit.page = pages[1]


def test_a_token_that_is_handed_out_is_seen(room: Room, visit: Visit) -> None:
    """The first page tells who used an account last."""
    room.log_in("ledger")
    expect(visit.page.get_by_text("not used yet")).to_be_visible()

    room.home.token("ledger")

    expect(visit.page.get_by_text(re.compile("used .* by you"))).to_be_visible()


def test_an_account_is_renewed_renamed_and_logged_out(room: Room, visit: Visit) -> None:
    """By clicks; before the log-out the page asks, and No keeps it."""
    room.log_in("ledger")
    page = visit.page
    visit.open_account("ledger")
    page.get_by_role("button", name="Refresh now").click()
    expect(page.get_by_role("status")).to_have_text("It was renewed.")

    page.locator("summary", has_text="Rename").click()
    page.get_by_label("New name").fill("book/keeping")
    page.get_by_role("button", name="Rename").click()
    assert page.get_by_label("New name").evaluate("it => it.validity.patternMismatch")
    page.get_by_label("New name").fill("books")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("books")
    expect(page).to_have_url(f"{room.url}/ui/accounts/books")
    assert room.home.token("books")

    page.locator("summary", has_text="Log out").click()
    page.get_by_role("button", name="Log out").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Only another login brings it back")
    visit.inspect("log-out")
    dialog.get_by_role("button", name="No, leave it").click()
    expect(dialog).to_be_hidden()
    assert room.home.run("accounts", "--json").json()["accounts"] != []
    page.get_by_role("button", name="Log out").click()
    dialog.get_by_role("button", name="Log out").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Add your first account")
    expect(page.get_by_role("status")).to_be_visible()
    assert room.home.run("accounts", "--json").json() == {"accounts": []}
    visit.inspect("empty")


def test_a_dead_login_is_mended_on_a_phone(room: Room, open_visit: OpenVisit) -> None:
    """The provider ends the login: the page says so by itself, and one tap and the provider's page bring it back."""
    room.log_in("ledger")
    visit = open_visit(PHONE)
    page = visit.page
    expect(page.get_by_text("Fresh")).to_be_visible()
    room.practice.revoke_grants()
    assert room.home.run("refresh", "ledger").code != 0

    expect(page.get_by_text("Log in again").first).to_be_visible()
    expect(page.get_by_text("1 needs you")).to_be_visible()
    visit.inspect("needs-login")
    page.get_by_role("button", name="Log in again").tap()
    page.get_by_label("Your user name").fill("ada")
    page.get_by_role("button", name="Allow").tap()
    expect(page.get_by_role("heading", level=1)).to_have_text("You are logged in")
    page.goto(f"{room.url}/ui/")

    expect(page.get_by_text("Fresh")).to_be_visible()
    assert room.home.token("ledger")


def test_keyfob_is_locked_and_unlocked(room: Room, visit: Visit) -> None:
    """From the settings: nothing is handed out, every page says so, and one button opens it again."""
    room.log_in("ledger")
    page = visit.page
    page.get_by_role("link", name="Settings").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Settings and health")
    visit.inspect("settings")
    page.get_by_role("button", name="Lock now").click()

    expect(page.get_by_role("heading", name="Keyfob is locked")).to_be_visible()
    assert room.home.run("token", "ledger").code != 0
    page.get_by_role("link", name="Accounts").click()
    expect(page.get_by_role("link", name="ledger")).to_be_visible()
    visit.inspect("locked")
    page.get_by_role("button", name="Unlock").click()

    expect(page.get_by_role("heading", name="Keyfob is locked")).to_be_hidden()
    assert room.home.token("ledger")


def test_a_backup_is_made(visit: Visit) -> None:
    """One click, and the page says where it is and what is not in it."""
    page = visit.page
    page.get_by_role("link", name="Settings").click()
    expect(page.get_by_text("There is none that Keyfob knows of.")).to_be_visible()

    page.get_by_role("button", name="Back up now").click()

    expect(page.get_by_role("status")).to_contain_text("sealed. The key is not")
    expect(page.get_by_text("The last one was made")).to_be_visible()


def test_what_is_gone_is_told(room: Room, visit: Visit) -> None:
    """An address of an account that is not there says so, and shows nothing of another."""
    room.log_in("ledger")
    visit.watch.allow(r"status of 404.*/ui/parts/accounts/gone")
    page = visit.page
    expect(page.get_by_role("heading", name="ledger")).to_be_visible()

    page.evaluate("go('/ui/accounts/gone')")

    expect(page.get_by_role("status")).to_contain_text("No account is called 'gone'")
    expect(page.get_by_role("main")).not_to_contain_text("ledger")
    page.get_by_role("link", name="Accounts").click()
    expect(page.get_by_role("heading", name="ledger")).to_be_visible()


def test_who_signs_out_sees_nothing_more(room: Room, visit: Visit) -> None:
    """Not after going back either."""
    room.log_in("ledger")
    page = visit.page
    visit.open_account("ledger")
    expect(page.get_by_role("heading", level=1)).to_have_text("ledger")
    page.get_by_role("link", name="Settings").click()
    page.get_by_role("button", name="Sign out here").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Keyfob is running")

    page.go_back()

    expect(page.get_by_role("heading", level=1)).to_contain_text("Sign in")
    expect(page.get_by_role("main")).not_to_contain_text("ledger")


def test_a_daemon_that_is_gone_is_told(room: Room, visit: Visit) -> None:
    """The page says so, and goes on when it is back."""
    room.log_in("ledger")
    page = visit.page
    expect(page.get_by_text("Fresh")).to_be_visible()
    visit.watch.allow("ERR_")

    room.daemon.stop()

    expect(page.get_by_role("status")).to_contain_text("Keyfob does not answer")
    visit.shot("gone")
