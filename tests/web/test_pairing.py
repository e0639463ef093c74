"""A program becomes an app by a key of its own making: a short code on both sides, and nothing to copy."""

import secrets
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from broker import challenge
from broker.practice.server import PracticeServer
from tests.loopback import NO_TLS
from tests.web.house import Door, House, running

WANTED = [{"account": "work", "scope": ["profile"]}]


def made() -> str:
    """Make a key, as a program does."""
    return f"kf_{secrets.token_urlsafe(32)}"


class Place:
    """A house for all tests of this module, by a clock that they move on, with an account ``work``."""

    def __init__(self) -> None:
        self.now = time.time()
        self.house: House

    def clock(self) -> float:
        """Tell the time."""
        return self.now


class Meeting:
    """A program with a key of its own, and the owner."""

    def __init__(self, place: Place) -> None:
        self.place, self.house = place, place.house
        self.key = made()

    def program(self, key: str = "") -> Door:
        """Return the app port as the program sees it."""
        return self.house.app(key or self.key)

    def ask(self, status: int = 201, key: str = "", **said: Any) -> Any:  # noqa: ANN401 -- how it stands, or a problem
        """Ask to become an app."""
        with (program := self.program(key)).http:
            return program.ask("POST", "/v1/pairing", status, json={"name": "mail", "grants": WANTED, **said})

    def stands(self, status: int = 200, key: str = "", **query: float) -> Any:  # noqa: ANN401 -- as above
        """Ask how that stands."""
        with (program := self.program(key)).http:
            return program.ask("GET", "/v1/pairing", status, params=query)

    def answer(self, code: str, status: int = 200, **said: object) -> Any:  # noqa: ANN401 -- as above
        """Answer as the owner."""
        return self.house.owner.ask("POST", "/v1/approvals/{id}", status, path={"id": code}, json=said)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, practice: PracticeServer) -> Iterator[Place]:
    """Run the daemon."""
    found = Place()
    with running(tmp_path_factory.mktemp("place"), found.clock) as found.house:
        found.house.log_in("work", practice.url)
        yield found


@pytest.fixture
def meeting(place: Place) -> Iterator[Meeting]:
    """Return a program that nobody knows, in a house where nobody waits."""
    yield Meeting(place)
    place.now += 601
    for app in place.house.owner.ask("GET", "/v1/apps", 200)["apps"]:
        place.house.owner.ask("DELETE", "/v1/apps/{app}", 204, path={"app": app["name"]})


def test_a_program_becomes_an_app(meeting: Meeting) -> None:
    """Both sides show the same code; after the yes the program's own key opens what was granted, and no more."""
    asked = meeting.ask()
    (shown,) = meeting.house.owner.ask("GET", "/v1/approvals", 200)["approvals"]
    assert (asked["state"], asked["code"]) == ("pending", shown["id"])
    assert meeting.ask() == asked  # once more: the same
    with (program := meeting.program()).http:
        program.ask("GET", "/v1/accounts/{account}/token", 401, path={"account": "work"})

    assert meeting.answer(asked["code"], decision="allow")["state"] == "allowed"

    assert meeting.stands()["app"] == "mail"
    assert meeting.stands()["state"] == "allowed"
    with (program := meeting.program()).http:
        token = program.ask("GET", "/v1/accounts/{account}/token", 200, path={"account": "work"})
        program.ask("GET", "/v1/accounts", 403)
        assert program.ask("POST", "/v1/pairing", 409, json={"name": "mail"})
        assert program.ask("DELETE", "/v1/pairing", 409)
    assert token["scope"] == "profile"


def test_the_code_is_of_the_address(meeting: Meeting) -> None:
    """Who passes a request on to the daemon shows the owner another code than the program does, which computes it."""
    port = urlsplit(meeting.house.app_url).netloc
    hashed = challenge.hash_key(meeting.key)
    assert meeting.ask()["code"] == challenge.pairing_code(hashed, port)

    codes = {challenge.pairing_code(hashed, address) for address in (port, "socket", "[::1]:8401", "127.0.0.1:8401")}
    assert len(codes) == 4
    other = made()
    with httpx2.Client(
        transport=httpx2.HTTPTransport(uds=meeting.house.socket, verify=NO_TLS), base_url="http://localhost"
    ) as http:
        http.headers["authorization"] = f"Bearer {other}"
        code = Door(http).ask("POST", "/v1/pairing", 201, json={"name": "mail"})["code"]
    assert code == challenge.pairing_code(challenge.hash_key(other), challenge.SOCKET)


def test_the_owner_names_it_and_chooses_the_accounts(meeting: Meeting) -> None:
    """What the program calls itself and wants is a proposal."""
    asked = meeting.ask(grants=[])
    answered: dict[str, Any] = {"decision": "allow", "name": "post", "accounts": ["work"], "scope": ["openid"]}

    meeting.answer(asked["code"], 404, **{**answered, "accounts": ["nowhere"]})
    meeting.answer(asked["code"], **answered)

    assert meeting.stands()["app"] == "post"
    (app,) = meeting.house.owner.ask("GET", "/v1/apps", 200)["apps"]
    assert [(grant["account"], grant["scope"]) for grant in app["grants"]] == [("work", "openid")]


def test_a_taken_name_is_told_to_the_owner(meeting: Meeting) -> None:
    """Nobody becomes another app; under another name the same request can still be allowed."""
    meeting.house.owner.ask("POST", "/v1/apps", 201, json={"name": "mail"})
    code = meeting.ask()["code"]

    assert meeting.answer(code, 409, decision="allow")["code"] == "conflict"
    meeting.answer(code, decision="allow", name="mail-2")

    assert meeting.stands()["app"] == "mail-2"


def test_no(meeting: Meeting) -> None:
    """The program is told, and its key opens nothing; a later yes to the same key is not taken."""
    code = meeting.ask()["code"]

    meeting.answer(code, decision="deny")

    assert meeting.stands()["state"] == "denied"
    assert meeting.answer(code, 404, decision="allow")
    with (program := meeting.program()).http:
        program.ask("GET", "/v1/accounts/{account}/token", 401, path={"account": "work"})


def test_a_request_is_forgotten(meeting: Meeting) -> None:
    """After ten minutes, or when the program takes it back, the code is good for nothing."""
    code = meeting.ask()["code"]
    meeting.place.now += 601
    meeting.stands(404)
    meeting.answer(code, 404, decision="allow")

    code = meeting.ask()["code"]
    with (program := meeting.program()).http:
        program.ask("DELETE", "/v1/pairing", 204)
        program.ask("DELETE", "/v1/pairing", 204)
    meeting.answer(code, 404, decision="allow")


def test_waiting_ends_with_the_answer(meeting: Meeting) -> None:
    """A long poll returns at once where nothing is left to wait for, and when its time is over where there is."""
    code = meeting.ask()["code"]
    assert meeting.stands(wait=0.01)["state"] == "pending"
    meeting.answer(code, decision="allow")

    began = time.monotonic()
    assert meeting.stands(wait=60)["state"] == "allowed"
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("key", ["kf_short", "kf_" + "x" * 44, "kf_" + "+" * 43, "xx_" + "x" * 43])
def test_a_key_that_is_none_asks_nothing(meeting: Meeting, key: str) -> None:
    """Only what looks like 256 random bits may become a key."""
    meeting.ask(401, key)
    assert meeting.house.owner.ask("GET", "/v1/approvals", 200)["approvals"] == []


@pytest.mark.parametrize(
    "said",
    [
        {"name": ""},
        {"name": "owner"},
        {"name": "a b"},
        {"name": "x" * 65},
        {"grants": [{"account": ""}]},
        {"grants": [{"account": "work"}, {"account": "work"}]},
        {"grants": [{"account": f"a{number}"} for number in range(11)]},
        {"grants": [{"account": "work", "resource": "not a uri"}]},
        {"more": 1},
    ],
)
def test_a_wrong_request_is_refused(meeting: Meeting, said: dict[str, Any]) -> None:
    """With what would be right; and nobody is asked."""
    assert meeting.ask(400, **said)["code"] == "invalid_request"
    assert meeting.house.owner.ask("GET", "/v1/approvals", 200)["approvals"] == []


def test_the_owner_has_no_key_to_pair(meeting: Meeting) -> None:
    """Without a key there is nothing to make an app of."""
    refused = meeting.house.owner.ask("POST", "/v1/pairing", 400, json={"name": "mail"})
    assert "a key of its own making" in refused["detail"]


def test_programs_cannot_flood_the_owner(meeting: Meeting) -> None:
    """Few wait at a time, so that a person can tell them apart; the others are told when to come again."""
    codes = [meeting.ask(key=made())["code"] for _ in range(3)]

    refused = meeting.ask(429)
    assert 0 < refused["retry_after"] <= 600
    meeting.answer(codes[0], decision="deny")
    assert meeting.ask()["state"] == "pending"
    assert len(set(codes)) == 3
