"""The page of a paste login that does load: it ends nothing, and says where its address belongs."""

from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from broker.practice.server import PracticeServer
from broker.practice.settings import PUBLIC_CLIENT
from tests.web.house import House
from tests.web.walk import is_guarded_page


def begun(house: House, practice: PracticeServer) -> dict[str, str]:
    """Begin a paste login."""
    new = {"account": "me", "provider": "practice", "base_url": practice.url, "client_id": PUBLIC_CLIENT}
    login: dict[str, str] = house.owner.ask("POST", "/v1/logins", 201, json={**new, "flow": "paste"})
    return login


@pytest.mark.parametrize("answer", ["", "&state=twice", "&error=access_denied"])
def test_a_page_that_loads_leaves_the_login_to_the_terminal(
    house: House, practice: PracticeServer, stranger: httpx2.Client, answer: str
) -> None:
    """No browser is tied to such a login, so none may finish it or end it; its address, pasted, still finishes it."""
    login = begun(house, practice)
    arrival = str(stranger.get(login["authorization_url"]).headers["location"])
    asked = len(practice.log.all("token"))

    for _ in range(2):
        page = stranger.get(arrival + answer)
        assert page.status_code == 200
        assert is_guarded_page(page)
        assert "Copy the whole address of this page" in page.text
        assert parse_qs(urlsplit(arrival).query)["code"][0] not in page.text

    assert len(practice.log.all("token")) == asked
    ended = house.owner.ask("POST", "/v1/logins/{id}/finish", 200, path={"id": login["id"]}, json={"url": arrival})
    assert ended["state"] == "done"
    gone = stranger.get(arrival)
    assert (gone.status_code, "No login is waiting" in gone.text) == (400, True)


def test_the_browser_that_opened_it_finishes_it(
    house: House, practice: PracticeServer, stranger: httpx2.Client
) -> None:
    """Who opened the start page of a paste login is known by its cookie, and needs to paste nothing."""
    login = begun(house, practice)
    arrival = stranger.get(str(stranger.get(login["start_url"]).headers["location"])).headers["location"]

    assert stranger.get(arrival).headers["location"] == f"/ui/logins/{login['id']}"

    ended = house.owner.ask("GET", "/v1/logins/{id}", 200, path={"id": login["id"]})
    assert ended["state"] == "done"
    said = house.owner.ask("POST", "/v1/logins/{id}/finish", 409, path={"id": login["id"]}, json={"url": arrival})
    assert said["detail"] == "This login is done. See: keyfob accounts"
