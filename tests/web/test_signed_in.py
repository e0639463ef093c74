"""The owner's page: signed in by a secret of its own origin, and by nothing that a browser sends by itself."""

import re
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from broker.core.approval import Approval, Asker, Wanted
from broker.practice.server import PracticeServer
from broker.web import pages, peers
from broker.web.parts.approvals import ApprovalPart
from broker.web.parts.lines import Line
from broker.web.parts.locked import Lock
from broker.web.parts.overview import OverviewPart
from broker.web.parts.paging import Sheet
from tests.web.desktop import Desktop
from tests.web.house import running
from tests.web.walk import new_browser

DAY = 86_400.0


@pytest.fixture(scope="module")
def running_desktop(tmp_path_factory: pytest.TempPathFactory, practice: PracticeServer) -> Iterator[Desktop]:
    """Run the daemon for all tests of this module."""
    found = Desktop()
    with running(tmp_path_factory.mktemp("desktop"), found.clock) as found.house:
        found.house.log_in("work", practice.url)
        yield found


@pytest.fixture
def desktop(running_desktop: Desktop) -> Iterator[Desktop]:
    """Return the desktop with a browser that knows nothing yet."""
    running_desktop.now += DAY
    with new_browser() as running_desktop.browser:
        yield running_desktop


def test_the_owner_signs_in_and_answers(desktop: Desktop) -> None:
    """The page lists what waits, shows who asks and for what, and its answer counts."""
    code, session = desktop.question(), desktop.session()

    listed = desktop.send("GET", "/ui/parts/overview", session)
    shown = desktop.send("GET", f"/ui/parts/approvals/{code}", session)
    answered = desktop.send("POST", f"/ui/v1/approvals/{code}", session, json={"decision": "allow"})

    assert f"/ui/approvals/{code}" in listed.text
    for words in ("asks for account", "work", "Allow once", "Never", "you)"):
        assert words in shown.text
    assert answered.json()["state"] == "allowed"
    for answer in (listed, shown, answered):
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_ticket_signs_in_once_and_soon(desktop: Desktop) -> None:
    """Neither twice, nor after a minute, nor a made-up one."""
    ticket, late = desktop.ticket(), desktop.ticket()
    assert desktop.sign_in(ticket).status_code == 201
    desktop.now += 61

    for used in (ticket, late, secrets.token_urlsafe(32), "x"):
        refused = desktop.sign_in(used)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
        assert "keyfob ui" in refused.json()["detail"]
        assert used not in refused.text or used == "x"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/ui/parts/overview"),
        ("GET", "/ui/parts/approvals/{code}"),
        ("POST", "/ui/v1/approvals/{code}"),
        ("DELETE", "/ui/session"),
    ],
)
def test_nothing_a_browser_sends_by_itself_counts(desktop: Desktop, method: str, path: str) -> None:
    """Cookies of every name, another port's, do not sign in; neither does the ticket itself."""
    code, session = desktop.question(), desktop.session()
    target, body = path.format(code=code), {"json": {"decision": "allow"}} if method == "POST" else {}
    for name in ("keyfob-session", "session", "kf_login_x", "Authorization"):
        desktop.browser.cookies.set(name, session, domain="127.0.0.1")

    for shown in ("", desktop.ticket(), secrets.token_urlsafe(32)):
        refused = desktop.send(method, target, shown, **body)
        if method != "DELETE" or not shown:  # to end a session that is none is no error
            assert refused.status_code == 401, refused.text
        assert code not in refused.text
    assert desktop.house.owner.ask("GET", "/v1/approvals/{id}", 200, path={"id": code})["state"] == "pending"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Origin": ""},
    ],
)
def test_another_page_cannot_act_even_with_the_secret(desktop: Desktop, headers: dict[str, str]) -> None:
    """Another origin, another port of this one, or a form: the guard refuses it before it is read."""
    code, session = desktop.question(), desktop.session()
    url = f"{desktop.house.browser_url}/ui/v1/approvals/{code}"
    own = {
        "Origin": desktop.house.browser_url,
        "Content-Type": "application/json",
        "Authorization": f"Bearer {session}",
    }

    refused = desktop.browser.post(url, content=b'{"decision":"allow"}', headers=own | headers)

    assert refused.status_code == 403
    assert desktop.house.owner.ask("GET", "/v1/approvals/{id}", 200, path={"id": code})["state"] == "pending"


def test_a_page_without_a_session_shows_nothing(desktop: Desktop) -> None:
    """What anybody on this machine can open is the same for every code, whether it waits or never was."""
    code = desktop.question()

    there, nowhere = (
        desktop.browser.get(f"{desktop.house.browser_url}/ui/approvals/{one}") for one in (code, "BBBB-BBBB")
    )

    assert there.text.replace(code, "X") == nowhere.text.replace("BBBB-BBBB", "X")
    assert "work" not in re.sub("network|works", "", there.text)
    assert "script-src 'self'" in there.headers["content-security-policy"]


def test_a_session_ends(desktop: Desktop) -> None:
    """By signing out, and after eight hours without use."""
    one, other = desktop.session(), desktop.session()
    assert desktop.send("DELETE", "/ui/session", one).status_code == 204
    assert desktop.send("GET", "/ui/parts/overview", one).status_code == 401

    desktop.now += 7 * 3600
    assert desktop.send("GET", "/ui/parts/overview", other).status_code == 200
    desktop.now += 8 * 3600 + 1
    assert desktop.send("GET", "/ui/parts/overview", other).status_code == 401


def test_many_tabs_push_out_the_oldest(desktop: Desktop) -> None:
    """So that nobody who can sign in fills the memory."""
    oldest = desktop.session()
    for _ in range(16):
        desktop.now += 1
        desktop.session()

    assert desktop.send("GET", "/ui/parts/overview", oldest).status_code == 401


def test_a_browser_of_the_owner_enters_by_an_address_without_a_secret(desktop: Desktop) -> None:
    """The address in the browser's command line leads to the ticket, once, where the kernel names the owner."""
    opened = desktop.house.owner.ask("POST", "/v1/session", 201, json={})
    ticket = urlsplit(opened["url"]).fragment.removeprefix("s=")
    assert ticket not in opened["open_url"]

    first, again = (desktop.browser.get(opened["open_url"]) for _ in range(2))

    assert (first.status_code, first.headers["location"]) == (303, f"/ui/#s={ticket}")
    assert again.status_code == 401
    assert desktop.sign_in(ticket).status_code == 201


@pytest.mark.parametrize("uid", [None, 12_345])
def test_another_users_browser_enters_nowhere(
    desktop: Desktop, monkeypatch: pytest.MonkeyPatch, uid: int | None
) -> None:
    """Who cannot be named, or is somebody else, does not get the ticket; and it is not used up by that."""
    opened = desktop.house.owner.ask("POST", "/v1/session", 201, json={})
    with monkeypatch.context() as patch:
        patch.setattr(peers, "uid_of", lambda *_: uid)  # one user cannot be two in a test
        refused = desktop.browser.get(opened["open_url"])
        assert refused.status_code == 403
        assert "--no-browser" in refused.text
        if uid is not None:
            assert desktop.sign_in().status_code == 403

    with new_browser() as own:
        assert own.get(opened["open_url"]).status_code == 303


HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b[2J\"'`{{7*7}}"


def test_what_a_program_says_of_itself_is_inert() -> None:
    """Names, scopes, resources and paths of programs stay text, whatever they hold."""
    wanted = Wanted(HOSTILE, (HOSTILE, "openid"), HOSTILE)
    asker = Asker("socket", 1, 2, HOSTILE)
    for kind in ("grant", "pairing"):
        approval = Approval("BCDF-GHJK", kind, HOSTILE, (wanted,), asker, 0.0, 0.0, 2, "pending", None)
        line = Line(HOSTILE, HOSTILE, HOSTILE, "Fresh", "careful", HOSTILE, "login", last_used_by=HOSTILE)
        first = OverviewPart(Sheet((line,), 1, 1, 1, HOSTILE), 0, (approval,), Lock("", "", "file", passphrase=False))
        for part in (ApprovalPart(approval, HOSTILE, ((wanted, None),), (HOSTILE,)), first):
            html = bytes(pages.render(part).body).decode()
            assert "<img" not in html
            assert "&lt;img src=x onerror=alert(1)&gt;" in html
            assert not {"\u202e", "\x1b"} & set(html)
            assert "49" not in html
            assert len(re.findall("<(?:script|iframe|object|style|link|base)", html)) == 0
