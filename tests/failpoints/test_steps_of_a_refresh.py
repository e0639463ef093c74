"""Each step of a refresh: the daemon dies there; what is left and what becomes of it is what docs/refresh.md says."""

import re
from dataclasses import replace
from datetime import datetime

import pytest

from broker.client import ClientError, LoginNeeded
from tests.e2e.home import until
from tests.failpoints import life, page
from tests.failpoints.page import Row
from tests.failpoints.stage import GRACE, HALF, MORE, TTL, Login, Stage

AFTER = "after the app's answer"
# Which row of the page each failpoint belongs to.
DEATHS = {
    "before the intent": "before 2",
    "before the intent's commit": "before 2",
    "after the intent's commit": "between 2 and 3",
    "before the first byte": "between 2 and 3",
    "after half of the request": "between 2 and 3",
    "when the answer has arrived": "between 3 and 5",
    "when the answer was read": "between 3 and 5",
    "before the answer's commit": "between 3 and 5",
    "after the answer's commit": "between 5 and 7",
    "when the answer was judged": "between 5 and 7",
    "before the closing commit": "between 5 and 7",
    "after the closing commit": "after 7",
    "before the publication": "after 7",
    "after the publication": "after 7",
    "before the app's answer": "after 7",
    AFTER: "after 7",
}
STAYS, WITH_GRACE, WITHOUT_GRACE = page.ROTATIONS
# What the page calls PROVIDER.
NAME = re.compile(r"Practice server at 127\.0\.0\.1:\d+")


@pytest.mark.parametrize("failpoint", DEATHS)
def test_a_death_is_what_the_page_says(site: Stage, failpoint: str) -> None:
    """Whatever step the daemon dies at: disk, provider, next start, account and login are those of the row."""
    row = page.row_of(DEATHS[failpoint], site.rotation)
    with site.account() as login:
        old = login.ask()
        die(site, login, failpoint)
        check_what_is_left(site, login, row)
        began = site.now()
        site.start()
        check_the_next_start(site, login, row, old, began)
        check_the_login(site, login, row)


def test_after_the_grace_it_is_as_without(site: Stage) -> None:
    """A start that comes too late for the grace asks nobody, and the row is the one of a provider without."""
    if site.rotation != WITH_GRACE:
        pytest.skip("there is no grace")
    row = page.row_of("between 3 and 5", WITHOUT_GRACE)
    with site.account() as login:
        old = login.ask()
        die(site, login, "when the answer has arrived")
        check_what_is_left(site, login, row)
        site.board.sleep(GRACE)
        began = site.now()
        site.start()
        check_the_next_start(site, login, row, old, began)
        check_the_login(site, login, row)


def test_each_row_is_tried() -> None:
    """The page has a row for each death and kind of provider, none twice, and none that no failpoint leads to."""
    assert list(DEATHS) == [*life.FAILPOINTS, AFTER]
    led_to = [page.row_of(dies, rotation) for dies in DEATHS.values() for rotation in page.ROTATIONS]
    assert sorted(set(led_to), key=str) == sorted(page.rows(), key=str)


def test_a_page_that_says_something_else_is_noticed(site: Stage) -> None:
    """The checks can fail: the row of another death does not pass for the one that is true."""
    if site.rotation != WITHOUT_GRACE:
        pytest.skip("one kind of provider is enough")
    true = page.row_of("between 3 and 5", site.rotation)
    with site.account() as login:
        old = login.ask()
        die(site, login, "when the answer has arrived")
        for wrong in (replace(true, disk="intent and answer"), replace(true, provider="was not asked")):
            with pytest.raises(AssertionError):
                check_what_is_left(site, login, wrong)
        began = site.now()
        site.start()
        for wrong in (replace(true, start="tries again within 15 s"), replace(true, state="`refreshing-failed`")):
            with pytest.raises(AssertionError):
                check_the_next_start(site, login, wrong, old, began)
        with pytest.raises((AssertionError, LoginNeeded)):
            check_the_login(site, login, replace(true, login=page.LIVES))


def die(site: Stage, login: Login, failpoint: str) -> None:
    """Have a refresh end there."""
    if failpoint == AFTER:
        login.ask(MORE)
        site.kill()
        return
    site.board.arm(failpoint)
    with pytest.raises(ClientError):
        login.ask(MORE)
    assert site.died()
    site.board.disarm()
    site.quiet()


def check_what_is_left(site: Stage, login: Login, row: Row) -> None:
    """Hold "on the disk" and "the provider" against the dead daemon."""
    expected = page.DISKS[row.disk]
    if site.rotation == STAYS:
        expected = expected._replace(tokens=(0, expected.tokens[1]))  # no new refresh token came
    assert login.disk() == expected
    assert login.results() == ["ok"] * page.PROVIDER[row.provider]


def check_the_next_start(site: Stage, login: Login, row: Row, old: str, began: float) -> None:
    """Hold "the next start" and "the account" against the daemon that runs since ``began``."""
    start = page.STARTS[row.start]
    carried_out = page.PROVIDER[row.provider]
    if start.asks:
        until("it has asked again", lambda: login.shown()["state"] == row.state.strip("`"))
    shown = login.shown()
    assert shown["state"] == row.state.strip("`")
    assert login.results() == ["ok"] * carried_out + ["grace" if carried_out else "ok"] * start.asks
    if start.wait is not None:
        least, most = start.wait
        assert began + least <= seconds(shown["next_refresh_at"]) <= site.now() + most
    elif row.start == page.WAITS:
        assert shown["next_refresh_at"] == shown["expires_at"]
    if shown["state"] != "active":
        assert_on_page(shown["reason"])
    token = login.ask()
    assert (token != old) == (start.renewed or page.DISKS[row.disk].tokens[1] > 0)
    assert login.works(token)


def check_the_login(site: Stage, login: Login, row: Row) -> None:
    """Hold "the login" against what becomes of it: the app asks again, and once more when the old token has ended."""
    before = login.results()
    assert login.works(login.ask(MORE))
    assert len(login.results()) == len(before) + (row.dies == "before 2")
    site.board.sleep(TTL - HALF + 1)
    before = login.results()
    if row.login == page.ENDS:
        with pytest.raises(LoginNeeded):
            login.ask(MORE)
        assert login.results() == [*before, "reuse"]
        shown = login.shown()
        assert shown["state"] in row.login
        assert_on_page(shown["reason"])
    else:
        assert login.works(login.ask(MORE))
        assert login.results() == [*before, "ok"]
        assert login.shown()["state"] == "active"


def seconds(timestamp: str) -> float:
    """Return an RFC 3339 time as epoch seconds; half a millisecond may have been rounded away."""
    return datetime.fromisoformat(timestamp).timestamp() + 0.001


def assert_on_page(reason: str) -> None:
    """Expect that the page quotes what the account says."""
    text = " ".join(page.PAGE.read_text(encoding="utf-8").split())
    assert NAME.sub("PROVIDER", reason) in text, reason
