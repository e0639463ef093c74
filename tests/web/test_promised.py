"""What a list shows where a login would help: an address that begins one when the owner's browser opens it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from broker.practice.server import PracticeServer
from broker.usecases.links import SLOT
from tests.web.house import House, running
from tests.web.walk import GUARDS, is_guarded_page, new_browser

ME = {"account": "me"}


class Clock:
    """The wall clock, or ahead of it."""

    ahead = 0.0

    def __call__(self) -> float:
        """Return what time it is: in the middle of a slot, so that the tests need not look where it ends."""
        return time.time() // SLOT * SLOT + SLOT / 2 + self.ahead


@pytest.fixture
def clock() -> Clock:
    """Return the daemon's clock."""
    return Clock()


@pytest.fixture
def lost(tmp_path: Path, practice: PracticeServer, clock: Clock) -> Iterator[House]:
    """Run a daemon with an account whose login is dead, one that is well, and one that no person can help."""
    with running(tmp_path, clock) as house:
        house.log_in("me", practice.url)
        practice.revoke_grants()
        house.owner.ask("POST", "/v1/accounts/{account}/refresh", 409, path=ME)
        house.log_in("well", practice.url)
        yield house
        clock.ahead = 0.0


def listed(house: House) -> dict[str, Any]:
    """Return the address of each account, as the list has it."""
    found = house.owner.ask("GET", "/v1/accounts", 200)["accounts"]
    return {one["account"]: one["login_url"] for one in found}


def begun(house: House) -> int:
    """Count the logins that were ever begun."""
    entries = house.owner.ask("GET", "/v1/audit", 200)["entries"]
    return [entry["action"] for entry in entries].count("login-started")


def test_the_list_has_an_address_and_begins_nothing(lost: House, practice: PracticeServer) -> None:
    """Asked again it is the same one, nobody is asked, nothing is begun, and others' offers live on."""
    before, asked = begun(lost), len(practice.log.all())

    first, second = listed(lost), listed(lost)

    assert first == second
    assert (first["me"].startswith(f"{lost.browser_url}/login/"), first["well"]) == (True, None)
    assert (begun(lost), len(practice.log.all())) == (before, asked)


def test_opened_it_is_a_login_like_any_other(lost: House) -> None:
    """It leads to a start page of its own, the account is well after that, and the list has no address any more."""
    url = listed(lost)["me"]

    with new_browser() as browser:
        led = browser.get(url)
        assert (led.status_code, led.content) == (302, b"")
        assert {name: led.headers[name] for name in GUARDS} == GUARDS
        assert browser.get(led.headers["location"]).status_code == 302
        assert browser.get(url).headers["location"] == led.headers["location"]
        done = browser.get(led.headers["location"], follow_redirects=True)

    assert done.status_code == 200
    assert lost.owner.ask("GET", "/v1/accounts/{account}", 200, path=ME)["state"] == "active"
    assert listed(lost) == {"me": None, "well": None}


def test_the_first_browser_owns_it(lost: House) -> None:
    """Another one gets 403 by the same address; the list has another address by then, and that begins another login."""
    url = listed(lost)["me"]
    with new_browser() as owner, new_browser() as stranger:
        owner.get(url, follow_redirects=False)
        assert owner.get(owner.get(url).headers["location"]).status_code == 302

        refused = stranger.get(url, follow_redirects=True)

        assert refused.status_code == 403
        assert is_guarded_page(refused)
        another = listed(lost)["me"]
        assert another != url
        assert stranger.get(another).headers["location"] != owner.get(url).headers["location"]


def test_it_is_not_good_for_long(lost: House, clock: Clock) -> None:
    """A link that was left somewhere begins nothing ten minutes later."""
    url = listed(lost)["me"]
    clock.ahead = SLOT
    with new_browser() as browser:
        assert listed(lost)["me"] != url
        clock.ahead = 2 * SLOT
        gone = browser.get(url)
        assert (gone.status_code, is_guarded_page(gone)) == (404, True)


def test_it_is_good_for_nothing_once_all_is_well(lost: House) -> None:
    """Nobody can make a well account another person's by a link that was needed before."""
    url, other = listed(lost)["me"], lost.owner.ask("GET", "/v1/accounts/{account}", 200, path=ME)["login_url"]
    with new_browser() as browser:
        assert browser.get(other, follow_redirects=True).status_code == 200

        assert browser.get(url).status_code == 404


@pytest.mark.parametrize("change", ["uuid", "slot", "count", "mac", "short", "long", "digits", "huge"])
def test_nobody_makes_one_up(lost: House, change: str) -> None:
    """Whatever is changed of an address, nothing begins."""
    base, _, link = listed(lost)["me"].rpartition("/")
    uuid, slot, count, mac = link.split(".")
    other = {
        "uuid": f"{uuid[::-1]}.{slot}.{count}.{mac}",
        "slot": f"{uuid}.{int(slot) + 1}.{count}.{mac}",
        "count": f"{uuid}.{slot}.{int(count) + 1}.{mac}",
        "mac": f"{uuid}.{slot}.{count}.{mac[::-1]}",
        "short": f"{uuid}.{slot}.{count}",
        "long": f"{link}.{mac}",
        "digits": f"{uuid}.{slot}.0{count}.{mac}",
        "huge": f"{uuid}.{'9' * 4500}.{'9' * 4500}.{mac}",
    }[change]
    before = begun(lost)

    with new_browser() as browser:
        answer = browser.get(f"{base}/{other}")

    assert (answer.status_code, begun(lost)) == (404, before)
    assert link not in answer.text


def test_while_locked_it_says_so(lost: House, clock: Clock) -> None:
    """A login cannot be kept then: the page says what tells more, and nothing is begun."""
    clock.ahead = SLOT + 1  # from here on the login that the fixture's refusal has offered is half over
    url, before = listed(lost)["me"], begun(lost)
    lost.owner.ask("POST", "/v1/lock", 200)

    with new_browser() as browser:
        answer = browser.get(url)

    assert (answer.status_code, begun(lost)) == (503, before)
    assert "keyfob login me" in answer.text


def test_derived_and_programs(lost: House, practice: PracticeServer) -> None:
    """For a derived account it is the other one's login that helps; for a program none does."""
    ask = lost.owner.ask
    secret = practice.client_secret.reveal()
    program = {"account": "ci", "provider": "practice", "base_url": practice.url, "flow": "client_credentials"}
    ask("POST", "/v1/logins", 201, json=program | {"client_id": "keyfob-machine", "client_secret": secret})
    ask("POST", "/v1/logins", 201, json={"account": "bill", "flow": "token-exchange", "from": "well"})
    practice.revoke_grants()
    for name in ("well", "bill"):
        ask("POST", "/v1/accounts/{account}/refresh", 409, path={"account": name})

    urls = listed(lost)

    assert urls["bill"] == urls["well"]
    assert urls["bill"]
    assert urls["ci"] is None


def test_no_other_site_opens_it(lost: House) -> None:
    """A page of another site that names the address is refused as at every other page."""
    url = listed(lost)["me"]
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    with new_browser() as browser:
        answer: httpx2.Response = browser.get(url, headers=headers)
    assert answer.status_code == 403
