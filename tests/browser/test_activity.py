"""What happened, on the owner's page: seen as it happens, searched, narrowed, checked, and leafed through."""

import re

from playwright.sync_api import expect

from tests.browser.room import Room
from tests.browser.visit import Visit


def test_what_happens_in_a_terminal_is_seen(room: Room, visit: Visit) -> None:
    """Without a reload; account and app of an entry lead to all about them, and from there to their own pages."""
    page = visit.page
    page.get_by_role("link", name="Activity").click()
    happened = page.get_by_role("main").get_by_role("listitem")
    expect(happened.filter(has_text="Keyfob started")).to_be_visible()
    page.evaluate("window.same = true")

    room.log_in("ledger")
    expect(happened.filter(has_text="ledger is logged in")).to_be_visible()
    room.home.token("ledger")
    expect(happened.filter(has_text="A token of ledger went to you")).to_be_visible()
    assert room.home.run("refresh", "ledger").code == 0
    expect(happened.filter(has_text="The token of ledger was renewed")).to_be_visible()
    room.program("harvester").refused("ledger")
    expect(happened.filter(has_text="Turned away: harvester")).to_be_visible()
    assert page.evaluate("window.same")
    visit.inspect("activity")

    happened.filter(has_text="Turned away").get_by_role("link", name="harvester").click()
    expect(page).to_have_url(re.compile(r"/ui/activity\?app=harvester$"))
    expect(happened.filter(has_text="renewed")).to_have_count(0)
    page.get_by_text("Only what is about").get_by_role("link", name="harvester").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("harvester")
    page.get_by_role("link", name="What it did").click()
    happened.filter(has_text="Turned away").get_by_role("link", name="ledger").click()
    page.get_by_text("Only what is about").get_by_role("link", name="ledger").click()
    expect(page).to_have_url(f"{room.url}/ui/accounts/ledger")


def test_it_is_searched_and_checked(room: Room, visit: Visit) -> None:
    """By words, kind, account and app together; and the check says that nothing was changed."""
    room.log_in("ledger")
    room.log_in("till")
    page = visit.page
    page.get_by_role("link", name="Activity").click()
    happened = page.get_by_role("main").get_by_role("listitem")
    search = page.get_by_role("search")
    expect(happened.filter(has_text="till is logged in")).to_be_visible()

    search.get_by_label("Kind of thing").select_option("Logins")
    search.get_by_label("Account", exact=True).fill("ledger")
    search.get_by_role("button", name="Show").click()
    expect(happened.filter(has_text="ledger is logged in")).to_be_visible()
    expect(happened.filter(has_text="till")).to_have_count(0)
    expect(happened.filter(has_text="A provider was added")).to_have_count(0)
    expect(search.get_by_label("Kind of thing")).to_have_value("logins")
    visit.inspect("activity-narrowed")
    search.get_by_label("Search in what happened").fill("nothing-of-that")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing that happened fits that.")).to_be_visible()
    search.get_by_role("link", name="Show all").click()
    expect(happened.filter(has_text="till is logged in")).to_be_visible()

    page.get_by_role("button", name="Check that nothing was changed").click()
    expect(page.get_by_role("status")).to_contain_text(re.compile(r"Nothing was changed: all \d+ entries"))
    visit.inspect("activity-checked")


def test_a_long_time_is_leafed_through(room: Room, visit: Visit) -> None:
    """Fifty on a page, older and newer ones a click away, and nothing twice."""
    room.log_in("ledger")
    room.program("harvester")
    with room.home.door() as owner:
        for _ in range(55):
            assert owner.put("/v1/apps/harvester/grants/ledger", json={}).is_success
            assert owner.delete("/v1/apps/harvester/grants/ledger").is_success
    page, happened = visit.page, visit.page.get_by_role("main").get_by_role("listitem")
    page.get_by_role("link", name="Activity").click()
    expect(happened).to_have_count(50)
    newest = happened.first.inner_text()
    keys = "all => all.map(it => it.dataset.key)"
    seen = happened.evaluate_all(keys)
    for number in (2, 3):
        page.get_by_role("link", name="Older").click()
        expect(page.get_by_text(f"Page {number}", exact=True)).to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_be_focused()
        seen += happened.evaluate_all(keys)
    expect(page.get_by_role("link", name="Older")).to_be_hidden()
    expect(happened.filter(has_text="Keyfob started")).to_be_visible()
    visit.inspect("activity-old")

    assert len(seen) == len(set(seen)) > 110
    for number in (2, 1):
        page.get_by_role("link", name="Newer").click()
        expect(page.get_by_text(f"Page {number}", exact=True)).to_be_visible()
    assert newest.split("\n")[1:] == happened.first.inner_text().split("\n")[1:]
