"""How fast an app may ask, and wrong keys: who asks too fast waits, and nobody waits for what a neighbour does."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.usecases.limits import FREE_TRIES
from broker.web import peers
from tests.web.house import House, running
from tests.web.raw import Line, bearer

TOO_FAST = "more than 2 requests a second, after 3 at once"


class Clock:
    """Epoch seconds that stand still until told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return what time it is."""
        return self.now

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the daemon."""
    return Clock()


@pytest.fixture
def house(tmp_path: Path, clock: Clock) -> Iterator[House]:
    """Run a daemon whose apps may ask twice a second, and three times at once."""
    with running(tmp_path, clock=clock, app_rate="2", app_burst="3") as found:
        yield found


def make_app(house: House, name: str) -> str:
    """Make an app; return its key."""
    made: str = house.owner.ask("POST", "/v1/apps", 201, json={"name": name})["key"]
    return made


def ask(house: House, key: str, where: str = "", name: str = "job") -> Callable[[int], Any]:
    """Return what asks as an app, at the app port unless told otherwise, and expects a status."""

    def asked(status: int) -> Any:  # noqa: ANN401 -- whatever the body holds
        with Line(where or house.app_url) as line:
            answer = line.ask("GET", f"/v1/apps/{name}", bearer(key))
        assert answer.status == status, answer.text
        if status == 429:
            assert answer.headers["retry-after"] == str(answer.json()["retry_after"])
        return answer.json()

    return asked


def told(house: House, mark: str) -> list[str]:
    """Return what the audit says of slowed apps, once all has been written that happened before now."""
    make_app(house, mark)
    for _ in range(1000):
        entries = house.owner.ask("GET", "/v1/audit", 200)["entries"]
        if any(entry["app"] == mark for entry in entries):  # entries keep the order in which things happened
            return [entry["detail"] for entry in entries if entry["action"] == "throttled"]
    raise AssertionError(mark)


def test_an_app_that_asks_too_fast(house: House, clock: Clock) -> None:
    """It may make so many requests at once and so many a second; others, and the owner, do not wait for it."""
    job, other = ask(house, make_app(house, "job")), ask(house, make_app(house, "other"), name="other")
    for _ in range(3):
        job(200)
    refused = job(429)
    assert (refused["code"], refused["retry_after"]) == ("too_many_requests", 1)
    assert TOO_FAST in refused["detail"]
    other(200)
    for _ in range(20):
        house.owner.ask("GET", "/v1/apps", 200)
    clock.forward(0.5)
    job(200)
    job(429)
    clock.forward(3600.0)
    for _ in range(3):
        job(200)
    job(429)


def test_the_socket_limits_apps_too(house: House) -> None:
    """An app's bucket is one, whichever door it comes through."""
    key = make_app(house, "job")
    at_socket, at_port = ask(house, key, house.socket), ask(house, key)
    for asked in (at_socket, at_port, at_socket):
        asked(200)
    at_port(429)
    at_socket(429)


def test_it_is_told_once_a_minute(house: House, clock: Clock) -> None:
    """The audit does not grow with each request of an app that is slowed down."""
    job = ask(house, make_app(house, "job"))
    for _ in range(3):
        job(200)
    for _ in range(20):
        job(429)
    assert told(house, "mark-1") == [TOO_FAST]
    clock.forward(59.0)
    for _ in range(3):
        job(200)
    job(429)
    clock.forward(1.0)
    job(200)
    job(200)
    job(429)
    assert told(house, "mark-2") == [TOO_FAST, TOO_FAST]


def test_wrong_keys_wait_and_right_ones_do_not(house: House, clock: Clock) -> None:
    """After so many, further wrong ones are told to wait, for longer each time, and forgiven after a while."""
    right, wrong = ask(house, make_app(house, "job")), ask(house, "kf_wrong")
    for _ in range(FREE_TRIES + 1):
        wrong(401)
    for wait in (1, 2, 4, 8, 16, 32, 60, 60):
        refused = wrong(429)
        assert (refused["code"], refused["retry_after"]) == ("too_many_requests", wait)
        right(200)
        clock.forward(wait)
        wrong(401)
    clock.forward(600.0)
    for _ in range(FREE_TRIES + 1):
        wrong(401)
    wrong(429)


@pytest.mark.parametrize("known", [True, False])
def test_whose_wrong_keys(house: House, monkeypatch: pytest.MonkeyPatch, *, known: bool) -> None:
    """They are one user's at both doors; where the kernel does not tell who it is, they are the door's."""
    if not known:
        monkeypatch.setattr(peers, "TABLES", (Path("/nowhere"), Path("/nowhere")))
    at_port, at_socket = ask(house, "kf_wrong"), ask(house, "kf_wrong", house.socket)
    for _ in range(FREE_TRIES + 1):
        at_port(401)
    at_port(429)
    at_socket(429 if known else 401)


def test_a_setting_of_none(tmp_path: Path) -> None:
    """A rate of 0 is no limit."""
    with running(tmp_path, app_rate="0", app_burst="1") as house:
        job = ask(house, make_app(house, "job"))
        for _ in range(10):
            job(200)
