"""Logins by clicks: from the address in the terminal, over the provider's own pages, to the result page."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.room import Room
from tests.browser.visit import PHONE, STILL, Look, OpenVisit, Visit

RESULT = re.compile(r"/ui/logins/[\w-]+$")


@pytest.mark.parametrize("look", [STILL, PHONE], ids=lambda look: look.name)
def test_a_login_by_clicks(room: Room, open_visit: OpenVisit, look: Look) -> None:
    """Somebody types a name, leaves a scope out, and is told what was granted; the address bar holds no code."""
    waiting, start = room.begin_login("ledger", scope=("openid", "profile", "read"))
    visit = open_visit(look, signed_in=False)
    page = visit.page

    page.goto(start)
    page.get_by_label("Your user name").fill("grace")
    page.get_by_role("checkbox", name="Read your practice data").uncheck()
    visit.fits()
    page.get_by_role("button", name="Allow").click()

    expect(page).to_have_url(RESULT)
    expect(page.get_by_role("heading", level=1)).to_have_text("You are logged in")
    expect(page.get_by_role("main")).to_contain_text("grace")
    expect(page.get_by_role("main")).to_contain_text(re.compile("not granted.*read", re.DOTALL))
    visit.inspect("logged-in")
    done = waiting.end()
    assert (done.code, done.out) == (0, ""), done
    assert room.home.token("ledger").startswith("practice_at_")


def test_a_refusal_at_the_provider(room: Room, guest: Visit) -> None:
    """Who presses Deny there is told here that nothing was kept, and how to begin again."""
    waiting, start = room.begin_login("ledger")

    guest.page.goto(start)
    guest.inspect("practice-consent")
    guest.page.get_by_role("button", name="Deny").click()

    expect(guest.page).to_have_url(RESULT)
    expect(guest.page.get_by_role("heading", level=1)).to_have_text("You are not logged in")
    expect(guest.page.get_by_role("main")).to_contain_text("keyfob login ledger")
    guest.inspect("login-refused")
    assert waiting.end().code == 1
    assert room.home.run("accounts", "--json").json() == {"accounts": []}


def test_a_login_link_in_a_second_browser(room: Room, guest: Visit, open_visit: OpenVisit) -> None:
    """A link that another browser has opened already leads nowhere, and says why."""
    _, start = room.begin_login("ledger")
    open_visit(signed_in=False).page.goto(start)

    guest.watch.allow(r"status of 403.*/login/")
    guest.page.goto(start)

    expect(guest.page.get_by_role("heading", level=1)).to_have_text("This login belongs to another browser")
    guest.inspect("other-browser")


def test_a_login_at_a_server_that_nobody_here_wrote(room: Room, oidc_provider: str, open_visit: OpenVisit) -> None:
    """oidc-provider's own pages ask for name, password and consent, and the browser ends at Keyfob's page."""
    added = room.home.run("provider", "add", "op", "--issuer", oidc_provider, "--client-id", "native")
    assert added.code == 0, added
    waiting, start = room.begin_login("ledger", "--provider", "op", scope=("openid", "offline_access"))
    visit = open_visit(signed_in=False, foreign=oidc_provider)
    page = visit.page

    page.goto(start)
    page.get_by_placeholder("Enter any login").fill("carol")
    page.get_by_placeholder("and password").fill("carol-password")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()

    expect(page).to_have_url(RESULT)
    expect(page.get_by_role("heading", level=1)).to_have_text("You are logged in")
    expect(page.get_by_role("main")).to_contain_text("carol")
    visit.shot("logged-in-oidc-provider")
    assert waiting.end().code == 0
    assert room.home.token("ledger")
