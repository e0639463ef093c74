"""The provider that the tests of this room log in at, the daemon that most of them may share, and two browsers."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.web.cloud import Cloud, cloud_at
from tests.web.desktop import Desktop
from tests.web.house import House, running
from tests.web.owner import Owner, a_desktop, signed_in
from tests.web.proxied import Proxied, proxied
from tests.web.walk import Walk, new_browser


@pytest.fixture(scope="module")
def practice() -> Iterator[PracticeServer]:
    """Run a provider that says yes at once."""
    with practice_in_thread(PracticeSettings(ttl=600, auto_approve=True)) as server:
        yield server


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run a daemon for the tests of a module that leave it as it was."""
    with running(tmp_path_factory.mktemp("house")) as found:
        yield found


@pytest.fixture(scope="module")
def key(house: House) -> str:
    """Return the key of an app, called ``job``, that was granted nothing."""
    made: str = house.owner.ask("POST", "/v1/apps", 201, json={"name": "job"})["key"]
    return made


@pytest.fixture
def browser() -> Iterator[httpx2.Client]:
    """Return the browser of the person who logs in."""
    with new_browser() as found:
        yield found


@pytest.fixture
def stranger() -> Iterator[httpx2.Client]:
    """Return somebody else's browser."""
    with new_browser() as found:
        yield found


@pytest.fixture
def walk(house: House, practice: PracticeServer, browser: httpx2.Client) -> Walk:
    """Return a login that was begun and not opened yet."""
    return Walk(house, practice, browser)


@pytest.fixture(scope="module")
def desktop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desktop]:
    """Run a daemon whose clock the test moves, for all tests of a module."""
    with a_desktop(tmp_path_factory.mktemp("desktop")) as found:
        yield found


@pytest.fixture
def owner(desktop: Desktop) -> Iterator[Owner]:
    """Sign the owner's browser in."""
    with signed_in(desktop) as found:
        yield found


@pytest.fixture(scope="module")
def standing(house: House, practice: PracticeServer) -> Iterator[Proxied]:
    """Run an account ``me`` with its API, for the tests of the proxy."""
    with proxied(house, "me", practice.url) as found:
        yield found


@pytest.fixture
def me(standing: Proxied) -> Proxied:
    """Return it, with an API that was asked nothing."""
    standing.api.calls.clear()
    standing.api.acts.clear()
    return standing


@pytest.fixture
def cloud(base: Cloud) -> Iterator[Cloud]:
    """Hand out a module's daemon for the programs of a cloud, and take the apps away afterwards."""
    yield base
    ask = base.house.owner.ask
    for app in ask("GET", "/v1/apps", 200)["apps"]:
        ask("DELETE", "/v1/apps/{app}", 204, path={"app": app["name"]})


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Cloud]:
    """Run a daemon whose login may be ended."""
    with cloud_at(tmp_path) as found:
        yield found
