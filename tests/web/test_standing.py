"""An answer that is given again without looking: only while nothing has changed, and counted and limited as ever."""

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.types import ASGIApp, Message

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from broker.usecases import locking
from broker.usecases.context import Kept
from broker.web import protocol, standing
from broker.web.asgi import app_door
from broker.web.standing import Standing
from tests.usecases import house as stories
from tests.web.house import House, running
from tests.web.raw import Line, head

PATH = "/v1/accounts/work/token"
TTL = 600.0
MANY = 24


class Room:
    """A daemon with an account ``work``, by a clock that the test moves; and an app with a grant, on one connection."""

    def __init__(self) -> None:
        self.now = float(round(time.time()))
        self.home: Path
        self.practice: PracticeServer
        self.house: House
        self.http: httpx2.Client
        self.name = "mail"

    def clock(self) -> float:
        """Tell the time, to the provider too."""
        return self.now

    def get(self, status: int = 200, path: str = PATH, **headers: str) -> Any:  # noqa: ANN401 -- the answer's JSON
        """Ask for the token."""
        answer = self.http.get(path, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    def kept(self, **headers: str) -> dict[bytes, Kept[Standing]]:
        """Ask until an answer stands; return what does. The scheduler forgets them from time to time."""
        for _ in range(20):
            self.get(200, PATH, **headers)
            if found := dict(self.house.ctx.standing):
                break
        return found

    def again(self) -> str:
        """Ask until an answer stands, and once more; return the token."""
        assert self.kept()
        token: str = self.get()["access_token"]
        return token

    def owner(self, method: str, route: str, status: int, **more: Any) -> Any:  # noqa: ANN401 -- as above
        """Do something as the owner."""
        path = {"account": "work", "app": self.name}
        return self.house.owner.ask(method, route, status, path=path, **more)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """Run it."""
    found = Room()
    found.home = tmp_path
    settings = PracticeSettings(ttl=TTL, auto_approve=True)
    with (
        practice_in_thread(settings, clock=found.clock) as found.practice,
        running(tmp_path, found.clock, app_rate="0") as found.house,
    ):
        found.house.log_in("work", found.practice.url)
        made = found.owner("POST", "/v1/apps", 201, json={"name": found.name, "grants": [{"account": "work"}]})
        with found.house.app(made["key"]).http as found.http:
            yield found


def test_it_is_the_same_answer_with_the_life_that_remains(room: Room) -> None:
    """Token and facts are the same; ``expires_in`` is what is left now, and not what was left then."""
    first = room.get()
    room.again()
    room.now += 100.0
    second = room.get()

    assert second.pop("expires_in") == first.pop("expires_in") - 100
    assert second == first


def test_a_grant_that_was_taken_back_counts_at_once(room: Room) -> None:
    """The next request after the revocation is refused."""
    room.again()
    room.owner("DELETE", "/v1/apps/{app}/grants/{account}", 204)

    assert room.get(403)["code"] == "not_granted"


def test_a_key_that_was_replaced_is_dead_at_once(room: Room) -> None:
    """Also one that had an answer a moment ago."""
    room.again()
    room.owner("POST", "/v1/apps/{app}/rotate", 200)

    room.get(401)


def test_a_locked_keyfob_gives_nothing_and_keeps_nothing(room: Room) -> None:
    """No token stays in memory in clear, and the app is told."""
    room.again()
    room.owner("POST", "/v1/lock", 200)

    assert room.house.ctx.standing == {}
    assert room.get(423)["code"] == "locked"
    assert room.house.ctx.standing == {}


def test_a_logout_counts_at_once(room: Room) -> None:
    """The token is not handed out any more, whatever the provider says of it."""
    room.again()
    room.owner("DELETE", "/v1/accounts/{account}", 204, params={"local_only": "true"})

    room.get(403)


def test_what_another_program_writes_into_the_database_counts_at_once(room: Room) -> None:
    """A grant that somebody deletes behind Keyfob's back is gone at the next request."""
    room.again()
    with contextlib.closing(sqlite3.connect(room.home / ".local/state/keyfob/keyfob.db", isolation_level=None)) as db:
        db.execute("DELETE FROM app_grant")

    assert room.get(403)["code"] == "not_granted"


def test_a_token_is_renewed_when_its_time_comes(room: Room) -> None:
    """A standing answer ends where a caller would no longer be served with that token."""
    before = room.again()
    room.now += TTL - 59.0

    after = room.get()
    assert after["access_token"] != before
    assert after["expires_in"] > 60


def test_a_longer_wish_is_another_request(room: Room) -> None:
    """What stands for one ``min_ttl`` says nothing about a longer one."""
    before = room.again()
    room.now += 250.0

    assert room.get()["access_token"] == before
    assert room.get(path=f"{PATH}?min_ttl=390")["access_token"] != before


def test_a_grant_ends_when_it_ends(room: Room) -> None:
    """Time alone ends it, and nothing has to change in the database for that."""
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(room.now + 100.0))
    room.owner("PUT", "/v1/apps/{app}/grants/{account}", 200, json={"expires_at": ends})
    room.again()
    room.now += 101.0

    room.get(403)


def test_a_grant_that_has_ended_ends_no_other(room: Room) -> None:
    """What the app may have beside it stands as ever."""
    room.house.log_in("home", room.practice.url)
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(room.now + 100.0))
    path = {"account": "home", "app": room.name}
    room.house.owner.ask("PUT", "/v1/apps/{app}/grants/{account}", 200, path=path, json={"expires_at": ends})
    room.now += 101.0

    assert [one.until > room.now for one in room.kept().values()] == [True]


def test_what_traces_a_request_makes_it_no_other(room: Room) -> None:
    """Programs that are watched send another number with each request; nothing is decided by it."""
    first = room.kept(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    second = room.kept(traceparent="00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01")

    assert len({*first, *second}) == 1


def test_an_app_key_ends_when_it_ends(room: Room) -> None:
    """Likewise the key itself. More than once: an answer may just have been forgotten by the scheduler."""
    for number in range(6):
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(room.now + 100.0))
        made = {"name": f"short-{number}", "grants": [{"account": "work"}], "expires_at": ends}
        key = room.owner("POST", "/v1/apps", 201, json=made)["key"]
        room.house.ctx.forget_in_clear()
        with room.house.app(key).http as http:
            while not room.house.ctx.standing:
                assert http.get(PATH).status_code == 200
            room.now += 101.0
            assert http.get(PATH).status_code == 401


def test_the_guard_sees_every_other_head(room: Room) -> None:
    """A page of a browser, another key, another Host: each is refused, whatever was answered just before."""
    room.again()

    assert room.get(403, Origin="http://evil.example")["code"] == "not_granted"
    room.get(401, Authorization="Bearer kf_" + "x" * 43)
    room.get(400, Host="evil.example")
    assert room.http.get(PATH, headers={"Accept": "text/plain"}).headers["content-type"].startswith("text/plain")


def test_a_refresh_brings_the_new_token_at_once(room: Room) -> None:
    """Whoever asks after a refresh does not get the token of before."""
    before = room.again()
    room.owner("POST", "/v1/accounts/{account}/refresh", 200)

    assert room.get()["access_token"] != before


def test_it_goes_out_as_the_first_one_did(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another request behind it, and where the connection is to end, too; and an idle one is kept as ever."""
    monkeypatch.setattr(protocol, "RECEIVE_DEADLINE", 0.1)
    asked = (f"Authorization: {room.http.headers['authorization']}",)
    with Line(room.house.app_url) as line:
        first = line.ask("GET", PATH, *asked)
        assert room.house.ctx.standing
        assert [line.ask("GET", PATH, *asked) for _ in range(3)] == [first] * 3
        line.timeout(0.3)
        assert not line.gone()
        line.timeout(stories.PATIENCE)
        line.send(3 * head("GET", PATH, f"Host: {line.host}", *asked))
        assert [line.answer() for _ in range(3)] == [first] * 3
        last = line.ask("GET", PATH, *asked, "Connection: close")
        assert (last.body, last.headers) == (first.body, {**first.headers, "connection": "close"})
        assert line.end() == b""


def test_the_rate_of_an_app_holds(tmp_path: Path) -> None:
    """Standing answers are counted against the rate like all others."""
    room = Room()
    with (
        practice_in_thread(PracticeSettings(ttl=TTL, auto_approve=True), clock=room.clock) as practice,
        running(tmp_path, room.clock, app_rate="1", app_burst="5") as room.house,
    ):
        room.house.log_in("work", practice.url)
        made = room.owner("POST", "/v1/apps", 201, json={"name": room.name, "grants": [{"account": "work"}]})
        with room.house.app(made["key"]).http as http:
            assert [http.get(PATH).status_code for _ in range(7)] == [200] * 5 + [429] * 2


def test_a_yes_for_once_is_for_once(room: Room) -> None:
    """A token that the owner allowed once is not handed out a second time."""
    room.owner("DELETE", "/v1/apps/{app}/grants/{account}", 204)
    code = room.get(403)["approval_url"].rpartition("/")[2]
    answer = {"decision": "allow", "remember": "once"}
    room.house.owner.ask("POST", "/v1/approvals/{id}", 200, path={"id": code}, json=answer)

    room.get()
    room.get(403)


def test_each_is_counted_in_the_audit(tmp_path: Path) -> None:
    """Whether an answer stands or is made anew makes no difference in the record."""
    room = Room()
    with practice_in_thread(PracticeSettings(ttl=TTL, auto_approve=True), clock=room.clock) as practice:
        with running(tmp_path, room.clock) as room.house:
            room.house.log_in("work", practice.url)
            made = room.owner("POST", "/v1/apps", 201, json={"name": room.name, "grants": [{"account": "work"}]})
            with room.house.app(made["key"]).http as http:
                assert {http.get(PATH).status_code for _ in range(25)} == {200}
        with running(tmp_path, room.clock) as room.house:  # what is counted is written down at the stop
            entries = room.owner("GET", "/v1/audit", 200, params={"app": room.name})["entries"]
    assert [one["count"] for one in entries if one["action"] == "handout"] == [25]


def test_many_that_ask_at_once_wait_for_one(room: Room) -> None:
    """When an answer stands no more, one of those who ask finds out, and the others get what came of it."""
    key = room.http.headers["authorization"].removeprefix("Bearer ")
    room.again()
    room.owner("POST", "/v1/accounts/{account}/refresh", 200)
    with ThreadPoolExecutor(MANY) as pool, contextlib.ExitStack() as open_ones:
        apps = [open_ones.enter_context(room.house.app(key).http) for _ in range(MANY)]
        together = threading.Barrier(MANY)

        def ask(http: httpx2.Client) -> str:
            together.wait()
            return str(http.get(PATH).json()["access_token"])

        tokens = list(pool.map(ask, apps))
    assert set(tokens) == {room.again()}


async def asked(door: ASGIApp, send: Callable[[Message], Awaitable[None]] | None = None, uid: int | None = None) -> int:
    """Ask at the socket as the owner, or as another user; return the status."""
    status = 0

    async def heard(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        await (send or anything)(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "server": ("/run/keyfob.sock", None),
        "client": None,
        "state": {"peer": (1, os.getuid() if uid is None else uid)},
    }
    async with asyncio.timeout(stories.PATIENCE):
        await door(scope, anything, heard)
    return status


async def anything(*_: object) -> Any:  # noqa: ANN401 -- nobody looks at it
    """Take or give whatever it is."""


def test_who_reads_nothing_holds_nobody_up(tmp_path: Path) -> None:
    """Others wait for what one finds out, and not until its client has read that."""

    async def story() -> None:
        async with stories.opened(tmp_path) as house:
            await house.log_in("work")
            door, begun, read = app_door(house.ctx, "socket", None), asyncio.Event(), asyncio.Event()

            async def stuck(_: Message) -> None:
                begun.set()
                await read.wait()

            slow = asyncio.create_task(asked(door, stuck))
            await begun.wait()
            assert await asked(door) == 200
            read.set()
            assert await slow == 200

    asyncio.run(story())


def test_who_goes_away_leaves_the_others_waiting(tmp_path: Path) -> None:
    """One that is cancelled while it waits for the answer takes it from nobody."""

    async def story() -> None:
        async with stories.opened(tmp_path) as house:
            await house.log_in("work")
            door = app_door(house.ctx, "socket", None)
            first, second, third = (asyncio.create_task(asked(door)) for _ in range(3))
            await asyncio.sleep(0)
            assert second.cancel()
            assert [await first, await third] == [200, 200]

    asyncio.run(story())


def test_nobody_waits_for_long_for_what_another_finds_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one may wait for a provider; whoever comes after it looks for itself then."""
    monkeypatch.setattr(standing, "PATIENCE", 0.02)

    async def story() -> None:
        async with stories.opened(tmp_path) as house:
            await house.log_in("work")
            house.clock.forward(stories.TTL)
            house.practice.set_faults(["refresh:hold"])
            door = app_door(house.ctx, "socket", None)
            first = asyncio.create_task(asked(door))
            await house.until_asked()
            second = asyncio.create_task(asked(door))
            await asyncio.sleep(0)
            locking.lock(house.ctx)
            assert await second == 423
            assert not first.done()
            house.practice.set_faults([])
            assert await first == 423

    asyncio.run(story())


def test_another_user_neither_waits_nor_ends_anything(tmp_path: Path) -> None:
    """Whoever is not the owner is refused at once, and what stands for the owner goes on to stand."""

    async def story() -> None:
        async with stories.opened(tmp_path) as house:
            await house.log_in("work")
            door = app_door(house.ctx, "socket", None)
            assert await asked(door) == 200
            (before,) = house.ctx.standing.values()
            assert await asked(door, uid=os.getuid() + 1) == 401
            assert list(house.ctx.standing.values()) == [before]

    asyncio.run(story())
