"""The start page of a login: which browser it ties to it, and that no other page can open it."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from broker.practice.server import PracticeServer
from broker.providers.model import ProviderConfig
from broker.store.keys import FileKey
from broker.store.store import Store
from tests.web.house import House, running
from tests.web.walk import GUARDS, Walk, is_guarded_page

# --- the start page ---------------------------------------------------------------------------------------------------


def test_start_page_ties_the_browser_and_sends_it_on(walk: Walk, practice: PracticeServer) -> None:
    """It leaves a cookie that no script can read and no foreign page sends, and redirects to the provider."""
    answer = walk.browser.get(walk.start_url)

    assert answer.status_code == 302
    assert answer.headers["location"].startswith(f"{practice.url}/authorize?")
    assert answer.content == b""
    assert {name: answer.headers[name] for name in GUARDS} == GUARDS
    pair, *attributes = answer.headers["set-cookie"].split("; ")
    assert {attribute.lower() for attribute in attributes} == {"httponly", "max-age=600", "path=/", "samesite=lax"}
    name, _, value = pair.partition("=")
    assert name == walk.cookie_name
    assert len(value) >= 43  # 256 bits in base64url
    assert value not in answer.headers["location"]


def test_start_page_may_be_opened_again(walk: Walk) -> None:
    """A person who goes back, or reloads, is sent on again; the browser stays the same one."""
    first, again = walk.browser.get(walk.start_url), walk.browser.get(walk.start_url)

    assert again.headers["location"] == first.headers["location"]
    assert again.cookies[walk.cookie_name] == first.cookies[walk.cookie_name]


def test_a_cookie_that_was_planted_is_not_taken_over(walk: Walk, stranger: httpx2.Client) -> None:
    """Cookies of 127.0.0.1 come from every port of it: what another page left there does not own the login."""
    planted = {"Cookie": f"{walk.cookie_name}={'known-to-others' + 'x' * 28}"}

    answer = walk.browser.get(walk.start_url, headers=planted)

    assert answer.status_code == 302
    assert "known-to-others" not in answer.headers["set-cookie"]
    assert stranger.get(walk.start_url, headers=planted).status_code == 403


def test_two_logins_in_one_browser(house: House, practice: PracticeServer, browser: httpx2.Client) -> None:
    """Logins that are under way in two tabs do not disturb each other."""
    one, two = (Walk(house, practice, browser, account) for account in ("tab-1", "tab-2"))

    arrivals = one.answered(), two.answered()

    assert [browser.get(arrival).status_code for arrival in arrivals] == [303, 303]
    assert (one.state(), two.state()) == ("done", "done")


def test_first_browser_owns_the_login(walk: Walk, stranger: httpx2.Client) -> None:
    """A second browser gets neither the way to the provider nor a cookie, and does not disturb the first."""
    walk.browser.get(walk.start_url)

    refused = stranger.get(walk.start_url)

    assert refused.status_code == 403
    assert is_guarded_page(refused)
    assert not {"location", "set-cookie"} & set(refused.headers)
    assert walk.browser.get(walk.answered()).status_code == 303
    assert walk.state() == "done"


@pytest.mark.parametrize("login_id", ["unknown", "%2e%2e", "x" * 5000, "%00", "%ff", "%0d%0aSet-Cookie:a=b"])
def test_start_page_of_no_login(house: House, browser: httpx2.Client, login_id: str) -> None:
    """A link that was never good says so, and repeats nothing of itself."""
    answer = browser.get(f"{house.browser_url}/login/{login_id}")

    assert answer.status_code == 404
    assert is_guarded_page(answer)
    assert "no longer good" in answer.text
    assert login_id not in answer.text.replace("unknown, used up", "")
    assert "set-cookie" not in answer.headers


def test_start_page_of_a_finished_login(walk: Walk) -> None:
    """A link works once: afterwards even its own browser is not sent to the provider again."""
    walk.browser.get(walk.answered())

    assert walk.browser.get(walk.start_url).status_code == 404


def test_start_page_under_localhost(walk: Walk) -> None:
    """Who writes localhost for 127.0.0.1, and so has another cookie there, can finish the login all the same."""
    opened = walk.browser.get(walk.start_url.replace("127.0.0.1", "localhost"))
    if opened.headers["location"] == walk.start_url:
        opened = walk.browser.get(walk.start_url)

    walk.browser.get(walk.browser.get(opened.headers["location"]).headers["location"])

    assert walk.state() == "done"


# --- what other pages may do ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Purpose": "prefetch"},
        {"Sec-Purpose": "prefetch;prerender"},
        {"Purpose": "prefetch"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "object"},
        # Another port of 127.0.0.1, which may be another user's, is the same site.
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    ],
)
def test_pages_cannot_open_it_unseen(walk: Walk, stranger: httpx2.Client, headers: dict[str, str]) -> None:
    """No preview, image, frame or script opens a start page or delivers an answer: it stays for the real browser."""
    refused = stranger.get(walk.start_url, headers=headers)
    assert (refused.status_code, "set-cookie" in refused.headers) == (403, False)

    arrival = walk.answered()
    refused = walk.browser.get(arrival, headers=headers)
    assert (refused.status_code, "location" in refused.headers) == (403, False)
    assert walk.state() == "pending"

    assert walk.browser.get(arrival).status_code == 303
    assert walk.state() == "done"


@pytest.mark.parametrize(
    "headers",
    [
        {},  # a browser of before 2023
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-User": "?1"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
)
def test_navigation_is_welcome(walk: Walk, headers: dict[str, str]) -> None:
    """A link in a mail, a typed address and the provider's redirect work in every browser."""
    walk.browser.headers.update(headers)

    assert walk.browser.get(walk.answered()).status_code == 303
    assert walk.result().status_code == 200


def test_a_request_that_the_provider_does_not_take_is_told_in_the_browser(
    tmp_path: Path, practice: PracticeServer, browser: httpx2.Client
) -> None:
    """Where requests are pushed and the push fails, the person is shown why, and is not sent to the provider."""
    overrides = {"endpoints": {"pushed_authorization": f"{practice.url}/par"}}
    pushing = ProviderConfig("pushing", "practice", practice.url, overrides, {}, private=False, created_at=0.0)

    async def configure() -> None:
        database = f"sqlite:///{tmp_path}/.local/state/keyfob/keyfob.db"
        store = await Store.open(database, key=FileKey(tmp_path / ".config/keyfob/key"), now=0.0)
        await store.put_provider(pushing)
        await store.close()

    with running(tmp_path):
        pass
    asyncio.run(configure())
    practice.set_faults(["par:error=invalid_request"])
    before = len(practice.log.all("authorize"))
    with running(tmp_path) as house:
        begun = house.owner.ask("POST", "/v1/logins", 201, json={"account": "pushed", "provider": "pushing"})

        answer = browser.get(begun["start_url"])

        assert answer.status_code == 302
        assert answer.headers["location"] == f"/ui/logins/{begun['id']}"
        page = browser.get(f"{house.browser_url}{answer.headers['location']}")
        assert "refused the login: invalid_request" in page.text
        assert is_guarded_page(page)
        assert len(practice.log.all("authorize")) == before
    practice.set_faults([])
