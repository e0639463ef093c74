"""The callback of a login, and the page that tells the person how it went."""

import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest

from broker.practice.server import PracticeServer
from tests.web.house import House, running
from tests.web.walk import GUARDS, Walk, is_guarded_page

# --- the callback -----------------------------------------------------------------------------------------------------


def test_address_bar_is_clean_after_the_callback(walk: Walk) -> None:
    """The answer is a redirect to an address that holds the login's id and nothing of the provider's answer."""
    arrival = walk.answered()
    given = parse_qs(urlsplit(arrival).query)

    answer = walk.browser.get(arrival)

    assert (answer.status_code, answer.content) == (303, b"")
    assert answer.headers["location"] == f"/ui/logins/{walk.id}"
    assert {name: answer.headers[name] for name in GUARDS} == GUARDS
    assert {"code", "state"} <= set(given)
    assert not [name for name, (value,) in given.items() if value in str(answer.headers)]


def test_page_tells_who_logged_in_and_no_secret(walk: Walk) -> None:
    """The page of success names account, person and provider; no code, state, cookie or token is in it."""
    arrival = walk.answered()
    answer = walk.browser.get(arrival, follow_redirects=True)
    account = walk.house.owner.ask("GET", "/v1/logins/{id}", 200, path={"id": walk.id})["account"]
    token = walk.house.owner.ask("GET", "/v1/accounts/{account}/token", 200, path={"account": account})

    assert answer.status_code == 200
    assert is_guarded_page(answer)
    assert all(word in answer.text for word in ("You are logged in", account, "ada", "Practice server"))
    (code,), (state,) = (parse_qs(urlsplit(arrival).query)[name] for name in ("code", "state"))
    for secret in (code, state, walk.cookie, token["access_token"]):
        assert secret not in answer.text


def test_another_browser_cannot_deliver_the_answer(
    walk: Walk, stranger: httpx2.Client, practice: PracticeServer
) -> None:
    """A callback without the cookie ends the login: the code is not spent, no account made, and the owner told why."""
    arrival = walk.answered()
    asked = len(practice.log.all("token"))

    answer = stranger.get(arrival)

    assert (answer.status_code, answer.headers["location"]) == (303, f"/ui/logins/{walk.id}")
    assert walk.state() == "failed"
    assert len(practice.log.all("token")) == asked
    assert walk.result(stranger).status_code == 404
    assert "another browser" in walk.result().text
    assert walk.browser.get(arrival).status_code == 400


@pytest.mark.parametrize("value", ["", "x", "x" * 43, '"a\\015\\012b"', "another login's"])
def test_wrong_cookie_is_no_cookie(walk: Walk, stranger: httpx2.Client, value: str) -> None:
    """A browser with a cookie that this login did not leave there is as strange as one with none."""
    other = Walk(walk.house, walk.practice, stranger)
    other.answered()
    arrival = walk.answered()
    shown = other.cookie if value == "another login's" else value

    stranger.get(arrival, headers={"Cookie": f"{walk.cookie_name}={shown}"})

    assert walk.state() == "failed"


def test_answer_counts_once(walk: Walk) -> None:
    """Who goes back to the callback, or replays it, is told that nothing waits for it; the login stays done."""
    arrival = walk.answered()
    walk.browser.get(arrival)

    again = walk.browser.get(arrival)

    assert again.status_code == 400
    assert is_guarded_page(again)
    assert parse_qs(urlsplit(arrival).query)["code"][0] not in again.text
    assert walk.state() == "done"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "code=forged",
        "code=forged&state=",
        "code=forged&state=forged",
        "code=forged&state=forged&state={state}",
        "code=forged&state={long}",
        "error=access_denied",
    ],
)
def test_forged_answer(walk: Walk, query: str) -> None:
    """What belongs to no login, or is no answer at all, is refused; the login that is under way goes on."""
    arrival = urlsplit(walk.answered())
    # Of several states the first counts, as it does for most parsers.
    given = query.format(state=parse_qs(arrival.query)["state"][0], long="x" * 2049)

    answer = walk.browser.get(arrival._replace(query=given).geturl())

    assert answer.status_code == 400
    assert is_guarded_page(answer)
    assert "No login is waiting" in answer.text
    assert "forged" not in answer.text
    assert walk.browser.get(arrival.geturl()).headers["location"] == f"/ui/logins/{walk.id}"
    assert walk.state() == "done"


@pytest.mark.parametrize(
    "more",
    [
        {"state": "another"},
        {"code": "a second one"},
        {"more": "x" * 2049},
        {"error": "x", "error_description": "x" * 2049},
    ],
)
def test_an_answer_that_is_not_believed_ends_the_login(
    walk: Walk, practice: PracticeServer, more: dict[str, str]
) -> None:
    """Something said twice, or at great length: nothing is sent to the provider, and the terminal hears of it."""
    asked = len(practice.log.all("token"))

    answer = walk.browser.get(f"{walk.answered()}&{urlencode(more)}")

    assert answer.headers["location"] == f"/ui/logins/{walk.id}"
    assert walk.state() == "failed"
    assert len(practice.log.all("token")) == asked


def test_too_long_an_answer(walk: Walk) -> None:
    """An address of more than 16 KiB is not read at all."""
    arrival = walk.answered()

    assert walk.browser.get(arrival + "&x=y" * 5000).status_code == 414
    assert walk.browser.get(arrival).status_code == 303


def test_answer_at_another_providers_address(walk: Walk, practice: PracticeServer) -> None:
    """A provider's answer counts at its own address only (RFC 9700 4.4.2.2): anywhere else it ends the login."""
    arrival = walk.answered()
    asked = len(practice.log.all("token"))

    answer = walk.browser.get(arrival.replace(f"/callback/{walk.provider}?", "/callback/other?"), follow_redirects=True)

    assert "the address of another provider" in answer.text
    assert walk.state() == "failed"
    assert len(practice.log.all("token")) == asked


# --- the result page --------------------------------------------------------------------------------------------------


def test_result_is_for_the_browser_that_began(walk: Walk, stranger: httpx2.Client) -> None:
    """Before, during and after a login its page is shown to its own browser only; others cannot tell it from none."""
    assert walk.result().status_code == 404  # nobody has opened the login yet
    arrival = walk.answered()
    waiting = walk.result()
    gone = [walk.result(stranger)]
    walk.browser.get(arrival)
    done = walk.result()
    gone.append(walk.result(stranger))
    Walk(walk.house, walk.practice, stranger).answered()
    gone += [walk.result(stranger), stranger.get(f"{walk.house.browser_url}/ui/logins/unknown")]

    assert (waiting.status_code, done.status_code) == (200, 200)
    assert "not finished yet" in waiting.text
    assert "You are logged in" in done.text
    assert all(is_guarded_page(answer) for answer in (waiting, done, *gone))
    assert {(answer.status_code, answer.text) for answer in gone} == {(404, gone[0].text)}


def test_refused_consent(walk: Walk, practice: PracticeServer, stranger: httpx2.Client) -> None:
    """A person who said no, or whose provider did, reads what happened and how to try again; others read nothing."""
    practice.set_faults(["authorize:deny"])
    try:
        answer = walk.browser.get(walk.answered(), follow_redirects=True)
    finally:
        practice.set_faults([])

    assert (answer.status_code, urlsplit(str(answer.url)).query) == (200, "")
    assert is_guarded_page(answer)
    assert "You are not logged in" in answer.text
    assert "access was not allowed" in answer.text
    assert f"keyfob login --provider {walk.provider}" in re.sub("<[^>]+>", "", answer.text)
    assert walk.result(stranger).status_code == 404


def test_refused_renewal(house: House, practice: PracticeServer, browser: httpx2.Client) -> None:
    """Who had a login and wanted it anew still has it: the page does not say otherwise."""
    house.log_in("mine", practice.url)
    walk = Walk(house, practice, browser, "mine")
    practice.set_faults(["authorize:deny"])
    try:
        answer = walk.browser.get(walk.answered(), follow_redirects=True)
    finally:
        practice.set_faults([])

    assert "The login was not renewed" in answer.text
    assert "You are not logged in" not in answer.text
    assert house.owner.ask("GET", "/v1/accounts/{account}", 200, path={"account": "mine"})["state"] == "active"


def test_providers_words_are_words(walk: Walk) -> None:
    """What an answer says is shown as text, whoever wrote it."""
    arrival = urlsplit(walk.answered())
    given = {
        "state": parse_qs(arrival.query)["state"][0],
        "iss": parse_qs(arrival.query)["iss"][0],
        "error": "server_error",
        "error_description": "<script>alert(1)</script>\r\n<img src=//evil.example>",
    }

    answer = walk.browser.get(arrival._replace(query=urlencode(given)).geturl(), follow_redirects=True)

    assert "server_error" in answer.text
    assert "&lt;script&gt;" in answer.text
    assert "<script" not in answer.text
    assert "<img" not in answer.text


def test_expired_login(
    tmp_path: Path, practice: PracticeServer, browser: httpx2.Client, stranger: httpx2.Client
) -> None:
    """After ten minutes the link, the answer and the page all say that it is over, to its own browser and to others."""
    late = 0.0
    with running(tmp_path, lambda: time.time() + late) as house:
        opened, unopened = Walk(house, practice, browser), Walk(house, practice, browser)
        arrival = opened.answered()
        late = 601.0

        answers = [browser.get(opened.start_url), browser.get(unopened.start_url), browser.get(arrival)]
        house.owner.ask("GET", "/v1/logins/{id}", 200, path={"id": opened.id}, params={"wait": 5})
        state = opened.state()
        answers += [browser.get(arrival), opened.result(), opened.result(stranger)]
        accounts = house.owner.ask("GET", "/v1/accounts", 200)["accounts"]

    assert state == "expired"
    assert [answer.status_code for answer in answers] == [404, 404, 400, 400, 404, 404]
    assert all(is_guarded_page(answer) for answer in answers)
    assert accounts == []


def test_poll_of_an_expired_login(tmp_path: Path, practice: PracticeServer, browser: httpx2.Client) -> None:
    """Who polls without waiting learns at once that the time is over, and gets no dead link."""
    late = 0.0
    with running(tmp_path, lambda: time.time() + late) as house:
        walk = Walk(house, practice, browser)
        late = 601.0

        found = house.owner.ask("GET", "/v1/logins/{id}", 200, path={"id": walk.id})

    assert (found["state"], "start_url" in found) == ("expired", False)
