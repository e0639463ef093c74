"""Chromium, a machine for it to look at, and windows. ``README.md`` beside this shows how a walk is written."""

import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.browser.room import Room
from tests.browser.visit import DESKTOP, PATIENCE_MS, PICTURES, Look, OpenVisit, Visit
from tests.e2e.home import new_home

SERVERS = Path(__file__).parents[1] / "servers"
CHROMIUM = os.environ.get("CHROMIUM") or "chromium"
ARGUMENTS = (
    "--no-sandbox",  # CI runs as root, where Chromium's sandbox refuses to start
    "--disable-gpu",
    "--disable-background-networking",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # whatever a page wants, nothing leaves this machine
)
FAILED = pytest.StashKey[bool]()

expect.set_options(timeout=PATIENCE_MS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note that a walk failed, so that its windows are kept as pictures before they are closed."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Start the system's Chromium, once for all walks."""
    program = shutil.which(CHROMIUM)
    if program is None:
        pytest.fail(f"There is no {CHROMIUM}. On Debian: apt install chromium; or set CHROMIUM to one that is there.")
    for picture in PICTURES.glob("FAILED-*.png"):
        picture.unlink()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def room() -> Iterator[Room]:
    """Make a machine: a home, a daemon in it, and a practice provider that asks whoever logs in."""
    with new_home() as home, practice_in_thread(PracticeSettings(device_interval=1)) as practice:
        yield Room(home, home.serve(), practice)


@pytest.fixture
def open_visit(chromium: Browser, room: Room, request: pytest.FixtureRequest) -> Iterator[OpenVisit]:
    """Return what opens a window; each is looked through when the walk has ended."""
    visits: list[Visit] = []

    def opened(look: Look = DESKTOP, *, signed_in: bool = True, foreign: str = "") -> Visit:
        visit = Visit(chromium, look, {room.url, room.practice.url}, foreign)
        visits.append(visit)
        if signed_in:
            assert visit.sign_in(room.entrance()) == 201
        return visit

    yield opened
    if request.node.stash.get(FAILED, False):
        for number, visit in enumerate(visits):
            visit.shot(f"FAILED-{request.node.name}-{number}")
    problems = [line for visit in visits for line in visit.problems()]
    for visit in visits:
        visit.close()
    assert problems == []


@pytest.fixture
def visit(open_visit: OpenVisit) -> Visit:
    """Open a window that is signed in."""
    return open_visit()


@pytest.fixture
def page(visit: Visit) -> Page:
    """Return that window's page."""
    return visit.page


@pytest.fixture
def guest(open_visit: OpenVisit) -> Visit:
    """Open a window that is not signed in."""
    return open_visit(signed_in=False)


@pytest.fixture(scope="session")
def oidc_provider() -> Iterator[str]:
    """Start npm oidc-provider as ``tests/servers/run`` does; return its issuer."""
    if shutil.which("npm") is None:
        reason = "npm is not here, and oidc-provider comes from it"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    environ = {**os.environ, "AT_TTL": "600", "EXTRA_REDIRECTS": "http://127.0.0.1/callback/op"}
    installed = subprocess.run(
        [SERVERS / "oidc_provider/install.sh"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert installed.returncode == 0, installed.stdout + installed.stderr
    # It says where the server is, and ends when its stdin does; with.sh ends the server then.
    until_told = ("sh", "-c", 'echo "$BASE" && exec cat')
    with subprocess.Popen(
        [SERVERS / "with.sh", "oidc_provider", *until_told],
        env=environ,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        issuer = server.stdout.readline().strip()
        assert issuer, "it did not start; the reason stands above"
        yield issuer
        server.stdin.close()
