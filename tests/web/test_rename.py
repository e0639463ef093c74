"""A new name over HTTP: the owner's matter, told as the account is told, and felt by whoever uses it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.practice.server import PracticeServer
from tests.web.house import House, running

ACCOUNT = "/v1/accounts/{account}"
TOKEN = f"{ACCOUNT}/token"


@pytest.fixture
def house(tmp_path: Path, practice: PracticeServer) -> Iterator[House]:
    """Run a daemon with an account ``work``."""
    with running(tmp_path) as found:
        found.log_in("work", practice.url)
        yield found


def test_the_answer_is_the_account(house: House) -> None:
    """It is what the next look at it brings; the old path leads nowhere any more."""
    ask = house.owner.ask

    renamed = ask("PATCH", ACCOUNT, 200, path={"account": "work"}, json={"name": "mail"})

    assert renamed["account"] == "mail"
    assert ask("GET", ACCOUNT, 200, path={"account": "mail"}) == renamed
    ask("GET", ACCOUNT, 404, path={"account": "work"})
    assert ask("PATCH", ACCOUNT, 200, path={"account": "mail"}, json={"name": "mail"}) == renamed


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "Give either 'name' or 'api_base'"),
        ({"name": None}, "Give either 'name' or 'api_base'"),
        ({"name": "mail", "api_base": ""}, "Give either 'name' or 'api_base'"),
        ({"name": "two words"}, "cannot be an account's name"),
        ({"name": 1}, "'name'"),
        ({"name": "mail", "provider": "x"}, "'provider'"),
        ([], "JSON object"),
    ],
)
def test_what_is_no_new_name_is_refused(house: House, body: object, words: str) -> None:
    """The complaint names what is wrong, and the account keeps its name."""
    problem = house.owner.ask("PATCH", ACCOUNT, 400, path={"account": "work"}, json=body)

    assert words in problem["detail"]
    house.owner.ask("GET", ACCOUNT, 200, path={"account": "work"})


def test_a_taken_name_and_no_account(house: House, practice: PracticeServer) -> None:
    """409 where an account or a first login under way has the name, 404 without an account, 423 while locked."""
    ask = house.owner.ask
    house.log_in("other", practice.url)
    login = {"account": "later", "provider": "practice", "base_url": practice.url, "flow": "paste"}
    ask("POST", "/v1/logins", 201, json=login)

    for name in ("other", "later"):
        problem = ask("PATCH", ACCOUNT, 409, path={"account": "work"}, json={"name": name})
        assert (problem["code"], f"'{name}'" in problem["detail"]) == ("conflict", True)
    assert ask("PATCH", ACCOUNT, 404, path={"account": "ghost"}, json={"name": "x"})["code"] == "unknown_account"
    ask("POST", "/v1/lock", 200)
    assert ask("PATCH", ACCOUNT, 423, path={"account": "work"}, json={"name": "x"})["code"] == "locked"


def test_an_app_renames_nothing(house: House) -> None:
    """Its key opens tokens; what accounts are called is the owner's matter."""
    new = {"name": "mail", "grants": [{"account": "work"}]}
    key = house.owner.ask("POST", "/v1/apps", 201, json=new)["key"]
    with (app := house.app(key)).http:
        app.ask("PATCH", ACCOUNT, 403, path={"account": "work"}, json={"name": "x"})

        house.owner.ask("PATCH", ACCOUNT, 200, path={"account": "work"}, json={"name": "home"})

        token = app.ask("GET", TOKEN, 200, path={"account": "home"})
        assert token["account"] == "home"
        app.ask("GET", TOKEN, 403, path={"account": "work"})
        (grant,) = app.ask("GET", "/v1/apps/{app}", 200, path={"app": "mail"})["grants"]
        assert grant["account"] == "home"


def test_whoever_waited_for_a_login_is_led_to_the_account(house: House, practice: PracticeServer) -> None:
    """The login that made it tells the account by its new name, with the person whose it is."""
    ask = house.owner.ask
    token = ask("GET", TOKEN, 200, path={"account": "work"})["access_token"]
    login = {"account": "made", "provider": "practice", "base_url": practice.url, "flow": "token"}
    done = ask("POST", "/v1/logins", 201, json={**login, "access_token": token})

    ask("PATCH", ACCOUNT, 200, path={"account": "made"}, json={"name": "hand"})

    found = ask("GET", "/v1/logins/{id}", 200, path={"id": done["id"]})
    assert (found["account"], found["identity"]) == ("hand", done["identity"])


def test_it_is_told_and_recorded(house: House) -> None:
    """Listeners hear of it at once, and the audit shows all that there was under the new name."""
    with house.owner.http.stream("GET", "/v1/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": listening"
        house.owner.ask("PATCH", ACCOUNT, 200, path={"account": "work"}, json={"name": "mail"})
        assert "event: renamed" in (next(lines), next(lines))
        assert '"account": "mail"' in (said := next(lines))
        assert "it was called 'work'" in said

    until = time.monotonic() + 10.0
    while not any(entry["action"] == "renamed" for entry in _entries(house)):
        assert time.monotonic() < until
        time.sleep(0.01)  # it is written down after it is told
    assert {entry["account"] for entry in _entries(house)} == {"mail"}


def _entries(house: House) -> list[dict[str, str]]:
    found: list[dict[str, str]] = house.owner.ask("GET", "/v1/audit", 200, params={"account": "mail"})["entries"]
    return found
