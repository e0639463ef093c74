"""Who sees the owner's page: the browser that an address of ``keyfob ui`` signed in, and no other."""

import re

from playwright.sync_api import Page, expect

from tests.browser.room import Room
from tests.browser.visit import OpenVisit, Visit


def test_the_address_signs_in_and_leaves_the_address_bar(room: Room, guest: Visit) -> None:
    """Neither the address bar nor the history keeps what signed the browser in."""
    entrance = room.entrance()
    assert "#" in entrance

    assert guest.sign_in(entrance) == 201

    expect(guest.page).to_have_url(f"{room.url}/ui/")
    expect(guest.page.get_by_role("heading", level=1)).to_be_visible()
    assert guest.page.evaluate("history.length") == 2  # the empty page of a new window, and this one
    guest.inspect("signed-in")


def test_a_sign_in_lasts_over_a_reload(page: Page) -> None:
    """The page keeps what it was given, so that F5 signs nobody out."""
    shown = page.get_by_role("heading", name="Add your first account")
    expect(shown).to_be_visible()

    page.reload()

    expect(shown).to_be_visible()


def test_a_used_address_says_so(room: Room, guest: Visit, open_visit: OpenVisit) -> None:
    """Who opens it second is told so, and what to do, and sees nothing."""
    entrance = room.entrance()
    assert open_visit(signed_in=False).sign_in(entrance) == 201

    guest.watch.allow(r"status of 401.*/ui/session")
    assert guest.sign_in(entrance) == 401

    said = guest.page.get_by_role("status")
    expect(said).to_contain_text("signed somebody in already")
    expect(said).to_contain_text("too old")
    expect(guest.page).to_have_url(f"{room.url}/ui/")
    guest.inspect("address-used")


def test_a_page_that_is_not_signed_in_shows_how_to_sign_in(room: Room, guest: Visit) -> None:
    """Every program of this machine can open it: no app, no account and no question stands there."""
    room.log_in("ledger")
    code = room.program("harvester").refused("ledger")

    for path in (f"/ui/approvals/{code}", "/ui/"):
        guest.page.goto(room.url + path)

        expect(guest.page.get_by_role("heading", level=1)).to_be_visible()
        expect(guest.page.get_by_role("main")).not_to_contain_text(re.compile("ledger|harvester"))
    guest.page.goto(f"{room.url}/ui/approvals/{code}")
    expect(guest.page.get_by_role("heading", level=1)).to_contain_text("Sign in")
    expect(guest.page.get_by_role("main")).to_contain_text("keyfob ui")
    guest.inspect("not-signed-in")
