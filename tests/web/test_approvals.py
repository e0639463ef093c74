"""Ask once and remember: what an app was not granted becomes a question, and the owner's answer a grant."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.web import peers
from tests.e2e.home import until
from tests.loopback import NO_TLS
from tests.web.house import Door, House, running

NO_MORE: dict[str, object] = {"token_file": None, "token_file_path": None, "rules": [], "rate_share": None}
TOKEN = "/v1/accounts/{account}/token"
HOUR, DAY = 3600.0, 86_400.0


class Base:
    """A house for all tests of this module, by a clock that they move on, with an account ``work``."""

    def __init__(self) -> None:
        self.now = time.time()
        self.practice: PracticeServer
        self.house: House
        self.apps = 0

    def clock(self) -> float:
        """Tell the time, to the provider too."""
        return self.now


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    """Run the daemon."""
    found = Base()
    settings = PracticeSettings(ttl=600, auto_approve=True)
    with (
        practice_in_thread(settings, clock=found.clock) as found.practice,
        running(tmp_path_factory.mktemp("base"), found.clock) as found.house,
    ):
        found.house.log_in("work", found.practice.url)
        yield found


class Room:
    """An app that was granted nothing, in a house."""

    def __init__(self, house: House, name: str) -> None:
        self.house, self.name = house, name
        self.key: str = house.owner.ask("POST", "/v1/apps", 201, json={"name": name})["key"]

    def app(self) -> Door:
        """Return the app port as the app sees it."""
        return self.house.app(self.key)

    def asked(self, account: str = "work", **query: str) -> Any:  # noqa: ANN401 -- the problem document
        """Ask as the app, and be refused."""
        with (app := self.app()).http:
            return app.ask("GET", TOKEN, 403, path={"account": account}, params=query)

    def gets(self, account: str = "work", **query: str) -> str:
        """Ask as the app, and get a token."""
        with (app := self.app()).http:
            token: str = app.ask("GET", TOKEN, 200, path={"account": account}, params=query)["access_token"]
            return token

    def answer(self, code: str, status: int = 200, **said: Any) -> Any:  # noqa: ANN401 -- the request, or a problem
        """Answer as the owner."""
        return self.house.owner.ask("POST", "/v1/approvals/{id}", status, path={"id": code}, json=said)

    def listed(self) -> list[dict[str, Any]]:
        """Return what the owner sees of this app."""
        found = self.house.owner.ask("GET", "/v1/approvals", 200)["approvals"]
        return [one for one in found if one["app"] == self.name]

    def grant(self, account: str = "work", **given: object) -> None:
        """Grant it something of the owner's own accord."""
        there = {"app": self.name, "account": account}
        self.house.owner.ask("PUT", "/v1/apps/{app}/grants/{account}", 200, path=there, json=given)

    def grants(self) -> list[dict[str, Any]]:
        """Return what the app has."""
        shown = self.house.owner.ask("GET", "/v1/apps/{app}", 200, path={"app": self.name})
        found: list[dict[str, Any]] = shown["grants"]
        return found


@pytest.fixture
def room(base: Base) -> Room:
    """Return an app of the test's own, on a day of its own."""
    base.apps += 1
    # A refresh that is in the air when time jumps brings what ended yesterday.
    until("no refresh is in the air", lambda: not base.house.ctx.flights.tasks)
    base.now += DAY
    base.house.owner.ask("GET", TOKEN, 200, path={"account": "work"})
    return Room(base.house, f"mail-{base.apps}")


def code_of(refused: dict[str, Any]) -> str:
    """Return the code in the address that an app was told."""
    code: str = refused["approval_url"].rpartition("/")[2]
    assert f"keyfob approve {code}" in refused["detail"]
    return code


def test_an_app_without_a_grant_asks_the_owner(room: Room) -> None:
    """It is told where, and the owner sees who asks, for what, and how often; nothing else comes of it."""
    first, again = room.asked(scope="profile"), room.asked(scope="profile")

    (shown,) = room.listed()
    assert code_of(first) == code_of(again) == shown["id"]
    assert (shown["kind"], shown["state"], shown["app"], shown["count"]) == ("grant", "pending", room.name, 2)
    assert shown["wanted"] == [{"account": "work", "scope": "profile", "resource": None, "mode": "token"}]
    assert shown["asker"]["door"] == "port"
    assert shown["asker"]["uid"] in (os.getuid(), None)
    assert room.grants() == []


def test_the_kernel_says_who_asks_at_the_socket(room: Room) -> None:
    """Uid, process and program come from the kernel, and not from what the program says of itself."""
    with httpx2.Client(
        transport=httpx2.HTTPTransport(uds=room.house.socket, verify=NO_TLS), base_url="http://localhost"
    ) as http:
        http.headers["authorization"] = f"Bearer {room.key}"
        Door(http).ask("GET", TOKEN, 403, path={"account": "work"}, headers={"user-agent": "/usr/bin/harmless"})

    (shown,) = room.listed()
    executable = str(Path(sys.executable).resolve())
    assert shown["asker"] == {"door": "socket", "uid": os.getuid(), "pid": os.getpid(), "executable": executable}


class Table(type(Path())):  # type: ignore[misc]  # which class that is depends on the system
    """A file of the kernel's that counts how often it is read."""

    reads = 0

    def read_bytes(self) -> bytes:
        """Read it, and count."""
        Table.reads += 1
        return bytes(super().read_bytes())


def test_the_table_of_connections_is_not_read_for_a_token(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes milliseconds on a busy machine, so who asks is found out only where the owner is asked."""
    monkeypatch.setattr(peers, "TABLES", (Table("/proc/net/tcp"),))
    room.grant()
    Table.reads = 0

    room.gets()
    assert Table.reads == 0

    room.asked("nowhere")
    assert Table.reads == 1


def test_an_account_that_is_not_there_looks_the_same(room: Room) -> None:
    """What an app is told does not say whether there is such an account; the owner cannot grant one that is not."""
    there, nowhere = room.asked("work"), room.asked("nowhere")

    def without(told: dict[str, Any], name: str) -> dict[str, Any]:
        return {k: str(v).replace(name, "X").replace(code_of(told), "CODE") for k, v in told.items()}

    assert without(there, "work") == without(nowhere, "nowhere")
    assert room.answer(code_of(nowhere), 404, decision="allow")["code"] == "unknown_account"
    assert [one["state"] for one in room.listed()] == ["pending", "pending"]


def test_always(room: Room) -> None:
    """A yes for good is a grant like any other, and stands in the record with the question."""
    code = code_of(room.asked())

    assert room.answer(code, decision="allow")["state"] == "allowed"

    assert room.gets() == room.gets()
    assert room.grants() == [
        {"account": "work", "scope": "", "resource": None, "mode": "token", "expires_at": None, **NO_MORE}
    ]
    assert room.listed() == []
    room.answer(code, 404, decision="allow")
    wait_for_record(room, {"approval-asked", "approval-allowed", "granted"})


def wait_for_record(room: Room, actions: set[str]) -> None:
    """See these in the audit: what is published is written a moment later."""
    give_up = time.monotonic() + 10
    seen: set[str] = set()
    while not actions <= seen:
        assert time.monotonic() < give_up, actions - seen
        entries = room.house.owner.ask("GET", "/v1/audit", 200, params={"app": room.name, "limit": 100})["entries"]
        seen = {entry["action"] for entry in entries}


def test_once_is_one_token(room: Room) -> None:
    """The next request is a question again, and the app has no grant at any time."""
    code = code_of(room.asked(scope="profile"))
    assert room.answer(code, decision="allow", remember="once")["state"] == "once"
    assert code_of(room.asked(scope="openid")) != code  # for another scope it is not good

    room.gets(scope="profile")

    assert code_of(room.asked(scope="profile")) != code
    assert room.grants() == []


def test_once_is_not_used_up_by_a_refusal(base: Base, room: Room) -> None:
    """Where no token could be had, the yes stays for the next try; and it does not stay for ever."""
    room.answer(code_of(room.asked()), decision="allow", remember="once")
    base.now += 700  # the token has run out
    base.practice.set_faults(["token:status=503"])
    with (app := room.app()).http:
        app.ask("GET", TOKEN, 503, path={"account": "work"})
    base.practice.set_faults([])
    base.now += 60

    room.gets()

    room.answer(code_of(room.asked()), decision="allow", remember="once")
    base.now += HOUR + 1
    room.asked()


def test_once_dies_with_the_key(room: Room) -> None:
    """An app that was removed, or whose key was replaced, gets nothing for an older yes."""
    room.answer(code_of(room.asked()), decision="allow", remember="once")
    room.house.owner.ask("DELETE", "/v1/apps/{app}", 204, path={"app": room.name})

    Room(room.house, room.name).asked()


def test_until(base: Base, room: Room) -> None:
    """A yes that ends does; and where it would shorten a grant that the app has, it is refused."""
    said: dict[str, Any] = {"decision": "allow", "remember": "until", "expires_at": base.now + HOUR}
    room.answer(code_of(room.asked(scope="profile")), **said)
    room.gets(scope="profile")
    more = code_of(room.asked(scope="openid"))
    assert "would end then too" in room.answer(more, 400, **said)["detail"]

    base.now += HOUR + 1

    assert code_of(room.asked(scope="profile")) != more


def test_more_is_added_to_what_there_is(room: Room) -> None:
    """A yes takes nothing away; and who asks for what it has already is no question."""
    room.grant(scope=["openid"])

    room.answer(code_of(room.asked(scope="profile")), decision="allow")

    assert room.grants()[0]["scope"] == "openid profile"
    room.grant(resource="https://api.example.org/")
    assert "approval_url" not in room.asked(audience="elsewhere")  # no grant can say that


def test_the_owner_may_give_less(room: Room) -> None:
    """Scopes and mode of the answer count, whatever was asked for."""
    room.answer(code_of(room.asked()), decision="allow", scope="openid profile", mode="proxy")

    assert room.grants()[0] | {"expires_at": None} == {
        "account": "work",
        "scope": "openid profile",
        "resource": None,
        "mode": "proxy",
        "expires_at": None,
        **NO_MORE,
    }


def test_not_now(base: Base, room: Room) -> None:
    """A no counts for ten minutes, in which nobody is asked; then the question may come again."""
    code = code_of(room.asked())
    assert room.answer(code, decision="deny", remember="once")["state"] == "denied"

    refused = room.asked()
    assert "approval_url" not in refused
    assert "just refused" in refused["detail"]
    base.now += 601
    assert code_of(room.asked()) != code


def test_never(tmp_path: Path, practice: PracticeServer) -> None:
    """A no for good outlasts the daemon, whatever is asked for of that account, and can be taken back."""
    with running(tmp_path) as house:
        house.log_in("work", practice.url)
        room = Room(house, "mail")
        room.answer(code_of(room.asked()), decision="deny")
    with running(tmp_path) as room.house:
        refused = room.asked(scope="profile")
        assert "approval_url" not in refused
        assert "the owner refused account 'work' to app 'mail'" in refused["detail"]
        (kept,) = room.listed()
        assert (kept["state"], kept["expires_at"]) == ("never", None)
        assert room.answer(kept["id"], 400, decision="allow", remember="once")

        room.answer(kept["id"], decision="deny", remember="once")
        room.answer(code_of(room.asked()), decision="deny")
        room.answer(room.listed()[0]["id"], decision="allow")
        assert room.gets()
        assert room.listed() == []


def test_a_never_that_is_taken_back_takes_nothing_away(base: Base, room: Room) -> None:
    """A yes after all widens what the app has, with the rules of every other yes, and stands in the record."""
    room.grant(scope=["openid"], resource="https://api.example.org/")
    room.answer(code_of(room.asked(scope="profile")), decision="deny")
    (kept,) = room.listed()
    said: dict[str, Any] = {"decision": "allow", "scope": "profile"}
    assert (
        "would end then too"
        in room.answer(kept["id"], 400, **said, remember="until", expires_at=base.now + HOUR)["detail"]
    )

    room.answer(kept["id"], **said)

    (grant,) = room.grants()
    assert (grant["scope"], grant["resource"]) == ("openid profile", "https://api.example.org/")
    wait_for_record(room, {"approval-denied", "approval-allowed"})


def test_a_yes_for_one_token_outlasts_another_yes(room: Room) -> None:
    """What was allowed once stays so, whatever else of that account is granted meanwhile."""
    room.answer(code_of(room.asked(scope="profile")), decision="allow", remember="once")

    room.answer(code_of(room.asked(scope="openid")), decision="allow")

    assert room.gets(scope="profile")


def test_a_grant_of_the_owners_own_accord_answers(room: Room) -> None:
    """Who grants it otherwise has answered the question, and taken an earlier no back."""
    room.answer(code_of(room.asked()), decision="deny")
    room.asked(scope="profile")
    room.asked("other")

    room.grant()

    assert [one["wanted"][0]["account"] for one in room.listed()] == ["other"]


def test_a_program_cannot_flood_the_owner(base: Base, room: Room) -> None:
    """So many questions of one app wait at a time; what it asks beyond them is refused as before, and kept nowhere."""
    for number in range(10):
        code_of(room.asked(f"account-{number}"))

    assert "approval_url" not in room.asked("account-10")
    assert len(room.listed()) == 10
    code_of(room.asked("account-3"))
    base.now += DAY + 1
    assert room.listed() == []


def test_a_token_in_the_place_of_a_name_is_no_question(room: Room) -> None:
    """A program's mistake must not put a secret before the owner, or into the record."""
    for wrong in ({"account": "x" * 40}, {"scope": f"read {'y' * 40}"}):
        assert "approval_url" not in room.asked(**wrong)
    assert room.listed() == []


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"decision": "maybe"},
        {"decision": "allow", "remember": "forever"},
        {"decision": "allow", "remember": "until"},
        {"decision": "allow", "expires_at": "2999-01-01T00:00:00Z"},
        {"decision": "allow", "remember": "until", "expires_at": 1},
        {"decision": "deny", "remember": "until", "expires_at": "2999-01-01T00:00:00Z"},
        {"decision": "allow", "mode": "all"},
        {"decision": "allow", "remember": "once", "mode": "proxy"},
        {"decision": "allow", "more": 1},
        {"decision": "allow", "name": "other"},
        {"decision": "allow", "accounts": ["work"]},
        {"decision": "deny", "scope": "openid"},
        {"decision": "deny", "mode": "proxy"},
        {"decision": "deny", "name": "other"},
    ],
)
def test_a_wrong_answer_changes_nothing(room: Room, said: dict[str, Any]) -> None:
    """It is refused with what would be right, and the question stays."""
    code = code_of(room.asked())

    assert room.answer(code, 400, **said)["code"] == "invalid_request"

    (shown,) = room.listed()
    assert (shown["id"], shown["state"]) == (code, "pending")


def test_codes_may_be_typed(room: Room) -> None:
    """Small letters, without the dash: it is the same request."""
    code = code_of(room.asked())

    assert room.answer(code.lower().replace("-", ""), decision="allow")["id"] == code
