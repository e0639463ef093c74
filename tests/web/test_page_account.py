"""The page of one account, and how its past is drawn."""

import re
from collections.abc import Iterator

import pytest

from broker.practice.server import PracticeServer
from broker.store.audit import AuditEntry
from broker.web.parts import history
from tests.web.desktop import Desktop
from tests.web.house import running
from tests.web.walk import new_browser

HOUR = 3600.0
NOW = 1_800_000_000.0


def entry(action: str, at: float, count: int | None = None, first: float | None = None) -> AuditEntry:
    """Return an entry of the audit, so many seconds before now."""
    begun = None if first is None else NOW - first
    return AuditEntry(1, 1, NOW - at, action, "work", None, "", None, begun, None if count is None else NOW - at, count)


def test_what_happened_stands_where_it_was() -> None:
    """A day is 240 columns: six minutes each, the newest at the right."""
    drawn = history.drawn([entry("refreshed", 12 * HOUR), entry("refresh-failed", 1.0)], "day", NOW)

    assert (drawn.renewed, drawn.trouble) == ((120,), (239,))
    assert (drawn.refreshes, drawn.failures, drawn.begins_at) == (1, 1, NOW - 24 * HOUR)


def test_a_time_without_an_answer_is_a_band() -> None:
    """It begins with the first failure, ends with the next success, and lasts until now where there is none."""
    past = [
        entry("refresh-failed", 12 * HOUR),
        entry("refresh-failed", 11 * HOUR),
        entry("refreshed", 6 * HOUR),
        entry("rejected", 5 * HOUR),
        entry("needs-login", 1.2 * HOUR),
    ]

    drawn = history.drawn(past, "day", NOW)

    assert drawn.without == ((120, 180), (228, 239))
    assert drawn.failures == 4


def test_hand_outs_are_spread_over_the_time_in_which_they_were_counted() -> None:
    """The audit tells how many between when and when; the highest bar is the busiest time."""
    steady = entry("handout", 0.0, 600, first=24 * HOUR)
    burst = entry("handout", 12 * HOUR - 1, 100, first=12 * HOUR - 1)

    drawn = history.drawn([steady, burst], "day", NOW)

    assert drawn.handouts == 700
    assert drawn.bars[30] == 1.0
    assert set(drawn.bars) - {1.0} == {round(10 / 110, 3)}


def test_what_began_before_the_span_counts_from_its_beginning() -> None:
    """A count that reaches further back than the picture fills it from the left, and nothing is drawn outside."""
    drawn = history.drawn([entry("handout", 12 * HOUR, 100, first=48 * HOUR)], "day", NOW)

    assert [bar for bar, height in enumerate(drawn.bars) if height] == list(range(30))
    assert len(drawn.bars) == 60


def test_nothing_is_nothing() -> None:
    """An account without a past has an empty picture."""
    drawn = history.drawn([], "hour", NOW)

    assert (drawn.renewed, drawn.trouble, drawn.without, set(drawn.bars)) == ((), (), (), {0.0})
    assert drawn.whole


@pytest.fixture(scope="module")
def running_desktop(tmp_path_factory: pytest.TempPathFactory, practice: PracticeServer) -> Iterator[Desktop]:
    """Run the daemon for all tests of this module, with one account that an app may use."""
    found = Desktop()
    with running(tmp_path_factory.mktemp("account"), found.clock) as found.house:
        found.house.log_in("work", practice.url)
        found.house.owner.ask("POST", "/v1/apps", 201, json={"name": "cron", "grants": [{"account": "work"}]})
        yield found


@pytest.fixture
def desktop(running_desktop: Desktop) -> Iterator[Desktop]:
    """Return the desktop with a browser that knows nothing yet."""
    with new_browser() as running_desktop.browser:
        yield running_desktop


def test_it_says_what_a_person_wants_to_know(desktop: Desktop) -> None:
    """Who, how long, when next, what was granted, who may use it; and never the token."""
    token = desktop.house.owner.ask("GET", "/v1/accounts/{account}/token", 200, path={"account": "work"})
    shown = desktop.send("GET", "/ui/parts/accounts/work", desktop.session())

    assert shown.status_code == 200
    text = " ".join(re.sub("<[^>]*>", " ", shown.text).split())
    for words in ("work", "Fresh", "Practice", "ada", "Next refresh", "with its refresh token", "openid", "cron"):
        assert words in text
    assert "1 renewed, nothing went wrong" in text
    assert token["access_token"] not in shown.text
    assert 'class="notch"' in shown.text


@pytest.mark.parametrize("span", history.SPANS)
def test_how_far_back_can_be_chosen(desktop: Desktop, span: str) -> None:
    """From an hour to a month; each is marked as the one that is shown."""
    shown = desktop.send("GET", f"/ui/parts/accounts/work?span={span}", desktop.session())

    assert f'?span={span}" aria-current="true"' in shown.text


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/ui/parts/accounts/work?span=year", 400, "hour, day, week, month"),
        ("/ui/parts/accounts/nobody", 404, "keyfob accounts"),
        ("/ui/parts/overview?page=0", 400, "whole number"),
        ("/ui/parts/overview?color=red", 400, "q, page"),
    ],
)
def test_a_wrong_question_is_told_what_is_right(desktop: Desktop, path: str, status: int, words: str) -> None:
    """As everywhere: what is wrong, and what to do."""
    refused = desktop.send("GET", path, desktop.session())

    assert refused.status_code == status
    assert words in refused.json()["detail"]


def test_what_is_done_there_is_done(desktop: Desktop) -> None:
    """Refresh, revoke, grant again, log out: the same as at the socket, and in the audit as the owner's."""
    session = desktop.session()
    before = desktop.house.owner.ask("GET", "/v1/accounts/{account}", 200, path={"account": "work"})["generation"]

    refreshed = desktop.send("POST", "/ui/v1/accounts/work/refresh", session, json={})
    revoked = desktop.send("DELETE", "/ui/v1/apps/cron/grants/work", session)
    apps = desktop.house.owner.ask("GET", "/v1/apps", 200)["apps"]
    granted = desktop.send("PUT", "/ui/v1/apps/cron/grants/work", session, json={"scope": ["openid"]})

    assert refreshed.json()["generation"] == before + 1
    assert (revoked.status_code, granted.status_code) == (204, 200)
    assert apps[0]["grants"] == []
    assert "access_token" not in refreshed.text
    assert "cron" in desktop.send("GET", "/ui/parts/accounts/work", session).text
