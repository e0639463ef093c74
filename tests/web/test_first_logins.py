"""An account whose first login is under way, at the doors: it is there once, and gone when it is logged out."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from broker.practice.server import PracticeServer
from tests.web.desktop import Desktop
from tests.web.house import House
from tests.web.owner import Owner

ACCOUNT = "/v1/accounts/{account}"


def begin(house: House, practice: PracticeServer, name: str) -> Any:  # noqa: ANN401 -- JSON
    """Begin a login for an account."""
    login = {"account": name, "provider": "practice", "base_url": practice.url, "client_id": "keyfob"}
    return house.owner.ask("POST", "/v1/logins", 201, json=login)


@pytest.fixture(autouse=True)
def _empty(desktop: Desktop) -> Iterator[None]:
    """Leave no account to the next test."""
    yield
    ask = desktop.house.owner.ask
    for account in ask("GET", "/v1/accounts", 200)["accounts"]:
        ask("DELETE", ACCOUNT, 200, path={"account": account["account"]})


def test_each_name_is_listed_and_counted_once(owner: Owner, practice: PracticeServer) -> None:
    """However many logins were begun for it, and whether or not one of them is done; on the page as well."""
    house = owner.house
    for name in ("dd", "dd", "dd", "tw3"):
        begin(house, practice, name)
    house.log_in("tw3", practice.url)

    found = house.owner.ask("GET", "/v1/accounts", 200)["accounts"]

    assert [(one["account"], one["state"]) for one in found] == [("dd", "pending"), ("tw3", "active")]
    assert house.owner.ask("GET", "/v1/status", 200)["accounts"] == {"pending": 1, "active": 1}
    assert re.findall(r'data-key="([^"]*)"', owner.part("overview")) == ["dd", "tw3"]


def test_a_log_out_is_of_all_that_has_the_name(desktop: Desktop, practice: PracticeServer) -> None:
    """200, and then 404: no login that was begun before stands for the account."""
    house = desktop.house
    left = begin(house, practice, "tw3")
    house.log_in("tw3", practice.url)
    at = {"account": "tw3"}

    house.owner.ask("DELETE", ACCOUNT, 200, path=at)

    assert house.owner.ask("GET", ACCOUNT, 404, path=at)["code"] == "unknown_account"
    assert house.owner.ask("GET", "/v1/logins/{id}", 200, path={"id": left["id"]})["state"] == "failed"


def test_whoever_needs_its_token_is_told_where_to_finish_it(desktop: Desktop, practice: PracticeServer) -> None:
    """A request, a refresh and a report of a token that was refused have one answer: 409 with the login's URL."""
    begun = begin(desktop.house, practice, "dd")
    ask, at = desktop.house.owner.ask, {"account": "dd"}

    told = [
        ask("GET", f"{ACCOUNT}/token", 409, path=at),
        ask("POST", f"{ACCOUNT}/refresh", 409, path=at, json={}),
        ask("POST", f"{ACCOUNT}/token/rejected", 409, path=at, json={"access_token": "old"}),
    ]

    assert told == [told[0]] * 3
    assert (told[0]["code"], told[0]["login_url"]) == ("login_needed", begun["start_url"])
