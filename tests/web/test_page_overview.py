"""The first page: what needs a person first, found by what one types, page by page, and told what is new."""

import re
from collections.abc import Iterator
from dataclasses import replace

import httpx2
import pytest

from broker.core import advice
from broker.core.account import (
    Account,
    Active,
    Destination,
    Misconfigured,
    NeedsLogin,
    RefreshingFailed,
    State,
    Static,
    Suspect,
    Uncertain,
)
from broker.core.token import Token
from broker.practice.server import PracticeServer
from broker.web.parts import lines, paging
from tests.web.desktop import Desktop
from tests.web.house import running
from tests.web.walk import new_browser

NOW = 1_800_000_000.0
DAY = 86_400.0


def account(state: State, *, ends: float = DAY, refreshable: bool = True) -> Account:
    """Return an account in that state, with a token that ends so many seconds from now."""
    token = Token("Bearer", (), NOW - 30 * DAY, NOW + ends)
    where = Destination("https://id.example", "https://id.example/token", "client")
    return Account("u", "me", "p", where, 1, 1, None, (), None, state, token, refreshable, None, NOW)


HOW: dict[str, tuple[Account, int, str, str]] = {
    "fresh": (account(Active(NOW)), 5, "Fresh", ""),
    "log in again": (account(NeedsLogin(NOW, "gone")), 0, "Log in again", "login"),
    "client refused": (account(Misconfigured(NOW, "no", NOW + 900)), 0, "Client refused", "login"),
    "copy": (account(Suspect(NOW, "old")), 0, "Waits for your word", "confirm"),
    "doubt": (account(Uncertain(NOW, "lost", NOW)), 1, "In doubt", "confirm"),
    "outage": (account(RefreshingFailed(NOW, "down", 1, NOW)), 2, "Trying again", ""),
    "by hand": (account(Static(NOW), ends=90 * DAY, refreshable=False), 5, "Made by hand", ""),
    "by hand, ends": (account(Static(NOW), ends=DAY / 2, refreshable=False), 4, "Ends soon", "token"),
    "by hand, ended": (account(Static(NOW), ends=-1, refreshable=False), 0, "Ended", "token"),
    "nothing renews it, ended": (account(Active(NOW), ends=-1, refreshable=False), 0, "Ended", "login"),
}


@pytest.mark.parametrize("name", HOW)
def test_each_state_has_its_words_its_place_and_what_helps(name: str) -> None:
    """What only a person can mend stands first; what mends itself offers no button that would not help."""
    shown, place, words, helps = HOW[name]

    assert advice.rank(shown, NOW) == place
    assert lines.standing(shown, NOW)[0] == words
    assert lines.helps(shown, NOW) == helps


def test_what_is_derived_is_mended_where_it_comes_from() -> None:
    """No login of its own can help it."""
    child = account(NeedsLogin(NOW, "gone"))
    child = replace(child, renewal=replace(child.renewal, by="token_exchange"))

    assert lines.helps(child, NOW) == ""


@pytest.mark.parametrize(
    ("now", "past", "mark"), [(NOW, 0.0, 50.0), (NOW + 50, 50.0, 50.0), (NOW - 5, 0.0, 50.0), (NOW + 900, 100.0, 50.0)]
)
def test_the_bar_is_the_life_of_the_token(now: float, past: float, mark: float) -> None:
    """From when it came to when it ends; a clock that is wrong does not draw outside."""
    bar = lines.Life(NOW, NOW + 100, NOW + 50, now)

    assert (bar.past, bar.mark) == (past, mark)
    assert replace(bar, next_refresh_at=NOW + 101).mark is None


@pytest.fixture(scope="module")
def running_desktop(tmp_path_factory: pytest.TempPathFactory, practice: PracticeServer) -> Iterator[Desktop]:
    """Run a daemon with more accounts than fit on a page."""
    found = Desktop()
    with running(tmp_path_factory.mktemp("many"), found.clock) as found.house:
        found.house.log_in("work", practice.url)
        login = {"provider": "practice", "base_url": practice.url, "flow": "client-credentials"}
        client = {"client_id": "keyfob-machine", "client_secret": practice.client_secret.reveal()}
        for number in range(60):
            found.house.owner.ask("POST", "/v1/logins", 201, json={**login, **client, "account": f"job-{number:02}"})
        yield found


@pytest.fixture
def desktop(running_desktop: Desktop) -> Iterator[Desktop]:
    """Return the desktop with a browser that knows nothing yet."""
    with new_browser() as running_desktop.browser:
        yield running_desktop


def shown(desktop: Desktop, query: str = "") -> tuple[list[str], str]:
    """Return the names of the accounts on a page, and its text."""
    answer = desktop.send("GET", f"/ui/parts/overview{query}", desktop.session())
    assert answer.status_code == 200
    names = re.findall(r'<li class="[a-z]+" data-key="([^"]*)"', answer.text)
    return names, " ".join(re.sub("<[^>]*>", " ", answer.text).split())


def test_many_accounts_come_page_by_page(desktop: Desktop) -> None:
    """Fifty on the first, the rest on the second, by name; a page beyond the last is the last."""
    first, text = shown(desktop)
    second, _ = shown(desktop, "?page=2")

    assert "61 in all" in text
    assert "Page 1 of 2" in text
    assert (len(first), len(second)) == (50, 11)
    assert [*first, *second] == sorted([*first, *second])
    assert shown(desktop, "?page=99")[0] == second


@pytest.mark.parametrize(
    ("query", "found"),
    [("job-07", ["job-07"]), ("-07 JOB", ["job-07"]), ("ada", ["work"]), ("nobody", []), ("%_", []), ("<b>", [])],
)
def test_what_one_types_is_found(desktop: Desktop, query: str, found: list[str]) -> None:
    """In names, people and providers, in any order of words; and where nothing fits, that is said."""
    names, text = shown(desktop, f"?{httpx2.QueryParams({'q': query})}")

    assert names == found
    assert ("No account fits that" in text) == (not found)


def test_news_come_without_asking(desktop: Desktop) -> None:
    """The page is told that something happened, and of nothing that it would have to hide; then it asks."""
    session = desktop.session()
    headers = {"Authorization": f"Bearer {session}", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    with desktop.browser.stream("GET", f"{desktop.house.browser_url}/ui/events", headers=headers, timeout=20) as news:
        said = news.iter_lines()
        assert (news.status_code, next(said)) == (200, ": listening")
        assert "default-src 'none'" in news.headers["content-security-policy"]
        desktop.house.owner.ask("POST", "/v1/accounts/{account}/refresh", 200, path={"account": "work"}, json={})
        told = [line for line in (next(said) for _ in range(3)) if line]

    assert told[0] == "event: changed"
    assert "refreshed" in told[1] or "refresh-forced" in told[1]
    assert "work" not in told[1]


def test_news_end_with_the_session(desktop: Desktop) -> None:
    """Whoever is signed out is told nothing more."""
    session = desktop.session()
    headers = {"Authorization": f"Bearer {session}", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    with desktop.browser.stream("GET", f"{desktop.house.browser_url}/ui/events", headers=headers, timeout=20) as news:
        said = news.iter_lines()
        assert next(said) == ": listening"
        with new_browser() as other:
            told = {"Origin": desktop.house.browser_url, "Authorization": f"Bearer {session}"}
            assert other.delete(f"{desktop.house.browser_url}/ui/session", headers=told).status_code == 204
        desktop.house.owner.ask("POST", "/v1/accounts/{account}/refresh", 200, path={"account": "work"}, json={})

        assert [line for line in said if line] == []


@pytest.mark.parametrize(
    ("page", "stands"),
    [
        (1, {0: slice(0, 3), 2: slice(0, 47)}),
        (2, {2: slice(47, 60), 5: slice(0, 37)}),
        (3, {5: slice(37, 87)}),
        (4, {5: slice(87, 90)}),
        (5, {}),
    ],
)
def test_a_page_goes_across_ranks(page: int, stands: dict[int, slice]) -> None:
    """Each stands on one page, in its place: where one rank ends the next begins."""
    assert paging.across({0: 3, 1: 0, 2: 60, 5: 90}, page) == stands
