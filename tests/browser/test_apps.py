"""Apps on the owner's page: a key by hand, what it may and how long, another key, the end; and pairing."""

import re

from playwright.sync_api import Page, expect

from tests.browser.room import Room
from tests.browser.visit import Visit

APP_KEY = re.compile(r"kf_[\w-]{43}")
CODE = re.compile(r"[B-Z]{4}-[B-Z]{4}")
# All that a page holds: what is written, what stands in its fields, and what it keeps.
HOLDS = """() => [document.documentElement.outerHTML, ...[...document.querySelectorAll("input")].map(it => it.value),
  JSON.stringify(localStorage), JSON.stringify(sessionStorage), JSON.stringify(history.state), location.href].join()"""
# How a field looks, as far as all of them look alike.
LOOK = """it => { const { width, font, color, backgroundColor, borderColor } = getComputedStyle(it);
  return [width, font, color, backgroundColor, borderColor].join(); }"""


def key_of(page: Page) -> str:
    """Read the key in the dialog that shows it, and close that."""
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("textbox", name="The app key")).to_have_value(APP_KEY)
    key = dialog.get_by_role("textbox", name="The app key").input_value()
    dialog.get_by_role("button", name="I have it").click()
    expect(dialog).to_be_hidden()
    return key


def test_a_key_is_made_and_shown_once(room: Room, visit: Visit) -> None:
    """The copied key opens the app port; once its dialog is closed, the page holds it nowhere."""
    room.log_in("ledger")
    page = visit.page
    page.get_by_role("link", name="Apps").click()
    expect(page.get_by_text("No program has a key yet")).to_be_visible()
    visit.inspect("apps-empty")
    page.get_by_label("Name").fill("report.job")
    page.get_by_label("First account").select_option("ledger")
    page.get_by_role("button", name="Make a key").click()

    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("The key of report.job")
    visit.inspect("app-key")
    visit.clipboard()  # from here on it may be written, too
    dialog.get_by_role("button", name="Copy").click()
    expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
    key = key_of(page)

    assert visit.clipboard() == key
    assert key not in page.evaluate(HOLDS)
    expect(page.get_by_role("link", name="report.job")).to_be_visible()
    assert room.holder(key).token("ledger") == room.home.token("ledger")
    visit.inspect("apps")


def test_the_key_stays_until_it_was_taken(room: Room, visit: Visit) -> None:
    """Escape does not close the only place where a key is ever shown, however often it is pressed."""
    page = visit.page
    page.get_by_role("link", name="Apps").click()
    page.get_by_label("Name").fill("report")
    page.get_by_role("button", name="Make a key").click()
    field = page.get_by_role("dialog").get_by_role("textbox")
    expect(field).to_have_value(APP_KEY)
    key = field.input_value()

    for _ in range(4):
        page.keyboard.press("Escape")
        expect(field).to_have_value(key)
        expect(field).to_be_visible()
    page.go_back()
    expect(page).not_to_have_url(f"{room.url}/ui/apps")

    assert key_of(page) == key
    assert room.holder(key).ask("ledger").status_code == 403  # it is known, and may nothing


def test_an_app_is_held_short_and_let_go(room: Room, visit: Visit) -> None:
    """One scope for an hour, nothing any more, another key, the end: each counts for the program at once."""
    room.log_in("ledger")
    room.log_in("till")
    first = room.program("report")
    page, said = visit.page, visit.page.get_by_role("status")
    page.get_by_role("link", name="Apps").click()
    page.get_by_role("link", name="report").click()
    expect(page.get_by_text("Nothing yet")).to_be_visible()
    page.get_by_label("Another account").select_option("ledger")
    page.get_by_role("button", name="Say what it may").click()
    page.get_by_role("button", name="profile", exact=True).click()
    page.get_by_label("How long").select_option("For an hour")
    visit.inspect("grant")
    page.get_by_role("button", name="Allow these scopes").click()

    expect(said).to_have_text("Done. It counts from now on.")
    expect(page.get_by_text(re.compile("only these scopes, ends in (59 minutes|1 hour)"))).to_be_visible()
    visit.inspect("app")
    narrow, whole = first.token("ledger"), room.home.token("ledger")
    worth, all_of_it = room.practice.worth(narrow), room.practice.worth(whole)
    assert worth is not None
    assert all_of_it is not None
    assert set(worth.scopes) == {"profile"} < set(all_of_it.scopes)
    page.get_by_role("button", name="Revoke ledger").click()
    expect(said).to_contain_text("Taken away")
    assert first.ask("ledger").status_code == 403

    page.get_by_label("Another account").select_option("till")
    page.get_by_role("button", name="Say what it may").click()
    page.get_by_role("button", name="Allow all that the login may").click()
    expect(page.get_by_role("link", name="Change till")).to_be_visible()
    assert first.token("till")
    page.get_by_role("button", name="Make a new key").click()
    sure = page.get_by_role("dialog")
    expect(sure).to_contain_text("stops at once")
    visit.inspect("new-key")
    sure.get_by_role("button", name="Make a new key").click()
    second = room.holder(key_of(page))
    assert first.ask("till").status_code == 401
    assert second.token("till") == room.home.token("till")

    page.get_by_role("button", name="Remove this app").click()
    expect(sure).to_contain_text("report gets no token from now on")
    sure.get_by_role("button", name="No, leave it").click()
    assert second.token("till")
    page.get_by_role("button", name="Remove this app").click()
    sure.get_by_role("button", name="Remove it").click()
    expect(said).to_contain_text("It is gone")
    expect(page.get_by_text("No program has a key yet")).to_be_visible()
    assert second.ask("till").status_code == 401


def test_an_app_gets_the_proxy_only(room: Room, visit: Visit) -> None:
    """What is no rule is complained of and stays to be mended; then the app may send what the rules say."""
    room.log_in("ledger")
    program, page = room.program("report"), visit.page
    page.get_by_role("link", name="Apps").click()
    page.get_by_role("link", name="report").click()
    page.get_by_label("Another account").select_option("ledger")
    page.get_by_role("button", name="Say what it may").click()
    page.get_by_role("combobox", name="How", exact=True).select_option("proxy")
    share = page.get_by_label("in percent")
    share.press_sequentially("1e")  # of which the page's script is told as little as of nothing
    page.get_by_role("button", name="Allow all that the login may").click()
    expect(share).to_be_focused()
    share.fill("30")
    rules = page.get_by_label("only these requests")
    assert rules.evaluate(LOOK) == page.get_by_label("Only for this resource").evaluate(LOOK)
    rules.fill("GET /v1/**\nHEAD")
    visit.watch.allow(r"status of 400.*/grants/ledger")
    page.get_by_role("button", name="Allow all that the login may").click()

    expect(page.get_by_role("alert")).to_contain_text("'HEAD' is no rule")
    rules.fill("GET,POST /api/v1/tracks/*/comments/**\nread-only")
    page.get_by_role("button", name="Allow all that the login may").click()
    may = "through the proxy only: GET,POST /api/v1/tracks/*/comments/**, read-only, 30 % of a rate limit"
    expect(page.get_by_text(may)).to_be_visible()
    assert "through the proxy only" in program.ask("ledger").json()["detail"]
    page.get_by_role("link", name="ledger", exact=True).click()
    expect(page.get_by_text(may)).to_be_visible()
    box = page.get_by_role("button", name="Revoke the grant of report").bounding_box()
    assert box is not None
    assert box["width"] > box["height"]  # its word stands in one line


def test_a_program_pairs(room: Room, visit: Visit) -> None:
    """Its terminal and the page show the same code; what is ticked here is what its key opens there."""
    room.log_in("ledger")
    room.log_in("till")
    page, file = visit.page, room.home.place / "harvester.key"
    expect(page.get_by_role("heading", name="ledger")).to_be_visible()
    waiting = room.home.begin("pair", "harvester", "--key-file", str(file))
    code = CODE.search(waiting.says(CODE))
    assert code is not None

    page.get_by_role("link", name="harvester").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("harvester wants to become an app")
    expect(page.get_by_text(code[0], exact=True)).to_be_visible()
    page.get_by_role("checkbox", name="ledger").check()
    visit.inspect("pairing")
    page.get_by_role("button", name="Allow always").click()
    expect(page.get_by_role("status")).to_have_text("harvester: allowed.")
    done = waiting.end()
    assert done.code == 0, done
    visit.inspect("paired")

    program = room.holder(file.read_text(encoding="ascii").strip())
    assert program.token("ledger") == room.home.token("ledger")
    assert program.ask("till").status_code == 403
