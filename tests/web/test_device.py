"""A device login through the API and the browser port: what each shows, to whom, and what is refused."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from broker.practice.server import PracticeServer
from tests.web.house import PATIENCE, House

PENDING = {"id", "state", "account", "provider", "flow", "scope", "reason", "expires_at", "start_url"}
SHOWN = {"user_code", "verification_uri", "verification_uri_complete", "interval"}


@pytest.fixture(autouse=True)
def _faultless(practice: PracticeServer) -> Iterator[None]:
    """What one test spoils is whole again for the next."""
    yield
    practice.set_faults([])


def begin(house: House, practice: PracticeServer, status: int = 201, **more: Any) -> Any:  # noqa: ANN401 -- JSON
    """Ask for a login at the practice provider."""
    body = {"provider": "practice", "base_url": practice.url, "flow": "device", **more}
    return house.owner.ask("POST", "/v1/logins", status, json=body)


def test_the_codes_are_told_while_it_waits(house: House, practice: PracticeServer) -> None:
    """201 and every look later show what the person needs; a login that was given up shows it no more."""
    begun = begin(house, practice, account="waiting")
    at = {"id": begun["id"]}

    assert set(begun) == PENDING | SHOWN
    assert begun["verification_uri"] == f"{practice.url}/device"
    assert begun["verification_uri_complete"].endswith(begun["user_code"])
    assert begun["interval"] == 5
    assert house.owner.ask("GET", "/v1/logins/{id}", 200, path=at) == begun
    pending = house.owner.ask("GET", "/v1/accounts/{account}", 200, path={"account": "waiting"})
    assert (pending["state"], pending["login_url"]) == ("pending", begun["start_url"])
    house.owner.ask("DELETE", "/v1/logins/{id}", 204, path=at)
    ended = house.owner.ask("GET", "/v1/logins/{id}", 200, path=at)
    assert ended["state"] == "failed"
    assert not SHOWN & set(ended)


def test_pasting_leaves_it_waiting(house: House, practice: PracticeServer) -> None:
    """What belongs to another flow is 400 with where to type the code, and the login is what it was."""
    begun = begin(house, practice, account="typed")
    at = {"id": begun["id"]}

    refused = house.owner.ask("POST", "/v1/logins/{id}/finish", 400, path=at, json={"code": "x"})

    assert refused["code"] == "invalid_request"
    assert begun["verification_uri"] in str(refused)
    assert house.owner.ask("GET", "/v1/logins/{id}", 200, path=at) == begun


def test_the_complete_address_may_be_missing(house: House, practice: PracticeServer) -> None:
    """It is null then, and the page has no link with the code in it."""
    practice.set_faults(["device_authorization:without=verification_uri_complete"])
    begun = begin(house, practice)

    assert begun["verification_uri_complete"] is None
    page = httpx2.get(begun["start_url"], timeout=PATIENCE)
    assert (page.status_code, page.text.count('<a href="http')) == (200, 1)


def test_the_page_is_a_page(house: House, practice: PracticeServer) -> None:
    """It shows code, address and warning, redirects nowhere, loads nothing foreign, and spoils no hostile code."""
    practice.set_faults(['device_authorization:json={"user_code": "<b>&\\"x"}'])
    begun = begin(house, practice)

    page = httpx2.get(begun["start_url"], timeout=PATIENCE)

    assert page.status_code == 200
    assert "&lt;b&gt;&amp;&#34;x" in page.text
    assert "<b>" not in page.text
    assert "Only go on if you began this login yourself" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "refresh" not in page.headers
    assert "<script" not in page.text


def test_several_flows(house: House, practice: PracticeServer) -> None:
    """The first that the provider offers is taken; without a word it is the browser."""
    assert begin(house, practice, flow=["device", "paste"])["flow"] == "device"
    assert begin(house, practice, flow=["paste", "device"])["flow"] == "paste"
    assert begin(house, practice, flow=None)["flow"] == "browser"
    provider = begin(house, practice, flow="browser")["provider"]
    shown = house.owner.ask("GET", "/v1/providers/{provider}", 200, path={"provider": provider})
    assert shown["flows"] == [
        "browser",
        "paste",
        "device",
        "client-credentials",
        "jwt-bearer",
        "token-exchange",
        "refresh-token",
    ]
    assert shown["device_authorization_endpoint"] == f"{practice.url}/device_authorization"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"flow": []}, "'flow' must be"),
        ({"flow": [1]}, "'flow' must be"),
        ({"flow": {}}, "'flow' must be"),
        ({"flow": ""}, "There is no flow ''"),
        ({"flow": "telepathy"}, "There is no flow 'telepathy'"),
        ({"flow": ["device", "telepathy"]}, "There is no flow 'telepathy'"),
        ({"flow": ["device", "token"], "access_token": "x"}, "leaves nothing to choose"),
        ({"flow": ["client-credentials", "browser"]}, "leaves nothing to choose"),
        ({"flow": "device", "access_token": "x"}, "A token does not go with this flow"),
    ],
)
def test_what_is_no_flow(house: House, practice: PracticeServer, more: dict[str, Any], said: str) -> None:
    """Each complaint names what is wrong, and nothing has begun."""
    assert said in begin(house, practice, 400, **more)["detail"]


def test_a_flow_that_the_provider_does_not_offer(house: House, practice: PracticeServer) -> None:
    """The refusal names those that it does offer."""
    plain = {"authorization_endpoint": f"{practice.url}/authorize", "token_endpoint": f"{practice.url}/token"}
    house.owner.ask("POST", "/v1/providers", 201, json={"name": "plain", "client_id": "keyfob", **plain})

    refused = house.owner.ask("POST", "/v1/logins", 400, json={"provider": "plain", "flow": "device"})

    assert refused["code"] == "invalid_request"
    assert "offers no login by device" in refused["detail"]
    assert "--flow browser, --flow paste" in str(refused)


def test_the_grant_types_of_a_provider_can_be_said(house: House, practice: PracticeServer) -> None:
    """They take the place of those that were discovered, the flows follow from them, and a wrong shape is refused."""
    new = {"issuer": practice.url, "client_id": "keyfob", "client_secret": "s"}
    told: list[tuple[str, dict[str, Any], set[str]]] = [
        ("announced", {}, {"browser", "device", "client-credentials", "jwt-bearer"}),
        ("programs", {"grants": ["client_credentials"]}, {"client-credentials"}),
        ("written", {"grants": "authorization_code client_credentials"}, {"browser", "client-credentials"}),
    ]
    for name, more, expected in told:
        found = house.owner.ask("POST", "/v1/providers", 201, json={"name": name, **new, **more})
        assert set(found["flows"]) >= expected, name
        assert {"device", "jwt-bearer"} & set(found["flows"]) == {"device", "jwt-bearer"} & expected, name
    refused = house.owner.ask("POST", "/v1/providers", 400, json={"name": "odd", **new, "grants": [1]})
    assert "'grants' must be an array of words" in refused["detail"]
